//! Numbers of eight bits: a sign, four bits of exponent, three of mantissa, as safetensors calls F8_E4M3 [Micikevicius22].
//! Leaves out the kinds with infinities or other biases.

/// The one pattern, beside its sign, that is no number.
const NAN: u8 = 0x7f;
/// Where the mantissa begins to lose its digits: 2^-6.
const SMALLEST_NORMAL: f32 = 0.015_625;
/// The step between smaller ones: 2^-9.
const STEP: f32 = SMALLEST_NORMAL / 8.0;

/// The nearest number, of two equally near ones the even; NaN for all beyond 464, for the largest is 448.
pub(crate) fn encode(x: f32) -> u8 {
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let size = x.abs();
    if size < SMALLEST_NORMAL {
        // Eight steps are the smallest normal number, whose pattern is 8.
        return sign | (size / STEP).round_ties_even() as u8;
    }
    // The mantissa's first 3 of 23 bits are kept, and the exponent counts from 7 instead of 127.
    const DROPPED: u32 = 20;
    let bits = size.to_bits();
    let is_odd = (bits >> DROPPED) & 1;
    let rounded = (u64::from(bits) + (1 << (DROPPED - 1)) - 1 + u64::from(is_odd)) >> DROPPED;
    let code = rounded.saturating_sub((127 - 7) << 3).min(u64::from(NAN));
    sign | code as u8
}

/// The number that a pattern stands for.
pub(crate) fn decode(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 0xf), f32::from(code & 7));
    let size = match (code & NAN, exponent) {
        (NAN, _) => f32::NAN,
        (_, 0) => mantissa * STEP,
        _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
    };
    if code & 0x80 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        // torch.tensor(x).to(torch.float8_e4m3fn).view(torch.uint8)
        let known = [
            (0.0, 0x00),
            (-0.0, 0x80),
            (1.0, 0x38),
            (-2.0, 0xc0),
            (448.0, 0x7e),
            (0.001_953_125, 0x01),
            (0.015_625, 0x08),
            (0.1, 0x1d),
            // Between two: 17 of 16 and 18, 19 of 18 and 20, half a step, one and a half.
            (17.0, 0x58),
            (19.0, 0x5a),
            (0.000_976_562_5, 0x00),
            (0.002_929_687_5, 0x02),
        ];
        for (x, code) in known {
            assert_eq!(encode(x), code, "{x}");
        }
        assert!(decode(encode(f32::NAN)).is_nan() && decode(encode(1e9)).is_nan());
    }

    #[test]
    fn every_pattern_comes_back_and_lies_between_its_neighbours() {
        let mut last = f32::NEG_INFINITY;
        for code in 0..NAN {
            let x = decode(code);
            assert_eq!((encode(x), encode(-x)), (code, code | 0x80));
            assert!(x > last);
            // A little more than half way up from the last is this one, a little less the last.
            if code > 0 {
                let half = (last + x) / 2.0;
                assert_eq!(encode(half * 1.001), code);
                assert_eq!(encode(half * 0.999), code - 1);
            }
            last = x;
        }
        assert_eq!(last, 448.0);
    }
}
