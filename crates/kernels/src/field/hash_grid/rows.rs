//! Features in rows, as perceptrons take them, and in blocks of sixteen points, as the levels of a grid do.

use bytemuck::{cast_slice, cast_slice_mut};

use super::FEATURES;
use crate::isa::Job;
use crate::lanes::{F32s, LANES, Lanes};

/// The features of sixteen points on a level.
pub(super) type Block = [F32s; FEATURES];
/// Levels whose features are moved together.
const LEVELS: usize = LANES / FEATURES;

/// Rows from blocks.
pub(super) struct ToRows<'a> {
    /// Of each level, all points: those of the rows begin at block `first`. Other levels have zeros.
    pub(super) levels: &'a [&'a [Block]],
    pub(super) first: usize,
    pub(super) features: usize,
    /// `[points, features]`
    pub(super) to: &'a mut [f32],
}

impl Job for ToRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let features = self.features;
        for (i, to) in self.to.chunks_mut(LANES * features).enumerate() {
            for first in (0..features).step_by(LANES) {
                let mut tile = [[0; LANES]; LANES];
                let from = self.levels.iter().skip(first / FEATURES).take(LEVELS);
                for (tile, level) in tile.chunks_exact_mut(FEATURES).zip(from) {
                    tile.copy_from_slice(cast_slice(&level[self.first + i]));
                }
                // SAFETY: jobs only run for a set that the processor has.
                let rows = unsafe { L::transpose(&tile) };
                let width = LANES.min(features - first);
                for (to, row) in to.chunks_exact_mut(features).zip(&rows) {
                    match to[first..].first_chunk_mut::<LANES>() {
                        Some(to) => *to = bytemuck::cast(*row),
                        None => to[first..].copy_from_slice(cast_slice(&row[..width])),
                    }
                }
            }
        }
    }
}

/// Blocks from rows.
pub(super) struct ToBlocks<'a> {
    /// `[points, features]`
    pub(super) rows: &'a [f32],
    pub(super) features: usize,
    /// `[blocks, features / 2]`
    pub(super) to: &'a mut [Block],
}

impl Job for ToBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let features = self.features;
        let blocks = self.to.chunks_exact_mut(features / FEATURES);
        for (rows, to) in self.rows.chunks(LANES * features).zip(blocks) {
            for (first, to) in (0..features).step_by(LANES).zip(to.chunks_mut(LEVELS)) {
                let mut tile = [[0.0; LANES]; LANES];
                for (tile, row) in tile.iter_mut().zip(rows.chunks_exact(features)) {
                    match row[first..].first_chunk::<LANES>() {
                        Some(row) => *tile = *row,
                        None => tile[..features - first].copy_from_slice(&row[first..]),
                    }
                }
                // SAFETY: jobs only run for a set that the processor has.
                let columns = unsafe { L::transpose(&bytemuck::cast(tile)) };
                let values: &mut [F32s] = to.as_flattened_mut();
                let n = values.len();
                cast_slice_mut(values).copy_from_slice(&columns[..n]);
            }
        }
    }
}
