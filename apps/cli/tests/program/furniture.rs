//! `dreamsmith data furniture`: a library of four made-up models, and what it says of bad ones.

use std::fs::{self, File};
use std::io::Write;

use dreamsmith_base::{ImageLimits, read_image};
use serde_json::Value;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::lab::{Lab, Outcome};

const CATALOG: &str = "license=CC BY
name#1=Armchair
model#1=/armchair/armchair.obj
category#1=Living room
creator#1=Ann
name#2=Front door
model#2=/door/door.obj
category#2=Doors and windows
doorOrWindow#2=true
name#3=Stool
model#3=/stool/none.obj
category#3=Kitchen
creator#3=Ben
name#4=Lamp
model#4=/lamp/lamp.obj
category#4=Lights
creator#4=Ben
";

/// A box of this height whose faces are red.
fn solid(height: f32) -> String {
    let mut text = "mtllib red.mtl\n".to_string();
    for i in 0..8 {
        let y = if i & 2 == 0 { 0.0 } else { height };
        text += &format!("v {} {y} {}\n", i & 1, i >> 2);
    }
    text + "usemtl red\nf 1 3 4 2\nf 5 6 8 7\nf 1 2 6 5\nf 3 7 8 4\nf 1 5 7 3\nf 2 4 8 6\n"
}

fn library(lab: &Lab, name: &str, files: &[(&str, &str)]) -> Outcome {
    fs::create_dir_all(lab.path("from"))?;
    let mut zip = ZipWriter::new(File::create(lab.path(name))?);
    for (name, text) in files {
        zip.start_file(*name, SimpleFileOptions::default())?;
        zip.write_all(text.as_bytes())?;
    }
    zip.finish()?;
    Ok(())
}

fn lab() -> Outcome<Lab> {
    let lab = Lab::new()?;
    let (chair, door) = (solid(1.2), solid(2.0));
    let files = [
        ("PluginFurnitureCatalog.properties", CATALOG),
        ("armchair/armchair.obj", &chair),
        ("armchair/red.mtl", "newmtl red\nKd 0.9 0.05 0.05\n"),
        ("door/door.obj", &door),
        ("lamp/lamp.obj", "v 0 0 0\nf 1 2 3\n"),
    ];
    library(&lab, "from/Made.sh3f", &files)?;
    Ok(lab)
}

#[test]
fn a_library_becomes_named_views() -> Outcome {
    let lab = lab()?;
    let ended = lab.succeeds("data furniture --from from --views 6 --size 16 -o out")?;
    assert!(ended.out.contains("6 views of 1 objects"), "{}", ended.out);
    assert!(ended.out.contains("3 models left out"), "{}", ended.out);
    for words in ["Stool", "none.obj", "Lamp", "lamp.obj"] {
        assert!(ended.err.contains(words), "`{words}`: {}", ended.err);
    }
    let mut records = vec![];
    for part in ["train", "held-out"] {
        // A colour that is held out may be among the six, or none.
        let lines = fs::read_to_string(lab.path(&format!("out/{part}/metadata.jsonl")));
        for line in lines.unwrap_or_default().lines() {
            records.push((part, serde_json::from_str::<Value>(line)?));
        }
    }
    assert_eq!(records.len(), 6);
    let mut own = 0;
    for (part, record) in records {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_string();
        let found = ["name", "category", "creator", "licence"].map(text);
        assert_eq!(found, ["armchair", "Living room", "Ann", "CC BY"]);
        let caption = record["text"][0].as_str().unwrap_or_default();
        assert!(caption.ends_with("armchair"), "{record}");
        let picture = read_image(
            &lab.path(&format!("out/{part}/{}", text("file_name"))),
            &ImageLimits::default(),
        )?;
        assert_eq!((picture.width(), picture.height()), (16, 16));
        if record["recoloured"] == Value::Bool(false) {
            own += 1;
            assert_eq!(caption, "a red armchair");
            let middle = &picture.rgba()[(8 * 16 + 8) * 4..][..4];
            assert!(middle[3] == 255 && middle[0] > 2 * middle[1], "{middle:?}");
        }
    }
    assert!((1..6).contains(&own), "half are recoloured: {own}");
    let thanks = fs::read_to_string(lab.path("out/ATTRIBUTION.txt"))?;
    assert!(thanks.contains("armchair by Ann, CC BY"), "{thanks}");
    lab.fails(
        "data furniture --from from -o out",
        1,
        &["`out`", "not empty"],
    )
}

#[test]
fn bad_libraries_and_arguments_are_named() -> Outcome {
    let lab = lab()?;
    let cases: [(&str, i32, &[&str]); 5] = [
        ("--from nowhere", 1, &["`nowhere`"]),
        ("--from pictures", 1, &["*.sh3f", "`pictures`", "apt-get"]),
        ("--from from --only unicorn", 1, &["unicorn", "--only"]),
        ("--from from --views 0", 2, &["0"]),
        ("--from from --size 4", 2, &["4"]),
    ];
    for (arguments, code, words) in cases {
        lab.fails(&format!("data furniture {arguments} -o out"), code, words)?;
    }
    library(&lab, "from/Empty.sh3f", &[("a.txt", "a")])?;
    let words = ["Empty.sh3f", "PluginFurnitureCatalog.properties"];
    lab.fails("data furniture --from from -o out", 1, &words)?;
    lab.write("from/Empty.sh3f", "no zip")?;
    lab.fails("data furniture --from from -o out", 1, &["Empty.sh3f"])
}
