//! Captions and labels: `metadata.jsonl` (the imagefolder convention) or a `.txt` beside a picture.
//! A line is {"file_name": "a.png", "text": "a caption" or ["a caption", "another"], "label": "cat" or 3,
//! "camera": {"azimuth", "elevation", "distance", "fov"}, "repeat": 2}; other keys are ignored.
//! Leaves out labels taken from folder names.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use dreamsmith_base::read_limited;
use serde::Deserialize;

use crate::error::Skip;
use crate::furniture_record::CameraRecord;

/// A caption file beyond this is not one.
const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_METADATA_BYTES: u64 = 1 << 30;
/// Labels given as numbers index a table of classes, so they stay small.
const MAX_LABEL: u32 = 65_535;
/// More often than this in an epoch, a picture is a mistake.
const MAX_REPEAT: u32 = 100;

/// What `metadata.jsonl` says about one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// The captions, each of them true; none where there is none.
    pub texts: Vec<String>,
    /// The class, if there is one.
    pub label: Option<Label>,
    /// From where it is seen, if that is known.
    pub camera: Option<CameraRecord>,
    /// How often it comes in an epoch, 1 or more.
    pub repeat: u32,
}

impl Default for Caption {
    fn default() -> Self {
        Self {
            texts: Vec::new(),
            label: None,
            camera: None,
            repeat: 1,
        }
    }
}

/// A class by name or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// A name; the sorted names become the classes.
    Text(String),
    /// The class index itself.
    Number(u32),
}

/// A line of `metadata.jsonl` that names a picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    /// Where it stands, for messages: `metadata.jsonl:3`.
    pub(crate) place: String,
    pub(crate) caption: Caption,
}

#[derive(Deserialize)]
struct Line {
    file_name: String,
    text: Option<Texts>,
    label: Option<serde_json::Value>,
    camera: Option<CameraRecord>,
    repeat: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

/// Reads `root/folder/metadata.jsonl`: captions by path relative to `root`, and the lines that are wrong.
pub(crate) fn read_metadata(root: &Path, folder: &Path) -> (HashMap<PathBuf, Listed>, Vec<Skip>) {
    let relative = folder.join("metadata.jsonl");
    let shown = relative.display().to_string();
    let (mut captions, mut faults) = (HashMap::new(), Vec::new());
    let bytes = match read_limited(&root.join(&relative), MAX_METADATA_BYTES) {
        Ok(bytes) => bytes,
        Err(e) => {
            faults.push(Skip {
                what: shown,
                reason: e.to_string(),
            });
            return (captions, faults);
        }
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = format!("{shown}:{}", i + 1);
        match parse_line(line) {
            Ok((name, caption)) => {
                let path = folder.join(name);
                if let Some(first) = captions.get(&path).map(|l: &Listed| l.place.clone()) {
                    let reason = format!("names `{}` again after {first}", path.display());
                    faults.push(Skip {
                        what: place,
                        reason,
                    });
                } else {
                    captions.insert(path, Listed { place, caption });
                }
            }
            Err(reason) => faults.push(Skip {
                what: place,
                reason,
            }),
        }
    }
    (captions, faults)
}

fn parse_line(line: &[u8]) -> Result<(PathBuf, Caption), String> {
    let line: Line = serde_json::from_slice(line)
        .map_err(|e| format!("expected {{\"file_name\": ..., \"text\": ...}}: {e}"))?;
    let name: PathBuf = Path::new(&line.file_name)
        .components()
        .filter(|c| *c != Component::CurDir)
        .collect();
    let stays_inside = name.components().all(|c| matches!(c, Component::Normal(_)));
    if name.as_os_str().is_empty() || !stays_inside {
        return Err(format!(
            "file_name {:?} must name a file inside the folder",
            line.file_name
        ));
    }
    let mut texts = match line.text {
        None => vec![],
        Some(Texts::One(text)) => vec![text],
        Some(Texts::Several(texts)) => texts,
    };
    texts.retain(|text| !text.trim().is_empty());
    let repeat = line.repeat.unwrap_or(1);
    if !(1..=MAX_REPEAT).contains(&repeat) {
        return Err(format!("repeat is {repeat}, expected 1 to {MAX_REPEAT}"));
    }
    if let Some(camera) = line.camera {
        camera.check()?;
    }
    Ok((
        name,
        Caption {
            texts,
            label: line.label.map(parse_label).transpose()?.flatten(),
            camera: line.camera,
            repeat,
        },
    ))
}

fn parse_label(value: serde_json::Value) -> Result<Option<Label>, String> {
    use serde_json::Value;
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Label::Text(text))),
        other => match other.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(number) if number <= MAX_LABEL => Ok(Some(Label::Number(number))),
            _ => Err(format!(
                "label {other} is neither text nor a whole number from 0 to {MAX_LABEL}"
            )),
        },
    }
}

/// The caption in the `.txt` beside a picture, trimmed; `None` where there is no such file.
pub(crate) fn read_text_beside(root: &Path, picture: &Path) -> Result<Option<String>, Skip> {
    let relative = picture.with_extension("txt");
    let path = root.join(&relative);
    if !path.is_file() {
        return Ok(None);
    }
    let fault = |reason| Skip {
        what: relative.display().to_string(),
        reason,
    };
    let bytes = read_limited(&path, MAX_TEXT_BYTES).map_err(|e| fault(e.to_string()))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| fault("the caption is not UTF-8: save it again as UTF-8".into()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(Some(text.trim().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn metadata_lines_are_read_and_faults_are_placed() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let lines = [
            "\u{feff}{\"file_name\": \"a.png\", \"text\": \"a fox\", \"label\": \"animal\", \"more\": 1}",
            "",
            "{\"file_name\": \"./sub/b.png\", \"label\": 3}\r",
            "{\"file_name\": ",
            "{\"text\": \"no name\"}",
            "{\"file_name\": \"../../secret.png\"}",
            "{\"file_name\": \"/etc/secret.png\"}",
            "{\"file_name\": \"c.png\", \"label\": -1}",
            "{\"file_name\": \"a.png\", \"text\": \"again\"}",
            "{\"file_name\": \"d.png\", \"text\": null, \"label\": null}",
            "{\"file_name\": \"e.png\", \"text\": [\"a box\", \" \", \"a red box\"], \"repeat\": 3, \"camera\": {\"azimuth\": 90, \"elevation\": 5, \"distance\": 3, \"fov\": 40, \"more\": 1}}",
            "{\"file_name\": \"f.png\", \"repeat\": 0}",
            "{\"file_name\": \"g.png\", \"camera\": {\"azimuth\": 1e300, \"elevation\": 5, \"distance\": 3, \"fov\": 40}}",
            "{\"file_name\": \"h.png\", \"camera\": {\"azimuth\": 1, \"elevation\": 5, \"distance\": -3, \"fov\": 40}}",
        ];
        fs::create_dir(dir.path().join("in"))?;
        fs::write(dir.path().join("in/metadata.jsonl"), lines.join("\n"))?;
        let (captions, faults) = read_metadata(dir.path(), Path::new("in"));
        let caption = |path: &str| captions.get(Path::new(path)).map(|l| l.caption.clone());
        assert_eq!(
            caption("in/a.png"),
            Some(Caption {
                texts: vec!["a fox".into()],
                label: Some(Label::Text("animal".into())),
                ..Caption::default()
            })
        );
        assert_eq!(
            caption("in/sub/b.png"),
            Some(Caption {
                label: Some(Label::Number(3)),
                ..Caption::default()
            })
        );
        assert_eq!(caption("in/d.png"), Some(Caption::default()));
        let box_of_many = caption("in/e.png").unwrap_or_default();
        assert_eq!(box_of_many.texts, ["a box", "a red box"]);
        assert_eq!(box_of_many.repeat, 3);
        assert_eq!(box_of_many.camera.map(|c| c.azimuth), Some(90.0));
        assert_eq!(captions.len(), 4);
        let places: Vec<&str> = faults.iter().map(|f| f.what.as_str()).collect();
        let expected = [4, 5, 6, 7, 8, 9, 12, 13, 14].map(|n| format!("in/metadata.jsonl:{n}"));
        assert_eq!(places, expected);
        assert!(faults[2].reason.contains("inside the folder"));
        assert!(faults[4].reason.contains("label -1"));
        assert!(faults[5].reason.contains("again after in/metadata.jsonl:1"));
        assert!(faults[6].reason.contains("repeat is 0"));
        assert!(faults[7].reason.contains("azimuth"));
        assert!(faults[8].reason.contains("distance"));
        Ok(())
    }

    #[test]
    fn a_text_beside_is_trimmed_and_must_be_utf8() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("a.txt"), "  a red ball\n")?;
        fs::write(dir.path().join("b.txt"), [0xff, 0xfe, 0x41])?;
        let read = |name| read_text_beside(dir.path(), Path::new(name));
        assert_eq!(read("a.png"), Ok(Some("a red ball".into())));
        assert_eq!(read("c.png"), Ok(None));
        assert!(matches!(read("b.png"), Err(s) if s.what == "b.txt" && s.reason.contains("UTF-8")));
        Ok(())
    }
}
