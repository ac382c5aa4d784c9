//! Lists a folder of pictures with their captions and labels, in an order that never changes.
//! Subfolders count; names that begin with a dot do not.
//! Leaves out decoding: a picture is a name here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dreamsmith_base::FileError;

use crate::caption::{Caption, Label, Listed, read_metadata, read_text_beside};
use crate::error::{DataError, Skip};
use crate::furniture_record::CameraRecord;

const PICTURE_ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "svg"];

/// One picture of a folder, not yet opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Path relative to the folder.
    pub path: PathBuf,
    /// The captions, each of them true; none where there is none.
    pub captions: Vec<Arc<str>>,
    /// Index into the classes.
    pub label: Option<u32>,
    /// From where it is seen, if that is known.
    pub camera: Option<CameraRecord>,
    /// How often it comes in an epoch.
    pub repeat: u32,
}

/// A folder's pictures and what was wrong with their captions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The pictures, sorted by path.
    pub entries: Vec<Entry>,
    /// The classes: the sorted names, or the numbers from 0 to the largest.
    pub classes: Vec<String>,
    /// Metadata lines and captions that were left out.
    pub faults: Vec<Skip>,
}

#[derive(Default)]
struct Found {
    pictures: BTreeSet<PathBuf>,
    captions: HashMap<PathBuf, Listed>,
    other_files: usize,
    faults: Vec<Skip>,
}

/// Lists the pictures under `root` with their captions.
pub fn list_folder(root: &Path) -> Result<Listing, DataError> {
    if !root.is_dir() {
        return Err(DataError::NoFolder {
            path: root.to_path_buf(),
            found: if root.exists() {
                "it is a file"
            } else {
                "nothing is there"
            },
        });
    }
    let mut found = Found::default();
    walk(root, Path::new(""), &mut HashSet::new(), &mut found)?;
    let mut lost: Vec<_> = found
        .captions
        .iter()
        .filter(|(path, _)| !root.join(path).is_file())
        .map(|(path, listed)| Skip {
            what: listed.place.clone(),
            reason: format!("names `{}`, which does not exist", path.display()),
        })
        .collect();
    lost.sort_by(|a, b| (a.what.len(), &a.what).cmp(&(b.what.len(), &b.what)));
    found.faults.extend(lost);
    // A file that metadata names is a picture whatever its ending.
    let named = found
        .captions
        .keys()
        .filter(|path| root.join(path).is_file());
    found.pictures.extend(named.cloned());
    if found.pictures.is_empty() {
        return Err(DataError::NoPictures {
            path: root.to_path_buf(),
            files: found.other_files,
        });
    }
    caption_all(root, found)
}

fn caption_all(root: &Path, mut found: Found) -> Result<Listing, DataError> {
    let mut captioned = Vec::with_capacity(found.pictures.len());
    for path in found.pictures {
        let caption = match found.captions.remove(&path) {
            Some(listed) => listed.caption,
            None => {
                let text = read_text_beside(root, &path).unwrap_or_else(|fault| {
                    found.faults.push(fault);
                    None
                });
                Caption {
                    texts: text.filter(|text| !text.is_empty()).into_iter().collect(),
                    ..Caption::default()
                }
            }
        };
        captioned.push((path, caption));
    }
    let classes = classes(root, captioned.iter().filter_map(|(_, c)| c.label.as_ref()))?;
    let entries = captioned
        .into_iter()
        .map(|(path, caption)| Entry {
            path,
            label: caption.label.and_then(|label| match label {
                Label::Number(n) => Some(n),
                Label::Text(t) => classes.binary_search(&t).ok().map(|i| i as u32),
            }),
            captions: caption.texts.into_iter().map(Arc::from).collect(),
            camera: caption.camera,
            repeat: caption.repeat,
        })
        .collect();
    Ok(Listing {
        entries,
        classes,
        faults: found.faults,
    })
}

fn classes<'a>(
    root: &Path,
    labels: impl Iterator<Item = &'a Label>,
) -> Result<Vec<String>, DataError> {
    let (mut names, mut largest) = (BTreeSet::new(), None);
    for label in labels {
        match label {
            Label::Text(name) => {
                names.insert(name.clone());
            }
            Label::Number(n) => largest = largest.max(Some(*n)),
        }
    }
    match (names.first(), largest) {
        (Some(text), Some(number)) => Err(DataError::MixedLabels {
            path: root.to_path_buf(),
            text: text.clone(),
            number,
        }),
        (None, Some(largest)) => Ok((0..=largest).map(|n| n.to_string()).collect()),
        _ => Ok(names.into_iter().collect()),
    }
}

/// Collects what lies in `root/folder` and below; `seen` keeps linked folders from going in circles.
fn walk(
    root: &Path,
    folder: &Path,
    seen: &mut HashSet<PathBuf>,
    found: &mut Found,
) -> Result<(), DataError> {
    let path = root.join(folder);
    let fail = |e| FileError::new("read", &path, e);
    if !seen.insert(path.canonicalize().map_err(fail)?) {
        return Ok(());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).map_err(fail)? {
        names.push(PathBuf::from(entry.map_err(fail)?.file_name()));
    }
    names.sort();
    for name in names {
        if name.as_os_str().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let relative = folder.join(&name);
        if root.join(&relative).is_dir() {
            walk(root, &relative, seen, found)?;
        } else if name.as_os_str() == "metadata.jsonl" {
            let (captions, faults) = read_metadata(root, folder);
            found.captions.extend(captions);
            found.faults.extend(faults);
        } else if has_picture_ending(&name) {
            found.pictures.insert(relative);
        } else {
            found.other_files += 1;
        }
    }
    Ok(())
}

fn has_picture_ending(name: &Path) -> bool {
    name.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| PICTURE_ENDINGS.iter().any(|p| p.eq_ignore_ascii_case(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn touch(root: &Path, files: &[(&str, &str)]) -> std::io::Result<()> {
        for (name, content) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            fs::write(path, content)?;
        }
        Ok(())
    }

    #[test]
    fn captions_come_from_metadata_then_from_text() -> Outcome {
        let dir = tempfile::tempdir()?;
        touch(
            dir.path(),
            &[
                ("b.PNG", ""),
                ("a/z.jpg", ""),
                ("a/z.txt", "zebra\n"),
                (
                    "a/metadata.jsonl",
                    "{\"file_name\": \"deep/y.bin\", \"text\": \"yak\", \"label\": \"beast\"}\n{\"file_name\": \"gone.png\"}",
                ),
                ("a/deep/y.bin", ""),
                (".hidden/x.png", ""),
                ("notes.md", ""),
                (
                    "metadata.jsonl",
                    "{\"file_name\": \"b.PNG\", \"text\": \"ball\", \"label\": \"thing\"}",
                ),
            ],
        )?;
        let listing = list_folder(dir.path())?;
        let seen: Vec<_> = listing
            .entries
            .iter()
            .map(|e| (e.path.to_str(), &*e.captions[0], e.label))
            .collect();
        let expected = [
            (Some("a/deep/y.bin"), "yak", Some(0)),
            (Some("a/z.jpg"), "zebra", None),
            (Some("b.PNG"), "ball", Some(1)),
        ];
        assert_eq!(seen, expected);
        assert_eq!(listing.classes, ["beast", "thing"]);
        assert_eq!(listing.faults.len(), 1);
        assert_eq!(
            listing.faults[0].to_string(),
            "a/metadata.jsonl:2: names `a/gone.png`, which does not exist"
        );
        Ok(())
    }

    #[test]
    fn number_labels_name_every_class_up_to_the_largest() -> Outcome {
        let dir = tempfile::tempdir()?;
        touch(
            dir.path(),
            &[
                ("a.png", ""),
                ("metadata.jsonl", "{\"file_name\": \"a.png\", \"label\": 2}"),
            ],
        )?;
        let listing = list_folder(dir.path())?;
        assert_eq!(listing.classes, ["0", "1", "2"]);
        assert_eq!(listing.entries[0].label, Some(2));
        Ok(())
    }

    #[test]
    fn labels_of_two_kinds_are_an_error() -> Outcome {
        let dir = tempfile::tempdir()?;
        touch(
            dir.path(),
            &[
                ("a.png", ""),
                ("b.png", ""),
                (
                    "metadata.jsonl",
                    "{\"file_name\": \"a.png\", \"label\": 2}\n{\"file_name\": \"b.png\", \"label\": \"cat\"}",
                ),
            ],
        )?;
        assert!(matches!(
            list_folder(dir.path()),
            Err(DataError::MixedLabels { number: 2, .. })
        ));
        Ok(())
    }

    #[test]
    fn missing_and_empty_folders_are_named() -> Outcome {
        let dir = tempfile::tempdir()?;
        assert!(matches!(
            list_folder(dir.path()),
            Err(DataError::NoPictures { files: 0, .. })
        ));
        let file = dir.path().join("a.md");
        fs::write(&file, "")?;
        assert!(matches!(
            list_folder(dir.path()),
            Err(DataError::NoPictures { files: 1, .. })
        ));
        for path in [file, dir.path().join("nowhere")] {
            let error = list_folder(&path)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(
                error.contains("is not a folder") && error.contains(&*path.to_string_lossy()),
                "{error}"
            );
        }
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn linked_folders_are_followed_once() -> Outcome {
        let dir = tempfile::tempdir()?;
        touch(dir.path(), &[("a/x.png", "")])?;
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop"))?;
        assert_eq!(list_folder(dir.path())?.entries.len(), 1);
        Ok(())
    }
}
