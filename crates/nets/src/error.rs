//! What can go wrong with a network's config or weight file.

use std::path::PathBuf;

use dreamsmith_base::FileError;

/// A config or a weight file that does not describe a network we can build.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// A config that lies in a file.
    #[error("`{}`: {source}", path.display())]
    InFile {
        /// The config.json.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<NetError>,
    },

    /// The config is not a JSON object.
    #[error("config is not a JSON object: {0}")]
    NotJson(String),

    /// A config key has a value that this crate does not support or that contradicts another key.
    #[error("config key `{key}` is {value}, {problem}")]
    Config {
        /// The key of config.json.
        key: &'static str,
        /// Its value as JSON.
        value: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },

    /// A config key could not be parsed.
    #[error("config key `{key}` is {value}, which is not supported: {problem}")]
    ConfigValue {
        /// The key of config.json.
        key: String,
        /// Its value as JSON.
        value: String,
        /// What was expected.
        problem: String,
    },

    /// Neither of the usual weight files lies in a model folder.
    #[error("`{}`: no weight file here, wanted {wanted}", folder.display())]
    NoWeights {
        /// The model folder.
        folder: PathBuf,
        /// The file names that were looked for.
        wanted: String,
    },

    /// The file is not in safetensors format, or cut off.
    #[error("`{}`: not a whole safetensors file: {problem}", path.display())]
    NotSafetensors {
        /// The weight file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// The network has a parameter that the file lacks.
    #[error("`{}`: `{name}` {shape:?} is missing, and {others} more", path.display())]
    MissingTensor {
        /// The weight file.
        path: PathBuf,
        /// The first missing tensor.
        name: String,
        /// The shape that the config wants.
        shape: Vec<usize>,
        /// How many others are missing.
        others: usize,
    },

    /// The file has a tensor that the network lacks.
    #[error(
        "`{}`: `{name}` is not part of this network, nor are {others} others: \
         the config beside it describes another network", path.display()
    )]
    UnexpectedTensor {
        /// The weight file.
        path: PathBuf,
        /// The first unexpected tensor.
        name: String,
        /// How many others are unexpected.
        others: usize,
    },

    /// A tensor has another shape than the config wants.
    #[error("`{}`: `{name}` is {found:?}, the config wants {wanted:?}", path.display())]
    Misshapen {
        /// The weight file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the config wants.
        wanted: Vec<usize>,
    },

    /// A tensor has an element type that is not read.
    #[error("`{}`: `{name}` holds {found}, wanted F32, F16 or BF16", path.display())]
    ElementType {
        /// The weight file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type in the file.
        found: String,
    },

    /// A text encoder without a tokenizer.
    #[error(
        "`{}` does not exist: the tokenizer of a text encoder is wanted there; Python writes it: \
         transformers.AutoTokenizer.from_pretrained(..).save_pretrained(folder)", path.display()
    )]
    NoTokenizer {
        /// Where it was looked for.
        path: PathBuf,
    },

    /// A tokenizer that cannot be read or does not fit the text encoder.
    #[error("`{}`: not a tokenizer for this text encoder: {problem}", path.display())]
    Tokenizer {
        /// The tokenizer.json.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A prompt that no text encoder reads to its end.
    #[error("a prompt has {found} bytes, at most {limit} are read: shorten it")]
    LongPrompt {
        /// Its bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },

    /// A prompt that cannot be read.
    #[error("the prompt cannot be read: {problem}")]
    Prompt {
        /// What is wrong with it.
        problem: String,
    },

    /// A limit of tokens that leaves nothing of a prompt, or that the network does not reach.
    #[error("a limit of {found} tokens: wanted {least} to {most}")]
    TokenLimit {
        /// What was asked for.
        found: usize,
        /// One token of the prompt and what stands around it.
        least: usize,
        /// What the network reads.
        most: usize,
    },
}

impl NetError {
    /// A config key whose value is well formed but cannot be honoured.
    pub(crate) fn config(
        key: &'static str,
        value: impl serde::Serialize,
        problem: impl Into<String>,
    ) -> Self {
        let value = serde_json::to_string(&value).unwrap_or_else(|e| format!("unprintable ({e})"));
        Self::Config {
            key,
            value,
            problem: problem.into(),
        }
    }
}
