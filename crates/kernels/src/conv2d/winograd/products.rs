//! The products of a convolution in tiles, and what they are transformed back to: Aᵀ m A of [Lavin15] eq. 9.

use crate::conv2d::planes::copy_short;
use crate::conv2d::winograd::{Block, POINTS, PackedTiles};
use crate::isa::Job;
use crate::lanes::{LANES, Lanes, ROWS, VECTORS};
use crate::tile::{Sink, Walk, groups, tile};

/// The products of a block, and what they are transformed back to.
pub(super) struct Multiply<'a> {
    pub(super) weight: &'a PackedTiles,
    /// The first output channel, a multiple of 8, and the one after the last.
    pub(super) channels: [usize; 2],
    pub(super) packed: &'a [u32],
    pub(super) block: Block,
    pub(super) bias: Option<&'a [f32]>,
    /// Room for `[ROWS][VECTORS][POINTS][LANES]`.
    pub(super) sums: &'a mut [f32],
    pub(super) to: *mut f32,
}

impl Job for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let PackedTiles { inputs, items, .. } = self.weight;
        let planes = inputs.div_ceil(L::DEPTH);
        let pitch = self.block.pitch();
        let walk = Walk {
            taps: &[0],
            planes,
            plane: pitch,
        };
        let panel = POINTS * planes * ROWS;
        let [first, end] = self.channels;
        for first in (first..end).step_by(ROWS) {
            let rows = ROWS.min(end - first);
            let a = &items[first / ROWS * panel..][..panel];
            for group in groups(pitch / LANES) {
                let n = group.len();
                for point in 0..POINTS {
                    let mut at = [0; VECTORS];
                    for (at, vector) in at.iter_mut().zip(group.clone()) {
                        *at = point * planes * pitch + vector * LANES;
                    }
                    let a = &a[point * planes * ROWS..][..planes * ROWS];
                    let mut sums = Points {
                        sums: self.sums.as_mut_ptr().wrapping_add(point * LANES),
                    };
                    // SAFETY: jobs only run for a set that the processor has.
                    unsafe { tile::<L>(a, rows, (self.packed, &at[..n]), walk, &mut sums) };
                }
                for (i, vector) in group.enumerate() {
                    let runs = self.block.runs(vector * LANES);
                    for row in 0..rows {
                        let points = &self.sums[(row * VECTORS + i) * POINTS * LANES..];
                        let bias = self.bias.map_or(0.0, |bias| bias[first + row]);
                        // SAFETY: as above; there are the sums of all points.
                        let pixels = unsafe { transform_back::<L>(points, bias) };
                        self.store(first + row, &pixels, &runs);
                    }
                }
            }
        }
    }
}

/// Where the sums at one point go: `[ROWS][VECTORS][POINTS][LANES]`.
struct Points {
    sums: *mut f32,
}

impl<L: Lanes> Sink<L> for Points {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, vector: usize, sums: L::Sum) {
        let offset = (row * VECTORS + vector) * POINTS * LANES;
        // SAFETY: the caller's promise; there is room for all rows and vectors of a tile.
        unsafe { L::store_sum(sums, self.sums.wrapping_add(offset)) };
    }
}

/// The two rows of output pixels of sixteen tiles: Aᵀ m A. [Lavin15] eq. 9
///
/// # Safety
/// The processor has `L`; `points` holds sixteen values of all points.
#[inline(always)]
unsafe fn transform_back<L: Lanes>(points: &[f32], bias: f32) -> [[[f32; 2]; LANES]; 2] {
    assert!(points.len() >= POINTS * LANES);
    let from = points.as_ptr();
    let mut pixels = [[[0.0; 2]; LANES]; 2];
    // SAFETY: the caller's promise, and the values are there, as asserted.
    unsafe {
        let mut half = [[L::zero(); 4]; 2];
        for column in 0..4 {
            let mut m = [L::zero(); 4];
            for row in 0..4 {
                m[row] = L::load_sum(from.add((4 * row + column) * LANES));
            }
            half[0][column] = L::add(L::add(m[0], m[1]), m[2]);
            half[1][column] = L::sub(L::sub(m[1], m[2]), m[3]);
        }
        let bias = L::all(bias);
        for row in 0..2 {
            let m = half[row];
            let mut columns = [[0.0; LANES]; 2];
            let first = L::add(L::add(L::add(m[0], m[1]), m[2]), bias);
            let second = L::add(L::sub(L::sub(m[1], m[2]), m[3]), bias);
            L::store_sum(first, columns[0].as_mut_ptr());
            L::store_sum(second, columns[1].as_mut_ptr());
            pixels[row] = L::zip(columns[0], columns[1]);
        }
    }
    pixels
}

/// Tiles of a vector that lie side by side in an image.
#[derive(Clone, Copy, Default)]
struct Run {
    /// The first of them in the vector.
    lane: usize,
    /// Where its first pixel lies in the images of a channel; and pixels of a row, and rows, that are in the image.
    image: usize,
    pixel: usize,
    len: usize,
    rows: usize,
}

impl Block {
    /// The runs of the vector that begins at tile `first`; those of no length are none.
    #[inline(always)]
    fn runs(&self, first: usize) -> [Run; LANES] {
        let [height, width] = self.window.output;
        let (tiles, end) = (self.tiles(), self.count * self.tiles());
        let mut runs = [Run::default(); LANES];
        let (mut lane, mut i) = (0, 0);
        while lane < LANES && first + lane < end {
            let (image, tile) = ((first + lane) / tiles, (first + lane) % tiles);
            let [row, column] = [tile / self.columns, tile % self.columns];
            let n = (self.columns - column).min(LANES - lane);
            let [y, x] = [2 * (self.first[0] + row), 2 * (self.first[1] + column)];
            runs[i] = Run {
                lane,
                image,
                pixel: y * width + x,
                len: (2 * n).min(width - x),
                rows: 2.min(height - y),
            };
            (lane, i) = (lane + n, i + 1);
        }
        runs
    }
}

impl Multiply<'_> {
    /// Stores the pixels of an output channel.
    #[inline(always)]
    fn store(&self, output: usize, pixels: &[[[f32; 2]; LANES]; 2], runs: &[Run; LANES]) {
        let window = &self.block.window;
        for run in runs.iter().take_while(|run| run.len > 0) {
            let channel = (run.image * self.weight.outputs + output) * window.pixels();
            for (row, pixels) in pixels.iter().enumerate().take(run.rows) {
                let from = &pixels[run.lane..].as_flattened()[..run.len];
                // SAFETY: pixels of this job's block; the result has `outputs` channels for each image.
                let to = unsafe {
                    let to = self.to.add(channel + run.pixel + row * window.output[1]);
                    std::slice::from_raw_parts_mut(to, run.len)
                };
                match (from.first_chunk::<{ 2 * LANES }>(), to.first_chunk_mut()) {
                    (Some(from), Some(to)) => *to = *from,
                    _ => copy_short(from, to),
                }
            }
        }
    }
}
