//! How alike two pictures are: PSNR, and SSIM [Wang04] with its Gaussian window of 11 pixels.
//! Leaves out learned distances.

use dreamsmith_base::Image;

/// Radius and standard deviation of SSIM's window, in pixels [Wang04] section III.B.
const RADIUS: usize = 5;
const WINDOW_SIGMA: f64 = 1.5;
/// (K1 L)^2 and (K2 L)^2 for values in [0, 1].
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// Peak signal-to-noise ratio in dB of a mean squared error of values in [0, 1]: `-10 log10(mse)`.
pub fn psnr_of(mse: f64) -> f64 {
    -10.0 * mse.log10()
}

/// Mean squared error over all pixels and channels, of values in [0, 1]; `None` if the sizes differ.
pub fn mean_squared_error(a: &Image, b: &Image) -> Option<f64> {
    let same = (a.width(), a.height()) == (b.width(), b.height());
    same.then(|| {
        let pairs = a.rgb().iter().zip(b.rgb());
        let sum: f64 = pairs
            .map(|(a, b)| (f64::from(a.abs_diff(*b)) / 255.0).powi(2))
            .sum();
        sum / a.rgb().len() as f64
    })
}

/// Mean structural similarity over all pixels and channels; `None` if the sizes differ.
/// At the border the window is cut off and its weights again sum to 1.
pub fn ssim(a: &Image, b: &Image) -> Option<f64> {
    let size = (a.width() as usize, a.height() as usize);
    if size != (b.width() as usize, b.height() as usize) {
        return None;
    }
    let sum: f64 = (0..3)
        .map(|channel| {
            let plane = |image: &Image| -> Vec<f64> {
                let pixels = image.rgb().chunks_exact(3);
                pixels.map(|p| f64::from(p[channel]) / 255.0).collect()
            };
            plane_ssim(&plane(a), &plane(b), size)
        })
        .sum();
    Some(sum / 3.0)
}

/// [Wang04] eq. 13, averaged.
fn plane_ssim(a: &[f64], b: &[f64], size: (usize, usize)) -> f64 {
    let mean = |x: &dyn Fn(usize) -> f64| blur((0..a.len()).map(x).collect(), size);
    let (mean_a, mean_b) = (mean(&|i| a[i]), mean(&|i| b[i]));
    let (aa, bb) = (mean(&|i| a[i] * a[i]), mean(&|i| b[i] * b[i]));
    let ab = mean(&|i| a[i] * b[i]);
    let sum: f64 = (0..a.len())
        .map(|i| {
            let (ma, mb) = (mean_a[i], mean_b[i]);
            let (var_a, var_b, cov) = (aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb);
            (2.0 * ma * mb + C1) * (2.0 * cov + C2)
                / ((ma * ma + mb * mb + C1) * (var_a + var_b + C2))
        })
        .sum();
    sum / a.len() as f64
}

/// The Gaussian window over rows, then over columns.
fn blur(values: Vec<f64>, (width, height): (usize, usize)) -> Vec<f64> {
    let weight = |distance: usize| (-0.5 * (distance as f64 / WINDOW_SIGMA).powi(2)).exp();
    let along = |values: &[f64], length: usize, index: &dyn Fn(usize, usize) -> usize| {
        let mut out = vec![0.0; values.len()];
        for line in 0..values.len() / length {
            for i in 0..length {
                let window = i.saturating_sub(RADIUS)..(i + RADIUS + 1).min(length);
                let (mut sum, mut total) = (0.0, 0.0);
                for j in window {
                    let w = weight(i.abs_diff(j));
                    sum += w * values[index(line, j)];
                    total += w;
                }
                out[index(line, i)] = sum / total;
            }
        }
        out
    };
    let rows = along(&values, width, &|row, x| row * width + x);
    along(&rows, height, &|column, y| y * width + column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::{Purpose, Stream};

    fn noise(seed: u64, spread: f32) -> Result<Image, dreamsmith_base::ImageError> {
        let mut stream = Stream::new(seed, Purpose::Test, 0);
        let value = |_| (128.0 + spread * stream.normal()).clamp(0.0, 255.0) as u8;
        Image::new(32, 24, (0..32 * 24 * 3).map(value).collect())
    }

    #[test]
    fn known_values() -> Result<(), Box<dyn std::error::Error>> {
        let (grey, other) = (
            Image::filled(16, 16, [100; 3])?,
            Image::filled(16, 16, [151; 3])?,
        );
        let mse = mean_squared_error(&grey, &other).unwrap_or(0.0);
        // 51 of 255 is a fifth: 20 log10(5).
        assert!((psnr_of(mse) - 20.0 * 5f64.log10()).abs() < 1e-9);
        // Of constant pictures only the first factor is left.
        let (a, b) = (100.0 / 255.0, 151.0 / 255.0);
        let expected = (2.0 * a * b + C1) / (a * a + b * b + C1);
        assert!((ssim(&grey, &other).unwrap_or(0.0) - expected).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn a_picture_is_like_itself_and_unlike_noise() -> Result<(), Box<dyn std::error::Error>> {
        let (a, b) = (noise(1, 40.0)?, noise(2, 40.0)?);
        // Rounding of sums of 121 values.
        assert!((ssim(&a, &a).unwrap_or(0.0) - 1.0).abs() < 1e-12);
        assert!(ssim(&a, &b).unwrap_or(1.0) < 0.2);
        assert!(psnr_of(mean_squared_error(&a, &a).unwrap_or(1.0)).is_infinite());
        assert_eq!(ssim(&a, &Image::filled(8, 8, [0; 3])?), None);
        Ok(())
    }
}
