//! What a dream is made from: one TOML file with every default visible.

use std::path::{Path, PathBuf};

use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::guidance::GuidanceSpec;
use dreamsmith_scene::field_start::DensityStart;
use dreamsmith_scene::hash_field::{ColorFrom, HashFieldSpec};
use dreamsmith_scene::occupancy::OccupancySpec;
use dreamsmith_scene::reconstruct_error::SpecError;
use dreamsmith_scene::spec::{HashSpec, Length, MarchSpec, OptimizerSpec, read_toml};
use dreamsmith_scene::viewpoint::ViewpointSpec;
use serde::{Deserialize, Serialize};

use crate::distill::{Distill, LevelWeight};

/// A whole dream.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DreamSpec {
    /// What is dreamt of.
    pub prompt: String,
    /// The run itself.
    pub run: RunSpec,
    /// How the diffusion model is asked.
    pub prior: PriorSpec,
    /// What the field is fitted to before.
    pub sketch: SketchSpec,
    /// From where, and how many views a step has.
    pub views: ViewsSpec,
    /// How they are lit.
    pub lighting: LightingSpec,
    /// What a field is punished for besides.
    pub regularizers: RegularizerSpec,
    /// How weights change.
    pub optimizer: OptimizerSpec,
    /// The field, and where it is looked at.
    pub field: DreamField,
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
    /// Steps between previews.
    pub look_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

/// How the diffusion model is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorSpec {
    /// A model folder, relative to where the program runs; the model must read text.
    pub model: PathBuf,
    /// How its networks multiply.
    pub precision: Precision,
    /// How strongly the text pulls.
    pub guidance: GuidanceSpec,
    /// What it is not to be.
    pub negative: String,
    /// How strongly each view is led away from the texts of the other sides, as far as they differ [Armandpour23]; 0
    /// is not, and costs less.
    pub other_sides: f64,
    /// Which way pictures go.
    pub distill: Distill,
    /// At which noise levels.
    pub times: Times,
    /// How much each of them counts.
    pub weight: LevelWeight,
    /// Whether the text says where a view is from.
    pub tell_view: TellView,
    /// Whether the network is told the camera.
    pub tell_camera: TellCamera,
}

/// A beginning: the field is fitted to pictures that the model draws of some views, all from one noise. They agree from
/// view to view, and each shows thin parts, which the mean of all pictures of a text hardly does. Later rounds draw from
/// what the field shows, so that they agree the better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SketchSpec {
    /// The share of the run that it takes; 0 is none.
    pub until: f64,
    /// For each of its rounds, which are equally long: how noisy what the field shows is made, to be drawn anew, as a share
    /// of the schedule; 1 is nothing but noise.
    pub times: Vec<f64>,
    /// Steps after which the same views come again: there are so many times `views.count` of them.
    pub sweep: u32,
    /// Steps of the sampler through the whole schedule.
    pub steps: u32,
    /// How strongly the text pulls on the pictures.
    pub guidance_scale: f64,
    /// How strongly each view is led away from that of the opposite side, text and camera, as far as they differ: front
    /// and back differ the more. 0 is not, and costs less.
    pub opposite: f64,
    /// The gradient is so many times what the field shows less what was drawn.
    pub weight: f32,
}

/// Noise levels as shares of the schedule, drawn evenly between two bounds that move evenly over the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Times {
    /// At the start.
    pub first: [f64; 2],
    /// At the end.
    pub last: [f64; 2],
}

/// Whether the text says where a view is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TellView {
    /// It does not.
    Never,
    /// With "front view" and the like behind it.
    #[default]
    InWords,
}

/// Whether the network is told the camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TellCamera {
    /// It is not.
    Never,
    /// With the text, so that guidance leads to the side that is asked for.
    #[default]
    WithText,
    /// Also where there is no text.
    Always,
}

/// From where, and how many views a step has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewsSpec {
    /// Views of a step.
    pub count: u32,
    /// Rays along an edge of a pixel that the prior sees.
    pub rays: u32,
    /// Cameras and lamps.
    pub from: ViewpointSpec,
}

/// How views are lit. What is left of 1 shows colours as they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LightingSpec {
    /// Before this share of the run colours are shown as they are.
    pub albedo_until: f64,
    /// The share of views under a lamp.
    pub lit: f32,
    /// The share of views of white clay under a lamp.
    pub textureless: f32,
    /// Over which distance normals are taken.
    pub normal_reach: f32,
}

/// What a field is punished for besides; each is a mean over rays. What decides (entropy, distortion) grows evenly from 0
/// to what is said here, so that a shape is found in fog before it becomes solid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegularizerSpec {
    /// Times sqrt(O^2 + 0.01) of a ray's opacity O: against fog that fills the box [Poole22, appendix A].
    pub opacity: f32,
    /// Times how undecided a ray's opacity is.
    pub entropy: f32,
    /// Times how far normals of what is seen face away [Verbin22] eq. 11.
    pub orientation: f32,
    /// Times how much the normals differ that neighbouring rays see.
    pub smoothness: f32,
    /// Times how much the weights along a ray are spread [Barron22].
    pub distortion: f32,
}

/// The field, and where it is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DreamField(pub HashSpec);

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            length: Length::Steps { steps: 800 },
            seed: 0,
            log_every: 10,
            look_every: 100,
            checkpoint_every: 200,
        }
    }
}

impl Default for PriorSpec {
    fn default() -> Self {
        Self {
            model: PathBuf::from("models/objects"),
            precision: Precision::default(),
            guidance: GuidanceSpec {
                scale: 10.0,
                ..GuidanceSpec::default()
            },
            negative: String::new(),
            other_sides: 0.0,
            distill: Distill::default(),
            times: Times::default(),
            weight: LevelWeight::default(),
            tell_view: TellView::default(),
            tell_camera: TellCamera::default(),
        }
    }
}

impl Default for SketchSpec {
    fn default() -> Self {
        Self {
            until: 0.25,
            times: vec![1.0, 0.7, 0.5],
            sweep: 8,
            steps: 8,
            guidance_scale: 4.0,
            opposite: 0.0,
            weight: 4.0,
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self {
            first: [0.2, 0.65],
            last: [0.02, 0.5],
        }
    }
}

impl SketchSpec {
    /// Leaves out rounds that do not heed what the field shows.
    pub fn keep_what_is_there(&mut self) {
        let all = self.times.len();
        self.times.retain(|time| *time < 1.0);
        self.until *= self.times.len() as f64 / all.max(1) as f64;
    }

    /// Which of its rounds it is at the share `progress` of the run; none when it is over.
    pub fn round(&self, progress: f64) -> Option<usize> {
        let rounds = self.times.len();
        let round = (progress / self.until * rounds as f64) as usize;
        (progress < self.until).then_some(round.min(rounds.saturating_sub(1)))
    }
}

impl Times {
    /// The level, as a share of the schedule, that the uniform number `random` stands for at `progress`.
    pub fn at(&self, progress: f64, random: f64) -> f64 {
        let bound =
            |i: usize| self.first[i] + progress.clamp(0.0, 1.0) * (self.last[i] - self.first[i]);
        bound(0) + random * (bound(1) - bound(0))
    }
}

impl Default for ViewsSpec {
    fn default() -> Self {
        Self {
            count: 4,
            rays: 2,
            from: ViewpointSpec::default(),
        }
    }
}

impl Default for LightingSpec {
    fn default() -> Self {
        Self {
            albedo_until: 0.2,
            lit: 0.6,
            textureless: 0.1,
            normal_reach: 0.02,
        }
    }
}

impl Default for RegularizerSpec {
    fn default() -> Self {
        Self {
            opacity: 0.0,
            entropy: 0.03,
            orientation: 1e-2,
            smoothness: 0.03,
            distortion: 0.3,
        }
    }
}

impl Default for DreamField {
    fn default() -> Self {
        let mut spec = HashSpec {
            network: HashFieldSpec {
                first_levels: 8,
                level_every: 100,
                density_width: 32,
                color_width: 32,
                color_from: ColorFrom::Place,
                start: DensityStart::Blob {
                    peak: 3.0,
                    radius: 0.5,
                },
                ..HashFieldSpec::default()
            },
            occupancy: OccupancySpec::default(),
            march: MarchSpec {
                diagonal_samples: 192,
                ..MarchSpec::default()
            },
        };
        spec.network.grid.levels = 12;
        spec.network.grid.finest_resolution = 96;
        spec.network.grid.base_resolution = 8;
        Self(spec)
    }
}

impl DreamSpec {
    /// Reads and checks a spec file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let spec: Self = read_toml(path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_a_sketch_share_its_time() {
        let mut sketch = SketchSpec {
            until: 0.3,
            times: vec![1.0, 0.7, 0.5],
            ..SketchSpec::default()
        };
        let rounds = |sketch: &SketchSpec| [0.0, 0.15, 0.29, 0.3].map(|at| sketch.round(at));
        assert_eq!(rounds(&sketch), [Some(0), Some(1), Some(2), None]);
        sketch.keep_what_is_there();
        assert_eq!(sketch.times, [0.7, 0.5]);
        assert_eq!(rounds(&sketch), [Some(0), Some(1), None, None]);
        sketch.times = vec![1.0];
        sketch.keep_what_is_there();
        assert_eq!(rounds(&sketch), [None; 4]);
    }
}
