//! sRGB's curve and back, on values in [0, 1] [IEC 61966-2-1].
//! Leaves out other colour spaces and gamuts.

/// Linear light of an sRGB value.
pub fn srgb_to_linear(value: f32) -> f32 {
    if value <= 0.04045 {
        value / 12.92
    } else {
        libm::powf((value + 0.055) / 1.055, 2.4)
    }
}

/// The sRGB value of linear light.
pub fn linear_to_srgb(value: f32) -> f32 {
    if value <= 0.003_130_8 {
        value * 12.92
    } else {
        1.055 * libm::powf(value, 1.0 / 2.4) - 0.055
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_its_own_way_back() {
        for i in 0..=1000 {
            let value = i as f32 / 1000.0;
            let back = linear_to_srgb(srgb_to_linear(value));
            // A few roundings of f32 at 1, and powf is steep near 0.
            assert!((back - value).abs() < 2e-6, "{value} became {back}");
        }
        // The middle grey of [IEC 61966-2-1]'s table.
        assert!((srgb_to_linear(0.5) - 0.214_041).abs() < 1e-6);
    }
}
