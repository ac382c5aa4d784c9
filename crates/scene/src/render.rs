//! A picture of a radiance field from a camera: colour over the background, opacity, depth and normals.
//! Leaves out what hardly anything is seen of.

use dreamsmith_base::{Camera, Image, ImageError, Ray};
use glam::Vec3;

use crate::field::normals;
use crate::hierarchical::middle_places;
use crate::look::Look;
use crate::model::{Model, Sampling, march_all, refine_all, spread_all};
use crate::samples::Samples;

/// Rays that are looked at together.
const RAYS: usize = 1 << 13;

/// What share of light passes the end of a ray.
const END: f32 = 0.1;

/// What is computed beside colour, opacity and depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    Color,
    /// Normals, which take about as long again.
    WithNormals,
}

/// A picture of a field, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Width and height.
    pub size: [u32; 2],
    /// sRGB, over the background `[H W, 3]`.
    pub color: Vec<[f32; 3]>,
    /// 1 where nothing of the background is seen `[H W]`.
    pub opacity: Vec<f32>,
    /// Mean distance from the camera, in the world's units; infinite where nothing is `[H W]`.
    pub depth: Vec<f32>,
    /// The distance behind which less than a tenth of what is there would be seen; infinite where more would be `[H W]`.
    pub end: Vec<f32>,
    /// Mean normal in the world, of length 1; 0 where nothing is `[H W, 3]`.
    pub normals: Vec<[f32; 3]>,
}

/// What a ray sees, without what lies behind the box.
#[derive(Clone, Copy)]
struct Pixel {
    color: Vec3,
    transmittance: f32,
    depth: f32,
    end: f32,
    normal: Vec3,
}

/// Draws `model` as `camera` sees it.
pub fn render(model: &Model, camera: &Camera, extent: Extent) -> Frame {
    let size = camera.lens().size();
    let n_pixels = size[0] as usize * size[1] as usize;
    let mut frame = Frame {
        size,
        color: Vec::with_capacity(n_pixels),
        opacity: Vec::with_capacity(n_pixels),
        depth: Vec::with_capacity(n_pixels),
        end: Vec::with_capacity(n_pixels),
        normals: Vec::with_capacity(n_pixels),
    };
    for first in (0..n_pixels).step_by(RAYS) {
        let ray = |i: usize| {
            let (x, y) = (i % size[0] as usize, i / size[0] as usize);
            let ray = camera.ray(x as f32 + 0.5, y as f32 + 0.5);
            model.cube.ray_in_box(&ray)
        };
        let rays: Vec<Ray> = (first..(first + RAYS).min(n_pixels)).map(ray).collect();
        let pixels = look_along(model, &rays, extent);
        let dirs: Vec<[f32; 3]> = rays.iter().map(|ray| ray.dir.into()).collect();
        let behind = model.background.colors(&dirs);
        for (pixel, behind) in pixels.iter().zip(behind.chunks_exact(3)) {
            let color = pixel.color + pixel.transmittance * Vec3::from_slice(behind);
            let opacity = 1.0 - pixel.transmittance;
            frame.color.push(color.into());
            frame.opacity.push(opacity);
            frame
                .depth
                .push(pixel.depth / opacity * model.cube.half_side);
            frame.end.push(pixel.end * model.cube.half_side);
            frame.normals.push(pixel.normal.normalize_or_zero().into());
        }
    }
    frame
}

/// What `rays` of the box see, without what lies behind it.
fn look_along(model: &Model, rays: &[Ray], extent: Extent) -> Vec<Pixel> {
    match &model.sampling {
        Sampling::Occupied { grid, march } => {
            let samples = march_all(rays, (grid, march));
            pixels(model, extent, samples)
        }
        Sampling::Hierarchical { coarse, fine } => {
            // A round of marching has about as many samples.
            let parts = rays.chunks(RAYS / 16).flat_map(|rays| {
                let mut first = spread_all(rays, &|_| middle_places(*coarse));
                let look = Look::new(model.fields[0].as_ref(), &mut first, 0.0);
                let samples = refine_all(rays, (&first, &look.seen), &|_| middle_places(*fine));
                pixels(model, extent, samples)
            });
            parts.collect()
        }
    }
}

/// What rays with `samples` see.
fn pixels(model: &Model, extent: Extent, mut samples: Samples) -> Vec<Pixel> {
    // Of 8 bits a pixel has, a hundredth of the last.
    let look = Look::new(model.field(), &mut samples, 1e-5);
    let normals = match extent {
        Extent::Color => vec![],
        Extent::WithNormals => normals(model.field(), &samples.points),
    };
    let pixel = |ray: usize| {
        let mut pixel = Pixel {
            color: Vec3::from_slice(&look.seen.color[3 * ray..]),
            transmittance: look.seen.transmittance[ray],
            depth: 0.0,
            end: f32::INFINITY,
            normal: Vec3::ZERO,
        };
        let mut left = 1.0;
        for i in samples.of_ray(ray) {
            let weight = look.seen.weights[i];
            left -= weight;
            if left < END {
                pixel.end = pixel.end.min(samples.depths[i]);
            }
            pixel.depth += weight * samples.depths[i];
            if let Some(normal) = normals.get(i) {
                pixel.normal += weight * Vec3::from(*normal);
            }
        }
        pixel
    };
    (0..samples.n_rays()).map(pixel).collect()
}

impl Frame {
    /// The colours.
    pub fn picture(&self) -> Result<Image, ImageError> {
        self.image(|i| self.color[i])
    }

    /// Normals as colours: 0 to grey, +X to red, +Y to green, +Z to blue; white where nothing is.
    pub fn normal_picture(&self) -> Result<Image, ImageError> {
        self.image(|i| {
            let normal = self.normals[i].map(|x| 0.5 + 0.5 * x);
            self.over_white(i, normal)
        })
    }

    /// Depths from near, dark, to far, light; white where nothing is.
    pub fn depth_picture(&self) -> Result<Image, ImageError> {
        let there = |i: &usize| self.opacity[*i] > 0.5 && self.depth[*i].is_finite();
        let depths = (0..self.depth.len()).filter(there).map(|i| self.depth[i]);
        let (near, far) = depths.fold((f32::INFINITY, 0.0f32), |(near, far), depth| {
            (near.min(depth), far.max(depth))
        });
        let range = (far - near).max(f32::MIN_POSITIVE);
        self.image(|i| {
            let shade = 0.1 + 0.75 * ((self.depth[i] - near) / range).clamp(0.0, 1.0);
            self.over_white(i, [if shade.is_finite() { shade } else { 1.0 }; 3])
        })
    }

    fn over_white(&self, i: usize, color: [f32; 3]) -> [f32; 3] {
        color.map(|x| x * self.opacity[i] + 1.0 - self.opacity[i])
    }

    fn image(&self, color: impl Fn(usize) -> [f32; 3]) -> Result<Image, ImageError> {
        let [width, height] = self.size;
        let bytes = (0..self.color.len()).flat_map(color);
        // The cast saturates at both ends.
        let bytes = bytes.map(|x| (x * 255.0).round() as u8).collect();
        Image::new(width, height, bytes)
    }
}
