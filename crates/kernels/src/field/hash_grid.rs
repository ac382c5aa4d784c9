//! The multi-resolution hash encoding of points [Mueller22]: on each level two features at each
//! vertex of a grid, in a table that vertices share where there are too many; interpolated.
//! Leaves out grids of other dimensions than three.

use serde::{Deserialize, Serialize};

use super::SpecError;

/// Features of an entry.
const FEATURES: usize = 2;
/// The factors of [Mueller22] eq. 4; that of x is 1.
const PRIMES: [u32; 2] = [2_654_435_761, 805_459_861];

/// The sizes of a hash grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashGridSpec {
    /// Grids, from coarse to fine: 1 to 32.
    pub levels: usize,
    /// Logarithm of the entries that a level has at most: 4 to 22.
    pub log2_entries: u32,
    /// Cells along an edge of the coarsest grid.
    pub base_resolution: u32,
    /// Cells along an edge of the finest grid, up to 65536.
    pub finest_resolution: u32,
}

/// A hash grid without its values.
#[derive(Clone, Debug, PartialEq)]
pub struct HashGrid {
    levels: Vec<Level>,
}

/// One grid.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Level {
    /// Cells along an edge.
    resolution: u32,
    /// Its entries in the table.
    first: usize,
    entries: usize,
    indexing: Indexing,
}

/// Where the entry of a vertex is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Indexing {
    /// Each has its own: x + stride (y + stride z).
    Dense { stride: u32 },
    /// [Mueller22] eq. 4: the product's bits under a mask.
    Hashed { mask: u32 },
}

impl HashGrid {
    /// The grid of `spec`. Level l has floor(base b^l) cells along an edge, b such that the last is the
    /// finest ([Mueller22] eq. 2, 3).
    ///
    /// # Errors
    /// A number of `spec` is out of its range.
    pub fn new(spec: &HashGridSpec) -> Result<Self, SpecError> {
        let HashGridSpec {
            levels,
            log2_entries,
            base_resolution: base,
            finest_resolution: finest,
        } = *spec;
        SpecError::unless((1..=32).contains(&levels), "levels", levels, "1 to 32")?;
        let entries_fit = (4..=22).contains(&log2_entries);
        SpecError::unless(entries_fit, "log2_entries", log2_entries, "4 to 22")?;
        let fits = (1..=1 << 16).contains(&finest);
        SpecError::unless(fits, "finest_resolution", finest, "1 to 65536")?;
        let fits = (1..=finest).contains(&base);
        let expected = "1 to finest_resolution";
        SpecError::unless(fits, "base_resolution", base, expected)?;
        let growth = (f64::from(finest) / f64::from(base)).ln() / (levels.max(2) - 1) as f64;
        let mut first = 0;
        let levels = (0..levels).map(|l| {
            // The finest comes out just below itself otherwise.
            let resolution = (f64::from(base) * (growth * l as f64).exp() + 1e-6) as u32;
            let level = Level::new(resolution, log2_entries, first);
            first += level.entries;
            level
        });
        Ok(Self {
            levels: levels.collect(),
        })
    }

    /// Values of the table: those of a level after those of the coarser ones.
    pub fn n_values(&self) -> usize {
        FEATURES * self.levels.iter().map(|level| level.entries).sum::<usize>()
    }

    /// Features of a point.
    pub fn n_features(&self) -> usize {
        FEATURES * self.levels.len()
    }

    /// Cells along an edge of each level.
    pub fn resolutions(&self) -> impl Iterator<Item = u32> {
        self.levels.iter().map(|level| level.resolution)
    }

    /// The features of `points`, `[S]` in the unit cube (others are moved to its surface), to `to`,
    /// `[S, n_features]`: trilinear interpolation of `values` on each level, and zeros on levels from
    /// `active_levels` on.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn encode(
        &self,
        values: &[f32],
        points: &[[f32; 3]],
        active_levels: usize,
        to: &mut [f32],
    ) {
        assert_eq!(values.len(), self.n_values(), "values of the grid");
        assert_eq!(to.len(), points.len() * self.n_features(), "features");
        for (point, to) in points.iter().zip(to.chunks_exact_mut(self.n_features())) {
            to.fill(0.0);
            let levels = self.levels.iter().take(active_levels);
            for (level, to) in levels.zip(to.as_chunks_mut::<FEATURES>().0) {
                let cell = level.cell(*point);
                for corner in 0..8 {
                    let (entry, weight) = (level.entry(&cell, corner), cell.weight(corner));
                    for f in 0..FEATURES {
                        to[f] += weight * values[FEATURES * (level.first + entry) + f];
                    }
                }
            }
        }
    }

    /// Adds the derivative of the sum of `grad` times features by the values, to `to`,
    /// `[n_values]`; arguments as those of [`encode`](Self::encode). Each level is summed in the
    /// order of the samples.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn backward(
        &self,
        points: &[[f32; 3]],
        grad: &[f32],
        active_levels: usize,
        to: &mut [f32],
    ) {
        assert_eq!(to.len(), self.n_values(), "values of the grid");
        assert_eq!(grad.len(), points.len() * self.n_features(), "features");
        for (point, grad) in points.iter().zip(grad.chunks_exact(self.n_features())) {
            let levels = self.levels.iter().take(active_levels);
            for (level, grad) in levels.zip(grad.as_chunks::<FEATURES>().0) {
                let cell = level.cell(*point);
                for corner in 0..8 {
                    let (entry, weight) = (level.entry(&cell, corner), cell.weight(corner));
                    for f in 0..FEATURES {
                        to[FEATURES * (level.first + entry) + f] += weight * grad[f];
                    }
                }
            }
        }
    }

    /// The derivative of the sum of `grad`, `[S, n_features]`, times features by each point, to `to`,
    /// `[S]`. Within a cell, as features bend at its faces.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn point_gradient(
        &self,
        values: &[f32],
        points: &[[f32; 3]],
        grad: &[f32],
        active_levels: usize,
        to: &mut [[f32; 3]],
    ) {
        assert_eq!(values.len(), self.n_values(), "values of the grid");
        assert_eq!(to.len(), points.len(), "points");
        assert_eq!(grad.len(), points.len() * self.n_features(), "features");
        let grads = grad.chunks_exact(self.n_features());
        for ((point, grad), to) in points.iter().zip(grads).zip(to) {
            *to = [0.0; 3];
            let levels = self.levels.iter().take(active_levels);
            for (level, grad) in levels.zip(grad.as_chunks::<FEATURES>().0) {
                let cell = level.cell(*point);
                for corner in 0..8 {
                    let entry = FEATURES * (level.first + level.entry(&cell, corner));
                    let value = values[entry] * grad[0] + values[entry + 1] * grad[1];
                    for axis in 0..3 {
                        let slope = cell.slope(corner, axis) * level.resolution as f32;
                        to[axis] += slope * value;
                    }
                }
            }
        }
    }
}

impl Level {
    fn new(resolution: u32, log2_entries: u32, first: usize) -> Self {
        let (stride, most) = (resolution + 1, 1 << log2_entries);
        let vertices = u64::from(stride).pow(3);
        let (entries, indexing) = if vertices <= most {
            // Whole cache lines.
            let entries = vertices.next_multiple_of(8);
            (entries, Indexing::Dense { stride })
        } else {
            let mask = (1 << log2_entries) - 1;
            (most, Indexing::Hashed { mask })
        };
        Self {
            resolution,
            first,
            entries: entries as usize,
            indexing,
        }
    }

    fn cell(&self, point: [f32; 3]) -> Cell {
        let last = self.resolution - 1;
        let mut cell = Cell::default();
        for axis in 0..3 {
            // NaN becomes 0.
            let at = point[axis].clamp(0.0, 1.0).max(0.0) * self.resolution as f32;
            cell.vertex[axis] = (at as u32).min(last);
            cell.fraction[axis] = at - cell.vertex[axis] as f32;
        }
        cell
    }

    fn entry(&self, cell: &Cell, corner: usize) -> usize {
        let [x, y, z] = [0, 1, 2].map(|axis| cell.vertex[axis] + (corner >> axis & 1) as u32);
        let entry = match self.indexing {
            Indexing::Dense { stride } => x + stride * (y + stride * z),
            Indexing::Hashed { mask } => {
                (x ^ y.wrapping_mul(PRIMES[0]) ^ z.wrapping_mul(PRIMES[1])) & mask
            }
        };
        entry as usize
    }
}

/// A cell and where in it a point lies.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    vertex: [u32; 3],
    fraction: [f32; 3],
}

impl Cell {
    /// The share of a corner along an axis.
    fn share(&self, corner: usize, axis: usize) -> f32 {
        match corner >> axis & 1 {
            0 => 1.0 - self.fraction[axis],
            _ => self.fraction[axis],
        }
    }

    fn weight(&self, corner: usize) -> f32 {
        self.share(corner, 0) * self.share(corner, 1) * self.share(corner, 2)
    }

    /// The derivative of a corner's weight by the fraction along an axis.
    fn slope(&self, corner: usize, axis: usize) -> f32 {
        let sign = if corner >> axis & 1 == 0 { -1.0 } else { 1.0 };
        sign * self.share(corner, (axis + 1) % 3) * self.share(corner, (axis + 2) % 3)
    }
}
