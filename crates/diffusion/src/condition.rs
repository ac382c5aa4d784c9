//! What a picture is to show, and how a network is told: a class, the noise on a small picture, or a text's states for
//! cross-attention with its pooled vector and the camera as one class vector. What is unknown or dropped is zeros [Ho22].
//! Leaves out how a text becomes states: see `text`.

use std::sync::Arc;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use dreamsmith_data::CameraRecord;
use dreamsmith_nets::{ClassCondition, UNetCondition};
use half::f16;

use crate::enlarge::NOISE_LEVELS;
use crate::view_map::{FRAME, frame};

/// Numbers that stand for a camera.
pub const CAMERA_FEATURES: usize = 7;

/// A text as a network is told of it.
#[derive(Clone, Debug, PartialEq)]
pub enum TextCode {
    /// As a frozen encoder read it.
    States {
        /// `[L, D]`, row by row.
        states: Vec<f16>,
        /// `[D]`.
        pooled: Vec<f32>,
    },
    /// Word by word: of each token's D features one is 1. The pooled vector is their mean.
    Words {
        /// Which one, `[L]`.
        places: Vec<u32>,
        /// D.
        of: usize,
    },
}

impl TextCode {
    /// Features of a token, D.
    fn width(&self) -> usize {
        match self {
            Self::States { pooled, .. } => pooled.len(),
            Self::Words { of, .. } => *of,
        }
    }

    /// Writes the first tokens into `states` `[L, D]`, as many as fit, and the whole text into `pooled` `[D]`; both
    /// are zeros before. Gives the number of tokens.
    fn write(&self, states: &mut [f32], pooled: &mut [f32]) -> usize {
        let width = pooled.len();
        match self {
            Self::States {
                states: from,
                pooled: whole,
            } => {
                for (to, from) in states.iter_mut().zip(from) {
                    *to = from.to_f32();
                }
                pooled.copy_from_slice(whole);
                from.len().min(states.len()) / width
            }
            Self::Words { places, .. } => {
                let heeded = places.len().min(states.len() / width);
                for (i, place) in places[..heeded].iter().enumerate() {
                    states[i * width + *place as usize] = 1.0;
                    pooled[*place as usize] += 1.0 / heeded as f32;
                }
                heeded
            }
        }
    }
}

/// What one picture is to show.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Condition {
    /// Anything.
    #[default]
    Anything,
    /// One of a class.
    Class(u32),
    /// What a small picture shows, which has noise of this level on it: see `enlarge`.
    Small(u32),
    /// What a text says, as a camera sees it; either may be unknown.
    Text {
        /// The text.
        text: Option<Arc<TextCode>>,
        /// The camera.
        camera: Option<CameraRecord>,
        /// What lies behind, sRGB in [0, 1]; only a network that sees a view map is told.
        behind: [f32; 3],
    },
}

/// What lies behind where nobody says anything else.
const WHITE: [f32; 3] = [1.0; 3];

/// What a network wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// One of so many classes; the number itself is none of them.
    Class(u32),
    /// How much noise there is on a small picture.
    Small,
    /// A text of at most so many tokens, and so many features each.
    Text {
        /// L.
        tokens: usize,
        /// D.
        width: usize,
    },
}

/// What a network is told about the pictures of a batch.
#[expect(clippy::large_enum_variant, reason = "one lives at a time")]
pub enum Told {
    /// Rows of the table, or levels of the noise on small pictures, `[B]`; if the network has such.
    Labels(Option<Tensor<1, Int>>),
    /// Text states and a vector for each picture, and what is known of its pixels.
    Text {
        /// What the network is told as a whole.
        whole: UNetCondition,
        /// Of view maps, `[B, FRAME]`.
        frames: Tensor<2>,
    },
}

impl Condition {
    /// What a text says, as a camera sees it, before white.
    pub fn text(text: Option<Arc<TextCode>>, camera: Option<CameraRecord>) -> Self {
        Self::Text {
            text,
            camera,
            behind: WHITE,
        }
    }

    /// The same text, seen by `from`; without a text there is nothing to see.
    pub fn see_from(&mut self, from: CameraRecord) {
        if let Self::Text {
            text: Some(_),
            camera,
            ..
        } = self
        {
            *camera = Some(from);
        }
    }

    /// What is wrong with this for a network that wants `wants`, as what was found and what would do.
    pub fn objection(&self, wants: Wants) -> Option<(String, String)> {
        let fits = match (self, wants) {
            (Self::Anything, _) => true,
            (Self::Class(label), Wants::Class(n)) => *label < n,
            (Self::Small(level), Wants::Small) => *level <= NOISE_LEVELS,
            (Self::Text { text, .. }, Wants::Text { width, .. }) => {
                text.as_ref().is_none_or(|text| text.width() == width)
            }
            (Self::Class(_) | Self::Small(_) | Self::Text { .. }, _) => false,
        };
        let found = match self {
            Self::Anything => "anything".to_owned(),
            Self::Class(label) => format!("class {label}"),
            Self::Small(level) => format!("noise of level {level} on a small picture"),
            Self::Text { text, .. } => match text {
                Some(text) => format!("a text of {} features", text.width()),
                None => "a camera".to_owned(),
            },
        };
        let expected = match wants {
            Wants::Nothing => "nothing: this model knows no condition".to_owned(),
            Wants::Class(n) => format!("a class below {n}"),
            Wants::Small => format!("noise of level 0 to {NOISE_LEVELS} on a small picture"),
            Wants::Text { width, .. } => format!("a text of {width} features"),
        };
        (!fits).then_some((found, expected))
    }
}

impl Wants {
    /// What the network is told about pictures that are to show `conditions`, each of which must fit.
    pub fn told(self, conditions: &[Condition], device: &Device) -> Told {
        match self {
            Self::Nothing => Told::Labels(None),
            Self::Class(_) | Self::Small => {
                let unknown = if let Self::Class(n) = self { n } else { 0 };
                let label = |condition: &Condition| match condition {
                    Condition::Class(label) | Condition::Small(label) => *label as i32,
                    Condition::Anything | Condition::Text { .. } => unknown as i32,
                };
                let labels: Vec<i32> = conditions.iter().map(label).collect();
                let labels = TensorData::new(labels, [conditions.len()]);
                Told::Labels(Some(Tensor::from_data(labels, device)))
            }
            Self::Text { tokens, width } => {
                let mut batch = TextBatch::new(conditions.len(), tokens, width);
                for (i, condition) in conditions.iter().enumerate() {
                    match condition {
                        Condition::Text {
                            text,
                            camera,
                            behind,
                        } => batch.put(i, text.as_deref(), camera.as_ref(), *behind),
                        _ => batch.put(i, None, None, WHITE),
                    }
                }
                batch.into_tensors(device)
            }
        }
    }
}

/// What a batch is told, still as plain numbers.
struct TextBatch {
    shape: [usize; 3],
    states: Vec<f32>,
    mask: Vec<bool>,
    vectors: Vec<f32>,
    frames: Vec<f32>,
}

impl TextBatch {
    /// B pictures of which nothing is known: one token of zeros, so that attention has something to heed.
    fn new(batch: usize, tokens: usize, width: usize) -> Self {
        Self {
            shape: [batch, tokens, width],
            states: vec![0.0; batch * tokens * width],
            mask: (0..batch * tokens).map(|i| i % tokens == 0).collect(),
            vectors: vec![0.0; batch * (width + CAMERA_FEATURES)],
            frames: vec![0.0; batch * FRAME],
        }
    }

    fn put(
        &mut self,
        i: usize,
        text: Option<&TextCode>,
        camera: Option<&CameraRecord>,
        behind: [f32; 3],
    ) {
        let [_, tokens, width] = self.shape;
        let vector = &mut self.vectors[i * (width + CAMERA_FEATURES)..][..width + CAMERA_FEATURES];
        if let Some(text) = text {
            let states = &mut self.states[i * tokens * width..][..tokens * width];
            let heeded = text.write(states, &mut vector[..width]);
            self.mask[i * tokens..][..heeded].fill(true);
        }
        if let Some(camera) = camera {
            vector[width..].copy_from_slice(&camera_features(camera));
        }
        self.frames[i * FRAME..][..FRAME].copy_from_slice(&frame(camera, behind));
    }

    fn into_tensors(self, device: &Device) -> Told {
        let [batch, tokens, width] = self.shape;
        let vectors = TensorData::new(self.vectors, [batch, width + CAMERA_FEATURES]);
        let mask = TensorData::new(self.mask, [batch, tokens]);
        let frames = TensorData::new(self.frames, [batch, FRAME]);
        let whole = UNetCondition {
            mask: Some(Tensor::<2, Bool>::from_data(mask, device)),
            class: Some(ClassCondition::Vector(Tensor::from_data(vectors, device))),
            ..UNetCondition::text(Tensor::from_data(
                TensorData::new(self.states, self.shape),
                device,
            ))
        };
        let frames = Tensor::from_data(frames, device);
        Told::Text { whole, frames }
    }
}

/// sin and cos of azimuth and elevation, the logarithm of the distance, the angle of view in radians, and 1,
/// which tells a known camera from none.
pub fn camera_features(camera: &CameraRecord) -> [f32; CAMERA_FEATURES] {
    let (azimuth, elevation) = (camera.azimuth.to_radians(), camera.elevation.to_radians());
    [
        azimuth.sin(),
        azimuth.cos(),
        elevation.sin(),
        elevation.cos(),
        camera.distance.ln(),
        camera.fov.to_radians(),
        1.0,
    ]
}
