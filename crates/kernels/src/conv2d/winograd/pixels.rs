//! The pixels of a convolution in tiles: Bᵀ d B of [Lavin15] eq. 9 for each tile and channel, first along rows, then
//! along columns, where tiles that follow each other lie side by side whatever the picture's width.

use crate::conv2d::planes::copy_short;
use crate::conv2d::winograd::Block;
use crate::isa::Job;
use crate::lanes::{LANES, Lanes};

/// Packs the transformed tiles of a block: `[POINTS][planes][pitch]`.
pub(super) struct TransformPixels<'a> {
    /// The images of the block.
    pub(super) images: &'a [f32],
    pub(super) channels: usize,
    pub(super) block: Block,
    pub(super) room: &'a mut [f32],
    pub(super) to: &'a mut [u32],
}

impl Job for TransformPixels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self {
            block,
            channels,
            to,
            ..
        } = self;
        let [height, width] = block.window.input;
        let planes = channels.div_ceil(L::DEPTH);
        let (pitch, half, tiles) = (block.pitch(), block.half(), block.tiles());
        let (padded, halves) = self.room.split_at_mut(block.padded());
        padded.fill(0.0);
        for image in 0..block.count {
            for plane in 0..planes {
                let pair = L::DEPTH.min(channels - plane * L::DEPTH);
                for (i, halves) in halves.chunks_exact_mut(8 * half).enumerate().take(L::DEPTH) {
                    if i < pair {
                        let channel = image * channels + plane * L::DEPTH + i;
                        let pixels = &self.images[channel * height * width..][..height * width];
                        block.across::<L>(pixels, padded, halves);
                    } else {
                        halves.fill(0.0);
                    }
                }
                for first in (0..tiles).step_by(LANES) {
                    let lane = image * tiles + first;
                    let len = LANES.min(pitch - lane);
                    for column in 0..4 {
                        let start = column * half + first;
                        // SAFETY: jobs only run for a set that the processor has.
                        let (low, high) = unsafe {
                            let low = down::<L>(halves, start, [half, block.columns]);
                            let second = (L::DEPTH - 1) * 8 * half;
                            let high = down::<L>(halves, second + start, [half, block.columns]);
                            (low, high)
                        };
                        for row in 0..4 {
                            let start = ((4 * row + column) * planes + plane) * pitch + lane;
                            // What is past the image's end is written over by the next one.
                            if let (Some(to), LANES) = (to[start..].first_chunk_mut(), len) {
                                // SAFETY: as above.
                                unsafe { L::store_joined(low[row], high[row], to) };
                                continue;
                            }
                            let mut items = [0; LANES];
                            // SAFETY: as above.
                            unsafe { L::store_joined(low[row], high[row], &mut items) };
                            to[start..start + len].copy_from_slice(&items[..len]);
                        }
                    }
                }
            }
        }
    }
}

impl Block {
    /// d B for each row of `pixels` that the block sees: even rows to the first four halves, odd ones to the others, at
    /// each of the four columns of a tile. `padded` is zero where no pixel is.
    #[inline(always)]
    fn across<L: Lanes>(&self, pixels: &[f32], padded: &mut [f32], halves: &mut [f32]) {
        let [height, width] = self.window.input;
        let half = self.half();
        let corner = [0, 1].map(|axis| 2 * self.first[axis] as isize - self.window.before[axis]);
        // The columns of the image that the block sees, and where they begin in a padded row.
        let from = corner[1].clamp(0, width as isize);
        let end = (corner[1] + 2 * self.columns as isize + 2).clamp(from, width as isize);
        let border = (from - corner[1]) as usize;
        for row in 0..2 * self.rows + 2 {
            let halves = &mut halves[row % 2 * 4 * half..][..4 * half];
            let start = row / 2 * self.columns;
            let y = corner[0] + row as isize;
            if !(0..height as isize).contains(&y) {
                for column in 0..4 {
                    halves[column * half + start..][..self.columns].fill(0.0);
                }
                continue;
            }
            let line = &pixels[y as usize * width..][from as usize..end as usize];
            copy_short(line, &mut padded[border..border + line.len()]);
            for first in (0..self.columns).step_by(LANES) {
                // SAFETY: jobs only run for a set that the processor has.
                let sums = unsafe {
                    let [a, b] = apart::<L>(&padded[2 * first..]);
                    let [c, d] = apart::<L>(&padded[2 * first + 2..]);
                    four::<L>([a, b, c, d])
                };
                for column in 0..4 {
                    // What is past the row's end is written over by the next one.
                    let to = &mut halves[column * half + start + first..][..LANES];
                    // SAFETY: as above; there are sixteen values.
                    unsafe { L::store_sum(sums[column], to.as_mut_ptr()) };
                }
            }
        }
    }
}

/// The first sixteen pixels of even and of odd number.
///
/// # Safety
/// The processor has `L`.
#[inline(always)]
unsafe fn apart<L: Lanes>(pixels: &[f32]) -> [L::Sum; 2] {
    let pixels = pixels[..2 * LANES].as_chunks::<LANES>().0;
    // SAFETY: the caller's promise; the arrays have sixteen values.
    unsafe {
        let [even, odd] = L::unzip([pixels[0], pixels[1]]);
        [L::load_sum(even.as_ptr()), L::load_sum(odd.as_ptr())]
    }
}

/// Bᵀ d for sixteen tiles: from `start` on even rows, `4 half` on odd ones, of which the next are `columns` on.
///
/// # Safety
/// The processor has `L`.
#[inline(always)]
unsafe fn down<L: Lanes>(halves: &[f32], start: usize, [half, columns]: [usize; 2]) -> [L::Sum; 4] {
    let (even, odd) = (&halves[start..], &halves[start + 4 * half..]);
    let (even, odd) = (&even[..columns + LANES], &odd[..columns + LANES]);
    // SAFETY: the caller's promise; sixteen values follow on each place, as the slices say.
    unsafe {
        four::<L>([
            L::load_sum(even.as_ptr()),
            L::load_sum(odd.as_ptr()),
            L::load_sum(even.as_ptr().add(columns)),
            L::load_sum(odd.as_ptr().add(columns)),
        ])
    }
}

/// Bᵀ d. [Lavin15] eq. 9
///
/// # Safety
/// The processor has `L`.
#[inline(always)]
unsafe fn four<L: Lanes>([a, b, c, d]: [L::Sum; 4]) -> [L::Sum; 4] {
    // SAFETY: the caller's promise.
    unsafe { [L::sub(a, c), L::add(b, c), L::sub(c, b), L::sub(b, d)] }
}
