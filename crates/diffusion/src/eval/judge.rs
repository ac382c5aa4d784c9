//! A trained tower at work: what it says of pictures, beside what they should show.

use std::path::Path;

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Image, ImageError};
use dreamsmith_data::ViewWord;
use dreamsmith_nets::{ImageTower, NetError, Precision};

use crate::eval::VIEWS;

/// Pictures that are judged at once.
const AT_ONCE: usize = 32;

/// A tower and where it runs.
pub struct Judge {
    tower: ImageTower,
    device: Device,
}

/// What the tower says of N pictures.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// For Fréchet distances, `[N, width]`.
    pub features: Vec<f32>,
    /// Among sentences, `[N, D]`.
    pub embeddings: Vec<f32>,
    /// From where each is seen, `[N]`.
    pub views: Vec<ViewWord>,
    /// How probable each of `VIEWS` is, `[N, 4]`.
    pub view_odds: Vec<f32>,
}

impl Judge {
    /// The tower in `folder`.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, NetError> {
        Ok(Self {
            tower: ImageTower::load(folder, device, Precision::F32)?,
            device: device.clone(),
        })
    }

    /// Numbers of a feature.
    pub fn feature_width(&self) -> usize {
        let channels = &self.tower.config().block_out_channels;
        channels.last().copied().unwrap_or(0)
    }

    /// Numbers of an embedding.
    pub fn embedding_width(&self) -> usize {
        self.tower.config().projection_dim
    }

    /// Judges `pictures`, each brought to the tower's size first.
    pub fn judge(&self, pictures: &[Image]) -> Result<Verdicts, ImageError> {
        let side = self.tower.config().sample_size;
        let mut verdicts = Verdicts::default();
        for pictures in pictures.chunks(AT_ONCE) {
            let mut pixels = Vec::with_capacity(pictures.len() * 3 * side * side);
            for picture in pictures {
                pixels.extend(picture.resize(side as u32, side as u32)?.to_signed());
            }
            let pixels = TensorData::new(pixels, [pictures.len(), 3, side, side]);
            let judged = self.tower.forward(Tensor::from_data(pixels, &self.device));
            let numbers =
                |tensor: Tensor<2>| -> Vec<f32> { tensor.to_data().iter::<f32>().collect() };
            verdicts.features.extend(numbers(judged.features));
            verdicts.embeddings.extend(numbers(judged.embedding));
            let odds = softmax(judged.view.clone(), 1);
            verdicts.view_odds.extend(numbers(odds));
            let views = judged.view.argmax(1).to_data();
            verdicts
                .views
                .extend(views.iter::<i64>().filter_map(|i| VIEWS.get(i as usize)));
        }
        Ok(verdicts)
    }
}
