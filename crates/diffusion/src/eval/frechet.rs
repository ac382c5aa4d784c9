//! The Fréchet distance between two sets of features, taken as Gaussians. [Heusel17] eq. 6
//! It is FID only on Inception's features; on any others it is called FD.

use nalgebra::{DMatrix, DVector};

/// Mean and covariance of a set of features.
#[derive(Clone, Debug)]
pub struct FeatureGaussian {
    count: usize,
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl FeatureGaussian {
    /// Of N features `[N, D]`, one after the other; `None` if there are fewer than two, or if they
    /// are no whole number of rows of `width`, or not finite.
    pub fn of(features: &[f32], width: usize) -> Option<Self> {
        let count = features.len().checked_div(width)?;
        let whole = count * width == features.len() && features.iter().all(|x| x.is_finite());
        if count < 2 || !whole {
            return None;
        }
        let columns = features.iter().map(|&x| f64::from(x));
        let mut columns = DMatrix::from_iterator(width, count, columns);
        let mean = columns.column_mean();
        for mut column in columns.column_iter_mut() {
            column -= &mean;
        }
        let covariance = &columns * columns.transpose() / (count - 1) as f64;
        Some(Self {
            count,
            mean,
            covariance,
        })
    }

    /// How many features it was made of.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); `None` if the features differ in width.
///
/// The trace of the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which
/// is symmetric.
pub fn frechet_distance(a: &FeatureGaussian, b: &FeatureGaussian) -> Option<f64> {
    if a.mean.len() != b.mean.len() {
        return None;
    }
    let eigen = a.covariance.clone().symmetric_eigen();
    let scale = DMatrix::from_diagonal(&eigen.eigenvalues.map(root));
    let half = &eigen.eigenvectors * scale * eigen.eigenvectors.transpose();
    let product = &half * &b.covariance * &half;
    let roots: f64 = product.symmetric_eigenvalues().map(root).sum();
    let shift = (&a.mean - &b.mean).norm_squared();
    Some(shift + a.covariance.trace() + b.covariance.trace() - 2.0 * roots)
}

/// The root of an eigenvalue that is 0 or above but for rounding.
fn root(value: f64) -> f64 {
    value.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use dreamsmith_base::{Purpose, Stream};

    use super::*;

    /// `count` draws of `width` independent normals with these means and deviations.
    fn draws(count: usize, mean: &[f32], deviation: &[f32], seed: u64) -> Vec<f32> {
        let mut stream = Stream::new(seed, Purpose::Test, 0);
        let mut out = vec![];
        for _ in 0..count {
            for (mean, deviation) in mean.iter().zip(deviation) {
                out.push(mean + deviation * stream.normal());
            }
        }
        out
    }

    #[test]
    fn of_diagonal_gaussians_it_is_the_sum_over_axes() {
        let (mean_a, dev_a) = ([0.0, 1.0, -2.0], [1.0, 0.5, 2.0]);
        let (mean_b, dev_b) = ([0.5, 1.0, 1.0], [2.0, 0.5, 1.0]);
        let a = FeatureGaussian::of(&draws(200_000, &mean_a, &dev_a, 1), 3).unwrap();
        let b = FeatureGaussian::of(&draws(200_000, &mean_b, &dev_b, 2), 3).unwrap();
        let axes = (0..3).map(|i| (mean_a[i] - mean_b[i]).powi(2) + (dev_a[i] - dev_b[i]).powi(2));
        let exact = f64::from(axes.sum::<f32>());
        let found = frechet_distance(&a, &b).unwrap();
        // 200,000 draws leave an error of about 3 2 sqrt(5 / 200,000) = 0.03 in the squared shift of 3.
        assert!((found - exact).abs() < 0.09, "{found}, expected {exact}");
    }

    #[test]
    fn of_itself_it_is_0_and_turning_both_changes_nothing() {
        let of = |x: &[f32]| FeatureGaussian::of(x, 2).unwrap();
        let a = draws(500, &[1.0, 2.0], &[1.0, 3.0], 3);
        let b = draws(500, &[0.0, 2.5], &[2.0, 0.1], 4);
        let turn = |x: &[f32]| -> Vec<f32> {
            let turned = |p: &[f32]| [0.6 * p[0] - 0.8 * p[1], 0.8 * p[0] + 0.6 * p[1]];
            x.chunks_exact(2).flat_map(turned).collect()
        };
        let zero = frechet_distance(&of(&a), &of(&a)).unwrap();
        assert!(zero.abs() < 1e-9, "{zero}");
        let before = frechet_distance(&of(&a), &of(&b)).unwrap();
        let after = frechet_distance(&of(&turn(&a)), &of(&turn(&b))).unwrap();
        // The features are f32.
        assert!((before - after).abs() < 1e-4 * before, "{before} {after}");
    }

    #[test]
    fn what_is_no_set_of_features_has_no_gaussian() {
        assert!(FeatureGaussian::of(&[1.0, 2.0], 2).is_none());
        assert!(FeatureGaussian::of(&[1.0, 2.0, 3.0], 2).is_none());
        assert!(FeatureGaussian::of(&[1.0, f32::NAN], 1).is_none());
        assert!(FeatureGaussian::of(&[1.0], 0).is_none());
        let one = FeatureGaussian::of(&[1.0, 2.0], 1).unwrap();
        let two = FeatureGaussian::of(&[1.0, 2.0, 3.0, 4.0], 2).unwrap();
        assert_eq!(frechet_distance(&one, &two), None);
    }
}
