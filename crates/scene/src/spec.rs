//! What a reconstruction is made from: one TOML file with every default visible.

use std::path::{Path, PathBuf};

use dreamsmith_base::read_limited;
use dreamsmith_kernels::Precision;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::background::BackgroundSpec;
use crate::bound::Bound;
use crate::hash_field::HashFieldSpec;
use crate::occupancy::OccupancySpec;
use crate::positional_field::PositionalFieldSpec;
use crate::reconstruct_error::SpecError;

/// A spec file is text of a few kilobytes; more is somebody's mistake.
const MAX_SPEC_BYTES: u64 = 1 << 20;

/// A whole reconstruction.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconstructSpec {
    /// The pictures.
    pub data: DataSpec,
    /// The run itself.
    pub run: RunSpec,
    /// The error of a ray.
    pub loss: Loss,
    /// What a field is punished for besides.
    pub regularizers: RegularizerSpec,
    /// How weights change.
    pub optimizer: OptimizerSpec,
    /// The part of the world that the field fills.
    pub bound: Bound,
    /// What lies behind it.
    pub background: BackgroundSpec,
    /// The field, and where it is looked at.
    pub field: FieldSpec,
}

/// The posed pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSpec {
    /// The folder of the transforms, relative to where the program runs.
    pub dir: PathBuf,
    /// Pictures with a longer side are reduced to this many pixels.
    pub longest_side: u32,
}

/// The run itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSpec {
    /// When it ends.
    pub length: Length,
    /// Everything random follows from it.
    pub seed: u64,
    /// Steps between lines of metrics.
    pub log_every: u64,
    /// Steps between looks at a held-out view.
    pub look_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Length {
    /// After so many steps; the same on every machine.
    Steps {
        /// Optimiser steps.
        steps: u64,
    },
    /// After so much time, over which the learning rate falls: the result depends on the speed of the machine.
    Seconds {
        /// Of training, all starts together.
        seconds: f64,
    },
}

/// The error of a channel of a ray's colour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    /// e^2.
    Squared,
    /// e^2 up to `delta`, then rising as 2 delta |e| - delta^2 [Huber64].
    Huber {
        /// Where the square ends.
        delta: f32,
    },
}

/// What a field is punished for besides the errors of rays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegularizerSpec {
    /// Times how much the weights along a ray are spread, in the box: against fog and floaters [Barron22].
    pub distortion: f32,
}

/// Adam [Kingma15] with an exponentially falling rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerSpec {
    /// The learning rate at the start.
    pub peak: f64,
    /// The learning rate at the end.
    pub floor: f64,
    /// Steps over which the rate rises to what it should be: deep networks go astray in their first steps [Barron21].
    pub warm_up: u64,
    /// Decay of the first and the second moment.
    pub betas: [f32; 2],
    /// Keeps the division finite.
    pub epsilon: f32,
}

/// Which field, with its sizes, and where it is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FieldSpec {
    /// A hash grid with small perceptrons, looked at in occupied cells [Mueller22].
    Hash(HashSpec),
    /// The original NeRF: two perceptrons of waves, the first of which tells the second where to look [Mildenhall20].
    Nerf(NerfSpec),
}

/// A hash field, looked at in occupied cells.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HashSpec {
    /// The field.
    pub network: HashFieldSpec,
    /// The grid of occupied cells.
    pub occupancy: OccupancySpec,
    /// How rays go through it.
    pub march: MarchSpec,
}

/// How rays go through occupied cells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarchSpec {
    /// Samples on the diagonal of the box.
    pub diagonal_samples: u32,
    /// Samples of an optimiser step, before those that nobody sees are left out; as many rays as have them.
    pub samples: usize,
    /// Most rays of an optimiser step.
    pub rays: usize,
    /// What lies behind this transmittance is not looked at.
    pub least_transmittance: f32,
}

/// The original NeRF.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NerfSpec {
    /// Each of the two perceptrons.
    pub network: PositionalFieldSpec,
    /// Samples of a ray for the first.
    pub coarse: u32,
    /// Further samples of a ray for the second, where the first saw something.
    pub fine: u32,
    /// Rays of an optimiser step.
    pub rays: usize,
}

impl Default for DataSpec {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("views"),
            longest_side: 800,
        }
    }
}

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            length: Length::Seconds { seconds: 300.0 },
            seed: 0,
            log_every: 10,
            look_every: 100,
            checkpoint_every: 1000,
        }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Self::Huber { delta: 0.1 }
    }
}

impl Default for RegularizerSpec {
    /// Views of a loaf of bread after 500 small steps: 27.5 dB with 0, 27.6 with 0.003, 26.9 with 0.03; its depths were
    /// off those of its mesh by 1.5, 1.2 and 0.4 % of the cube.
    fn default() -> Self {
        Self { distortion: 0.003 }
    }
}

impl Default for OptimizerSpec {
    fn default() -> Self {
        Self {
            peak: 1e-2,
            floor: 1e-3,
            warm_up: 50,
            betas: [0.9, 0.99],
            epsilon: 1e-15,
        }
    }
}

impl OptimizerSpec {
    /// What suits the perceptrons of the original NeRF. The second moment forgets sooner than in the paper, as the first
    /// steps, through fog, have much larger gradients than later ones.
    pub fn for_nerf() -> Self {
        Self {
            peak: 5e-4,
            floor: 5e-5,
            warm_up: 100,
            betas: [0.9, 0.99],
            epsilon: 1e-8,
        }
    }

    /// The rate after the share `progress` of the run, at step `step`, of which the first is 1:
    /// peak^(1 - progress) floor^progress, times step / warm_up until that is 1.
    pub fn rate(&self, progress: f64, step: u64) -> f64 {
        let rise = (step as f64 / self.warm_up.max(1) as f64).min(1.0);
        rise * self.peak * (self.floor / self.peak).powf(progress.clamp(0.0, 1.0))
    }
}

impl Default for FieldSpec {
    fn default() -> Self {
        Self::Hash(HashSpec::default())
    }
}

impl FieldSpec {
    /// How the field's perceptrons multiply.
    pub fn precision_mut(&mut self) -> &mut Precision {
        match self {
            Self::Hash(hash) => &mut hash.network.precision,
            Self::Nerf(nerf) => &mut nerf.network.precision,
        }
    }
}

impl Default for MarchSpec {
    /// For pictures of some hundred pixels on a processor.
    fn default() -> Self {
        Self {
            diagonal_samples: 384,
            samples: 1 << 15,
            rays: 1 << 15,
            least_transmittance: 1e-4,
        }
    }
}

impl MarchSpec {
    /// The length of a step in the box.
    pub fn step(&self) -> f32 {
        2.0 * 3f32.sqrt() / self.diagonal_samples as f32
    }
}

impl Default for NerfSpec {
    /// Fewer samples and rays than the paper's 64, 128 and 4096: the box is tight, and a processor has minutes.
    fn default() -> Self {
        Self {
            network: PositionalFieldSpec::default(),
            coarse: 32,
            fine: 32,
            rays: 512,
        }
    }
}

impl Loss {
    /// The loss of an error, and its slope.
    pub fn of(&self, error: f32) -> (f32, f32) {
        match *self {
            Self::Huber { delta } if error.abs() > delta => (
                2.0 * delta * error.abs() - delta * delta,
                2.0 * delta * error.signum(),
            ),
            Self::Squared | Self::Huber { .. } => (error * error, 2.0 * error),
        }
    }
}

impl ReconstructSpec {
    /// Reads and checks a spec file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let spec: Self = read_toml(path)?;
        spec.check()?;
        Ok(spec)
    }

    /// Parses and checks the text of a spec called `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, SpecError> {
        let spec: Self = parse_toml(name, text)?;
        spec.check()?;
        Ok(spec)
    }

    /// The text of the spec, with every default.
    pub fn to_toml(&self) -> Result<String, SpecError> {
        toml::to_string(self).map_err(|e| SpecError::Toml {
            name: "spec".into(),
            message: e.to_string(),
        })
    }
}

/// Reads the TOML file `path`, without a check of what it says.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, SpecError> {
    let bytes = read_limited(path, MAX_SPEC_BYTES)?;
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => parse_toml(&name, &text),
        Err(_) => Err(SpecError::Toml {
            name,
            message: "not UTF-8 text; expected a TOML file".into(),
        }),
    }
}

fn parse_toml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, SpecError> {
    toml::from_str(text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
        SpecError::Toml {
            name: name.into(),
            message: format!("line {line}: {}", e.message()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_its_file() -> Result<(), SpecError> {
        for spec in [
            ReconstructSpec::default(),
            ReconstructSpec {
                field: FieldSpec::Nerf(NerfSpec::default()),
                background: BackgroundSpec::Mlp {
                    width: 32,
                    layers: 2,
                },
                ..ReconstructSpec::default()
            },
        ] {
            assert_eq!(ReconstructSpec::parse("a", &spec.to_toml()?)?, spec);
        }
        Ok(())
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        for (text, words) in [
            ("[run]\nstep = 3", "step"),
            ("[field]\nkind = \"hash\"\nstep = 3", "step"),
            (
                "[field]\nkind = \"hash\"\n[field.march]\nsamples = 0",
                "field.march.samples",
            ),
            ("[optimizer]\npeak = 0.0", "optimizer.peak"),
            ("[run]\nlog_every = 0", "run.log_every"),
            ("[field]\nkind = \"grid\"", "grid"),
        ] {
            let message = ReconstructSpec::parse("my.toml", text)
                .err()
                .map(|e| e.to_string());
            let message = message.unwrap_or_default();
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn the_slope_of_the_loss_is_its_derivative() {
        for loss in [Loss::Squared, Loss::Huber { delta: 0.1 }] {
            for error in [-0.5, -0.05, 0.0, 0.02, 0.3f32] {
                let h = 1e-3;
                let difference = (loss.of(error + h).0 - loss.of(error - h).0) / (2.0 * h);
                // Rounding of f32 over 2 h; second differences vanish on each side of the bend.
                assert!(
                    (difference - loss.of(error).1).abs() < 1e-3,
                    "{loss:?} {error}"
                );
            }
        }
    }
}
