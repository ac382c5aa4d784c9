//! Which text encoder a config.json describes, and checks that the families share.

use serde::Deserialize;

use crate::config::from_json;
use crate::error::NetError;
use crate::text::bert::BertConfig;
use crate::text::clip::ClipConfig;
use crate::text::t5::T5Config;

/// The families, as `model_type` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Family {
    Bert,
    T5,
    /// The text side of CLIP by itself.
    ClipTextModel,
    /// Both sides, of which the text side is read.
    Clip,
}

/// The config of any text encoder.
#[derive(Clone, Debug)]
pub(crate) enum TextConfig {
    Bert(BertConfig),
    T5(T5Config),
    Clip(ClipConfig),
}

impl TextConfig {
    /// Reads and checks a config.json.
    pub(crate) fn from_json(text: &str) -> Result<Self, NetError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Named {
            model_type: Option<Family>,
        }
        Ok(match from_json::<Named>(text)?.model_type {
            Some(Family::Bert) => Self::Bert(BertConfig::from_json(text)?),
            Some(Family::T5) => Self::T5(T5Config::from_json(text)?),
            Some(Family::ClipTextModel) => Self::Clip(ClipConfig::from_json(text)?),
            Some(Family::Clip) => Self::Clip(ClipConfig::of_both_sides(text)?),
            None => {
                let problem = "wanted bert, t5, clip_text_model or clip";
                return Err(NetError::config(
                    "model_type",
                    serde_json::Value::Null,
                    problem,
                ));
            }
        })
    }

    /// How many tokens are known.
    pub(crate) fn vocab_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.vocab_size,
            Self::T5(config) => config.vocab_size,
            Self::Clip(config) => config.vocab_size,
        }
    }

    /// The features of a token.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Bert(config) => config.hidden_size,
            Self::T5(config) => config.d_model,
            Self::Clip(config) => config.hidden_size,
        }
    }

    /// The tokens that run through the network at once.
    pub(crate) fn token_limit(&self) -> usize {
        /// The length that T5 was trained on; its places have no end.
        const T5_TOKENS: usize = 512;
        match self {
            Self::Bert(config) => config.max_position_embeddings,
            Self::T5(_) => T5_TOKENS,
            Self::Clip(config) => config.max_position_embeddings,
        }
    }
}

/// A number of layers that a text encoder can have.
pub(crate) fn check_layers(key: &'static str, layers: usize) -> Result<(), NetError> {
    match layers {
        1..=256 => Ok(()),
        _ => Err(NetError::config(key, layers, "wanted 1 to 256")),
    }
}

/// A number of heads that share `width` features.
pub(crate) fn check_heads(key: &'static str, heads: usize, width: usize) -> Result<(), NetError> {
    if heads > 0 && width.is_multiple_of(heads) {
        return Ok(());
    }
    let problem = format!("which does not divide the {width} features of a token");
    Err(NetError::config(key, heads, problem))
}
