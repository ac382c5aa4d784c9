//! What the layers of a text encoder leave behind.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Which layer's output is the states of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatesFrom {
    /// The last, after the final norm where there is one.
    #[default]
    Last,
    /// The last but one, without the final norm: as Stable Diffusion XL reads CLIP [Podell23].
    Penultimate,
}

/// The states after the last two layers, `[B, L, D]` each.
#[derive(Clone, Debug)]
pub(crate) struct Hidden {
    pub(crate) penultimate: Tensor<3>,
    pub(crate) last: Tensor<3>,
}

impl Hidden {
    /// Runs `x` through all layers.
    pub(crate) fn through<L>(
        layers: &[L],
        x: Tensor<3>,
        forward: impl Fn(&L, Tensor<3>) -> Tensor<3>,
    ) -> Self {
        let mut hidden = Self {
            penultimate: x.clone(),
            last: x,
        };
        for layer in layers {
            hidden.penultimate = hidden.last.clone();
            hidden.last = forward(layer, hidden.last);
        }
        hidden
    }

    pub(crate) fn states(&self, from: StatesFrom) -> Tensor<3> {
        match from {
            StatesFrom::Last => self.last.clone(),
            StatesFrom::Penultimate => self.penultimate.clone(),
        }
    }
}
