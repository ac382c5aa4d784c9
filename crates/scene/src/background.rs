//! What lies behind the box: a colour, another colour for each ray of each step, or one learnt for each direction.
//! Leaves out pictures of the surroundings.

use dreamsmith_base::Stream;
use dreamsmith_kernels::Precision;
use dreamsmith_kernels::field::{Bias, Mlp, MlpSpec, N_HARMONICS, spherical_harmonics};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use serde::{Deserialize, Serialize};

use crate::field::{initial_weights, sigmoid};
use crate::reconstruct_error::SpecError;

/// Which background, sRGB in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackgroundSpec {
    /// One colour.
    Color {
        /// sRGB in [0, 1].
        rgb: [f32; 3],
    },
    /// While learning another for each ray, so that what is transparent in the pictures must be so in the field.
    /// Pictures are drawn on `rgb`.
    Random {
        /// sRGB in [0, 1].
        rgb: [f32; 3],
    },
    /// A small perceptron of the direction.
    Mlp {
        /// Width of its hidden layers.
        width: usize,
        /// How many there are.
        layers: usize,
    },
}

impl Default for BackgroundSpec {
    fn default() -> Self {
        Self::Random { rgb: [1.0; 3] }
    }
}

/// A background with its weights.
#[derive(Clone, Debug)]
pub struct Background {
    spec: BackgroundSpec,
    network: Option<Mlp>,
    weights: Vec<f32>,
}

/// Rays that a thread takes at a time.
const RAYS: usize = 256;
/// Its number among what is drawn with `Purpose::Init`.
const INIT: u64 = 1 << 32;

impl Background {
    /// The background of `spec` with the initial weights of `seed`.
    pub fn new(spec: BackgroundSpec, seed: u64) -> Result<Self, SpecError> {
        let network = match spec {
            BackgroundSpec::Mlp { width, layers } => Some(Mlp::new(&MlpSpec {
                inputs: N_HARMONICS,
                width,
                layers,
                outputs: 3,
                bias: Bias::Each,
            })?),
            BackgroundSpec::Color { .. } | BackgroundSpec::Random { .. } => None,
        };
        let weights = network.as_ref().map(|mlp| initial_weights(mlp, seed, INIT));
        Ok(Self {
            spec,
            network,
            weights: weights.unwrap_or_default(),
        })
    }

    /// What the rays of a picture see behind the box `[R, 3]`, sRGB.
    pub fn colors(&self, dirs: &[[f32; 3]]) -> Vec<f32> {
        match (self.spec, &self.network) {
            (_, Some(mlp)) => {
                let mut colors = vec![0.0; 3 * dirs.len()];
                mlp.forward(&self.weights, &harmonics(dirs), Precision::F32, &mut colors);
                colors.iter_mut().for_each(|x| *x = sigmoid(*x));
                colors
            }
            (BackgroundSpec::Color { rgb } | BackgroundSpec::Random { rgb }, None) => {
                rgb.repeat(dirs.len())
            }
            // `new` gives each of these a network.
            (BackgroundSpec::Mlp { .. }, None) => vec![0.0; 3 * dirs.len()],
        }
    }

    /// What the rays of a step of learning see; `stream(r)` has the random numbers of ray r.
    pub fn training_colors(
        &self,
        dirs: &[[f32; 3]],
        stream: &(dyn Fn(usize) -> Stream + Sync),
    ) -> Vec<f32> {
        match self.spec {
            BackgroundSpec::Random { .. } => {
                let mut colors = vec![0.0; 3 * dirs.len()];
                let rows = colors.par_chunks_mut(3).enumerate().with_min_len(RAYS);
                rows.for_each(|(ray, color)| {
                    let mut stream = stream(ray);
                    color.fill_with(|| stream.uniform());
                });
                colors
            }
            BackgroundSpec::Color { .. } | BackgroundSpec::Mlp { .. } => self.colors(dirs),
        }
    }

    /// Adds to `to` the gradient of the weights, from that by the colours `[R, 3]`.
    pub fn backward(&self, dirs: &[[f32; 3]], colors: &[f32], by_colors: &[f32], to: &mut [f32]) {
        let Some(mlp) = &self.network else {
            return;
        };
        let input = harmonics(dirs);
        let pairs = colors.iter().zip(by_colors);
        let by_output: Vec<f32> = pairs.map(|(c, by)| by * c * (1.0 - c)).collect();
        let mut unused = vec![0.0; input.len()];
        mlp.backward(
            &self.weights,
            (&input, &by_output),
            Precision::F32,
            &mut unused,
            to,
        );
    }

    /// The weights; none but for a perceptron.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The same, to be changed.
    pub fn weights_mut(&mut self) -> &mut Vec<f32> {
        &mut self.weights
    }
}

fn harmonics(dirs: &[[f32; 3]]) -> Vec<f32> {
    let mut to = vec![0.0; dirs.len() * N_HARMONICS];
    spherical_harmonics(dirs, &mut to);
    to
}
