//! UniPC: a multistep predictor, and a corrector that reuses the next step's evaluation, order 1 to 3.
//! [Zhao23] algorithms 1 and 2, written for denoised images; one evaluation a step, lower order at the end.

use std::collections::VecDeque;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::denoise::{Denoise, Watch};
use crate::level::Sigma;
use crate::levels::{Levels, Step};
use crate::linear_system::solve;
use crate::sampler::SampleError;
use crate::samplers::step::{report, toward};

/// The function B(h) of [Zhao23], for a step of length h in -ln sigma.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// B(h) = h.
    Bh1,
    /// B(h) = e^h - 1.
    #[default]
    Bh2,
}

/// The highest order.
pub const MAX_ORDER: usize = 3;

/// A denoised image and the level it was seen at.
type Seen = (Tensor<4>, f64);

/// x [B, C, H, W] walked down `levels`, at `order` 1 to [`MAX_ORDER`].
pub fn unipc(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    order: usize,
    variant: Variant,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    // The newest comes first.
    let mut past: VecDeque<Seen> = VecDeque::with_capacity(order + 1);
    let mut last: Option<(Tensor<4>, Step, usize)> = None;
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        if step.next == 0.0 {
            x = denoised;
            continue;
        }
        if let Some((start, taken, order)) = last {
            let here = (denoised.clone(), step.sigma);
            let rule = Rule::new(taken, &past, variant);
            x = rule.correct(start, &past, order, here);
        }
        past.push_front((denoised, step.sigma));
        past.truncate(order);
        let order = past.len().min(levels.n_steps() - step.index);
        last = Some((x.clone(), step, order));
        x = Rule::new(step, &past, variant).predict(x, &past, order);
    }
    Ok(x)
}

/// The numbers of one step: those of [Zhao23] section 3 with -h for h, as denoised images want.
struct Rule {
    step: Step,
    /// -h, the step's length in -ln sigma with its sign changed.
    length: f64,
    /// B(-h).
    scale: f64,
    /// (lambda_i - lambda_0) / h of the levels before the step's first; negative, newest first.
    places: Vec<f64>,
}

impl Rule {
    fn new(step: Step, past: &VecDeque<Seen>, variant: Variant) -> Self {
        let length = -step.log_length();
        let scale = match variant {
            Variant::Bh1 => length,
            Variant::Bh2 => length.exp_m1(),
        };
        let places = past
            .iter()
            .skip(1)
            .map(|(_, sigma)| (sigma / step.sigma).ln() / length)
            .collect();
        Self {
            step,
            length,
            scale,
            places,
        }
    }

    /// UniP, [Zhao23] algorithm 2.
    fn predict(&self, x: Tensor<4>, past: &VecDeque<Seen>, order: usize) -> Tensor<4> {
        let weights = match order {
            // Exactly 1/2 up to higher order, as the authors have it.
            2 => vec![0.5],
            _ => self.weights(&self.places[..order - 1]),
        };
        let line = toward(x, past[0].0.clone(), self.step.ratio());
        self.bend(line, past, &weights)
    }

    /// UniC, [Zhao23] algorithm 1: the step from `x` taken anew, knowing what was seen at its end.
    fn correct(&self, x: Tensor<4>, past: &VecDeque<Seen>, order: usize, end: Seen) -> Tensor<4> {
        let weights = match order {
            1 => vec![0.5],
            _ => self.weights(&[&self.places[..order - 1], &[1.0]].concat()),
        };
        let line = toward(x, past[0].0.clone(), self.step.ratio());
        let bent = self.bend(line, past, &weights[..order - 1]);
        bent - (end.0 - past[0].0.clone()).mul_scalar(self.scale * weights[order - 1])
    }

    /// Subtracts B(h) times the weighted divided differences of the past.
    fn bend(&self, line: Tensor<4>, past: &VecDeque<Seen>, weights: &[f64]) -> Tensor<4> {
        let older = past.iter().skip(1).zip(&self.places).zip(weights);
        older.fold(line, |x, (((denoised, _), place), weight)| {
            let difference = denoised.clone() - past[0].0.clone();
            x - difference.mul_scalar(self.scale * weight / place)
        })
    }

    /// Solves sum_m weight_m place_m^(n-1) = n! phi_(n+1)(h) h / B(h), n = 1 ..: [Zhao23] theorem 3.1.
    fn weights(&self, places: &[f64]) -> Vec<f64> {
        let h = self.length;
        let mut phi = h.exp_m1() / h - 1.0;
        let mut factorial = 1.0;
        let rows = (0..places.len()).map(|power| {
            let mut row: Vec<f64> = places
                .iter()
                .map(|place| place.powi(power as i32))
                .collect();
            row.push(phi * factorial / self.scale);
            factorial *= power as f64 + 2.0;
            phi = phi / h - 1.0 / factorial;
            row
        });
        // A Vandermonde matrix of distinct places has pivots.
        solve(rows.collect())
    }
}
