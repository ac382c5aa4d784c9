//! CLIP's tokenizer [Radford21] as the first models of diffusers keep it, in vocab.json and merges.txt, made
//! into what tokenizer.json would hold.

use std::path::{Path, PathBuf};

use dreamsmith_base::read_limited;
use serde_json::{Value, json};

use crate::error::NetError;

/// The words, from pieces to numbers; and the pairs of pieces that make a larger one, the first ones first.
const FILES: [&str; 2] = ["vocab.json", "merges.txt"];

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// What counts as a word.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Both files in `folder`, if they are there.
pub(crate) fn paths(folder: &Path) -> Option<[PathBuf; 2]> {
    let paths = FILES.map(|name| folder.join(name));
    paths.iter().all(|path| path.is_file()).then_some(paths)
}

/// The tokenizer.json of both files, each of at most `max_bytes`. Those of `others` that are words are never
/// parts of words, as transformers has it for what fills texts up.
pub(crate) fn read(
    [vocab, merges]: &[PathBuf; 2],
    max_bytes: u64,
    others: &[String],
) -> Result<Vec<u8>, NetError> {
    let broken = |problem: &str| NetError::Tokenizer {
        path: vocab.clone(),
        problem: problem.to_owned(),
    };
    let words: Value = serde_json::from_slice(&read_limited(vocab, max_bytes)?)
        .map_err(|e| broken(&e.to_string()))?;
    let pairs = read_limited(merges, max_bytes)?;
    let pairs = String::from_utf8_lossy(&pairs);
    let pairs: Vec<&str> = pairs
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty())
        .collect();
    let id = |token: &str| words.get(token).and_then(Value::as_u64);
    let (Some(start), Some(end)) = (id(START), id(END)) else {
        return Err(broken(&format!("wanted the words {START} and {END}")));
    };
    let special = |id: u64, content: &str| {
        json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let mut added = vec![special(start, START), special(end, END)];
    let others = others
        .iter()
        .filter(|word| ![START, END].contains(&word.as_str()));
    added.extend(others.filter_map(|word| Some(special(id(word)?, word))));
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let whole = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true},
            level,
        ]},
        "post_processor": {
            "type": "RobertaProcessing", "sep": [END, end], "cls": [START, start],
            "trim_offsets": false, "add_prefix_space": false,
        },
        "decoder": level,
        "model": {
            "type": "BPE", "unk_token": END, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "vocab": words, "merges": pairs,
        },
    });
    Ok(whole.to_string().into_bytes())
}
