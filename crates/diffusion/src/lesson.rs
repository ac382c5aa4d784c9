//! What a network is taught with one picture, and the gradients of some of them together: [Ho20] algorithm 1, in the
//! preconditioned form of [Karras22] eq. 8. Leaves out where pictures and levels come from.

use std::borrow::Cow;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

use crate::condition::{Condition, Wants};
use crate::level::Sigma;
use crate::loss::LossWeight;
use crate::patch::to_patches;
use crate::precondition::Precondition;
use crate::unet::UNet;

/// What one picture is to teach.
pub struct Lesson<'a> {
    /// What the network should find behind noise, [3, H, W].
    pub x0: Vec<f32>,
    /// What it sees beside the noisy x0: nothing, or of the same shape.
    pub seen: Vec<f32>,
    /// What it is told.
    pub condition: Condition,
    /// The border between network and denoiser.
    pub precondition: Cow<'a, Precondition>,
    /// How much noise there is.
    pub sigma: Sigma,
    /// The noise in patches, as many values as x0.
    pub eps: Vec<f32>,
}

/// How lessons are taught.
#[derive(Clone, Copy)]
pub struct Teaching<'a> {
    /// What the network is told about each picture.
    pub wants: Wants,
    /// Pixels along a side of the pictures, and of their patches.
    pub sides: (usize, usize),
    /// How much a level counts.
    pub weight: LossWeight,
    /// Lessons that the loss is a mean over: perhaps more than are taught at once.
    pub of: usize,
    /// Plain, without autodiff.
    pub device: &'a Device,
}

impl Teaching<'_> {
    /// The loss of `lessons` and its gradients by the weights of `network`.
    pub fn gradients(&self, network: &UNet, lessons: &[Lesson<'_>]) -> (f64, GradientsParams) {
        let (side, patch) = self.sides;
        let (mut input, mut target) = (vec![], vec![]);
        let (mut time, mut conditions, mut weights) = (vec![], vec![], vec![]);
        for lesson in lessons {
            let x0 = to_patches(&lesson.x0, side, patch);
            let c = lesson.precondition.at(lesson.sigma);
            let sigma = lesson.sigma.0;
            // The network should say (x0 - c_skip x) / c_out, with x = x0 + sigma eps.
            let of_x0 = ((1.0 - c.c_skip) / c.c_out) as f32;
            let of_eps = (-c.c_skip * sigma / c.c_out) as f32;
            let (in_x0, in_eps) = (c.c_in as f32, (c.c_in * sigma) as f32);
            for (x0, eps) in x0.iter().zip(&lesson.eps) {
                input.push(in_x0 * x0 + in_eps * eps);
                target.push(of_x0 * x0 + of_eps * eps);
            }
            input.extend(to_patches(&lesson.seen, side, patch));
            time.push(c.c_noise as f32);
            conditions.push(lesson.condition.clone());
            let weight = self.weight.at_c_out(c.c_out, lesson.sigma);
            weights.push((weight / (self.of * 3 * side * side) as f64) as f32);
        }
        let n = lessons.len();
        let device = self.device.clone().autodiff();
        let network = network.clone().train();
        let tensor = |values: Vec<f32>| {
            let channels = values.len() / (n * (side / patch).pow(2));
            let shape = [n, channels, side / patch, side / patch];
            Tensor::<4>::from_data(TensorData::new(values, shape), &device)
        };
        let told = self.wants.told(&conditions, &device);
        let time = Tensor::<1>::from_data(TensorData::new(time, [n]), &device);
        let weights = Tensor::<4>::from_data(TensorData::new(weights, [n, 1, 1, 1]), &device);
        let output = network.forward(tensor(input), time, &told);
        let loss = ((output - tensor(target)).square() * weights).sum();
        let value: f32 = loss.clone().inner().into_scalar();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        (f64::from(value), gradients)
    }
}
