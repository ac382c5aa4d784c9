//! A learned embedding in place of a frozen encoder: each word is one number of its own, and the network's first layer
//! on texts becomes the table of embeddings. What bar a frozen encoder has to pass is measured with this.
//! Leaves out the order of words, and words that the captions do not hold.

use std::collections::BTreeMap;
use std::path::Path;

use dreamsmith_base::{FileError, create_folder, read_limited, write_atomic_bytes};
use serde::{Deserialize, Serialize};

const FILE: &str = "text_encoder/words.json";
const MAX_FILE_BYTES: u64 = 1 << 24;

/// The words that a network knows, each by its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// How many features a text has: places that no word has are never used.
    size: usize,
    words: Vec<String>,
}

impl Vocabulary {
    /// The `size` most frequent words of `texts`; of equally frequent ones, the first of the alphabet.
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>, size: usize) -> Self {
        let mut counts = BTreeMap::<String, usize>::new();
        for word in texts.flat_map(words_of) {
            *counts.entry(word).or_default() += 1;
        }
        let mut words: Vec<(String, usize)> = counts.into_iter().collect();
        words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        words.truncate(size);
        let mut words: Vec<String> = words.into_iter().map(|(word, _)| word).collect();
        words.sort();
        Self { size, words }
    }

    /// Features of a text.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The places of the known words of a text, and the words that are not known.
    pub fn read(&self, text: &str) -> (Vec<u32>, Vec<String>) {
        let (mut places, mut unknown) = (vec![], vec![]);
        for word in words_of(text) {
            match self.words.binary_search(&word) {
                Ok(place) => places.push(place as u32),
                Err(_) => unknown.push(word),
            }
        }
        (places, unknown)
    }

    /// Whether the model folder `dir` has words instead of an encoder.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(FILE).is_file()
    }

    /// Reads the words of the model folder `dir`; errs in words on a list that was not written by this.
    pub fn load(dir: &Path) -> Result<Result<Self, String>, FileError> {
        let bytes = read_limited(&dir.join(FILE), MAX_FILE_BYTES)?;
        let read = serde_json::from_slice::<Self>(&bytes).map_err(|e| e.to_string());
        Ok(read.and_then(|vocabulary| {
            let rises = vocabulary.words.is_sorted() && vocabulary.words.len() <= vocabulary.size;
            match rises {
                true => Ok(vocabulary),
                false => Err("its words are not in order, or more than `size`".to_owned()),
            }
        }))
    }

    /// Writes the words into the model folder `dir`.
    pub fn save(&self, dir: &Path) -> Result<(), FileError> {
        let path = dir.join(FILE);
        create_folder(path.parent().unwrap_or(dir))?;
        // Plain strings always serialise.
        write_atomic_bytes(&path, &serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Letters and digits in a row, in small letters.
fn words_of(text: &str) -> impl Iterator<Item = String> + '_ {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_words_are_known() -> Result<(), Box<dyn std::error::Error>> {
        let texts = ["a red chair", "a Red lamp", "a blue lamp"];
        let vocabulary = Vocabulary::of(texts.into_iter(), 3);
        assert_eq!(vocabulary.words, ["a", "lamp", "red"]);
        let (places, unknown) = vocabulary.read("A blue-red LAMP!");
        assert_eq!((places, unknown), (vec![0, 2, 1], vec!["blue".to_owned()]));
        let folder = tempfile::tempdir()?;
        assert!(!Vocabulary::is_in(folder.path()));
        vocabulary.save(folder.path())?;
        assert!(Vocabulary::is_in(folder.path()));
        assert_eq!(Vocabulary::load(folder.path())?, Ok(vocabulary));
        Ok(())
    }
}
