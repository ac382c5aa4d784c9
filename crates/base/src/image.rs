//! Pictures in memory: sRGB, 8 bits, row 0 on top; and the one border to the networks' [-1, 1].
//! Blending and resizing happen on the sRGB values, as browsers and PIL do.
//! Leaves out colour profiles, linear light and more than 8 bits.

use crate::resample::resample;

/// Why a picture cannot be made, read or written. File errors carry the path.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The number of values does not fit the sides.
    #[error(
        "a picture of {width}x{height} with {channels} channels needs {expected} values, not {found}"
    )]
    Length {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Values per pixel.
        channels: usize,
        /// How many values that makes.
        expected: u128,
        /// How many there are.
        found: usize,
    },
    /// A side of zero, or a rectangle that leaves the picture.
    #[error("{what} of {width}x{height} is not possible: {reason}")]
    Extent {
        /// What was asked for: a crop, a resize, a grid.
        what: &'static str,
        /// Asked width in pixels.
        width: u32,
        /// Asked height in pixels.
        height: u32,
        /// Why not.
        reason: String,
    },
    /// NaN or infinity where a pixel was expected.
    #[error(
        "{count} of {total} values of the picture are NaN or infinite: the model or its input is broken"
    )]
    NotFinite {
        /// How many values are not finite.
        count: usize,
        /// How many values there are.
        total: usize,
    },
    /// The header promises more pixels than allowed; nothing was decoded.
    #[error(
        "{name} claims {width}x{height} pixels, more than the limit of {limit} pixels: make it smaller"
    )]
    TooManyPixels {
        /// The file.
        name: String,
        /// Claimed width in pixels.
        width: u32,
        /// Claimed height in pixels.
        height: u32,
        /// The most pixels accepted.
        limit: u64,
    },
    /// The content is not a picture of a known format.
    #[error(
        "{name} is not a picture that can be read: expected PNG, JPEG, WebP or GIF, found {found}"
    )]
    UnknownFormat {
        /// The file.
        name: String,
        /// What it seems to be.
        found: String,
    },
    /// The format is known, the content is broken.
    #[error("{name} is a broken {format} picture: {reason}; save it again or remove it")]
    Broken {
        /// The file.
        name: String,
        /// PNG, JPEG, WebP, GIF or SVG.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The PNG encoder refuses, for instance a bad keyword.
    #[error("`{path}` cannot be written as PNG: {reason}")]
    Encode {
        /// The target.
        path: std::path::PathBuf,
        /// The encoder's words.
        reason: String,
    },
    /// An encoder of animations refuses, for instance sides beyond 65535.
    #[error("`{path}` cannot be written as {format}: {reason}")]
    EncodeAnimation {
        /// The target.
        path: std::path::PathBuf,
        /// GIF or WebP.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The file itself cannot be read or written.
    #[error(transparent)]
    File(#[from] crate::file::FileError),
}

fn check_length(
    (width, height): (u32, u32),
    channels: usize,
    found: usize,
) -> Result<(), ImageError> {
    let expected = u128::from(width) * u128::from(height) * channels as u128;
    if width == 0 || height == 0 || expected != found as u128 {
        return Err(ImageError::Length {
            width,
            height,
            channels,
            expected,
            found,
        });
    }
    Ok(())
}

fn check_extent(what: &'static str, (width, height): (u32, u32)) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Extent {
            what,
            width,
            height,
            reason: "both sides must be at least 1".into(),
        });
    }
    Ok(())
}

/// The bytes of a rectangle of `N`-byte pixels, or an error if it leaves the picture.
fn crop_bytes<const N: usize>(
    bytes: &[u8],
    (width, height): (u32, u32),
    (left, top): (u32, u32),
    size: (u32, u32),
) -> Result<Vec<u8>, ImageError> {
    check_extent("a crop", size)?;
    let fits =
        |start: u32, length: u32, whole| start.checked_add(length).is_some_and(|e| e <= whole);
    if !fits(left, size.0, width) || !fits(top, size.1, height) {
        return Err(ImageError::Extent {
            what: "a crop",
            width: size.0,
            height: size.1,
            reason: format!("it starts at ({left}, {top}) of a picture of {width}x{height}"),
        });
    }
    let (skip, keep) = (left as usize * N, size.0 as usize * N);
    Ok(bytes
        .chunks_exact(width as usize * N)
        .skip(top as usize)
        .take(size.1 as usize)
        .flat_map(|row| &row[skip..skip + keep])
        .copied()
        .collect())
}

fn to_byte(value: f32) -> u8 {
    // The cast saturates at both ends.
    value.round() as u8
}

/// An opaque picture, `[H, W, 3]` sRGB bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Image {
    /// A picture from `rgb` bytes `[H, W, 3]`; the length must fit.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, ImageError> {
        check_length((width, height), 3, rgb.len())?;
        Ok(Self { width, height, rgb })
    }

    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Result<Self, ImageError> {
        check_extent("a picture", (width, height))?;
        let rgb = colour.repeat(width as usize * height as usize);
        Ok(Self { width, height, rgb })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes `[H, W, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// `[3, H, W]` values in [-1, 1]: what a network sees.
    pub fn to_signed(&self) -> Vec<f32> {
        let plane = self.rgb.len() / 3;
        let mut out = vec![0.0; self.rgb.len()];
        for (i, pixel) in self.rgb.chunks_exact(3).enumerate() {
            for (c, &value) in pixel.iter().enumerate() {
                out[c * plane + i] = signed(value);
            }
        }
        out
    }

    /// The picture of `[3, H, W]` values in [-1, 1]: clamped, rounded to the nearest byte.
    pub fn from_signed(values: &[f32], width: u32, height: u32) -> Result<Self, ImageError> {
        check_length((width, height), 3, values.len())?;
        let count = values.iter().filter(|v| !v.is_finite()).count();
        if count > 0 {
            return Err(ImageError::NotFinite {
                count,
                total: values.len(),
            });
        }
        let plane = values.len() / 3;
        let rgb = (0..values.len())
            .map(|i| to_byte((values[i % 3 * plane + i / 3] + 1.0) * 127.5))
            .collect();
        Ok(Self { width, height, rgb })
    }

    /// The picture at another size, antialiased.
    pub fn resize(&self, width: u32, height: u32) -> Result<Self, ImageError> {
        check_extent("a resize", (width, height))?;
        let stride = self.width as usize * 3;
        let values = resample::<3>(
            (self.width as usize, self.height as usize),
            (width as usize, height as usize),
            |y, out| {
                let row = &self.rgb[y * stride..][..stride];
                for (value, &byte) in out.iter_mut().zip(row) {
                    *value = f32::from(byte);
                }
            },
        );
        let rgb = values.into_iter().map(to_byte).collect();
        Ok(Self { width, height, rgb })
    }

    /// The rectangle of `size` (width, height) whose top left corner is at `corner` (x, y).
    pub fn crop(&self, corner: (u32, u32), size: (u32, u32)) -> Result<Self, ImageError> {
        let rgb = crop_bytes::<3>(&self.rgb, (self.width, self.height), corner, size)?;
        Ok(Self {
            width: size.0,
            height: size.1,
            rgb,
        })
    }

    /// Copies `other` so that its top left corner lies at `corner` (x, y); what sticks out is cut off.
    pub fn paste(&mut self, other: &Image, corner: (u32, u32)) {
        let columns = other.width.min(self.width.saturating_sub(corner.0)) as usize * 3;
        let (to_stride, from_stride) = (self.width as usize * 3, other.width as usize * 3);
        let to_rows = self.rgb.chunks_exact_mut(to_stride).skip(corner.1 as usize);
        for (to, from) in to_rows.zip(other.rgb.chunks_exact(from_stride)) {
            let left = to_stride.min(corner.0 as usize * 3);
            to[left..left + columns].copy_from_slice(&from[..columns]);
        }
    }
}

/// One byte in [-1, 1].
pub(crate) fn signed(value: u8) -> f32 {
    f32::from(value) / 127.5 - 1.0
}

/// A picture with transparency, `[H, W, 4]` sRGB bytes, alpha not multiplied in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgba {
    width: u32,
    height: u32,
    rgba: Vec<u8>,
}

impl Rgba {
    /// A picture from bytes `[H, W, 4]`; the length must fit.
    pub fn new(width: u32, height: u32, rgba: Vec<u8>) -> Result<Self, ImageError> {
        check_length((width, height), 4, rgba.len())?;
        Ok(Self {
            width,
            height,
            rgba,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes `[H, W, 4]`.
    pub fn rgba(&self) -> &[u8] {
        &self.rgba
    }

    /// The picture over a background colour.
    pub fn over(&self, background: [u8; 3]) -> Image {
        let rgb = self
            .rgba
            .chunks_exact(4)
            .flat_map(|p| std::array::from_fn::<u8, 3, _>(|c| blend(p[c], background[c], p[3])))
            .collect();
        Image {
            width: self.width,
            height: self.height,
            rgb,
        }
    }

    /// The picture at another size, antialiased; transparent pixels lend no colour to their neighbours.
    pub fn resize(&self, width: u32, height: u32) -> Result<Self, ImageError> {
        check_extent("a resize", (width, height))?;
        let stride = self.width as usize * 4;
        let values = resample::<4>(
            (self.width as usize, self.height as usize),
            (width as usize, height as usize),
            |y, out| {
                let row = &self.rgba[y * stride..][..stride];
                for (value, pixel) in out.chunks_exact_mut(4).zip(row.chunks_exact(4)) {
                    let alpha = f32::from(pixel[3]) / 255.0;
                    for c in 0..3 {
                        value[c] = f32::from(pixel[c]) * alpha;
                    }
                    value[3] = f32::from(pixel[3]);
                }
            },
        );
        let mut rgba = Vec::with_capacity(values.len());
        for pixel in values.chunks_exact(4) {
            let alpha = pixel[3].clamp(0.0, 255.0);
            // Under half a step of alpha nothing is seen, and no colour can be recovered.
            let unmultiply = if alpha < 0.5 { 0.0 } else { 255.0 / alpha };
            rgba.extend(pixel[..3].iter().map(|v| to_byte(v * unmultiply)));
            rgba.push(to_byte(alpha));
        }
        Ok(Self {
            width,
            height,
            rgba,
        })
    }

    /// The rectangle of `size` (width, height) whose top left corner is at `corner` (x, y).
    pub fn crop(&self, corner: (u32, u32), size: (u32, u32)) -> Result<Self, ImageError> {
        let rgba = crop_bytes::<4>(&self.rgba, (self.width, self.height), corner, size)?;
        Ok(Self {
            width: size.0,
            height: size.1,
            rgba,
        })
    }
}

/// `over` of one channel, rounded to nearest.
fn blend(front: u8, back: u8, alpha: u8) -> u8 {
    let [front, back, alpha] = [front, back, alpha].map(u32::from);
    ((front * alpha + back * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), ImageError>;

    #[test]
    fn lengths_are_checked() {
        assert!(Image::new(2, 2, vec![0; 12]).is_ok());
        assert!(matches!(
            Image::new(2, 2, vec![0; 11]),
            Err(ImageError::Length {
                expected: 12,
                found: 11,
                ..
            })
        ));
        assert!(Image::new(0, 2, vec![]).is_err());
        assert!(Rgba::new(u32::MAX, u32::MAX, vec![0; 4]).is_err());
        assert!(Image::from_signed(&[0.0; 5], 1, 2).is_err());
    }

    #[test]
    fn every_byte_survives_the_border() -> Outcome {
        let rgb: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2]).collect();
        let image = Image::new(16, 16, rgb)?;
        let values = image.to_signed();
        assert_eq!((values[0], values[255], values[256]), (-1.0, 1.0, 1.0));
        assert_eq!(Image::from_signed(&values, 16, 16)?, image);
        Ok(())
    }

    #[test]
    fn values_are_clamped_and_nan_is_an_error() -> Outcome {
        assert_eq!(
            Image::from_signed(&[-3.0, 7.0, 0.0], 1, 1)?.rgb(),
            [0, 255, 128]
        );
        let broken = Image::from_signed(&[f32::NAN, f32::INFINITY, 0.0], 1, 1);
        assert!(matches!(
            broken,
            Err(ImageError::NotFinite { count: 2, total: 3 })
        ));
        Ok(())
    }

    #[test]
    fn transparent_colour_does_not_bleed() -> Outcome {
        // Left half opaque red, right half transparent green.
        let row = [[255, 0, 0, 255]; 4].into_iter().chain([[0, 255, 0, 0]; 4]);
        let picture = Rgba::new(8, 8, row.flatten().cycle().take(256).collect())?;
        let small = picture.resize(2, 2)?;
        for pixel in small.rgba().chunks_exact(4) {
            assert!(pixel[1] == 0, "green came through: {pixel:?}");
        }
        assert!(small.rgba()[3] > 200 && small.rgba()[7] < 55);
        assert_eq!(picture.over([255; 3]).rgb()[21..24], [255; 3]);
        Ok(())
    }

    #[test]
    fn half_transparent_is_half_way() -> Outcome {
        let picture = Rgba::new(1, 1, vec![200, 100, 0, 128])?;
        // (200*128 + 0*127)/255 = 100.4, (100*128)/255 = 50.2.
        assert_eq!(picture.over([0; 3]).rgb(), [100, 50, 0]);
        Ok(())
    }

    #[test]
    fn a_crop_keeps_its_pixels_and_stays_inside() -> Outcome {
        let image = Image::new(3, 2, (0..18).collect())?;
        assert_eq!(image.crop((1, 1), (2, 1))?.rgb(), [12, 13, 14, 15, 16, 17]);
        for (corner, size) in [((2, 0), (2, 1)), ((0, 0), (0, 1)), ((u32::MAX, 0), (2, 1))] {
            assert!(matches!(
                image.crop(corner, size),
                Err(ImageError::Extent { .. })
            ));
        }
        assert!(image.resize(0, 4).is_err());
        Ok(())
    }
}
