//! Which cells of the box [-1, 1]^3 hold anything: a grid of bits that rays skip by, kept up to date by a
//! moving maximum of the opacity of one step in each cell [Mueller22, appendix C].
//! Leaves out several scales for unbounded scenes.

use dreamsmith_base::{Purpose, Stream};
use glam::Vec3;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use serde::{Deserialize, Serialize};

/// Cells that are asked for their density together.
const BLOCK: usize = 1 << 16;
/// Points from one random stream; divides `BLOCK`.
const CHUNK: usize = 1 << 10;
/// Cells along an edge of a block: rays pass empty ones at once.
const SIDE: u32 = 4;

/// How the grid follows the field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OccupancySpec {
    /// Cells along an edge of the box.
    pub resolution: u32,
    /// Steps between updates.
    pub every: u64,
    /// Updates that look at all cells; later ones look at `1 / share` of them, and again as many of the occupied.
    pub full_updates: u64,
    /// One cell in so many is looked at by a later update.
    pub share: u32,
    /// What is left of an old maximum at an update.
    pub decay: f32,
    /// A cell is occupied above this opacity of a step, or above the mean of all cells if that is less.
    pub threshold: f32,
}

impl Default for OccupancySpec {
    fn default() -> Self {
        Self {
            resolution: 64,
            every: 16,
            full_updates: 4,
            share: 16,
            decay: 0.95,
            threshold: 0.01,
        }
    }
}

/// The grid. Cell `(x, y, z)` has number `(z n + y) n + x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Occupancy {
    spec: OccupancySpec,
    /// Moving maxima of the opacity of a step `[n, n, n]`.
    opacity: Vec<f32>,
    bits: Vec<u64>,
    /// How many blocks of cells away, along the axis where it is most, the nearest is that holds an occupied cell
    /// `[n / 4, n / 4, n / 4]`.
    distances: Vec<i32>,
}

impl Occupancy {
    /// A grid whose cells are all occupied.
    pub fn new(spec: OccupancySpec) -> Self {
        let n_cells = (spec.resolution as usize).pow(3);
        Self::from_opacity(spec, vec![f32::INFINITY; n_cells])
    }

    /// The grid of stored maxima `[n, n, n]`; missing ones count as empty.
    pub fn from_opacity(spec: OccupancySpec, mut opacity: Vec<f32>) -> Self {
        opacity.resize((spec.resolution as usize).pow(3), 0.0);
        let mut grid = Self {
            spec,
            opacity,
            bits: vec![],
            distances: vec![],
        };
        grid.renew_bits();
        grid
    }

    /// The same grid with these maxima.
    pub fn with_opacity(&self, opacity: Vec<f32>) -> Self {
        Self::from_opacity(self.spec, opacity)
    }

    /// The moving maxima `[n, n, n]`, which are all of the state.
    pub fn opacity(&self) -> &[f32] {
        &self.opacity
    }

    /// Cells along an edge.
    pub fn resolution(&self) -> u32 {
        self.spec.resolution
    }

    /// The share of cells that are occupied.
    pub fn share(&self) -> f64 {
        let set: u64 = self
            .bits
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        set as f64 / self.opacity.len().max(1) as f64
    }

    /// Whether an update is due after `step` steps.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.spec.every)
    }

    /// The cell that holds a point of the box; points outside count to the nearest one.
    pub fn cell_of(&self, point: Vec3) -> [u32; 3] {
        let n = self.spec.resolution as f32;
        ((point + 1.0) * (0.5 * n))
            .clamp(Vec3::ZERO, Vec3::splat(n - 1.0))
            .to_array()
            .map(|x| x as u32)
    }

    /// Whether the cell is occupied.
    pub fn is_occupied(&self, [x, y, z]: [u32; 3]) -> bool {
        let n = self.spec.resolution;
        let cell = ((z * n + y) * n + x) as usize;
        self.bits[cell / 64] >> (cell % 64) & 1 == 1
    }

    /// The least corner and the size, in cells, of a cube around `cell` that is empty; `None` if the cell is occupied.
    /// Parts of it may lie outside the box.
    #[inline(always)]
    pub fn empty_cube(&self, cell: [u32; 3]) -> Option<([i32; 3], i32)> {
        let far = self.distances[self.block_of(cell)];
        if far > 0 {
            let reach = far - 1;
            let corner = cell.map(|x| ((x / SIDE) as i32 - reach) * SIDE as i32);
            return Some((corner, (2 * reach + 1) * SIDE as i32));
        }
        (!self.is_occupied(cell)).then(|| (cell.map(|x| x as i32), 1))
    }

    #[inline(always)]
    fn block_of(&self, cell: [u32; 3]) -> usize {
        let n = self.spec.resolution.div_ceil(SIDE);
        let [x, y, z] = cell.map(|x| x / SIDE);
        ((z * n + y) * n + x) as usize
    }

    /// Update number `update` of the run of `seed`: `density` is asked for the density at a random point of each
    /// cell it looks at, and the opacity over a length of `dt` is kept.
    pub fn update(
        &mut self,
        (seed, update): (u64, u64),
        dt: f32,
        density: &dyn Fn(&[[f32; 3]]) -> Vec<f32>,
    ) {
        let cells = self.cells_to_see(seed, update);
        for opacity in &mut self.opacity {
            // All are infinite before the first update.
            *opacity = if update == 0 {
                0.0
            } else {
                *opacity * self.spec.decay
            };
        }
        let mut points = vec![[0.0; 3]; BLOCK];
        for (block, cells) in cells.chunks(BLOCK).enumerate() {
            let points = &mut points[..cells.len()];
            self.jitter(
                seed,
                (update << 32) | (block * BLOCK / CHUNK) as u64,
                cells,
                points,
            );
            for (cell, density) in cells.iter().zip(density(points)) {
                let kept = &mut self.opacity[*cell as usize];
                *kept = kept.max(1.0 - (-density * dt).exp());
            }
        }
        self.renew_bits();
    }

    /// All cells at first; then one of each `share`, and as many of the occupied ones in turn.
    fn cells_to_see(&self, seed: u64, update: u64) -> Vec<u32> {
        let n_cells = self.opacity.len() as u32;
        if update < self.spec.full_updates {
            return (0..n_cells).collect();
        }
        let share = self.spec.share.max(1);
        let mut stream = Stream::new(
            seed,
            Purpose::Occupancy,
            (update << 32) | u64::from(u32::MAX),
        );
        let mut cells: Vec<u32> = (0..n_cells / share)
            .map(|group| group * share + stream.below(u64::from(share)) as u32)
            .collect();
        let is_set = |cell: &u32| self.bits[*cell as usize / 64] >> (cell % 64) & 1 == 1;
        let occupied: Vec<u32> = (0..n_cells).filter(is_set).collect();
        let stride = occupied.len().div_ceil(cells.len().max(1)).max(1);
        cells.extend(
            occupied
                .iter()
                .skip(update as usize % stride)
                .step_by(stride),
        );
        cells
    }

    /// A random point in each of `cells`, drawn from the streams from `first` on.
    fn jitter(&self, seed: u64, first: u64, cells: &[u32], points: &mut [[f32; 3]]) {
        let n = self.spec.resolution;
        let chunks = points.par_chunks_mut(CHUNK).zip(cells.par_chunks(CHUNK));
        chunks.enumerate().for_each(|(chunk, (points, cells))| {
            let mut stream = Stream::new(seed, Purpose::Occupancy, first + chunk as u64);
            for (point, cell) in points.iter_mut().zip(cells) {
                let corner = [cell % n, cell / n % n, cell / (n * n)].map(|x| x as f32);
                let within = Vec3::new(stream.uniform(), stream.uniform(), stream.uniform());
                *point = ((Vec3::from(corner) + within) * (2.0 / n as f32) - 1.0).into();
            }
        });
    }

    fn renew_bits(&mut self) {
        // In f64 and in order: the mean is the same however many threads there are.
        let sum: f64 = self.opacity.iter().map(|x| f64::from(*x)).sum();
        let mean = (sum / self.opacity.len().max(1) as f64) as f32;
        let threshold = mean.min(self.spec.threshold);
        let word = |cells: &[f32]| {
            let set = |(i, opacity): (usize, &f32)| u64::from(*opacity > threshold) << i;
            cells.iter().enumerate().map(set).sum()
        };
        self.bits = self.opacity.chunks(64).map(word).collect();
        let n = self.spec.resolution;
        let side = n.div_ceil(SIDE) as usize;
        // As if another block lay behind the far corner: no block is farther away.
        self.distances = vec![side as i32; side.pow(3)];
        for (number, opacity) in (0..).zip(&self.opacity) {
            if *opacity > threshold {
                let block = self.block_of([number % n, number / n % n, number / (n * n)]);
                self.distances[block] = 0;
            }
        }
        spread(&mut self.distances, side);
    }
}

/// Lowers what stands in a cube of `side` values along an edge to the distance from the nearest 0, where a step to any
/// of the 26 neighbours counts 1: one sweep forwards and one back [Rosenfeld66].
fn spread(distances: &mut [i32], side: usize) {
    let last = side as i32 - 1;
    let index = |[x, y, z]: [i32; 3]| (z as usize * side + y as usize) * side + x as usize;
    let offsets = (0..27).map(|i| [i % 3 - 1, i / 3 % 3 - 1, i / 9 - 1]);
    // Those that a sweep has passed already: the first half, and the other mirrored.
    let before: Vec<[i32; 3]> = offsets.take(13).collect();
    for sign in [1, -1] {
        for i in 0..distances.len() {
            let i = if sign > 0 { i } else { distances.len() - 1 - i };
            let at = [i % side, i / side % side, i / (side * side)].map(|x| x as i32);
            for offset in &before {
                let near = [0, 1, 2].map(|axis| at[axis] + sign * offset[axis]);
                if near.iter().all(|x| (0..=last).contains(x)) {
                    distances[i] = distances[i].min(distances[index(near)] + 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(points: &[[f32; 3]]) -> Vec<f32> {
        let inside = |point: &[f32; 3]| Vec3::from(*point).length() < 0.5;
        points
            .iter()
            .map(|point| if inside(point) { 100.0 } else { 0.0 })
            .collect()
    }

    #[test]
    fn a_ball_fills_its_share_and_an_emptied_box_is_forgotten() {
        let spec = OccupancySpec {
            resolution: 32,
            ..OccupancySpec::default()
        };
        let mut grid = Occupancy::new(spec);
        assert_eq!(grid.share(), 1.0);
        for update in 0..20 {
            grid.update((1, update), 0.01, &ball);
        }
        // A ball of radius 0.5 in a box of side 2, and up to a cell more around it: (0.5 + 1/16)^3.
        let (least, most) = (0.125, 0.125 * 1.125f64.powi(3));
        let ball_share = grid.share() / (4.0 / 3.0 * std::f64::consts::PI / 8.0);
        assert!((least..most).contains(&ball_share), "{ball_share}");
        assert!(grid.is_occupied(grid.cell_of(Vec3::ZERO)));
        assert!(!grid.is_occupied(grid.cell_of(Vec3::splat(0.9))));
        let stored = Occupancy::from_opacity(spec, grid.opacity().to_vec());
        assert_eq!(stored, grid);
        for update in 20..200 {
            grid.update((1, update), 0.01, &|points| vec![0.0; points.len()]);
        }
        // All decay alike, so that what is above the mean stays; none is above a hundredth of what it was.
        assert!(grid.opacity().iter().all(|x| *x < 0.01));
    }

    #[test]
    fn distances_are_those_to_the_nearest() {
        let (side, zeros) = (7, [[1, 5, 2], [6, 0, 6], [1, 4, 4]]);
        let place = |i: i32| [i % side, i / side % side, i / (side * side)];
        let nearest = |i: i32| {
            let far = |zero: &[i32; 3]| (0..3).map(|a| (place(i)[a] - zero[a]).abs()).max();
            zeros.iter().filter_map(far).min().unwrap_or(side)
        };
        let wanted: Vec<i32> = (0..side.pow(3)).map(nearest).collect();
        let start = wanted.iter().map(|far| if *far == 0 { 0 } else { side });
        let mut distances: Vec<i32> = start.collect();
        spread(&mut distances, side as usize);
        assert_eq!(distances, wanted);
    }

    #[test]
    fn points_lie_in_their_cells() {
        let grid = Occupancy::new(OccupancySpec {
            resolution: 16,
            ..OccupancySpec::default()
        });
        let cells: Vec<u32> = (0..16 * 16 * 16).collect();
        let mut points = vec![[0.0; 3]; cells.len()];
        grid.jitter(3, 0, &cells, &mut points);
        for (cell, point) in cells.iter().zip(&points) {
            let [x, y, z] = grid.cell_of(Vec3::from(*point));
            assert_eq!((z * 16 + y) * 16 + x, *cell);
        }
    }
}
