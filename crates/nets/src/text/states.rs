//! What a text encoder hands on: states with a mask, one vector for the whole, and what was not read.

use std::fmt;

use burn::tensor::{Bool, Tensor, TensorData};

/// Texts as a network reads them.
#[derive(Clone, Debug)]
pub struct TextStates {
    /// One vector for each token, `[B, L, D]`; 0 where the mask is false.
    pub states: Tensor<3>,
    /// Which tokens are there, `[B, L]`. Padding is at the end.
    pub mask: Tensor<2, Bool>,
    /// Each text as one vector, `[B, D']`.
    pub pooled: Tensor<2>,
    /// The texts that were too long, in order.
    pub cuts: Vec<Cut>,
    /// The texts with words that are not known, in order.
    pub unknown: Vec<Unknown>,
}

impl TextStates {
    /// The same with at least `length` tokens each.
    pub fn padded_to(self, length: usize) -> Self {
        let [_, now, _] = self.states.dims();
        let missing = length.saturating_sub(now);
        if missing == 0 {
            return self;
        }
        let mask = self.mask.float().pad((0, missing, 0, 0), 0.0);
        Self {
            states: self.states.pad((0, 0, 0, missing), 0.0),
            mask: mask.greater_elem(0.5),
            ..self
        }
    }
}

/// The end of a text that was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which text of the call, from 0.
    pub prompt_idx: usize,
    /// Tokens of the text that were read.
    pub n_read: usize,
    /// Tokens of the text that were not.
    pub n_cut: usize,
    /// Their words.
    pub text: String,
}

/// Words of a text that the encoder does not know, and so cannot tell from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Which text of the call, from 0.
    pub prompt_idx: usize,
    /// The words, parted by spaces.
    pub words: String,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "prompt {} is too long: {} of its {} tokens were read, not these: `{}`",
            self.prompt_idx + 1,
            self.n_read,
            self.n_read + self.n_cut,
            beginning(&self.text)
        )
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "prompt {} has words that the text encoder does not know: `{}`",
            self.prompt_idx + 1,
            beginning(&self.words)
        )
    }
}

/// As much of `text` as a line can show.
fn beginning(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// States `[1, L, D]` with L weights: each moved away from or towards their mean, the mean kept.
pub(crate) fn weighted(states: Tensor<3>, weights: &[f32]) -> Tensor<3> {
    if weights.iter().all(|weight| *weight == 1.0) {
        return states;
    }
    let mean = states.clone().mean_dim(1);
    let weights = TensorData::new(weights.to_vec(), [1, weights.len(), 1]);
    let weights = Tensor::from_data(weights, &states.device());
    let moved = (states - mean.clone()) * weights;
    let drift = moved.clone().mean_dim(1);
    moved - drift + mean
}
