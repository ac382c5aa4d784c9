//! Optimisers, the learning rate over time, and clipping by the global gradient norm.
//! AdamW [Loshchilov19], Adan [Xie22], Lion [Chen23]; warm-up and cosine decay [Loshchilov17].
//! Leaves out per-layer learning rates.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{
    AdamConfig, AdamWConfig, AdamWState, AdanConfig, AdaptiveMomentumState, GradientsParams,
    LionConfig, ModuleOptimizer, Optimizer,
};
use burn::tensor::{Device, Tensor};
use dreamsmith_kernels::{self as kernels, add, in_place, runs_on, square_norm};
use dreamsmith_nets::named_parameters;
use serde::{Deserialize, Serialize};

/// Which optimiser, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerSpec {
    /// Adam without weight decay.
    Adam {
        /// Decay of the first and the second moment.
        betas: [f32; 2],
        /// Keeps the division finite.
        epsilon: f32,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Decay of the first and the second moment.
        betas: [f32; 2],
        /// Keeps the division finite.
        epsilon: f32,
        /// Share of a weight lost per unit of learning rate.
        weight_decay: f32,
    },
    /// Adaptive Nesterov momentum.
    Adan {
        /// Decay of the gradient, of its difference, and of the second moment.
        betas: [f32; 3],
        /// Keeps the division finite.
        epsilon: f32,
        /// Share of a weight lost per unit of learning rate.
        weight_decay: f32,
    },
    /// Sign of the momentum; wants a learning rate a third to a tenth of AdamW's.
    Lion {
        /// Decay in the update and of the momentum.
        betas: [f32; 2],
        /// Share of a weight lost per unit of learning rate.
        weight_decay: f32,
    },
}

impl Default for OptimizerSpec {
    fn default() -> Self {
        Self::AdamW {
            betas: [0.9, 0.99],
            epsilon: 1e-8,
            weight_decay: 0.01,
        }
    }
}

impl OptimizerSpec {
    /// The optimiser, with no state yet.
    pub fn build(&self) -> ModuleOptimizer {
        match *self {
            Self::Adam { betas, epsilon } => AdamConfig::new()
                .with_beta_1(betas[0])
                .with_beta_2(betas[1])
                .with_epsilon(epsilon)
                .init(),
            Self::AdamW {
                betas,
                epsilon,
                weight_decay,
            } => ModuleOptimizer::from(AdamW {
                betas,
                epsilon,
                weight_decay,
            }),
            Self::Adan {
                betas,
                epsilon,
                weight_decay,
            } => AdanConfig::new()
                .with_beta_1(betas[0])
                .with_beta_2(betas[1])
                .with_beta_3(betas[2])
                .with_epsilon(epsilon)
                .with_weight_decay(weight_decay)
                .init(),
            Self::Lion {
                betas,
                weight_decay,
            } => LionConfig::new()
                .with_beta_1(betas[0])
                .with_beta_2(betas[1])
                .with_weight_decay(weight_decay)
                .init(),
        }
    }
}

/// AdamW over each parameter at once, where burn's own goes over it ten times; burn's own where the
/// kernels do not run.
#[derive(Clone)]
struct AdamW {
    betas: [f32; 2],
    epsilon: f32,
    weight_decay: f32,
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        weight: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        if !runs_on(&weight) {
            let burns = AdamWConfig::new()
                .with_beta_1(self.betas[0])
                .with_beta_2(self.betas[1])
                .with_epsilon(self.epsilon)
                .with_weight_decay(self.weight_decay);
            return burns.build().step(learning_rate, weight, gradient, state);
        }
        let AdaptiveMomentumState {
            time,
            moment_1,
            moment_2,
            ..
        } = match state {
            Some(state) => state.momentum,
            None => AdaptiveMomentumState::new(0, gradient.zeros_like(), gradient.zeros_like()),
        };
        let step = kernels::AdamW {
            learning_rate,
            beta_1: self.betas[0],
            beta_2: self.betas[1],
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            step: time as u64 + 1,
            gradient_scale: 1.0,
        };
        let [weight, _, moment_1, moment_2] = in_place(
            [weight, gradient, moment_1, moment_2],
            |[weight, gradient, m1, m2]| kernels::adamw(&step, weight, gradient, m1, m2),
        );
        let momentum = AdaptiveMomentumState::new(time + 1, moment_1, moment_2);
        (weight, Some(AdamWState { momentum }))
    }

    fn to_device<const D: usize>(mut state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

/// The learning rate: linear warm-up to `peak`, then half a cosine down to `floor`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRate {
    /// Highest value, reached after the warm-up.
    pub peak: f64,
    /// Value at the last step.
    pub floor: f64,
    /// Steps of warm-up.
    pub warmup: u64,
}

impl Default for LearningRate {
    fn default() -> Self {
        Self {
            peak: 1e-3,
            floor: 1e-5,
            warmup: 200,
        }
    }
}

impl LearningRate {
    /// The value for step `step` (0 is the first) of `steps`.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let length = steps.saturating_sub(self.warmup).max(1) as f64;
        let part = ((step - self.warmup) as f64 / length).min(1.0);
        self.floor + (self.peak - self.floor) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
    }
}

/// The gradients of one micro-batch are added to `sum`, parameter by parameter.
pub fn add_gradients<M: Module>(
    module: &M,
    sum: GradientsParams,
    more: GradientsParams,
) -> GradientsParams {
    struct Add {
        sum: GradientsParams,
        more: GradientsParams,
        out: GradientsParams,
    }
    impl ModuleVisitor for Add {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let total = match (
                self.sum.remove::<D>(param.id),
                self.more.remove::<D>(param.id),
            ) {
                (Some(a), Some(b)) if !runs_on(&a) => a + b,
                (Some(a), Some(b)) => {
                    let [total, _] = in_place([a, b], |[a, b]| add(a, b));
                    total
                }
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => return,
            };
            self.out.register(param.id, total);
        }
    }
    let mut add = Add {
        sum,
        more,
        out: GradientsParams::new(),
    };
    module.visit(&mut add);
    add.out
}

/// Scales all gradients so that their common Euclidean norm is at most `max_norm`.
/// Returns them with the norm they had before.
pub fn clip_by_global_norm<M: Module>(
    module: &M,
    gradients: GradientsParams,
    max_norm: f64,
) -> (GradientsParams, f64) {
    struct Norm<'a> {
        gradients: &'a GradientsParams,
        sum: f64,
    }
    impl ModuleVisitor for Norm<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                if runs_on(&gradient) {
                    in_place([gradient], |[values]| self.sum += square_norm(values));
                } else {
                    let square: f32 = gradient.square().sum().into_scalar();
                    self.sum += f64::from(square);
                }
            }
        }
    }
    struct Scale {
        gradients: GradientsParams,
        factor: f64,
        out: GradientsParams,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.out
                    .register(param.id, gradient.mul_scalar(self.factor));
            }
        }
    }
    let mut norm = Norm {
        gradients: &gradients,
        sum: 0.0,
    };
    module.visit(&mut norm);
    let norm = norm.sum.sqrt();
    if norm <= max_norm || !norm.is_finite() {
        return (gradients, norm);
    }
    let mut scale = Scale {
        gradients,
        factor: max_norm / norm,
        out: GradientsParams::new(),
    };
    module.visit(&mut scale);
    (scale.out, norm)
}

/// The first parameter whose value, or else whose gradient, holds NaN or infinity, in words.
pub fn first_not_finite<M: Module>(module: &M, gradients: &GradientsParams) -> Option<String> {
    struct Find<'a> {
        gradients: &'a GradientsParams,
        value: Option<ParamId>,
        gradient: Option<ParamId>,
    }
    fn broken<const D: usize>(tensor: Tensor<D>) -> bool {
        let sum: f32 = tensor.abs().sum().into_scalar();
        !sum.is_finite()
    }
    impl ModuleVisitor for Find<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.value.is_none() && broken(param.val()) {
                self.value = Some(param.id);
            }
            let gradient = self.gradients.get::<D>(param.id);
            if self.gradient.is_none() && gradient.is_some_and(broken) {
                self.gradient = Some(param.id);
            }
        }
    }
    let mut find = Find {
        gradients,
        value: None,
        gradient: None,
    };
    module.visit(&mut find);
    let (what, id) = match (find.value, find.gradient) {
        (Some(id), _) => ("value", id),
        (None, Some(id)) => ("gradient", id),
        (None, None) => return None,
    };
    let named = named_parameters(module).into_iter().find(|p| p.id == id)?;
    Some(format!("the {what} of `{}`", named.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_warms_up_and_falls_to_its_floor() {
        let rate = LearningRate {
            peak: 1.0,
            floor: 0.1,
            warmup: 10,
        };
        assert_eq!(rate.at(0, 110), 0.1);
        assert_eq!(rate.at(9, 110), 1.0);
        assert_eq!(rate.at(10, 110), 1.0);
        assert!((rate.at(60, 110) - 0.55).abs() < 1e-12);
        assert!((rate.at(110, 110) - 0.1).abs() < 1e-12);
    }
}
