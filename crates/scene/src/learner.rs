//! A model that learns: its weights with their gradients and moments, steps of Adam [Kingma15], and the grid of occupied
//! cells that follows the field. Leaves out what the gradients come from: see `reconstruct`.

use dreamsmith_kernels::AdamW;
use dreamsmith_kernels::field::sparse_adam;
use rayon::prelude::*;

use crate::model::{Model, Sampling};
use crate::spec::OptimizerSpec;

/// Weights that a thread checks at a time.
const WEIGHTS: usize = 1 << 15;

/// A model at some step.
pub struct Learner {
    /// What learns.
    pub model: Model,
    /// Of this step, by all weights: to be added to, and cleared by [`Learner::descend`].
    pub gradients: Vec<Vec<f32>>,
    moments: [Vec<Vec<f32>>; 2],
    step: u64,
}

impl Learner {
    /// A model that has learnt nothing.
    pub fn new(model: Model) -> Self {
        let zeros = || -> Vec<Vec<f32>> {
            let weights = model.weights().into_iter();
            weights.map(|(_, values)| vec![0.0; values.len()]).collect()
        };
        Self {
            gradients: zeros(),
            moments: [zeros(), zeros()],
            step: 0,
            model,
        }
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Both moments of all weights.
    pub fn moments(&self) -> &[Vec<Vec<f32>>; 2] {
        &self.moments
    }

    /// Both moments, to be filled from a checkpoint.
    pub fn moments_mut(&mut self) -> &mut [Vec<Vec<f32>>; 2] {
        &mut self.moments
    }

    /// As after `step` steps.
    pub fn set_step(&mut self, step: u64) {
        self.step = step;
        for field in &mut self.model.fields {
            field.set_step(step);
        }
    }

    /// Looks again which cells hold something, if it is time: `every` so many steps.
    pub fn follow_occupancy(&mut self, every: u64, seed: u64) {
        let Model {
            fields, sampling, ..
        } = &mut self.model;
        let Sampling::Occupied { grid, march } = sampling else {
            return;
        };
        if self.step > 0 && self.step.is_multiple_of(every) {
            let density = |points: &[[f32; 3]]| fields[0].geometry(points).density;
            grid.update((seed, self.step / every - 1), march.step(), &density);
        }
    }

    /// What is not finite among the gradients; the weights are still as before the step.
    pub fn not_finite(&self) -> Option<&'static str> {
        // Of a number that is not finite all bits of the exponent are set.
        let exponent = f32::INFINITY.to_bits();
        let all_set = |values: &[f32]| {
            let set = values
                .iter()
                .map(|x| u32::from(x.to_bits() & exponent == exponent));
            set.fold(0, |any, set| any | set) == 1
        };
        let parts = self.gradients.par_iter();
        let parts = parts.flat_map(|of| of.par_chunks(WEIGHTS));
        parts.any(all_set).then_some("a gradient")
    }

    /// One step of Adam for all weights; clears the gradients.
    pub fn descend(&mut self, spec: &OptimizerSpec, learning_rate: f64) {
        let step = AdamW {
            learning_rate,
            beta_1: spec.betas[0],
            beta_2: spec.betas[1],
            epsilon: spec.epsilon,
            weight_decay: 0.0,
            step: self.step + 1,
            gradient_scale: 1.0,
        };
        let [first, second] = &mut self.moments;
        let moments = first.iter_mut().zip(second);
        let weights = self.model.weights_mut().into_iter();
        for ((weights, gradient), (m1, m2)) in weights.zip(&mut self.gradients).zip(moments) {
            sparse_adam(&step, weights, gradient, m1, m2);
        }
        self.set_step(self.step + 1);
    }

    /// Clears both moments.
    pub fn forget_moments(&mut self) {
        let moments = self.moments.iter_mut().flatten();
        moments.for_each(|of| of.fill(0.0));
    }

    /// Clears the gradients without a step.
    pub fn forget(&mut self) {
        self.gradients.iter_mut().for_each(|of| of.fill(0.0));
    }
}
