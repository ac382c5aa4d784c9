//! Exponential moving average of the weights, with a fixed decay or the power function of [Karras24] eq. 121.
//! The average is what gets drawn with and shipped.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use dreamsmith_kernels::{self as kernels, in_place, runs_on};
use serde::{Deserialize, Serialize};

/// How long the average remembers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EmaSpec {
    /// Remembers 1 / (1 - decay) steps; shorter at the start, where it would hold random weights.
    Exponential {
        /// Share of the old average that stays at each step.
        decay: f64,
    },
    /// Remembers a constant share of all training so far ([Karras24] section 3.1).
    Power {
        /// Width of the averaging profile relative to training time; 0.05 to 0.25 are usual.
        sigma_rel: f64,
    },
}

impl Default for EmaSpec {
    fn default() -> Self {
        Self::Power { sigma_rel: 0.10 }
    }
}

impl EmaSpec {
    /// Share of the old average that stays at step `step` (1 is the first).
    pub fn decay(&self, step: u64) -> f64 {
        let step = step.max(1) as f64;
        match *self {
            Self::Exponential { decay } => decay.min((1.0 + step) / (10.0 + step)),
            Self::Power { sigma_rel } => (1.0 - 1.0 / step).powf(gamma(sigma_rel) + 1.0),
        }
    }
}

/// The exponent whose profile t^gamma has the relative width `sigma_rel`:
/// the positive root of sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), [Karras24] eq. 123.
pub fn gamma(sigma_rel: f64) -> f64 {
    let width = |g: f64| ((g + 1.0) / ((g + 2.0) * (g + 2.0) * (g + 3.0))).sqrt();
    // The width falls with gamma; bisection to the last bit costs nothing here.
    let (mut low, mut high) = (0.0_f64, 1e6_f64);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if width(middle) > sigma_rel {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// a * module + b * other, parameter by parameter, for modules whose parameters carry the same ids.
pub fn blend<M: Module>(module: M, a: f64, other: &M, b: f64) -> M {
    struct Collect(GradientsParams);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.register(param.id, param.val());
        }
    }
    struct Blend {
        others: GradientsParams,
        a: f64,
        b: f64,
    }
    impl ModuleMapper for Blend {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, value, mapper) = param.consume();
            let blended = match self.others.remove::<D>(id) {
                Some(other) if !runs_on(&value) => {
                    value.mul_scalar(self.a) + other.mul_scalar(self.b)
                }
                Some(other) => {
                    let [blended, _] = in_place([value, other], |[value, other]| {
                        kernels::blend(value, [self.a, self.b], other);
                    });
                    blended
                }
                None => value,
            };
            Param::from_mapped_value(id, blended, mapper)
        }
    }
    let mut collect = Collect(GradientsParams::new());
    other.visit(&mut collect);
    module.map(&mut Blend {
        others: collect.0,
        a,
        b,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_matches_the_published_pairs() {
        // [Karras24] table 6 gives 16.97 for 0.05 and 6.94 for 0.10.
        assert!((gamma(0.05) - 16.97).abs() < 0.01);
        assert!((gamma(0.10) - 6.94).abs() < 0.01);
    }

    #[test]
    fn the_first_step_forgets_the_initial_weights() {
        assert_eq!(EmaSpec::Power { sigma_rel: 0.1 }.decay(1), 0.0);
        assert!(EmaSpec::Exponential { decay: 0.999 }.decay(1) < 0.2);
        assert_eq!(
            EmaSpec::Exponential { decay: 0.999 }.decay(1_000_000),
            0.999
        );
    }
}
