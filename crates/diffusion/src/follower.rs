//! A copy of a network that goes on learning from pictures as they come, and so knows what pictures there are: the
//! second network of variational score distillation, [Wang23] eq. 10; a whole copy, where the paper adapts a few weights.

use std::borrow::Cow;
use std::path::Path;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Device;
use dreamsmith_nets::{WeightType, load_weights, save_weights};

use crate::condition::Condition;
use crate::lesson::{Lesson, Teaching};
use crate::level::Sigma;
use crate::loss::LossWeight;
use crate::model::Model;
use crate::optimizer::{OptimizerSpec, add_gradients, clip_by_global_norm};
use crate::optimizer_file::{read_optimizer, write_optimizer};
use crate::train_error::TrainError;
use crate::unet::UNet;
use crate::workers::Workers;

const WEIGHTS: &str = "follower.safetensors";
const OPTIMIZER: &str = "follower.bpk";
/// More is a leap that undoes what was learnt.
const MOST_NORM: f64 = 1.0;

/// The copy, with its optimiser.
pub struct Follower {
    unet: UNet,
    optimizer: ModuleOptimizer,
    learning_rate: f64,
}

/// A picture that has come, [3, S, S] in [-1, 1], with what the network is told of it, the level at which it is learnt,
/// and noise for that, as many values.
pub struct Sight {
    /// The picture.
    pub pixels: Vec<f32>,
    /// What the network is told.
    pub condition: Condition,
    /// The level.
    pub sigma: Sigma,
    /// The noise.
    pub eps: Vec<f32>,
}

impl Follower {
    /// A copy of the network of `model`.
    pub fn new(model: &Model, learning_rate: f64) -> Self {
        Self {
            unet: model.unet.clone(),
            optimizer: OptimizerSpec::default().build(),
            learning_rate,
        }
    }

    /// The copy as it is.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// One step on `sights`, which are of `model`'s size and learnt side by side, each on one thread. A step that is not
    /// finite is not taken.
    pub fn learn(
        &mut self,
        model: &Model,
        sights: Vec<Sight>,
        (workers, device): (&Workers, &Device),
    ) {
        let n = sights.len();
        let side = sights
            .first()
            .map_or(0, |sight| sight.pixels.len() / 3)
            .isqrt();
        let teaching = Teaching {
            wants: model.wants(),
            sides: (side, model.card.patch_size as usize),
            weight: LossWeight::Simple {},
            of: n,
            device,
        };
        let lessons = sights.into_iter().map(|sight| Lesson {
            x0: sight.pixels,
            seen: vec![],
            condition: sight.condition,
            precondition: Cow::Borrowed(&model.precondition),
            sigma: sight.sigma,
            eps: sight.eps,
        });
        let lessons: Vec<Lesson<'_>> = lessons.collect();
        let one = |i: usize| teaching.gradients(&self.unet, &lessons[i..=i]);
        let add = |(a, sum), (b, more)| (a + b, add_gradients(&self.unet, sum, more));
        let (loss, gradients) = workers.fold(n, (0.0, GradientsParams::new()), one, add);
        rayon::scope(|_| {
            let (gradients, norm) = clip_by_global_norm(&self.unet, gradients, MOST_NORM);
            if f64::is_finite(loss) && norm.is_finite() {
                let unet = self.unet.clone().train();
                let unet = self.optimizer.step(self.learning_rate, unet, gradients);
                self.unet = unet.valid();
            }
        });
    }

    /// Writes the copy and its optimiser into `folder`; gives the hash that [`Follower::load`] wants.
    pub fn save(&self, folder: &Path) -> Result<String, TrainError> {
        save_weights(&self.unet, &folder.join(WEIGHTS), WeightType::F32)?;
        write_optimizer(&folder.join(OPTIMIZER), &self.optimizer)
    }

    /// Reads back what was saved in `folder`.
    pub fn load(&mut self, folder: &Path, hash: &str) -> Result<(), TrainError> {
        self.unet = load_weights(self.unet.clone(), &folder.join(WEIGHTS))?;
        let spec = OptimizerSpec::default();
        self.optimizer = read_optimizer(&folder.join(OPTIMIZER), hash, &spec)?;
        Ok(())
    }
}
