//! Prepares the 3D-style Fluent emoji with their names and tags as a folder of captioned pictures.
//! Sources: the unpacked npm packages @lobehub/fluent-emoji-3d (pictures) and emojibase-data (names).
//! Leaves out the variants that only change the skin tone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dreamsmith_base::{AtomicDir, FileError, create_folder, read_limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{DataError, Skip};

const PICTURES: &str = "@lobehub/fluent-emoji-3d";
const NAMES: &str = "emojibase-data";
/// How deep below the given folder a package may lie: `node_modules/@lobehub/fluent-emoji-3d` is three.
const SEARCH_DEPTH: u32 = 3;
const MAX_JSON_BYTES: u64 = 1 << 26;
/// The variation selector, and the end of a flag's tag sequence: invisible, and often left away.
const INVISIBLE: [u32; 2] = [0xfe0f, 0xe007f];
const SKIN_TONES: std::ops::RangeInclusive<u32> = 0x1f3fb..=0x1f3ff;

const ATTRIBUTION: &str = "\
The pictures are Microsoft's Fluent Emoji in the 3D style (https://github.com/microsoft/fluentui-emoji,
MIT License, Copyright (c) Microsoft Corporation), as packaged by LobeHub in the npm package
@lobehub/fluent-emoji-3d (MIT License, Copyright (c) 2023 LobeHub).

The names, tags and groups are those of the npm package emojibase-data
(https://github.com/milesj/emojibase, MIT License, Copyright (c) 2017-2019 Miles Johnson).

The MIT License, for each of the three:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the \"Software\"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense,
and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so,
subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN
NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY,
WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
";

/// The two unpacked packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmojiSource {
    /// Folder of @lobehub/fluent-emoji-3d, with `assets/`.
    pub pictures: PathBuf,
    /// Folder of emojibase-data, with `en/`.
    pub names: PathBuf,
}

/// What was prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmojiSummary {
    /// Pictures in the new folder.
    pub pictures: usize,
    /// Pictures left out because only their skin tone differs.
    pub skin_tones: usize,
    /// Pictures left out because neither their group nor their name was asked for.
    pub other_groups: usize,
    /// Pictures that stay without caption and label: no name is known for their code.
    pub unnamed: Vec<Skip>,
    /// Pictures of each group, by name.
    pub groups: BTreeMap<String, usize>,
}

impl EmojiSource {
    /// Finds the packages in `from` or up to three folders below: a project with `node_modules`, or a
    /// folder in which the packages were unpacked, whatever their folders are called.
    pub fn find(from: &Path) -> Result<Self, DataError> {
        let mut found = HashMap::new();
        fs::read_dir(from).map_err(|e| FileError::new("read", from, e))?;
        find_packages(from, SEARCH_DEPTH, &mut found);
        let mut take = |package| {
            found.remove(package).ok_or_else(|| DataError::NoPackage {
                from: from.to_path_buf(),
                package,
            })
        };
        Ok(Self {
            pictures: take(PICTURES)?,
            names: take(NAMES)?,
        })
    }
}

/// Notes the folders whose `package.json` carries one of the two names; the shallowest comes first.
fn find_packages(folder: &Path, depth: u32, found: &mut HashMap<&'static str, PathBuf>) {
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let package: Option<Package> = read_limited(&folder.join("package.json"), MAX_JSON_BYTES)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let known = [PICTURES, NAMES]
        .into_iter()
        .find(|name| package.as_ref().is_some_and(|p| p.name == *name));
    if let Some(name) = known {
        found.entry(name).or_insert_with(|| folder.to_path_buf());
        return;
    }
    if depth == 0 || found.len() == 2 {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut below: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.is_dir())
        .collect();
    below.sort();
    for folder in below {
        find_packages(&folder, depth - 1, found);
    }
}

#[derive(Deserialize)]
struct Emoji {
    label: String,
    hexcode: String,
    #[serde(default)]
    tags: Vec<String>,
    group: Option<u32>,
}

#[derive(Deserialize)]
struct Messages {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    key: String,
    order: u32,
}

#[derive(Serialize)]
struct MetadataLine<'a> {
    file_name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    text: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    repeat: u32,
}

/// Which emoji are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmojiChoice {
    /// The groups, as in "food-drink"; with no names, none means all.
    pub groups: Vec<String>,
    /// Names of emoji that are taken besides, as in "rocket".
    pub names: Vec<String>,
    /// How often each comes in an epoch of training, 1 or more.
    pub repeat: u32,
}

/// Copies the pictures to the new folder `out` with `metadata.jsonl` and their licences.
///
/// Captions are "3D emoji of red apple" and the like; the label is the group, "food-drink". `out` appears when
/// it is complete.
pub fn prepare_emoji(
    source: &EmojiSource,
    choice: &EmojiChoice,
    out: &Path,
) -> Result<EmojiSummary, DataError> {
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(DataError::NotEmpty {
            path: out.to_path_buf(),
        });
    }
    let (emoji, groups) = read_names(&source.names)?;
    let is_unknown = |group: &&String| !groups.values().any(|known| known == *group);
    if let Some(group) = choice.groups.iter().find(is_unknown) {
        let known = BTreeSet::from_iter(groups.values().cloned());
        return Err(DataError::NoGroup {
            group: group.clone(),
            known: Vec::from_iter(known).join(", "),
        });
    }
    let known = BTreeSet::from_iter(emoji.values().map(|e| e.label.to_lowercase()));
    let wanted: Vec<String> = choice.names.iter().map(|n| n.to_lowercase()).collect();
    if let Some(name) = wanted.iter().find(|name| !known.contains(*name)) {
        return Err(DataError::NoEmoji { name: name.clone() });
    }
    let pictures = list_pictures(&source.pictures)?;
    if let Some(parent) = out.parent() {
        create_folder(parent)?;
    }
    let folder = AtomicDir::create(out)?;
    let mut summary = EmojiSummary {
        pictures: 0,
        skin_tones: 0,
        other_groups: 0,
        unnamed: Vec::new(),
        groups: BTreeMap::new(),
    };
    let mut lines = Vec::new();
    for (file_name, path) in &pictures {
        let code = code_points(file_name.trim_end_matches(".webp"));
        if code.iter().any(|c| SKIN_TONES.contains(c)) {
            summary.skin_tones += 1;
            continue;
        }
        let named = emoji.get(&code);
        let label = named
            .and_then(|e| groups.get(&e.group?))
            .map(String::as_str);
        let everything = choice.groups.is_empty() && wanted.is_empty();
        let in_group = |group: &str| choice.groups.iter().any(|g| g == group);
        let by_name = |e: &&Emoji| wanted.contains(&e.label.to_lowercase());
        if !everything && !label.is_some_and(in_group) && !named.as_ref().is_some_and(by_name) {
            summary.other_groups += 1;
            continue;
        }
        if named.is_none() {
            summary.unnamed.push(Skip {
                what: file_name.clone(),
                reason: format!("{NAMES} has no name for its code"),
            });
        }
        if let Some(label) = label {
            *summary.groups.entry(label.to_string()).or_default() += 1;
        }
        fs::copy(path, folder.path().join(file_name))
            .map_err(|e| not_written(out, file_name, e))?;
        summary.pictures += 1;
        lines.push(MetadataLine {
            file_name,
            text: named.map(captions).unwrap_or_default(),
            label,
            repeat: choice.repeat,
        });
    }
    let metadata: Vec<String> = lines
        .iter()
        .map(|line| json!(line).to_string() + "\n")
        .collect();
    for (name, text) in [
        ("metadata.jsonl", &*metadata.concat()),
        ("ATTRIBUTION.txt", ATTRIBUTION),
    ] {
        fs::write(folder.path().join(name), text).map_err(|e| not_written(out, name, e))?;
    }
    folder.commit()?;
    Ok(summary)
}

/// The message names the place where the file was to be in the end.
fn not_written(out: &Path, name: &str, source: io::Error) -> FileError {
    FileError::new("write", &out.join(name), source)
}

/// The name as a 3D emoji in several words, and with the first tags that add something to it. Never the name
/// alone: that would be any picture of such a thing.
fn captions(emoji: &Emoji) -> Vec<String> {
    const MOST_TAGS: usize = 2;
    let label = emoji.label.as_str();
    let mut tags: Vec<&str> = Vec::new();
    for tag in &emoji.tags {
        if !label.contains(tag.as_str()) && !tags.contains(&tag.as_str()) && tags.len() < MOST_TAGS
        {
            tags.push(tag);
        }
    }
    let mut captions = vec![
        format!("3D emoji of {label}"),
        format!("{label}, 3D emoji"),
        format!("{label} emoji"),
    ];
    if !tags.is_empty() {
        captions.push(format!("3D emoji of {label}, {}", tags.join(", ")));
    }
    captions
}

/// The code points of a name such as `0023-fe0f-20e3`, without what is invisible.
///
/// The packages differ in case, leading zeros, invisible codes, and for three flags in `_` for `-`.
fn code_points(hex: &str) -> Vec<u32> {
    hex.split(['-', '_'])
        .map(|part| u32::from_str_radix(part, 16).unwrap_or(u32::MAX))
        .filter(|code| !INVISIBLE.contains(code))
        .collect()
}

fn list_pictures(package: &Path) -> Result<BTreeMap<String, PathBuf>, DataError> {
    let assets = package.join("assets");
    let bad = |reason: String| DataError::BadPackage {
        path: assets.clone(),
        package: PICTURES,
        reason,
    };
    let mut pictures = BTreeMap::new();
    for entry in fs::read_dir(&assets).map_err(|e| bad(e.to_string()))? {
        let path = entry.map_err(|e| bad(e.to_string()))?.path();
        let name = path.file_name().and_then(|n| n.to_str());
        if let Some(name) = name.filter(|n| n.ends_with(".webp")) {
            pictures.insert(name.to_string(), path);
        }
    }
    if pictures.is_empty() {
        return Err(bad("it holds no .webp pictures".into()));
    }
    Ok(pictures)
}

type Names = (HashMap<Vec<u32>, Emoji>, HashMap<u32, String>);

/// The emoji by code points, and the group names by number.
fn read_names(package: &Path) -> Result<Names, DataError> {
    let emoji: Vec<Emoji> = read_json(&package.join("en/data.json"))?;
    let messages: Messages = read_json(&package.join("en/messages.json"))?;
    let by_code = emoji.into_iter().map(|e| (code_points(&e.hexcode), e));
    let groups = messages.groups.into_iter().map(|g| (g.order, g.key));
    Ok((by_code.collect(), groups.collect()))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    let bad = |reason: String| DataError::BadPackage {
        path: path.to_path_buf(),
        package: NAMES,
        reason,
    };
    let bytes = read_limited(path, MAX_JSON_BYTES).map_err(|e| bad(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_match_across_the_packages_spellings() {
        assert_eq!(code_points("39-fe0f-20e3"), code_points("0039-FE0F-20E3"));
        assert_eq!(code_points("2716-fe0f"), code_points("2716"));
        assert_eq!(
            code_points("1f3f4-e0067_e0062"),
            code_points("1F3F4-E0067-E0062-E007F")
        );
        assert_ne!(code_points("1f600"), code_points("1f601"));
    }

    #[test]
    fn captions_hold_the_name_and_tags_that_add_to_it() {
        let emoji = Emoji {
            label: "fox".into(),
            hexcode: "1F98A".into(),
            tags: ["animal", "fox", "animal", "face", "sly"]
                .map(String::from)
                .to_vec(),
            group: Some(3),
        };
        let expected = [
            "3D emoji of fox",
            "fox, 3D emoji",
            "fox emoji",
            "3D emoji of fox, animal, face",
        ];
        assert_eq!(captions(&emoji), expected);
    }
}
