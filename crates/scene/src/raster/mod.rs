//! Draws meshes through a camera on the CPU, in tiles and in parallel, the same bits whatever the
//! number of threads: `Surface` prepares a mesh, [`render`] draws it with sixteen samples a pixel.
//! Leaves out shadows, reflections and refraction; [`Fragments`] is what gradients will start from.

mod coverage;
mod frame;
mod light;
mod normals;
mod project;
mod shade;
mod surface;
mod texture;
mod visibility;

#[cfg(test)]
mod tests;

pub use frame::{Channel, Frame};
pub use light::{Light, Source};
pub use surface::{Shading, Surface};

use dreamsmith_base::Camera;
use glam::DVec2;
use rayon::prelude::*;

use coverage::{MIDDLE, NET, Pattern};
use project::{ScreenTriangle, View, project};
use shade::{Pixel, Shader, hit};
use visibility::{Bins, NOTHING, TILE, Visible};

/// The longest side of a picture, so that corners in fixed point keep clear of overflow.
pub const MAX_SIDE: u32 = 4096;
/// Pictures of fewer pixels are not worth a second thread; they are drawn many at a time.
const FEW_PIXELS: usize = 96 * 96;

/// Why nothing was drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RasterError {
    /// More pixels than the renderer takes.
    #[error(
        "a picture of {width}x{height} is too large to draw: at most {MAX_SIDE} pixels on each side"
    )]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// The nearest face of each pixel, in its middle. Faces that light passes through count as solid.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragments {
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// The face, or `u32::MAX` where there is none `[H, W]`.
    pub face_id: Vec<u32>,
    /// Weights of the face's corners, perspective-correct, that add up to 1 `[H, W, 3]`.
    pub bary: Vec<[f32; 3]>,
    /// Along the direction of view, 0 where there is no face `[H, W]`.
    pub depth: Vec<f32>,
    /// What share of the whole pixel any face covers `[H, W]`.
    pub coverage: Vec<f32>,
}

/// A mesh on the screen, sorted into tiles.
struct Drawing<'a> {
    surface: &'a Surface,
    view: View,
    triangles: Vec<ScreenTriangle>,
    bins: Bins,
}

/// Draws a surface.
pub fn render(surface: &Surface, camera: &Camera, light: &Light) -> Result<Frame, RasterError> {
    let drawing = Drawing::new(surface, camera)?;
    let shader = Shader {
        surface,
        view: &drawing.view,
        light,
    };
    let pixels = drawing.pixels(&NET, |place, visible, inner| {
        let (samples, layers) = (visible.samples(inner), visible.layers(inner));
        match layers.is_empty() && samples.face.iter().all(|face| *face == NOTHING) {
            true => Pixel::default(),
            false => shader.pixel(place, samples, layers, &NET),
        }
    });
    Ok(Frame::new(camera.lens().size(), &pixels))
}

/// Finds the nearest face of each pixel.
pub fn fragments(surface: &Surface, camera: &Camera) -> Result<Fragments, RasterError> {
    let drawing = Drawing::new(surface, camera)?;
    let coverage = drawing.pixels(&NET, |_, visible, inner| {
        let layers = visible.layers(inner).iter().map(|layer| layer.mask);
        let solid = visible.samples(inner).mask(|face| face != NOTHING);
        layers.fold(solid, |all, mask| all | mask).count_ones() as f32 / 16.0
    });
    let nearest = drawing.pixels(&MIDDLE, |_, visible, inner| {
        let layer = visible.layers(inner).first().map(|layer| layer.face);
        layer.unwrap_or(visible.samples(inner).face[0])
    });
    let width = camera.lens().size()[0] as usize;
    let mut found = Fragments {
        size: camera.lens().size(),
        bary: vec![[0.0; 3]; nearest.len()],
        depth: vec![0.0; nearest.len()],
        coverage,
        face_id: nearest,
    };
    for (i, face) in found.face_id.iter().enumerate() {
        if *face != NOTHING {
            let place = DVec2::new((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
            let hit = hit(&drawing.view, surface.faces()[*face as usize], place);
            (found.bary[i], found.depth[i]) = (hit.bary, hit.depth);
        }
    }
    Ok(found)
}

impl<'a> Drawing<'a> {
    fn new(surface: &'a Surface, camera: &Camera) -> Result<Self, RasterError> {
        let [width, height] = camera.lens().size();
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(RasterError::Size { width, height });
        }
        let view = View::new(camera, surface.verts());
        let triangles = project(&view, surface.faces());
        let bins = Bins::new(&triangles, view.size);
        Ok(Self {
            surface,
            view,
            triangles,
            bins,
        })
    }

    /// A value for each pixel of the picture, made by `make` from the pixel's place in the picture,
    /// what its tile sees, and the pixel's place in the tile.
    fn pixels<const N: usize, T: Clone + Default + Send>(
        &self,
        pattern: &Pattern<N>,
        make: impl Fn([i32; 2], &Visible<N>, [i32; 2]) -> T + Sync,
    ) -> Vec<T> {
        let [width, height] = self.view.size;
        let draw = |tile: usize| {
            let [left, top] = self.bins.corner(tile);
            let (columns, rows) = (TILE.min(width - left), TILE.min(height - top));
            let visible = Visible::new(self.surface, &self.triangles, &self.bins, tile, pattern);
            let inner = (0..rows).flat_map(|y| (0..columns).map(move |x| [x, y]));
            let values = inner.map(|[x, y]| make([left + x, top + y], &visible, [x, y]));
            values.collect::<Vec<T>>()
        };
        let n_pixels = width as usize * height as usize;
        let n_tiles = self.bins.n_tiles();
        let tiles: Vec<Vec<T>> = match n_pixels < FEW_PIXELS {
            true => (0..n_tiles).map(draw).collect(),
            false => (0..n_tiles).into_par_iter().map(draw).collect(),
        };
        let mut pixels = vec![T::default(); n_pixels];
        for (tile, values) in tiles.iter().enumerate() {
            let [left, top] = self.bins.corner(tile);
            let columns = TILE.min(width - left) as usize;
            for (row, values) in values.chunks_exact(columns).enumerate() {
                let start = (top as usize + row) * width as usize + left as usize;
                pixels[start..start + columns].clone_from_slice(values);
            }
        }
        pixels
    }
}
