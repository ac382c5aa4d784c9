//! `prepare_emoji` on small packages of the same make as the real ones.

use std::error::Error;
use std::fs;
use std::path::Path;

use dreamsmith_base::{Image, write_png};
use dreamsmith_data::{
    CachePlace, DataError, Dataset, EmojiChoice, EmojiSource, FolderOptions, prepare_emoji,
};

type Outcome = Result<(), Box<dyn Error>>;

fn pictures_package(at: &Path) -> Outcome {
    fs::create_dir_all(at.join("assets"))?;
    fs::write(
        at.join("package.json"),
        r#"{"name": "@lobehub/fluent-emoji-3d"}"#,
    )?;
    // The content decides what a picture is, so a PNG serves as a .webp here.
    for name in [
        "1f34e",
        "39-fe0f-20e3",
        "1f44b",
        "1f44b-1f3fd",
        "1f9d1-1f3fb-200d-2695",
        "1ffff",
    ] {
        let picture = Image::filled(4, 4, [200, 30, 40])?;
        write_png(&at.join(format!("assets/{name}.webp")), &picture, &[])?;
    }
    fs::write(at.join("assets/notes.txt"), "")?;
    Ok(())
}

fn names_package(at: &Path) -> Outcome {
    fs::create_dir_all(at.join("en"))?;
    fs::write(at.join("package.json"), r#"{"name": "emojibase-data"}"#)?;
    fs::write(
        at.join("en/data.json"),
        r#"[{"label": "red apple", "hexcode": "1F34E", "tags": ["fruit", "red apple"], "group": 4},
            {"label": "keycap: 9", "hexcode": "0039-FE0F-20E3", "tags": ["keycap"], "group": 8},
            {"label": "waving hand", "hexcode": "1F44B", "group": 1}]"#,
    )?;
    fs::write(
        at.join("en/messages.json"),
        r#"{"groups": [{"key": "people-body", "message": "people", "order": 1},
            {"key": "food-drink", "message": "food", "order": 4},
            {"key": "symbols", "message": "symbols", "order": 8}]}"#,
    )?;
    Ok(())
}

fn everything() -> EmojiChoice {
    EmojiChoice {
        groups: vec![],
        names: vec![],
        repeat: 2,
    }
}

#[test]
fn the_natural_layouts_are_found() -> Outcome {
    let layouts = [
        (
            "node_modules/@lobehub/fluent-emoji-3d",
            "node_modules/emojibase-data",
        ),
        ("@lobehub/fluent-emoji-3d", "emojibase-data"),
        (
            "lobehub-fluent-emoji-3d-1.1.0/package",
            "emojibase-data-17.0.0/package",
        ),
        ("a", "b"),
    ];
    for (pictures, names) in layouts {
        let dir = tempfile::tempdir()?;
        let (pictures, names) = (dir.path().join(pictures), dir.path().join(names));
        pictures_package(&pictures)?;
        names_package(&names)?;
        assert_eq!(
            EmojiSource::find(dir.path())?,
            EmojiSource { pictures, names }
        );
    }
    Ok(())
}

#[test]
fn a_missing_package_is_named_with_the_remedy() -> Outcome {
    let dir = tempfile::tempdir()?;
    let message = |path: &Path| {
        EmojiSource::find(path)
            .err()
            .map_or(String::new(), |e| e.to_string())
    };
    assert!(message(dir.path()).contains("npm pack @lobehub/fluent-emoji-3d"));
    pictures_package(&dir.path().join("x"))?;
    assert!(message(dir.path()).contains("npm pack emojibase-data"));
    assert!(message(&dir.path().join("nowhere")).contains("does not exist"));
    Ok(())
}

#[test]
fn the_folder_holds_pictures_captions_and_licences() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures_package(&dir.path().join("x"))?;
    names_package(&dir.path().join("y"))?;
    let out = dir.path().join("sets/emoji");
    let summary = prepare_emoji(&EmojiSource::find(dir.path())?, &everything(), &out)?;
    assert_eq!((summary.pictures, summary.skin_tones), (4, 2));
    assert_eq!(summary.unnamed.len(), 1);
    assert_eq!(summary.unnamed[0].what, "1ffff.webp");
    assert_eq!(summary.groups.get("food-drink"), Some(&1));
    assert!(fs::read_to_string(out.join("ATTRIBUTION.txt"))?.contains("MIT License"));
    let metadata = fs::read_to_string(out.join("metadata.jsonl"))?;
    assert_eq!(
        metadata.lines().next(),
        Some(
            r#"{"file_name":"1f34e.webp","text":["3D emoji of red apple","red apple, 3D emoji","red apple emoji","3D emoji of red apple, fruit"],"label":"food-drink","repeat":2}"#
        )
    );
    assert_eq!(
        metadata.lines().last(),
        Some(
            r#"{"file_name":"39-fe0f-20e3.webp","text":["3D emoji of keycap: 9","keycap: 9, 3D emoji","keycap: 9 emoji"],"label":"symbols","repeat":2}"#
        )
    );

    let options = FolderOptions {
        cache: CachePlace::Memory,
        ..FolderOptions::new(2)
    };
    let data = Dataset::open(&out, &options)?;
    assert_eq!(data.classes(), ["food-drink", "people-body", "symbols"]);
    assert_eq!(
        (
            data.len(),
            data.summary().captioned,
            data.summary().labelled
        ),
        (4, 3, 3)
    );

    assert_eq!(data.draws(), [0, 0, 1, 1, 2, 2, 3, 3]);

    let again = prepare_emoji(&EmojiSource::find(dir.path())?, &everything(), &out);
    assert!(
        matches!(again, Err(DataError::NotEmpty { .. })),
        "{again:?}"
    );
    Ok(())
}

#[test]
fn groups_can_be_chosen() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures_package(&dir.path().join("x"))?;
    names_package(&dir.path().join("y"))?;
    let source = EmojiSource::find(dir.path())?;
    let prepare = |group: &str, out: &str| {
        let choice = EmojiChoice {
            groups: vec![group.into()],
            repeat: 1,
            ..EmojiChoice::default()
        };
        prepare_emoji(&source, &choice, &dir.path().join(out))
    };
    let summary = prepare("food-drink", "food")?;
    assert_eq!((summary.pictures, summary.other_groups), (1, 3));
    let named = |names: &[&str], out: &str| {
        let choice = EmojiChoice {
            names: names.iter().map(ToString::to_string).collect(),
            repeat: 1,
            ..EmojiChoice::default()
        };
        prepare_emoji(&source, &choice, &dir.path().join(out))
    };
    let summary = named(&["Red apple", "keycap: 9"], "two")?;
    assert_eq!((summary.pictures, summary.other_groups), (2, 2));
    let error = named(&["red apples"], "none").err().map(|e| e.to_string());
    assert!(error.is_some_and(|words| words.contains("`red apples`")));
    let error = prepare("food", "more").err().map(|e| e.to_string());
    let error = error.unwrap_or_default();
    assert!(
        error.contains("`food`") && error.contains("food-drink, people-body"),
        "{error}"
    );
    Ok(())
}

#[test]
fn bad_packages_leave_nothing_behind() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures_package(&dir.path().join("x"))?;
    names_package(&dir.path().join("y"))?;
    let source = EmojiSource::find(dir.path())?;
    let out = dir.path().join("emoji");
    let fails = |part: &str| {
        let message = prepare_emoji(&source, &everything(), &out)
            .err()
            .map_or(String::new(), |e| e.to_string());
        assert!(message.contains(part), "{message}");
        assert!(!out.exists());
    };
    fs::write(source.names.join("en/messages.json"), "{")?;
    fails("messages.json");
    fs::remove_file(source.names.join("en/data.json"))?;
    fails("data.json");
    names_package(&source.names)?;
    fs::remove_dir_all(source.pictures.join("assets"))?;
    fails("assets");
    fs::create_dir(source.pictures.join("assets"))?;
    fails("no .webp pictures");
    Ok(())
}
