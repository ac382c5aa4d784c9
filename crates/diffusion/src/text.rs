//! Texts as the states of a frozen encoder [Saharia22], or as words whose embedding is learned: computed once for each
//! different caption, and kept small.
//! Leaves out the encoder itself: see `dreamsmith_nets`.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use dreamsmith_base::FileError;
use dreamsmith_data::Dataset;
use dreamsmith_nets::{NetError, Precision, TextEncoder, WeightType, WeightedPrompt};
use half::f16;

use crate::condition::{TextCode, Wants};
use crate::condition_spec::{ConditionSpec, ReaderSpec};
use crate::spec::TrainSpec;
use crate::words::Vocabulary;

/// The most tokens of a text that a spec or a model may ask for.
pub const MAX_TOKENS: usize = 512;
/// The folders of a model that say how it reads texts, as diffusers calls them.
const FOLDERS: [&str; 2] = ["text_encoder", "tokenizer"];
/// Texts that are read at once.
const AT_ONCE: usize = 256;

/// What makes states of texts.
#[derive(Debug)]
pub struct TextSource {
    reader: Reader,
    tokens: usize,
}

#[derive(Debug)]
enum Reader {
    Frozen(Box<TextEncoder>),
    Words(Vocabulary),
}

/// Why texts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The encoder or its files are wrong.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// An encoder of another make.
    #[error(
        "the encoder's vector of a whole text has {pooled} features, its states have {width}; expected as many, as of BERT or T5"
    )]
    Pooled {
        /// D'.
        pooled: usize,
        /// D.
        width: usize,
    },
    /// A model that heeds too much or nothing.
    #[error("`text_tokens` is {found}, expected 1 to {MAX_TOKENS}")]
    Tokens {
        /// Tokens of a text.
        found: usize,
    },
    /// The list of words is wrong.
    #[error("the words of the model `{folder}`: {problem}")]
    Words {
        /// The model's folder.
        folder: String,
        /// What is wrong.
        problem: String,
    },
}

impl TextSource {
    /// A frozen encoder from `folder`, on `device`; of each text at most `tokens` tokens are heeded.
    pub fn frozen(folder: &Path, tokens: usize, device: &Device) -> Result<Self, TextError> {
        let encoder = TextEncoder::load(folder, device, Precision::F32)?;
        Ok(Self {
            reader: Reader::Frozen(Box::new(encoder.with_token_limit(tokens)?)),
            tokens,
        })
    }

    /// What the model in `folder` was saved with.
    pub fn load(folder: &Path, tokens: usize, device: &Device) -> Result<Self, TextError> {
        if !(1..=MAX_TOKENS).contains(&tokens) {
            return Err(TextError::Tokens { found: tokens });
        }
        // A model's own folder is not searched for an encoder: what is missing is to be named.
        if !Vocabulary::is_in(folder) {
            return Self::frozen(&folder.join(FOLDERS[0]), tokens, device);
        }
        let words = Vocabulary::load(folder)?.map_err(|problem| TextError::Words {
            folder: folder.display().to_string(),
            problem,
        })?;
        Ok(Self {
            reader: Reader::Words(words),
            tokens,
        })
    }

    /// Writes text_encoder/, and tokenizer/ if there is one, into `folder`.
    pub fn save(&self, folder: &Path, weight_type: WeightType) -> Result<(), TextError> {
        match &self.reader {
            Reader::Frozen(encoder) => encoder.save(folder, weight_type)?,
            Reader::Words(words) => words.save(folder)?,
        }
        Ok(())
    }

    /// The class that reads text_encoder/ in transformers; none does where the words are learned.
    pub fn transformers_class(&self) -> Option<&'static str> {
        match &self.reader {
            Reader::Frozen(encoder) => Some(encoder.transformers_class()),
            Reader::Words(_) => None,
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> u64 {
        match &self.reader {
            Reader::Frozen(encoder) => 4 * encoder.n_weights() as u64,
            Reader::Words(_) => 0,
        }
    }

    /// The most tokens that are heeded of a text.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// What a network is told of a text.
    pub fn wants(&self) -> Wants {
        let width = match &self.reader {
            Reader::Frozen(encoder) => encoder.width(),
            Reader::Words(words) => words.size(),
        };
        Wants::Text {
            tokens: self.tokens,
            width,
        }
    }

    /// What the network is told of a prompt, whose words may have weights, and in words what of it it is not told.
    pub fn read_prompt(&self, prompt: &str) -> Result<(Arc<TextCode>, Vec<String>), TextError> {
        let prompt = WeightedPrompt::parse(prompt)?;
        let (mut codes, losses) = self.read(std::slice::from_ref(&prompt))?;
        Ok((codes.swap_remove(0), losses))
    }

    /// What the network is told of each text, and in words what of them it is not told. A learned embedding of words
    /// knows no weights.
    pub fn read(
        &self,
        texts: &[WeightedPrompt],
    ) -> Result<(Vec<Arc<TextCode>>, Vec<String>), TextError> {
        let (mut codes, mut losses) = (Vec::with_capacity(texts.len()), vec![]);
        match &self.reader {
            Reader::Frozen(encoder) => {
                for texts in texts.chunks(AT_ONCE) {
                    let read = encoder.encode_weighted(texts)?;
                    let (pooled, width) = (read.pooled.dims()[1], encoder.width());
                    if pooled != width {
                        return Err(TextError::Pooled { pooled, width });
                    }
                    losses.extend(read.cuts.iter().map(ToString::to_string));
                    losses.extend(read.unknown.iter().map(ToString::to_string));
                    let longest = read.states.dims()[1];
                    let states: Vec<f32> = read.states.to_data().iter::<f32>().collect();
                    let mask: Vec<bool> = read.mask.to_data().iter::<bool>().collect();
                    let pooled: Vec<f32> = read.pooled.to_data().iter::<f32>().collect();
                    let rows = states.chunks(longest * width).zip(mask.chunks(longest));
                    for ((states, mask), pooled) in rows.zip(pooled.chunks(width)) {
                        let heeded = mask.iter().filter(|is_there| **is_there).count();
                        let states = states[..heeded * width].iter();
                        codes.push(Arc::new(TextCode::States {
                            states: states.map(|x| f16::from_f32(*x)).collect(),
                            pooled: pooled.to_vec(),
                        }));
                    }
                }
            }
            Reader::Words(vocabulary) => {
                for text in texts {
                    let (mut places, unknown) = vocabulary.read(text.text());
                    places.truncate(self.tokens);
                    codes.push(Arc::new(TextCode::Words {
                        places,
                        of: vocabulary.size(),
                    }));
                    losses.extend(unknown.iter().map(|word| format!("`{word}` is not known")));
                }
            }
        }
        Ok((codes, losses))
    }
}

/// BLAKE3 of all that says how the model in `folder` reads texts, names of files included, in hexadecimal.
pub fn text_hash(folder: &Path) -> Result<String, TextError> {
    let mut hasher = blake3::Hasher::new();
    for path in FOLDERS.iter().map(|name| folder.join(name)) {
        if !path.is_dir() {
            continue;
        }
        let fail = |e| FileError::new("list", &path, e);
        let entries = fs::read_dir(&path).map_err(fail)?;
        let entries: io::Result<Vec<DirEntry>> = entries.collect();
        let files = entries.map_err(fail)?.into_iter().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
        files.sort();
        for file in files {
            let fail = |e| FileError::new("read", &file, e);
            let name = file.file_name().unwrap_or_default();
            hasher.update(name.as_encoded_bytes());
            let opened = File::open(&file).map_err(fail)?;
            let length = opened.metadata().map_err(fail)?.len();
            hasher.update(&length.to_le_bytes());
            hasher.update_reader(opened).map_err(fail)?;
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The captions of a data set as the network sees them, each read when it is first wanted.
#[derive(Debug, Default)]
pub struct Captions {
    source: Option<Arc<TextSource>>,
    codes: HashMap<Arc<str>, Arc<TextCode>>,
}

impl Captions {
    /// What reads the captions of `dataset` as `spec` says; nothing if it asks for no text.
    pub fn open(spec: &TrainSpec, dataset: &Dataset, device: &Device) -> Result<Self, TextError> {
        let ConditionSpec::Text(text) = &spec.condition else {
            return Ok(Self::default());
        };
        let source = match &text.reader {
            ReaderSpec::Frozen { dir } => TextSource::frozen(dir, text.tokens, device)?,
            ReaderSpec::Words { size } => {
                let items = (0..dataset.len()).map(|i| dataset.item(i));
                let captions: BTreeSet<&str> = items
                    .flat_map(|item| item.captions.iter().map(|c| &**c))
                    .collect();
                TextSource {
                    reader: Reader::Words(Vocabulary::of(captions.into_iter(), *size)),
                    tokens: text.tokens,
                }
            }
        };
        Ok(Self {
            source: Some(Arc::new(source)),
            codes: HashMap::new(),
        })
    }

    /// What makes the states.
    pub fn source(&self) -> Option<&Arc<TextSource>> {
        self.source.as_ref()
    }

    /// Reads those of `captions` that were not read before.
    pub fn read(&mut self, captions: impl Iterator<Item = Arc<str>>) -> Result<(), TextError> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let new: BTreeSet<Arc<str>> = captions.filter(|c| !self.codes.contains_key(c)).collect();
        let new: Vec<Arc<str>> = new.into_iter().collect();
        let texts: Vec<WeightedPrompt> = new.iter().map(|c| WeightedPrompt::plain(c)).collect();
        let (codes, _) = source.read(&texts)?;
        self.codes.extend(new.into_iter().zip(codes));
        Ok(())
    }

    /// What the network is told of a caption that was read.
    pub fn code(&self, caption: &str) -> Option<&Arc<TextCode>> {
        self.codes.get(caption)
    }
}
