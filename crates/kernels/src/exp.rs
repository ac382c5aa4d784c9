//! The exponential of sixteen values at once: reduction to |r| <= ln(2)/2 in two parts of ln(2)
//! [Cody80], a polynomial fitted to least relative error, 2^n added to the exponent.
//! Leaves out numbers below the least normal one: they are 0.

use crate::lanes::{F32s, LANES, Lanes};

/// Adding it leaves the nearest whole number in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// ln(2) in two parts, the first so short that its products with whole numbers are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Minimax of (e^r - 1 - r) / r^2; e^r is off by 3.1e-9.
const POLYNOMIAL: [f32; 5] = [
    0.001_381_460_2,
    0.008_368_716,
    0.041_668_39,
    0.166_665_21,
    0.499_999_94,
];
/// The logarithms of the least normal and of the greatest number.
const RANGE: [f32; 2] = [-87.336_54, 88.722_83];

/// e^x, off by at most 2 units in the last place; 0 where this is below the least normal number,
/// infinite above the greatest, NaN of NaN.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(x: F32s) -> F32s {
    let mut out = [0.0; LANES];
    // By index, and with all cases computed: so it becomes vectors.
    for i in 0..LANES {
        let shifted = L::mul_add(x[i], std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = L::mul_add(n, -LN_2[1], L::mul_add(n, -LN_2[0], x[i]));
        let mut sum = POLYNOMIAL[0];
        for coefficient in &POLYNOMIAL[1..] {
            sum = L::mul_add(sum, r, *coefficient);
        }
        let value = L::mul_add(r * r, sum, r) + 1.0;
        let scaled = value.to_bits().wrapping_add(shifted.to_bits() << 23);
        let (scaled, above) = (f32::from_bits(scaled), x[i] + f32::INFINITY);
        let value = if x[i] <= RANGE[1] { scaled } else { above };
        out[i] = if x[i] < RANGE[0] { 0.0 } else { value };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Job, Precision};

    struct Exp(F32s);

    impl Job for Exp {
        type Output = F32s;

        #[inline(always)]
        fn run<L: Lanes>(self) -> F32s {
            exp::<L>(self.0)
        }
    }

    #[test]
    fn is_near_the_exponential_in_f64() {
        for isa in [Isa::Portable, Isa::of(Precision::F32)] {
            let mut x = -87.3_f32;
            while x < 88.7 {
                let xs: F32s = std::array::from_fn(|i| x + i as f32 * 1e-4);
                for (x, y) in xs.into_iter().zip(isa.run(Exp(xs))) {
                    let exact = f64::from(x).exp();
                    let error = (f64::from(y) - exact).abs() / exact;
                    // Two units in the last place of numbers just below a power of two.
                    assert!(error <= f64::from(f32::EPSILON), "{isa:?}: exp({x}) = {y}");
                }
                x += 0.0016;
            }
        }
    }

    #[test]
    fn has_the_right_limits() {
        let mut xs = [0.0; LANES];
        xs[..7].copy_from_slice(&[
            -87.4,
            -1e30,
            f32::NEG_INFINITY,
            88.8,
            1e30,
            f32::INFINITY,
            f32::NAN,
        ]);
        for isa in [Isa::Portable, Isa::of(Precision::F32)] {
            let ys = isa.run(Exp(xs));
            assert_eq!(ys[..3], [0.0; 3]);
            assert_eq!(ys[3..6], [f32::INFINITY; 3]);
            assert!(ys[6].is_nan());
            assert_eq!(ys[7..], [1.0; LANES - 7]);
        }
    }
}
