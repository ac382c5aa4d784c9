//! A band of an image as the tile reads it: the channels of an item side by side, borders filled
//! with zeros, so that every tap of every pixel is one load at a fixed distance.

use std::ops::Range;

use crate::conv2d::window::Window;
use crate::isa::Job;
use crate::lanes::{F32s, LANES, Lanes};

/// How a band of output rows lies in memory: `[planes][copies][phases][rows][pitch]` items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    window: Window,
    /// Output rows.
    rows: usize,
    pitch: usize,
    /// One image for all taps of a row, or one for each, where sixteen pixels of the output span
    /// rows or are not neighbours in the input.
    copies: usize,
}

impl Layout {
    pub(crate) fn new(window: Window, rows: usize) -> Self {
        let [_, kernel] = window.kernel;
        let [_, width] = window.output;
        let one = window.stride == 1 && (width.is_multiple_of(LANES) || kernel == 1);
        Self {
            window,
            rows,
            pitch: if one { width + kernel - 1 } else { width },
            copies: if one { 1 } else { kernel },
        }
    }

    /// Rows of each phase, those included that only taps below the first see.
    fn phase_rows(&self) -> usize {
        self.rows + self.window.kernel[0].saturating_sub(1) / self.window.stride
    }

    fn copy_len(&self) -> usize {
        self.window.stride * self.phase_rows() * self.pitch
    }

    /// Items from plane to plane. An odd number of cache lines, so that planes do not compete for
    /// the same places of the cache.
    pub(crate) fn plane(&self) -> usize {
        (self.copies * self.copy_len()).div_ceil(LANES) / 2 * 2 * LANES + LANES
    }

    /// Room for the input rows of a band, joined but not yet laid out.
    pub(crate) fn band(&self) -> usize {
        (self.phase_rows() * self.window.stride + 1) * self.window.input[1] + LANES
    }

    /// Where each tap reads, from the place of the pixel.
    pub(crate) fn taps(&self) -> Vec<usize> {
        let Window { kernel, stride, .. } = self.window;
        let tap = |y: usize, x: usize| {
            let row = y % stride * self.phase_rows() + y / stride;
            let column = if self.copies == 1 {
                x
            } else {
                x * self.copy_len()
            };
            row * self.pitch + column
        };
        (0..kernel[0])
            .flat_map(|y| (0..kernel[1]).map(move |x| tap(y, x)))
            .collect()
    }

    /// The place of pixel `q` of the band, counted row by row.
    #[inline(always)]
    pub(crate) fn pixel(&self, q: usize) -> usize {
        let [_, width] = self.window.output;
        q / width * self.pitch + q % width
    }
}

/// Packs the rows of one image, `[channels, height, width]`, that a band of the output sees.
pub(crate) struct PackPlanes<'a> {
    pub(crate) image: &'a [f32],
    pub(crate) channels: usize,
    pub(crate) layout: Layout,
    pub(crate) first_row: usize,
    /// Room for `layout.band()` items.
    pub(crate) band: &'a mut [u32],
    pub(crate) to: &'a mut [u32],
}

impl Job for PackPlanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Layout { window, .. } = self.layout;
        let [height, width] = window.input;
        let (area, plane) = (height * width, self.layout.plane());
        // The input rows that the band sees, of which some are above or below the image.
        let top = (self.first_row * window.stride) as isize - window.before[0];
        let seen = self.layout.phase_rows() * window.stride;
        let rows = clamp(top, height)..clamp(top + seen as isize, height);
        for (i, to) in self.to.chunks_mut(plane).enumerate() {
            let channel = i * L::DEPTH;
            if channel >= self.channels {
                break;
            }
            let low = &self.image[channel * area..][..area];
            let more = L::DEPTH == 2 && channel + 1 < self.channels;
            let high = more.then(|| &self.image[(channel + 1) * area..][..area]);
            let values = rows.start * width..rows.end * width;
            join::<L>(
                &low[values.clone()],
                high.map(|high| &high[values]),
                self.band,
            );
            self.layout.spread(self.band, top, &rows, to);
        }
    }
}

fn clamp(row: isize, height: usize) -> usize {
    row.clamp(0, height as isize) as usize
}

/// Values of two channels as items; zeros are the second channel where there is none.
#[inline(always)]
fn join<L: Lanes>(low: &[f32], high: Option<&[f32]>, items: &mut [u32]) {
    for first in (0..low.len()).step_by(LANES) {
        let high = high.map_or([0.0; LANES], |high| sixteen(&high[first..]));
        // SAFETY: jobs only run for a set that the processor has.
        let joined = unsafe { L::join(sixteen(&low[first..]), high) };
        items[first..first + LANES].copy_from_slice(&joined);
    }
}

/// The first sixteen values, zeros after the end.
#[inline(always)]
fn sixteen(values: &[f32]) -> F32s {
    let mut out = [0.0; LANES];
    match values.first_chunk() {
        Some(values) => out = *values,
        None => out[..values.len()].copy_from_slice(values),
    }
    out
}

impl Layout {
    /// Lays `items`, the input rows `rows`, out over all copies and phases; `top` is the input row
    /// of the first tap of the first pixel.
    #[inline(always)]
    fn spread(&self, items: &[u32], top: isize, rows: &Range<usize>, to: &mut [u32]) {
        let Window { stride, before, .. } = self.window;
        let width = self.window.input[1] as isize;
        for copy in 0..self.copies {
            let to = &mut to[copy * self.copy_len()..][..self.copy_len()];
            // The first and the end of the columns that lie in the image.
            let shift = copy as isize - before[1];
            let first = (-shift)
                .max(0)
                .unsigned_abs()
                .div_ceil(stride)
                .min(self.pitch);
            let end = (width - shift)
                .max(0)
                .unsigned_abs()
                .div_ceil(stride)
                .min(self.pitch);
            let end = end.max(first);
            for (i, to) in to.chunks_exact_mut(self.pitch).enumerate() {
                let (phase, row) = (i / self.phase_rows(), i % self.phase_rows());
                let y = top + (row * stride + phase) as isize;
                if y < rows.start as isize || y >= rows.end as isize {
                    to.fill(0);
                    continue;
                }
                let from = (y - rows.start as isize) * width + shift;
                to[..first].fill(0);
                to[end..].fill(0);
                if first == end {
                    continue;
                }
                let from = (from + (first * stride) as isize) as usize;
                if stride == 1 {
                    copy_items(&items[from..], &mut to[first..end]);
                } else {
                    for (j, to) in to[first..end].iter_mut().enumerate() {
                        *to = items[from + j * stride];
                    }
                }
            }
        }
    }
}

/// A copy without a library call, which a short row would wait for.
#[inline(always)]
fn copy_items(from: &[u32], to: &mut [u32]) {
    let n = to.len();
    for (from, to) in from[..n].chunks(8).zip(to.chunks_mut(8)) {
        if let (Some(from), Some(to)) = (from.first_chunk::<8>(), to.first_chunk_mut::<8>()) {
            *to = *from;
        } else {
            for (from, to) in from.iter().zip(to) {
                *to = *from;
            }
        }
    }
}
