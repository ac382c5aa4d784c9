//! Textures: mip-maps averaged in linear light, looked up between texels and levels [Williams83],
//! along the longer side of the footprint where it is oblong.
//! Leaves out wrap modes other than repeating.

use std::sync::LazyLock;

use dreamsmith_base::Rgba;
use dreamsmith_base::color::{linear_to_srgb, srgb_to_linear};

/// The most lookups along the longer side of a footprint.
const MAX_PROBES: f32 = 16.0;

/// sRGB bytes in linear light.
static LINEAR: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| srgb_to_linear(byte as f32 / 255.0)));

/// A part of a texture: a point, and its steps from pixel to pixel of the screen, in uvs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footprint {
    pub(super) uv: [f32; 2],
    pub(super) along_x: [f32; 2],
    pub(super) along_y: [f32; 2],
}

struct Level {
    width: usize,
    height: usize,
    /// sRGB with alpha not multiplied in `[H, W, 4]`.
    texels: Vec<[u8; 4]>,
}

/// A texture in all sizes down to one texel.
pub(super) struct Texture {
    levels: Vec<Level>,
    is_solid: bool,
}

impl Texture {
    pub(super) fn new(picture: &Rgba) -> Self {
        let texels: Vec<[u8; 4]> = picture.rgba().as_chunks().0.to_vec();
        let is_solid = texels.iter().all(|texel| texel[3] == 255);
        let mut levels = vec![Level {
            width: picture.width() as usize,
            height: picture.height() as usize,
            texels,
        }];
        while let Some(last) = levels.last()
            && (last.width > 1 || last.height > 1)
        {
            let half = last.halved();
            levels.push(half);
        }
        Self { levels, is_solid }
    }

    /// Whether nothing shows through.
    pub(super) fn is_solid(&self) -> bool {
        self.is_solid
    }

    /// Linear RGB and alpha of a part of the texture.
    pub(super) fn lookup(&self, footprint: &Footprint) -> ([f32; 3], f32) {
        let base = &self.levels[0];
        let length = |[u, v]: [f32; 2]| (u * base.width as f32).hypot(v * base.height as f32);
        let (x, y) = (length(footprint.along_x), length(footprint.along_y));
        let (long, short, axis) = match x > y {
            true => (x, y, footprint.along_x),
            false => (y, x, footprint.along_y),
        };
        // Not finite only where a face is seen from its very edge.
        let probes = (long / short.max(1.0)).ceil();
        let probes = if probes > 1.0 {
            probes.min(MAX_PROBES)
        } else {
            1.0
        };
        let level = (long / probes).log2();
        let (mut color, mut alpha) = ([0.0; 3], 0.0);
        for i in 0..probes as usize {
            let along = (i as f32 + 0.5) / probes - 0.5;
            let uv = [0, 1].map(|k| footprint.uv[k] + along * axis[k]);
            let [r, g, b, a] = self.trilinear(uv, level);
            color = [color[0] + r, color[1] + g, color[2] + b];
            alpha += a;
        }
        // Texels that are not there lend no colour.
        let weight = if alpha > 0.0 { 1.0 / alpha } else { 0.0 };
        (color.map(|c| c * weight), alpha / probes)
    }

    /// Linear RGB multiplied with alpha, and alpha.
    fn trilinear(&self, uv: [f32; 2], level: f32) -> [f32; 4] {
        let last = (self.levels.len() - 1) as f32;
        let level = if level > 0.0 { level.min(last) } else { 0.0 };
        let (fine, share) = (level.floor(), level.fract());
        let near = self.levels[fine as usize].bilinear(uv);
        if share == 0.0 {
            return near;
        }
        let far = self.levels[fine as usize + 1].bilinear(uv);
        std::array::from_fn(|i| near[i] + share * (far[i] - near[i]))
    }
}

impl Level {
    fn bilinear(&self, [u, v]: [f32; 2]) -> [f32; 4] {
        let (x0, x1, fx) = neighbours(u, self.width);
        let (y0, y1, fy) = neighbours(v, self.height);
        let mut out = [0.0; 4];
        for (x, y, weight) in [
            (x0, y0, (1.0 - fx) * (1.0 - fy)),
            (x1, y0, fx * (1.0 - fy)),
            (x0, y1, (1.0 - fx) * fy),
            (x1, y1, fx * fy),
        ] {
            let texel = premultiplied(self.texels[y * self.width + x]);
            for (sum, value) in out.iter_mut().zip(texel) {
                *sum += weight * value;
            }
        }
        out
    }

    /// Half as wide and high, rounded down; each new texel is the mean of what it covers.
    fn halved(&self) -> Self {
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let (columns, rows) = (taps(self.width, width), taps(self.height, height));
        let mut texels = Vec::with_capacity(width * height);
        for (y, row_weights) in &rows {
            for (x, column_weights) in &columns {
                let mut mean = [0.0; 4];
                for (j, row_weight) in row_weights.iter().enumerate() {
                    for (i, column_weight) in column_weights.iter().enumerate() {
                        let weight = row_weight * column_weight;
                        if weight > 0.0 {
                            let texel = self.texels[(y + j) * self.width + x + i];
                            for (sum, value) in mean.iter_mut().zip(premultiplied(texel)) {
                                *sum += weight * value;
                            }
                        }
                    }
                }
                texels.push(to_bytes(mean));
            }
        }
        Self {
            width,
            height,
            texels,
        }
    }
}

/// The two texels around a coordinate, and how near the second is; repeated outside [0, 1].
fn neighbours(coordinate: f32, side: usize) -> (usize, usize, f32) {
    let place = (coordinate - coordinate.floor()) * side as f32 - 0.5;
    let (low, share) = (place.floor(), place - place.floor());
    let first = (low as i64).rem_euclid(side as i64) as usize;
    (first, (first + 1) % side, share)
}

/// For each of `to` texels, the first of the `from` texels it covers, and the shares of three.
fn taps(from: usize, to: usize) -> Vec<(usize, [f32; 3])> {
    let ratio = from as f64 / to as f64;
    (0..to)
        .map(|i| {
            let (start, end) = (i as f64 * ratio, (i + 1) as f64 * ratio);
            let first = start.floor();
            let share = |k: usize| {
                let left = (first + k as f64).max(start);
                let right = (first + k as f64 + 1.0).min(end);
                ((right - left).max(0.0) / ratio) as f32
            };
            // Shares that rounding made of nothing must not reach beyond the picture.
            let within = |k: usize| first as usize + k < from;
            let shares = [0, 1, 2].map(|k| if within(k) { share(k) } else { 0.0 });
            (first as usize, shares)
        })
        .collect()
}

fn premultiplied([r, g, b, a]: [u8; 4]) -> [f32; 4] {
    let table = &*LINEAR;
    let alpha = f32::from(a) / 255.0;
    let [r, g, b] = [r, g, b].map(|byte| table[usize::from(byte)] * alpha);
    [r, g, b, alpha]
}

fn to_bytes([r, g, b, alpha]: [f32; 4]) -> [u8; 4] {
    let weight = if alpha > 0.0 { 1.0 / alpha } else { 0.0 };
    let byte = |value: f32| (value * 255.0).round() as u8;
    let [r, g, b] = [r, g, b].map(|c| byte(linear_to_srgb((c * weight).min(1.0))));
    [r, g, b, byte(alpha)]
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn texture(
        width: u32,
        height: u32,
        texels: &[[u8; 4]],
    ) -> Result<Texture, Box<dyn std::error::Error>> {
        Ok(Texture::new(&Rgba::new(width, height, texels.concat())?))
    }

    fn point(uv: [f32; 2]) -> Footprint {
        Footprint {
            uv,
            along_x: [0.0; 2],
            along_y: [0.0; 2],
        }
    }

    #[test]
    fn the_middle_of_a_texel_is_its_colour_and_outside_repeats() -> Outcome {
        let texels = [
            [255, 0, 0, 255],
            [0, 255, 0, 255],
            [0, 0, 255, 255],
            [188, 188, 188, 255],
        ];
        let texture = texture(2, 2, &texels)?;
        for shift in [0.0, 1.0, -3.0] {
            let (blue, alpha) = texture.lookup(&point([0.25 + shift, 0.75]));
            assert_eq!((blue, alpha), ([0.0, 0.0, 1.0], 1.0));
        }
        let (between, _) = texture.lookup(&point([0.5, 0.25]));
        assert_eq!(between, [0.5, 0.5, 0.0]);
        Ok(())
    }

    #[test]
    fn far_away_a_chessboard_is_grey_in_linear_light() -> Outcome {
        let texels: Vec<[u8; 4]> = (0..15 * 9)
            .map(|i| {
                if (i % 15 + i / 15) % 2 == 0 {
                    [255; 4]
                } else {
                    [0, 0, 0, 255]
                }
            })
            .collect();
        let texture = texture(15, 9, &texels)?;
        let far = Footprint {
            uv: [0.3, 0.6],
            along_x: [1.0, 0.0],
            along_y: [0.0, 1.0],
        };
        let (color, alpha) = texture.lookup(&far);
        // 68 of 135 texels are white; each of three levels is rounded to a byte of sRGB.
        assert!((color[0] - 68.0 / 135.0).abs() < 0.01, "{color:?}");
        assert_eq!(alpha, 1.0);
        Ok(())
    }

    #[test]
    fn what_is_not_there_lends_no_colour() -> Outcome {
        let texture = texture(2, 1, &[[255, 0, 0, 255], [0, 255, 0, 0]])?;
        assert!(!texture.is_solid());
        let (color, alpha) = texture.lookup(&point([0.5, 0.5]));
        assert_eq!((color, alpha), ([1.0, 0.0, 0.0], 0.5));
        let far = Footprint {
            along_x: [2.0, 0.0],
            ..point([0.1, 0.5])
        };
        let (color, alpha) = texture.lookup(&far);
        assert_eq!(color, [1.0, 0.0, 0.0]);
        assert!((alpha - 0.5).abs() < 1.0 / 255.0);
        Ok(())
    }

    #[test]
    fn an_oblong_footprint_keeps_stripes_along_it() -> Outcome {
        // Vertical stripes seen with v compressed 16 times: they must not blur.
        let texels: Vec<[u8; 4]> = (0..64 * 64)
            .map(|i| {
                if i % 64 / 8 % 2 == 0 {
                    [255; 4]
                } else {
                    [0, 0, 0, 255]
                }
            })
            .collect();
        let texture = texture(64, 64, &texels)?;
        let footprint = Footprint {
            uv: [4.0 / 64.0, 0.5],
            along_x: [1.0 / 64.0, 0.0],
            along_y: [0.0, 0.25],
        };
        assert_eq!(texture.lookup(&footprint).0, [1.0; 3]);
        Ok(())
    }
}
