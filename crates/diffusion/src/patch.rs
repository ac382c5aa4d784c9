//! Space to depth: p x p pixels become channels before the network, and pixels again after it.
//! The order of PyTorch's `pixel_unshuffle`: channel c p^2 + i p + j holds pixel (y p + i, x p + j) of c.
//! A network then works at 1/p of the size, which is several times cheaper for the same picture.

/// [C, S, S] to [C p^2, S/p, S/p]; `side` S must be a multiple of `patch` p.
pub fn to_patches(pixels: &[f32], side: usize, patch: usize) -> Vec<f32> {
    let mut out = vec![0.0; pixels.len()];
    for (packed, spread) in places(pixels.len(), side, patch) {
        out[packed] = pixels[spread];
    }
    out
}

/// The inverse of [`to_patches`].
pub fn from_patches(patches: &[f32], side: usize, patch: usize) -> Vec<f32> {
    let mut out = vec![0.0; patches.len()];
    for (packed, spread) in places(patches.len(), side, patch) {
        out[spread] = patches[packed];
    }
    out
}

/// Index among patches and index among pixels of every value.
fn places(len: usize, side: usize, patch: usize) -> impl Iterator<Item = (usize, usize)> {
    let small = side / patch;
    (0..len).map(move |packed| {
        let (x, rest) = (packed % small, packed / small);
        let (y, channel) = (rest % small, rest / small);
        let (j, rest) = (channel % patch, channel / patch);
        let (i, c) = (rest % patch, rest / patch);
        (packed, (c * side + y * patch + i) * side + x * patch + j)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_pixel_unshuffle() {
        // torch.nn.functional.pixel_unshuffle(torch.arange(16.).reshape(1, 1, 4, 4), 2)
        let pixels: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let expected = [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15].map(|i| i as f32);
        assert_eq!(to_patches(&pixels, 4, 2), expected);
    }

    #[test]
    fn patches_go_back_to_pixels() {
        let pixels: Vec<f32> = (0..3 * 6 * 6).map(|i| i as f32).collect();
        for patch in [1, 2, 3, 6] {
            assert_eq!(
                from_patches(&to_patches(&pixels, 6, patch), 6, patch),
                pixels
            );
        }
    }
}
