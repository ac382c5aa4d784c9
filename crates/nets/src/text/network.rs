//! The network of a text encoder, of whichever family: loaded frozen, saved, run, and pooled.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use dreamsmith_kernels::Precision;

use crate::error::NetError;
use crate::naming::Naming;
use crate::text::bert::{self, Bert};
use crate::text::clip::{self, Clip, Projection};
use crate::text::config::TextConfig;
use crate::text::hidden::Hidden;
use crate::text::t5::{self, T5};
use crate::weight_file::WeightFile;
use crate::weights::{WeightType, load_weights_as, save_weights_as};

/// The weights, as transformers calls them.
const WEIGHT_FILE: &str = "model.safetensors";

/// The weights of an encoder published in half precision only.
const HALF_WEIGHT_FILE: &str = "model.fp16.safetensors";

/// The families of networks.
#[derive(Clone, Debug)]
pub(crate) enum Network {
    Bert(Box<Bert>),
    T5(Box<T5>),
    Clip(Box<Clip>),
}

impl Network {
    /// Weights of all layers.
    pub(crate) fn n_weights(&self) -> usize {
        match self {
            Self::Bert(bert) => bert.num_params(),
            Self::T5(t5) => t5.num_params(),
            Self::Clip(clip) => clip.num_params(),
        }
    }

    /// Reads the weights in `folder`, which will not be trained.
    pub(crate) fn load(
        config: &TextConfig,
        folder: &Path,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, NetError> {
        let path = weights_in(folder)?;
        Ok(match config {
            TextConfig::Bert(config) => {
                let bert = Bert::new(config, device, precision);
                Self::Bert(Box::new(load_frozen(bert, &path, &bert::NAMING)?))
            }
            TextConfig::T5(config) => {
                let t5 = T5::new(config, device, precision);
                Self::T5(Box::new(load_frozen(t5, &path, &t5::NAMING)?))
            }
            TextConfig::Clip(config) => {
                let file = WeightFile::open(&path)?;
                let projection = match file.shapes().any(|(name, _)| name == Clip::PROJECTION) {
                    true => Projection::Present,
                    false => Projection::Absent,
                };
                let clip = Clip::new(config, projection, device, precision);
                Self::Clip(Box::new(load_frozen(clip, &path, &clip::NAMING)?))
            }
        })
    }

    /// What reads the weights in transformers.
    pub(crate) fn transformers_class(&self) -> &'static str {
        match self {
            Self::Bert(_) => "BertModel",
            Self::T5(_) => "T5EncoderModel",
            Self::Clip(clip) => clip.transformers_class(),
        }
    }

    /// Writes the weights into `folder`.
    pub(crate) fn save(&self, folder: &Path, weight_type: WeightType) -> Result<(), NetError> {
        let path = folder.join(WEIGHT_FILE);
        match self {
            Self::Bert(bert) => save_weights_as(&**bert, &path, weight_type, &bert::NAMING),
            Self::T5(t5) => save_weights_as(&**t5, &path, weight_type, &t5::NAMING),
            Self::Clip(clip) => save_weights_as(&**clip, &path, weight_type, &clip::NAMING),
        }
    }

    /// Tokens `[B, L]`, without padding, to states `[B, L, D]`.
    pub(crate) fn forward(&self, ids: Tensor<2, Int>) -> Hidden {
        match self {
            Self::Bert(bert) => bert.forward(ids),
            Self::T5(t5) => t5.forward(ids),
            Self::Clip(clip) => clip.forward(ids),
        }
    }

    /// The last states `[B, L, D]` as one vector each, `[B, D']`. `ends` are the places of the tokens that
    /// end the texts.
    pub(crate) fn pool(&self, last: Tensor<3>, ends: &[usize]) -> Tensor<2> {
        match self {
            Self::Bert(_) | Self::T5(_) => last.mean_dim(1).squeeze_dim(1),
            Self::Clip(clip) => {
                let [batch, length, width] = last.dims();
                let rows = ends.iter().enumerate();
                let rows: Vec<i32> = rows.map(|(i, end)| (i * length + end) as i32).collect();
                let rows = Tensor::from_data(TensorData::new(rows, [batch]), &last.device());
                clip.project(last.reshape([batch * length, width]).select(0, rows))
            }
        }
    }
}

fn load_frozen<M: Module>(module: M, path: &Path, naming: &Naming) -> Result<M, NetError> {
    Ok(load_weights_as(module, path, naming)?.no_grad())
}

fn weights_in(folder: &Path) -> Result<PathBuf, NetError> {
    let candidates = [WEIGHT_FILE, HALF_WEIGHT_FILE];
    let mut paths = candidates.iter().map(|name| folder.join(name));
    paths
        .find(|path| path.is_file())
        .ok_or_else(|| NetError::NoWeights {
            folder: folder.to_path_buf(),
            wanted: candidates.join(" or "),
        })
}
