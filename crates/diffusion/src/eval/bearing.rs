//! A trained compass at work: from which side each picture of one thing is taken.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Image, ImageError};
use dreamsmith_nets::{Compass, NetError, Precision};

use crate::eval::object_color::without_color;
use crate::eval::tower::Sentences;

/// A compass, the encoder that it was trained with, and where they run.
pub struct Bearings {
    compass: Compass,
    sentences: Sentences,
    device: Device,
}

/// Why a compass cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BearingError {
    /// A network that cannot be read, or does not run.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A picture that cannot be brought to its size.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A compass and an encoder that do not belong together.
    #[error(
        "the compass is told sentences of {wanted} features, those of the encoder have {found}; give the encoder that the compass was trained with"
    )]
    Encoder {
        /// What the compass reads.
        wanted: usize,
        /// What the encoder writes.
        found: usize,
    },
}

impl Bearings {
    /// The compass in one folder, and the sentence encoder in the other, or of the model there.
    pub fn load(compass: &Path, encoder: &Path, device: &Device) -> Result<Self, BearingError> {
        let compass = Compass::load(compass, device, Precision::F32)?;
        let sentences = Sentences::open(encoder, device)?;
        let (wanted, found) = (compass.config().sentence_dim, sentences.width());
        if wanted != found {
            return Err(BearingError::Encoder { wanted, found });
        }
        Ok(Self {
            compass,
            sentences,
            device: device.clone(),
        })
    }

    /// Sectors of the circle that are told apart.
    pub fn n_sectors(&self) -> usize {
        self.compass.config().n_sectors
    }

    /// How probable each sector is for `pictures` of what `prompt` says, `[N, n_sectors]`: the mean of what is said of a
    /// picture and of its mirror image, so that left and right are treated alike.
    pub fn odds(&mut self, pictures: &[Image], prompt: &str) -> Result<Vec<f32>, BearingError> {
        let thing: Arc<str> = without_color(prompt).into();
        self.sentences.read([thing.clone()])?;
        let thing = self.sentences.get(&thing).unwrap_or_default();
        let (n, side) = (pictures.len(), self.compass.config().sample_size);
        let mut pixels = Vec::with_capacity(n * 3 * side * side);
        for picture in pictures {
            pixels.extend(picture.resize(side as u32, side as u32)?.to_signed());
        }
        let pixels = TensorData::new(pixels, [n, 3, side, side]);
        let pixels = Tensor::<4>::from_data(pixels, &self.device);
        let things = TensorData::new(thing.repeat(n), [n, thing.len()]);
        let things = Tensor::<2>::from_data(things, &self.device);
        let said = |pixels: Tensor<4>| -> Vec<f32> {
            let odds = softmax(self.compass.forward(pixels, things.clone()), 1);
            odds.to_data().iter::<f32>().collect()
        };
        let (plain, mirrored) = (said(pixels.clone()), said(pixels.flip([3])));
        let n_sectors = self.n_sectors();
        let both = plain.iter().enumerate().map(|(i, odds)| {
            let (row, sector) = (i - i % n_sectors, i % n_sectors);
            let other = mirrored[row + (n_sectors - sector) % n_sectors];
            f32::midpoint(*odds, other)
        });
        Ok(both.collect())
    }
}
