//! What the samples of a tile see: the nearest solid face of each, and in front of it, from near to
//! far, the faces that light passes through.
//! Triangles come in the order of the faces, so that a tie always goes to the first.

use super::coverage::{Edges, Pattern, SUBPIXELS};
use super::project::ScreenTriangle;
use super::surface::Surface;

/// Side of a tile in pixels; its samples fit the first cache.
pub(super) const TILE: i32 = 16;
const TILE_PIXELS: usize = (TILE * TILE) as usize;
/// Glass and leaves that are drawn in one pixel; more are left out.
const MAX_LAYERS: u16 = 256;
/// No face.
pub(super) const NOTHING: u32 = u32::MAX;

/// What the samples of a pixel see of solid faces.
#[derive(Clone, Copy)]
pub(super) struct Samples<const N: usize> {
    /// 1/depth; 0 where nothing is.
    pub(super) inverse_depth: [f32; N],
    /// The face, or [`NOTHING`].
    pub(super) face: [u32; N],
}

impl<const N: usize> Samples<N> {
    /// A bit for each sample whose face is wanted.
    pub(super) fn mask(&self, wanted: impl Fn(u32) -> bool) -> u32 {
        let bits = (0..N).map(|s| u32::from(wanted(self.face[s])) << s);
        bits.fold(0, |mask, bit| mask | bit)
    }
}

/// Some samples of a pixel see through this face.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pixel: u16,
    /// A bit for each sample.
    pub(super) mask: u32,
    pub(super) face: u32,
    inverse_depth: f32,
}

/// What a tile sees.
pub(super) struct Visible<const N: usize> {
    pixels: Vec<Samples<N>>,
    /// By pixel, then from near to far.
    layers: Vec<Layer>,
    /// Where the layers of a pixel begin.
    starts: Vec<u32>,
}

/// The triangles that touch each tile, in the order of the faces.
pub(super) struct Bins {
    starts: Vec<usize>,
    triangles: Vec<u32>,
    columns: i32,
    rows: i32,
}

impl Bins {
    pub(super) fn new(triangles: &[ScreenTriangle], size: [i32; 2]) -> Self {
        let [columns, rows] = size.map(|side| (side + TILE - 1) / TILE);
        let each = |visit: &mut dyn FnMut(usize, u32)| {
            for (i, triangle) in triangles.iter().enumerate() {
                let Some([x, y]) = triangle.pixels(size) else {
                    continue;
                };
                for row in y[0] / TILE..=y[1] / TILE {
                    for column in x[0] / TILE..=x[1] / TILE {
                        visit((row * columns + column) as usize, i as u32);
                    }
                }
            }
        };
        let n_tiles = (columns * rows) as usize;
        let mut starts = vec![0; n_tiles + 1];
        each(&mut |tile, _| starts[tile + 1] += 1);
        for tile in 0..n_tiles {
            starts[tile + 1] += starts[tile];
        }
        let mut next = starts.clone();
        let mut sorted = vec![0; starts[n_tiles]];
        each(&mut |tile, triangle| {
            sorted[next[tile]] = triangle;
            next[tile] += 1;
        });
        Self {
            starts,
            triangles: sorted,
            columns,
            rows,
        }
    }

    pub(super) fn n_tiles(&self) -> usize {
        (self.columns * self.rows) as usize
    }

    /// The upper left pixel of a tile.
    pub(super) fn corner(&self, tile: usize) -> [i32; 2] {
        let tile = tile as i32;
        [tile % self.columns * TILE, tile / self.columns * TILE]
    }

    fn of(&self, tile: usize) -> &[u32] {
        &self.triangles[self.starts[tile]..self.starts[tile + 1]]
    }
}

impl<const N: usize> Visible<N> {
    pub(super) fn new(
        surface: &Surface,
        triangles: &[ScreenTriangle],
        bins: &Bins,
        tile: usize,
        pattern: &Pattern<N>,
    ) -> Self {
        let nothing = Samples {
            inverse_depth: [0.0; N],
            face: [NOTHING; N],
        };
        let mut visible = Self {
            pixels: vec![nothing; TILE_PIXELS],
            layers: Vec::new(),
            starts: Vec::new(),
        };
        let corner = bins.corner(tile);
        let here = || bins.of(tile).iter().map(|i| &triangles[*i as usize]);
        for triangle in here().filter(|t| surface.is_solid(t.face)) {
            visit(triangle, corner, pattern, |pixel, inside, inverse_depth| {
                let samples = &mut visible.pixels[pixel];
                for s in 0..N {
                    let seen = inside[s] >= 0 && inverse_depth[s] > samples.inverse_depth[s];
                    samples.inverse_depth[s] = if seen {
                        inverse_depth[s]
                    } else {
                        samples.inverse_depth[s]
                    };
                    samples.face[s] = if seen { triangle.face } else { samples.face[s] };
                }
            });
        }
        let mut counts = [0; TILE_PIXELS];
        for triangle in here().filter(|t| !surface.is_solid(t.face)) {
            visit(triangle, corner, pattern, |pixel, inside, inverse_depth| {
                let samples = &visible.pixels[pixel];
                let mut mask = 0;
                let mut nearest = 0.0f32;
                for s in 0..N {
                    if inside[s] >= 0 && inverse_depth[s] > samples.inverse_depth[s] {
                        mask |= 1 << s;
                        nearest = nearest.max(inverse_depth[s]);
                    }
                }
                if mask != 0 && counts[pixel] < MAX_LAYERS {
                    counts[pixel] += 1;
                    visible.layers.push(Layer {
                        pixel: pixel as u16,
                        mask,
                        face: triangle.face,
                        inverse_depth: nearest,
                    });
                }
            });
        }
        visible.sort();
        visible
    }

    fn sort(&mut self) {
        self.layers.sort_unstable_by(|a, b| {
            let nearer = b.inverse_depth.total_cmp(&a.inverse_depth);
            a.pixel.cmp(&b.pixel).then(nearer).then(a.face.cmp(&b.face))
        });
        self.starts = vec![0; TILE_PIXELS + 1];
        for layer in &self.layers {
            self.starts[usize::from(layer.pixel) + 1] += 1;
        }
        for pixel in 0..TILE_PIXELS {
            self.starts[pixel + 1] += self.starts[pixel];
        }
    }

    /// The samples of a pixel of the tile.
    pub(super) fn samples(&self, [x, y]: [i32; 2]) -> &Samples<N> {
        &self.pixels[(y * TILE + x) as usize]
    }

    /// The layers of a pixel of the tile, from near to far.
    pub(super) fn layers(&self, [x, y]: [i32; 2]) -> &[Layer] {
        let pixel = (y * TILE + x) as usize;
        &self.layers[self.starts[pixel] as usize..self.starts[pixel + 1] as usize]
    }
}

/// Calls `draw` with the pixels of a tile that a triangle touches: the pixel's number in the tile,
/// which samples are outside (negative), and the samples' 1/depth.
fn visit<const N: usize>(
    triangle: &ScreenTriangle,
    tile: [i32; 2],
    pattern: &Pattern<N>,
    mut draw: impl FnMut(usize, [i32; N], [f32; N]),
) {
    let end = tile.map(|corner| corner + TILE);
    let Some([columns, rows]) = triangle.pixels(end) else {
        return;
    };
    let edges = Edges::new(triangle.corners, pattern);
    let slope = triangle.slope().as_vec2() / SUBPIXELS as f32;
    let offset: [f32; N] =
        std::array::from_fn(|s| slope.x * pattern.x[s] as f32 + slope.y * pattern.y[s] as f32);
    let [least, greatest] = triangle.range;
    for y in rows[0].max(tile[1])..=rows[1] {
        let first = columns[0].max(tile[0]);
        let mut at = edges.at(first, y);
        for x in first..=columns[1] {
            if edges.may_cover(at) {
                let inside = edges.inside(at);
                let middle = triangle.inverse_depth(x, y) as f32;
                // Snapped corners may stick out of the face by a hair, thin faces by a lot of depth.
                let inverse_depth = offset.map(|o| (middle + o).max(least).min(greatest));
                let pixel = (y - tile[1]) * TILE + x - tile[0];
                draw(pixel as usize, inside, inverse_depth);
            }
            at = edges.right(at);
        }
    }
}
