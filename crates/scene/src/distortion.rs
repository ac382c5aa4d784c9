//! How much the weights along a ray are spread out [Barron22] eq. 15: little for one surface, much for fog and floaters.
//! Leaves out the warped distances that unbounded scenes need.

use crate::samples::Samples;

/// The mean over all rays of sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 length_i, where m_i is the depth of sample i
/// in the box, and its derivative by the weights, times `scale`, to `by_weights` `[S]`.
pub fn distortion(samples: &Samples, weights: &[f32], scale: f32, by_weights: &mut [f32]) -> f64 {
    let n_rays = samples.n_rays();
    let share = scale / n_rays.max(1) as f32;
    let mut total = 0.0;
    for ray in 0..n_rays {
        let of_ray = || samples.of_ray(ray);
        let all: f32 = of_ray().map(|i| weights[i]).sum();
        let moment: f32 = of_ray().map(|i| weights[i] * samples.depths[i]).sum();
        // The weights before the sample, and these times their depths.
        let (mut before, mut moment_before) = (0.0, 0.0);
        for i in of_ray() {
            let (weight, depth) = (weights[i], samples.depths[i]);
            let behind = all - before - weight;
            let moment_behind = moment - moment_before - weight * depth;
            let to_others = depth * (before - behind) - moment_before + moment_behind;
            let own = weight * samples.lengths[i] / 3.0;
            total += f64::from(weight * (to_others + own));
            by_weights[i] = 2.0 * share * (to_others + own);
            before += weight;
            moment_before += weight * depth;
        }
    }
    total / n_rays.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::Ray;
    use glam::Vec3;

    fn rays(depths: &[&[f32]]) -> Samples {
        let mut samples = Samples::new();
        for depths in depths {
            let ray = Ray {
                origin: Vec3::ZERO,
                dir: Vec3::X,
            };
            samples.push_ray(&ray, depths.iter().map(|depth| (*depth, 0.3)));
        }
        samples
    }

    #[test]
    fn one_surface_is_not_spread_and_two_are_as_far_as_they_are_apart() {
        let samples = rays(&[&[1.0, 2.0, 4.0], &[], &[5.0]]);
        let mut slopes = vec![0.0; 4];
        let one = distortion(&samples, &[0.0, 1.0, 0.0, 0.0], 1.0, &mut slopes);
        assert!((one - 0.1 / 3.0).abs() < 1e-7);
        let two = distortion(&samples, &[0.5, 0.0, 0.5, 0.0], 1.0, &mut slopes);
        // 2 * 0.5 * 0.5 * 3 between them and 2 * 0.5^2 * 0.3 / 3 within, over three rays.
        assert!((two - (1.5 + 0.05) / 3.0).abs() < 1e-6);
    }

    #[test]
    fn the_slope_is_that_of_differences() {
        let samples = rays(&[&[0.1, 0.5, 0.6, 1.2], &[0.2, 0.9]]);
        let weights = [0.3, 0.1, 0.4, 0.05, 0.5, 0.2];
        let (mut slopes, mut unused) = (vec![0.0; 6], vec![0.0; 6]);
        distortion(&samples, &weights, 2.0, &mut slopes);
        for i in 0..6 {
            let mut at = |step: f32| {
                let mut moved = weights;
                moved[i] += step;
                distortion(&samples, &moved, 0.0, &mut unused)
            };
            // A square: central differences are exact but for rounding, 1e-7 over 0.02.
            let found = 2.0 * (at(0.01) - at(-0.01)) / 0.02;
            assert!((found - f64::from(slopes[i])).abs() < 1e-4, "{i}");
        }
    }
}
