//! Augmentation, and the batch that training sees.
//! Flips and backgrounds are drawn from a stream of the sample's own.
//! Leaves out colour changes and random crops: small generative models learn them as content.

use std::sync::Arc;

use dreamsmith_base::Stream;
use serde::{Deserialize, Serialize};

use crate::furniture_record::CameraRecord;

/// Whether pictures are mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flip {
    /// Never.
    #[default]
    Never,
    /// Left to right, half of the time.
    Horizontal,
}

/// What lies behind the transparent parts of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Background {
    /// One sRGB colour.
    Colour([u8; 3]),
    /// A colour drawn anew for each sample and step, uniform in sRGB.
    Random,
    /// White for half of the samples, a shade of grey for a quarter, any colour for a quarter.
    Mixed,
}

impl Default for Background {
    fn default() -> Self {
        Self::Colour([255; 3])
    }
}

/// How a sample varies from step to step. The default is none, on white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Mirroring.
    pub flip: Flip,
    /// Background.
    pub background: Background,
}

/// A batch of B samples of H x W pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[B, 3, H, W]` in [-1, 1].
    pub pixels: Vec<f32>,
    /// `[B]` class indices.
    pub labels: Vec<Option<u32>>,
    /// `[B]` captions, where there are any.
    pub captions: Vec<Option<Arc<str>>>,
    /// `[B]` cameras, where they are known.
    pub cameras: Vec<Option<CameraRecord>>,
    /// `[B]` colours behind the pictures, sRGB in [0, 1]; white where nothing is transparent.
    pub behind: Vec<[f32; 3]>,
}

impl Augment {
    /// Turns `[size, size, 4]` bytes into `[3, size, size]` values in [-1, 1]. Gives the colour behind them.
    ///
    /// The draws are made in the same order whatever is switched on, so that one choice does not
    /// change the other.
    pub(crate) fn apply(
        &self,
        rgba: &[u8],
        size: usize,
        stream: &mut Stream,
        out: &mut [f32],
    ) -> [f32; 3] {
        let heads = stream.next_u32() >> 31 == 1;
        let drawn: [u8; 3] = std::array::from_fn(|_| (stream.next_u32() >> 24) as u8);
        let kind = stream.next_u32() >> 30;
        let mirrored = self.flip == Flip::Horizontal && heads;
        let back = match self.background {
            Background::Colour(colour) => colour,
            Background::Random => drawn,
            Background::Mixed => match kind {
                0 | 1 => [255; 3],
                2 => [drawn[0]; 3],
                _ => drawn,
            },
        }
        .map(f32::from);
        let plane = size * size;
        for (y, row) in rgba.chunks_exact(size * 4).enumerate() {
            for (x, pixel) in row.chunks_exact(4).enumerate() {
                let x = if mirrored { size - 1 - x } else { x };
                let alpha = f32::from(pixel[3]) / 255.0;
                for c in 0..3 {
                    let value = back[c] + (f32::from(pixel[c]) - back[c]) * alpha;
                    out[c * plane + y * size + x] = value / 127.5 - 1.0;
                }
            }
        }
        match rgba.chunks_exact(4).all(|pixel| pixel[3] == 255) {
            true => [1.0; 3],
            false => back.map(|c| c / 255.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::{Purpose, Rgba};

    /// 2x2: red, clear / half blue, white.
    const PICTURE: [u8; 16] = [
        255, 0, 0, 255, 9, 9, 9, 0, //
        0, 0, 255, 128, 255, 255, 255, 255,
    ];

    fn apply(augment: Augment, index: u64) -> Vec<f32> {
        let mut out = vec![0.0; 12];
        let mut stream = Stream::new(3, Purpose::Augment, index);
        augment.apply(&PICTURE, 2, &mut stream, &mut out);
        out
    }

    fn mirror(values: &[f32]) -> Vec<f32> {
        values.chunks(2).flat_map(|row| [row[1], row[0]]).collect()
    }

    #[test]
    fn without_augmentation_a_sample_is_the_picture_on_white()
    -> Result<(), Box<dyn std::error::Error>> {
        let expected = Rgba::new(2, 2, PICTURE.to_vec())?
            .over([255; 3])
            .to_signed();
        for (found, expected) in apply(Augment::default(), 0).iter().zip(expected) {
            // The picture rounds to a byte: half a step is 1/255.
            assert!((found - expected).abs() <= 1.0 / 255.0);
        }
        Ok(())
    }

    #[test]
    fn the_colour_behind_is_told() {
        let augment = Augment {
            background: Background::Mixed,
            ..Augment::default()
        };
        let mut colours = 0;
        for index in 0..40 {
            let (mut out, mut stream) = (vec![0.0; 12], Stream::new(3, Purpose::Augment, index));
            let behind = augment.apply(&PICTURE, 2, &mut stream, &mut out);
            // The second pixel is clear.
            for (c, colour) in behind.into_iter().enumerate() {
                assert!((out[4 * c + 1] - (2.0 * colour - 1.0)).abs() < 1e-6);
            }
            colours += usize::from(behind[0] != behind[1]);
            let solid = [9, 9, 9, 255].repeat(4);
            assert_eq!(augment.apply(&solid, 2, &mut stream, &mut out), [1.0; 3]);
        }
        assert!(colours > 0);
    }

    #[test]
    fn flips_come_half_of_the_time_and_only_mirror() {
        let flip = Augment {
            flip: Flip::Horizontal,
            ..Augment::default()
        };
        let plain = apply(Augment::default(), 0);
        let mirrored = (0..1000).filter(|&i| {
            let found = apply(flip, i);
            assert!(found == plain || found == mirror(&plain));
            found != plain
        });
        // Five standard deviations of 1000 fair coins: 5 sqrt(250) = 79.
        assert!(mirrored.count().abs_diff(500) < 79);
    }

    #[test]
    fn mixed_backgrounds_are_white_grey_and_coloured() {
        let mixed = Augment {
            background: Background::Mixed,
            ..Augment::default()
        };
        let (mut white, mut grey) = (0, 0);
        for i in 0..1000 {
            let values = apply(mixed, i);
            let [r, g, b] = [values[1], values[5], values[9]];
            white += usize::from([r, g, b] == [1.0; 3]);
            grey += usize::from(r == g && g == b);
        }
        // Five standard deviations of 1000 draws: of one in two 79, of three in four 68.
        assert!(
            white.abs_diff(500) < 82 && grey.abs_diff(750) < 68,
            "{white} {grey}"
        );
    }

    #[test]
    fn random_backgrounds_show_through_and_change() {
        let random = Augment {
            background: Background::Random,
            ..Augment::default()
        };
        let clear = |values: &[f32]| [values[1], values[5], values[9]];
        let (a, b) = (apply(random, 0), apply(random, 1));
        assert_eq!(a, apply(random, 0));
        assert_ne!(clear(&a), clear(&b));
        // What is opaque stays: red and white.
        for values in [&a, &b] {
            assert_eq!([values[0], values[4], values[8]], [1.0, -1.0, -1.0]);
            assert_eq!([values[3], values[7], values[11]], [1.0; 3]);
        }
    }
}
