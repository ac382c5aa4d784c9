//! What was drawn: buffers in linear light, and sRGB pictures of them.
//! Leaves out tone mapping: what is brighter than white is white.

use dreamsmith_base::color::linear_to_srgb;
use dreamsmith_base::{ImageError, Rgba};
use glam::Vec3;
use serde::{Deserialize, Serialize};

use super::shade::Pixel;

/// A drawn picture, row 0 on top. Values are means over what covers the pixel, 0 where nothing does;
/// `mask` tells how much is covered.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// Albedo under the light, linear RGB `[H, W, 3]`.
    pub color: Vec<[f32; 3]>,
    /// What share of light of each colour the surface sends back, linear RGB `[H, W, 3]`.
    pub albedo: Vec<[f32; 3]>,
    /// In the world, turned to the viewer, of length 1 `[H, W, 3]`.
    pub normals: Vec<[f32; 3]>,
    /// Along the direction of view, in units of the world `[H, W]`.
    pub depth: Vec<f32>,
    /// What share of the pixel is covered, in [0, 1] `[H, W]`.
    pub mask: Vec<f32>,
    /// White under the light: the shape alone `[H, W]`.
    pub clay: Vec<f32>,
}

/// The share of light that clay throws back.
const CLAY: f32 = 0.6;

/// One of the buffers of a [`Frame`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Under the light.
    #[default]
    Color,
    /// Without light.
    Albedo,
    /// X, Y and Z from -1 to 1 as red, green and blue from 0 to 1, not sRGB.
    Normals,
    /// White is near, black is far: over the range that the picture holds, not sRGB.
    Depth,
    /// White where something is, opaque everywhere, not sRGB.
    Mask,
    /// Light grey under the light, which stands out from white.
    Clay,
}

impl Frame {
    pub(super) fn new(size: [u32; 2], pixels: &[Pixel]) -> Self {
        let share = |pixel: &Pixel| {
            if pixel.mask > 0.0 {
                1.0 / pixel.mask
            } else {
                0.0
            }
        };
        let triples = |value: fn(&Pixel) -> Vec3| {
            let mean = |pixel: &Pixel| (value(pixel) * share(pixel)).into();
            pixels.iter().map(mean).collect()
        };
        let numbers = |value: fn(&Pixel) -> f32| {
            let mean = |pixel: &Pixel| value(pixel) * share(pixel);
            pixels.iter().map(mean).collect()
        };
        Self {
            size,
            color: triples(|pixel| pixel.color),
            albedo: triples(|pixel| pixel.albedo),
            normals: pixels
                .iter()
                .map(|pixel| pixel.normal.normalize_or_zero().into())
                .collect(),
            depth: numbers(|pixel| pixel.depth),
            mask: pixels.iter().map(|pixel| pixel.mask.min(1.0)).collect(),
            clay: numbers(|pixel| pixel.clay),
        }
    }

    /// A buffer as a picture, whose alpha is the mask.
    pub fn picture(&self, channel: Channel) -> Result<Rgba, ImageError> {
        let srgb = |color: &[f32; 3]| color.map(linear_to_srgb);
        match channel {
            Channel::Color => self.paint(|i| srgb(&self.color[i])),
            Channel::Albedo => self.paint(|i| srgb(&self.albedo[i])),
            Channel::Normals => self.paint(|i| self.normals[i].map(|x| x * 0.5 + 0.5)),
            Channel::Clay => self.paint(|i| [linear_to_srgb(CLAY * self.clay[i]); 3]),
            Channel::Mask => {
                let opaque = |mask: &f32| {
                    let value = to_byte(*mask);
                    [value, value, value, 255]
                };
                let rgba = self.mask.iter().flat_map(opaque).collect();
                Rgba::new(self.size[0], self.size[1], rgba)
            }
            Channel::Depth => {
                let seen = || self.depth.iter().copied().filter(|depth| *depth > 0.0);
                let near = seen().fold(f32::INFINITY, f32::min);
                let far = seen().fold(0.0, f32::max);
                let range = (far - near).max(f32::MIN_POSITIVE);
                self.paint(|i| [(far - self.depth[i]) / range; 3])
            }
        }
    }

    fn paint(&self, color: impl Fn(usize) -> [f32; 3]) -> Result<Rgba, ImageError> {
        let mut rgba = Vec::with_capacity(self.mask.len() * 4);
        for (i, mask) in self.mask.iter().enumerate() {
            let seen = if *mask > 0.0 { color(i) } else { [0.0; 3] };
            rgba.extend(seen.map(to_byte));
            rgba.push(to_byte(*mask));
        }
        Rgba::new(self.size[0], self.size[1], rgba)
    }
}

fn to_byte(value: f32) -> u8 {
    // The cast saturates at both ends.
    (value * 255.0).round() as u8
}
