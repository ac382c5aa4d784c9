//! What some of the cameras see of a field, and so which places none of them sees, and how well a mesh agrees with the
//! field it was taken from: silhouettes and depths. Leaves out colours, which `recolor` compares.

use dreamsmith_base::{Camera, CameraError, Mesh};
use glam::Vec3;
use rayon::prelude::*;

use crate::model::Model;
use crate::raster::{RasterError, Shading, Surface, fragments};
use crate::render::{Extent, render};

/// Cameras that look at the field.
const CAMERAS: usize = 48;
/// Those of them, one in so many, that look at meshes.
const ASKED: usize = 6;
/// The cosine of 70 degrees: surfaces that are looked at from farther aside hardly show their colour.
const GRAZING: f32 = 0.35;
/// The longest side of what they see.
const SIDE: u32 = 128;
/// Where only one of the two is, they differ by this part of the field's half side, and nowhere by more.
const MOST: f32 = 0.1;

/// What a field shows to some cameras.
pub struct Sights {
    pub(crate) half_side: f32,
    pub(crate) sights: Vec<Sight>,
}

/// What a field shows to one camera.
pub(crate) struct Sight {
    pub(crate) camera: Camera,
    /// sRGB `[H W, 3]`.
    pub(crate) color: Vec<[f32; 3]>,
    /// `[H W]`.
    pub(crate) opacity: Vec<f32>,
    /// The distance of what hides more than half of the light `[H W]`.
    pub(crate) depth: Vec<Option<f32>>,
    /// The distance behind which hardly anything is seen `[H W]`.
    end: Vec<f32>,
}

/// How well a mesh agrees with a field, over the pixels where either is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// What share of these pixels shows both.
    pub mask_iou: f64,
    /// How far the two are apart where both are, over the half side of the field's cube.
    pub depth_error: f64,
    /// The mean of both faults: where only one is, it counts as a tenth of the half side.
    pub fault: f64,
}

impl Sights {
    /// Looks at the field from some of `cameras`, evenly chosen.
    pub fn new(model: &Model, cameras: &[Camera]) -> Result<Self, CameraError> {
        let stride = cameras.len().div_ceil(CAMERAS).max(1);
        let sights = cameras.iter().step_by(stride).map(|camera| {
            let [width, height] = camera.lens().size();
            let longest = width.max(height);
            let reduced = |side: u32| match longest > SIDE {
                true => (side * SIDE / longest).max(1),
                false => side,
            };
            let camera = camera.resized([reduced(width), reduced(height)])?;
            let frame = render(model, &camera, Extent::Color);
            let there = frame.opacity.iter().zip(frame.depth);
            let depth = there.map(|(opacity, depth)| (*opacity > 0.5).then_some(depth));
            Ok(Sight {
                camera,
                depth: depth.collect(),
                color: frame.color,
                opacity: frame.opacity,
                end: frame.end,
            })
        });
        Ok(Self {
            half_side: model.cube.half_side,
            sights: sights.collect::<Result<_, CameraError>>()?,
        })
    }

    /// Whether `point` of the world lies behind surfaces by more than `margin`, whichever camera looks. What is in fewer
    /// than three quarters of the pictures is not hidden: it may lie behind the scene in all of them.
    pub fn hide(&self, point: Vec3, margin: f32) -> bool {
        let mut n_pictures = 0;
        for sight in &self.sights {
            match sight.sees(point, margin) {
                Some(true) => return false,
                Some(false) => n_pictures += 1,
                None => {}
            }
        }
        n_pictures > 0 && 4 * n_pictures >= 3 * self.sights.len()
    }

    /// Whether some camera sees a surface at `point`, not just from the side: an edge is no place to learn a colour.
    pub fn show(&self, point: Vec3, normal: Vec3, margin: f32) -> bool {
        self.sights.iter().any(|sight| {
            let from = (sight.camera.position() - point).normalize_or_zero();
            normal.dot(from) > GRAZING && sight.sees(point, margin) == Some(true)
        })
    }

    /// Compares a mesh of the world with the field.
    pub fn agreement(&self, mesh: &Mesh) -> Result<Agreement, RasterError> {
        let surface = Surface::new(mesh, Shading::Flat);
        let most = MOST * self.half_side;
        let asked: Vec<&Sight> = self.sights.iter().step_by(ASKED).collect();
        let counts = asked.par_iter().map(|s| s.counts(&surface, most));
        let counts = counts.collect::<Result<Vec<Counts>, _>>()?;
        let mut sum = Counts::default();
        for counts in counts {
            sum.either += counts.either;
            sum.both += counts.both;
            sum.apart += counts.apart;
        }
        let (either, both) = (sum.either.max(1) as f64, sum.both as f64);
        let apart = sum.apart / f64::from(self.half_side);
        let alone = (sum.either - sum.both) as f64 * f64::from(MOST);
        Ok(Agreement {
            mask_iou: both / either,
            depth_error: apart / both.max(1.0),
            fault: (apart + alone) / either,
        })
    }
}

/// Pixels that show the field or the mesh, those that show both, and how far these are apart in all.
#[derive(Default)]
struct Counts {
    either: usize,
    both: usize,
    apart: f64,
}

impl Sight {
    /// Whether `point` is no farther than `margin` behind what its pixel shows; `None` if it is in no pixel.
    fn sees(&self, point: Vec3, margin: f32) -> Option<bool> {
        let [width, height] = self.camera.lens().size().map(|side| side as f32);
        let [x, y] = self.camera.project(point)?;
        let is_inside = (0.0..width).contains(&x) && (0.0..height).contains(&y);
        is_inside.then(|| {
            let end = self.end[y as usize * width as usize + x as usize];
            self.camera.position().distance(point) < end + margin
        })
    }

    /// The distance at which each pixel shows the mesh `[H W]`.
    pub(crate) fn distances(&self, surface: &Surface) -> Result<Vec<Option<f32>>, RasterError> {
        let found = fragments(surface, &self.camera)?;
        let width = found.size[0] as usize;
        let forwards: Vec3 = self.camera.direction();
        let depths = found.depth.iter().zip(&found.face_id).enumerate();
        let distance = |(i, (depth, face)): (usize, (&f32, &u32))| {
            let (x, y) = ((i % width) as f32 + 0.5, (i / width) as f32 + 0.5);
            (*face != u32::MAX).then(|| depth / self.camera.ray(x, y).dir.dot(forwards))
        };
        Ok(depths.map(distance).collect())
    }

    fn counts(&self, surface: &Surface, most: f32) -> Result<Counts, RasterError> {
        let mut counts = Counts::default();
        for (field, mesh) in self.depth.iter().zip(self.distances(surface)?) {
            counts.either += usize::from(field.is_some() || mesh.is_some());
            if let (Some(field), Some(mesh)) = (field, mesh) {
                counts.both += 1;
                counts.apart += f64::from((field - mesh).abs().min(most));
            }
        }
        Ok(counts)
    }
}
