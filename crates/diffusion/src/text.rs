//! Texts as the states of a frozen encoder [Saharia22], or as words whose embedding is learned: computed once for each
//! different text, and kept small.
//! Leaves out the encoder itself: see `dreamsmith_nets`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use dreamsmith_base::FileError;
use dreamsmith_data::Dataset;
use dreamsmith_nets::{NetError, Precision, TextEncoder, WeightType};
use half::f16;

use crate::condition::{TextCode, Wants};
use crate::condition_spec::{ConditionSpec, ReaderSpec};
use crate::spec::TrainSpec;
use crate::words::Vocabulary;

/// The most tokens of a text that a spec or a model may ask for.
pub const MAX_TOKENS: usize = 512;
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
        if !Vocabulary::is_in(folder) {
            return Self::frozen(folder, tokens, device);
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
    pub fn save(&self, folder: &Path) -> Result<(), TextError> {
        match &self.reader {
            Reader::Frozen(encoder) => encoder.save(folder, WeightType::F16)?,
            Reader::Words(words) => words.save(folder)?,
        }
        Ok(())
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

    /// What the network is told of each text, and in words what of them it is not told.
    pub fn read(&self, texts: &[&str]) -> Result<(Vec<Arc<TextCode>>, Vec<String>), TextError> {
        let (mut codes, mut losses) = (Vec::with_capacity(texts.len()), vec![]);
        match &self.reader {
            Reader::Frozen(encoder) => {
                for texts in texts.chunks(AT_ONCE) {
                    let read = encoder.encode(texts)?;
                    losses.extend(read.cuts.iter().map(ToString::to_string));
                    let [_, longest, width] = read.states.dims();
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
                    let (mut places, unknown) = vocabulary.read(text);
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

/// The captions of a data set as the network will see them.
#[derive(Debug, Default)]
pub struct Captions {
    source: Option<Arc<TextSource>>,
    codes: HashMap<Arc<str>, Arc<TextCode>>,
}

impl Captions {
    /// Reads every different caption of `dataset`, and the spec's own prompts, as `spec` says; none if it asks for
    /// no text. `watch` is told how many are done, and of how many.
    pub fn read(
        spec: &TrainSpec,
        dataset: &Dataset,
        device: &Device,
        watch: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, TextError> {
        let ConditionSpec::Text(text) = &spec.condition else {
            return Ok(Self::default());
        };
        let items = (0..dataset.len()).map(|i| dataset.item(i));
        let captions: BTreeSet<Arc<str>> = items.flat_map(|i| i.captions.to_vec()).collect();
        let source = match &text.reader {
            ReaderSpec::Frozen { dir } => TextSource::frozen(dir, text.tokens, device)?,
            ReaderSpec::Words { size } => TextSource {
                reader: Reader::Words(Vocabulary::of(captions.iter().map(|c| &**c), *size)),
                tokens: text.tokens,
            },
        };
        let prompts = text.prompts.iter().map(|prompt| Arc::from(prompt.as_str()));
        let different = BTreeSet::from_iter(captions.into_iter().chain(prompts));
        let different: Vec<Arc<str>> = different.into_iter().collect();
        let mut codes = HashMap::with_capacity(different.len());
        for captions in different.chunks(AT_ONCE) {
            let texts: Vec<&str> = captions.iter().map(|caption| &**caption).collect();
            let (read, _) = source.read(&texts)?;
            codes.extend(captions.iter().cloned().zip(read));
            watch(codes.len(), different.len());
        }
        Ok(Self {
            source: Some(Arc::new(source)),
            codes,
        })
    }

    /// What made the states.
    pub fn source(&self) -> Option<&Arc<TextSource>> {
        self.source.as_ref()
    }

    /// How many different ones there are.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// What the network is told of a caption of the data set.
    pub fn code(&self, caption: &str) -> Option<&Arc<TextCode>> {
        self.codes.get(caption)
    }
}
