//! What a training tells its network about each picture, and which weights it starts from.
//! Leaves out how the network is told: see `condition`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the network is told about each picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ConditionSpec {
    /// Its label, where the pictures have labels; `train.label_dropout` of them are left out.
    Classes(ClassesSpec),
    /// Its caption, read by a frozen encoder, and its camera.
    Text(TextSpec),
}

/// Labels need no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassesSpec {}

/// How captions and cameras are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// What makes numbers of words.
    pub reader: ReaderSpec,
    /// The most tokens that are heeded of a text.
    #[serde(default = "usual_tokens")]
    pub tokens: usize,
    /// Share of pictures trained without their text, for classifier-free guidance.
    #[serde(default = "usual_dropout")]
    pub text_dropout: f64,
    /// Share of pictures trained without their camera.
    #[serde(default = "usual_dropout")]
    pub camera_dropout: f64,
    /// What the sheets show while training, in turn; captions of the pictures if there are none.
    #[serde(default)]
    pub prompts: Vec<String>,
}

/// What makes numbers of words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ReaderSpec {
    /// A language model that was trained before, and is not trained here.
    Frozen {
        /// Its folder, as of transformers or diffusers, relative to where the program runs.
        dir: PathBuf,
    },
    /// A table that is trained with the network, which then has `encoder_hid_dim = size`.
    Words {
        /// The most different words.
        size: usize,
    },
}

/// Which weights a training starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StartSpec {
    /// Random ones.
    Random {},
    /// Those of a model with a network of the same kind, perhaps trained at another size.
    Model {
        /// Its folder, relative to where the program runs.
        dir: PathBuf,
    },
}

impl Default for ConditionSpec {
    fn default() -> Self {
        Self::Classes(ClassesSpec::default())
    }
}

impl Default for StartSpec {
    fn default() -> Self {
        Self::Random {}
    }
}

/// Twice the longest caption of furniture.
fn usual_tokens() -> usize {
    32
}

/// [Ho22] found 0.1 and 0.2 equally good.
fn usual_dropout() -> f64 {
    0.1
}
