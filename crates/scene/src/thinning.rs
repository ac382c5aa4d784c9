//! Which samples are worth the way back through a network: those with small gradients are drawn at random, and each that
//! is drawn speaks for others. The gradient stays the same on average.
//! Leaves out the way forward, which needs all samples.

/// Some of S samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Their numbers, rising.
    pub samples: Vec<usize>,
    /// How many each of them stands for: 1 over the probability that it was drawn.
    pub factors: Vec<f32>,
}

impl Drawn {
    /// Each sample with the probability min(1, size / mean size): systematic draws, from a `start` that is uniform in
    /// [0, 1). Sizes that are not finite are all drawn, so that whoever looks for them finds them.
    pub fn new(sizes: &[f32], start: f32) -> Self {
        // In f64 and in order: the same however many threads there are.
        let sum: f64 = sizes.iter().map(|size| f64::from(*size)).sum();
        let mean = sum / sizes.len().max(1) as f64;
        let (mut passed, mut drawn) = (f64::from(start), Self::none());
        for (i, size) in sizes.iter().enumerate() {
            let share = f64::from(*size) / mean;
            if share < 1.0 {
                let before = passed;
                passed += share;
                if passed.floor() > before.floor() {
                    drawn.samples.push(i);
                    drawn.factors.push((1.0 / share) as f32);
                }
            } else {
                drawn.samples.push(i);
                drawn.factors.push(1.0);
            }
        }
        drawn
    }

    fn none() -> Self {
        Self {
            samples: vec![],
            factors: vec![],
        }
    }

    /// Drops the rows of `values` `[S, width]` of all other samples.
    pub fn compact<T: Copy>(&self, width: usize, values: &mut Vec<T>) {
        for (to, from) in self.samples.iter().enumerate() {
            values.copy_within(from * width..(from + 1) * width, to * width);
        }
        values.truncate(self.samples.len() * width);
    }

    /// The same of gradients, which are multiplied by what each sample stands for.
    pub fn weigh(&self, width: usize, gradients: &mut Vec<f32>) {
        self.compact(width, gradients);
        for (row, factor) in gradients.chunks_exact_mut(width).zip(&self.factors) {
            row.iter_mut().for_each(|x| *x *= factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_drawn_and_stand_for_all() {
        let sizes: Vec<f32> = (0..1000)
            .map(|i| (-0.05 * (i % 200) as f32).exp())
            .collect();
        let sum: f32 = sizes.iter().sum();
        let (mut mean, mut n_drawn) = (vec![0.0; sizes.len()], 0);
        let starts = 1000;
        for start in 0..starts {
            let drawn = Drawn::new(&sizes, start as f32 / starts as f32);
            n_drawn += drawn.samples.len();
            let mut values = sizes.clone();
            drawn.weigh(1, &mut values);
            // Systematic draws miss the sum of what is thinned by less than one draw, which is worth a mean; and rounding.
            let error = (values.iter().sum::<f32>() - sum).abs();
            assert!(error < 1.1 * sum / 1000.0, "{error}");
            for (i, value) in drawn.samples.iter().zip(values) {
                mean[*i] += value / starts as f32;
            }
        }
        assert!(n_drawn < 400 * starts, "{n_drawn}");
        // Probabilities are counted to one of the starts, of which the rarest here has about a hundred.
        for (size, mean) in sizes.iter().zip(&mean).filter(|(size, _)| **size > 1e-2) {
            assert!((size - mean).abs() < 0.15 * size, "{size} {mean}");
        }
    }

    #[test]
    fn what_is_not_finite_stays() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(Drawn::new(&[1.0, bad, 0.0], 0.5).samples.contains(&1));
        }
        assert_eq!(Drawn::new(&[0.0; 3], 0.5).samples, [0, 1, 2]);
    }
}
