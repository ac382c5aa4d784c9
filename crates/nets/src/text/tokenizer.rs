//! From a prompt to tokens, by the tokenizer.json of transformers. Cutting and padding are left to the
//! encoder, whatever that file says of them, so that it can tell what was cut.

use std::path::{Path, PathBuf};

use dreamsmith_base::{create_folder, read_limited, write_atomic_bytes};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::error::NetError;
use crate::text::clip_tokenizer;
use crate::text::config::TextConfig;

const TOKENIZER_FILE: &str = "tokenizer.json";

/// What else transformers wants of a tokenizer's folder.
const SIDE_FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// What stands for words that are not known: of WordPiece, and of SentencePiece. CLIP knows all bytes.
const UNKNOWN: [&str; 2] = ["[UNK]", "<unk>"];

/// The largest known are a tenth of it.
const MAX_BYTES: u64 = 64 << 20;

/// The longest prompt that is tokenized: a hundred times more than any encoder reads.
const MAX_PROMPT_BYTES: usize = 1 << 20;

/// A piece of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: u32,
    /// The byte of the prompt with which it begins.
    pub(crate) start: usize,
    /// And the one before which it ends.
    pub(crate) end: usize,
}

/// A tokenizer and what it puts around each prompt.
#[derive(Clone, Debug)]
pub(crate) struct PromptTokenizer {
    tokenizer: Tokenizer,
    /// Tokens before and after each prompt.
    frame: [Vec<u32>; 2],
    pad: Option<u32>,
    unknown: Option<u32>,
    /// Names and contents, for [`PromptTokenizer::save`].
    files: Vec<(&'static str, Vec<u8>)>,
}

impl PromptTokenizer {
    /// Reads `folder`, and checks that the network of `config` knows all tokens and has room for some.
    pub(crate) fn load(folder: &Path, config: &TextConfig) -> Result<Self, NetError> {
        let path = folder.join(TOKENIZER_FILE);
        let mut side_files = Vec::new();
        for name in SIDE_FILES {
            let path = folder.join(name);
            if path.is_file() {
                side_files.push((name, read_limited(&path, MAX_BYTES)?));
            }
        }
        let pads: Vec<String> = side_files
            .iter()
            .filter_map(|(_, bytes)| pad_token(bytes))
            .collect();
        let whole = match clip_tokenizer::paths(folder) {
            _ if path.is_file() => read_limited(&path, MAX_BYTES)?,
            Some(paths) => clip_tokenizer::read(&paths, MAX_BYTES, &pads)?,
            None => return Err(NetError::NoTokenizer { path }),
        };
        let broken = |problem: String| NetError::Tokenizer {
            path: path.clone(),
            problem,
        };
        let mut tokenizer = Tokenizer::from_bytes(&whole).map_err(|e| broken(e.to_string()))?;
        tokenizer
            .with_truncation(None)
            .map_err(|e| broken(e.to_string()))?;
        tokenizer.with_padding(None);
        let frame = frame(&tokenizer).map_err(broken)?;
        let vocabulary = tokenizer.get_vocab(true).into_values();
        let ids = vocabulary.chain(frame.iter().flatten().copied());
        let highest = ids.max().unwrap_or(0);
        let vocab_size = config.vocab_size();
        if highest as usize >= vocab_size {
            let problem = format!(
                "it has a token {highest}, the config beside it knows {vocab_size} tokens, from 0"
            );
            return Err(broken(problem));
        }
        let around: usize = frame.iter().map(Vec::len).sum();
        let limit = config.token_limit();
        if around >= limit {
            let problem =
                format!("it puts {around} tokens around a prompt, the network reads {limit}");
            return Err(broken(problem));
        }
        let pad = pads.iter().find_map(|pad| tokenizer.token_to_id(pad));
        let unknown = UNKNOWN.iter().find_map(|name| tokenizer.token_to_id(name));
        let files = std::iter::once((TOKENIZER_FILE, whole)).chain(side_files);
        Ok(Self {
            tokenizer,
            frame,
            pad,
            unknown,
            files: files.collect(),
        })
    }

    /// The tokens before and after each prompt.
    pub(crate) fn frame(&self) -> [&[u32]; 2] {
        self.frame.each_ref().map(Vec::as_slice)
    }

    /// How many tokens stand around each prompt.
    pub(crate) fn frame_len(&self) -> usize {
        self.frame.iter().map(Vec::len).sum()
    }

    /// The tokens of a prompt alone, all of them.
    pub(crate) fn read(&self, prompt: &str) -> Result<Vec<Token>, NetError> {
        if prompt.len() > MAX_PROMPT_BYTES {
            return Err(NetError::LongPrompt {
                found: prompt.len(),
                limit: MAX_PROMPT_BYTES,
            });
        }
        let encoding = self.tokenizer.encode(prompt, false);
        let encoding = encoding.map_err(|e| NetError::Prompt {
            problem: e.to_string(),
        })?;
        let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
        let tokens = tokens.map(|(id, (start, end))| {
            // Some tokenizers count the space before a word as its own.
            let piece = prompt.get(*start..*end).unwrap_or("");
            let start = match piece.trim_start() {
                "" => *start,
                word => end - word.len(),
            };
            Token {
                id: *id,
                start,
                end: *end,
            }
        });
        Ok(tokens.collect())
    }

    /// Whether `token` stands for a word that is not known.
    pub(crate) fn is_unknown(&self, token: &Token) -> bool {
        self.unknown == Some(token.id)
    }

    /// What fills a text up, if the side files say.
    pub(crate) fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// Writes the files that were read into `folder`, which is created if need be.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), NetError> {
        create_folder(folder)?;
        self.files
            .iter()
            .try_for_each(|(name, bytes)| Ok(write_atomic_bytes(&folder.join(name), bytes)?))
    }
}

/// What a side file says that fills texts up.
fn pad_token(file: &[u8]) -> Option<String> {
    let file: Value = serde_json::from_slice(file).ok()?;
    let token = file.get("pad_token")?;
    Some(token.get("content").unwrap_or(token).as_str()?.to_owned())
}

/// The tokens that are put before and after a prompt, found with one that every tokenizer knows.
fn frame(tokenizer: &Tokenizer) -> Result<[Vec<u32>; 2], String> {
    let encoding = tokenizer.encode("a", true).map_err(|e| e.to_string())?;
    let special = encoding.get_special_tokens_mask();
    let ids = encoding.get_ids();
    let inner = |i: &usize| special[*i] == 0;
    let first = (0..ids.len()).find(inner);
    let last = (0..ids.len()).rfind(inner);
    match (first, last) {
        (Some(first), Some(last)) => Ok([ids[..first].to_vec(), ids[last + 1..].to_vec()]),
        _ => Err("it makes no token of the letter a".to_owned()),
    }
}

/// Where the tokenizer of the encoder in `folder` lies: in it, or beside it as in diffusers, where
/// `text_encoder_2` has `tokenizer_2`.
pub(crate) fn folder_of(folder: &Path) -> PathBuf {
    let beside = folder.file_name().and_then(|name| {
        let which = name.to_str()?.strip_prefix("text_encoder")?;
        Some(folder.with_file_name(format!("tokenizer{which}")))
    });
    match beside {
        Some(beside) if !folder.join(TOKENIZER_FILE).is_file() => beside,
        _ => folder.to_path_buf(),
    }
}
