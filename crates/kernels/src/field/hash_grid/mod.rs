//! The multi-resolution hash encoding of points [Mueller22]: on each level two features at each
//! vertex of a grid, in a table that vertices share where there are too many; interpolated.
//! Leaves out grids of other dimensions than three.

mod cells;
mod jobs;
mod rows;

use bytemuck::cast_slice_mut;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::isa::{Isa, Precision};
use crate::lanes::LANES;
use crate::parallel::threads;
use crate::scratch::with_scratch;
use cells::Columns;
use jobs::{Encode, PointGradient, Scatter};
use rows::{Block, ToBlocks, ToRows};

/// Features of an entry.
const FEATURES: usize = 2;
/// Points that a thread takes at a time: a level's table stays in its cache for so many.
const PART: usize = 1 << 12;
/// Points that all threads encode together: their features stay in the largest cache.
const ENCODED: usize = 1 << 15;
/// Points whose rows a thread makes at a time.
const ROWS: usize = 1 << 10;
/// As many threads as have enough to do with a level for each.
const LEVELS_FOR_EACH: usize = 8;

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
        let features = self.n_features();
        let parts = points
            .chunks(ENCODED)
            .zip(to.chunks_mut(ENCODED * features));
        for (points, to) in parts {
            self.encode_part((values, self.active(active_levels)), points, to);
        }
    }

    /// Level by level, so that a thread fetches each table once. Rows come after that: written level by level, they would
    /// be fetched as often.
    fn encode_part(
        &self,
        (values, levels): (&[f32], &[Level]),
        points: &[[f32; 3]],
        to: &mut [f32],
    ) {
        let (isa, features) = (Isa::of(Precision::F32), self.n_features());
        let (room, blocks) = (Columns::room(points.len()), points.len().div_ceil(LANES));
        // More threads than levels share the points of each.
        let share = blocks.div_ceil(threads().div_ceil(LEVELS_FOR_EACH)).max(1);
        with_scratch(
            room + FEATURES * LANES * blocks * levels.len(),
            |room_for_all| {
                let (of_points, of_features) = room_for_all.split_at_mut(room);
                let points = Columns::of(points, cast_slice_mut(of_points));
                let of_features: &mut [Block] = cast_slice_mut(of_features);
                let mut work = vec![];
                for (level, to) in levels
                    .iter()
                    .zip(of_features.chunks_exact_mut(blocks.max(1)))
                {
                    for (first, to) in (0..).step_by(share).zip(to.chunks_mut(share)) {
                        let points = &points;
                        work.push(Encode {
                            level,
                            values,
                            points,
                            to,
                            first,
                        });
                    }
                }
                work.into_par_iter()
                    .with_max_len(1)
                    .for_each(|work| isa.run(work));
                let levels: Vec<&[Block]> = of_features.chunks_exact(blocks.max(1)).collect();
                let parts = to.par_chunks_mut(ROWS * features).enumerate();
                parts.for_each(|(part, to)| {
                    let (levels, first) = (&levels[..], part * ROWS / LANES);
                    isa.run(ToRows {
                        levels,
                        first,
                        features,
                        to,
                    });
                });
            },
        );
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
        let features = self.n_features();
        let isa = Isa::of(Precision::F32);
        let mut rest = to;
        let mut levels = vec![];
        for (l, level) in self.active(active_levels).iter().enumerate() {
            let to = rest.split_off_mut(..FEATURES * level.entries);
            levels.push((l, level, to.unwrap_or_default()));
        }
        // The finest take longest.
        levels.reverse();
        let (n_points, n_levels) = (points.len(), self.levels.len());
        let room = Columns::room(n_points);
        let of_blocks = n_points.next_multiple_of(LANES) * features;
        with_scratch(room + of_blocks, |room_for_all| {
            let (of_points, blocks) = room_for_all.split_at_mut(room);
            let points = Columns::of(points, cast_slice_mut(of_points));
            let blocks: &mut [Block] = cast_slice_mut(blocks);
            let parts = grad.par_chunks(ROWS * features);
            let parts = parts.zip(blocks.par_chunks_mut(ROWS / LANES * n_levels));
            parts.for_each(|(rows, to)| isa.run(ToBlocks { rows, features, to }));
            let blocks = &*blocks;
            levels
                .into_par_iter()
                .with_max_len(1)
                .for_each(|(l, level, to)| {
                    isa.run(Scatter {
                        level,
                        points: &points,
                        n_points,
                        grad: blocks.get(l..).unwrap_or_default(),
                        levels: n_levels,
                        to,
                    });
                });
        });
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
        let features = self.n_features();
        let isa = Isa::of(Precision::F32);
        let grads = grad.par_chunks(PART * features);
        let parts = points
            .par_chunks(PART)
            .zip(grads)
            .zip(to.par_chunks_mut(PART));
        parts.with_max_len(1).for_each(|((points, grad), to)| {
            with_scratch(Columns::room(points.len()), |room| {
                isa.run(PointGradient {
                    levels: self.active(active_levels),
                    values,
                    points: Columns::of(points, cast_slice_mut(room)),
                    grad,
                    features,
                    to,
                });
            });
        });
    }

    fn active(&self, levels: usize) -> &[Level] {
        &self.levels[..levels.min(self.levels.len())]
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

    /// Its part of all values.
    fn table<'a>(&self, values: &'a [f32]) -> &'a [f32] {
        &values[FEATURES * self.first..][..FEATURES * self.entries]
    }
}
