//! A band of an image as the tile reads it: the channels of an item side by side, borders filled
//! with zeros, so that every tap of every pixel is one load at a fixed distance.

use std::ops::Range;

use crate::conv2d::window::Window;
use crate::isa::Job;
use crate::lanes::{LANES, Lanes, prefetch};
use crate::pack::sixteen;

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
            if rows.len() < height {
                // A band has a few rows of each channel.
                for channel in (channel + L::DEPTH..self.channels).take(L::DEPTH) {
                    let next = &self.image[channel * area..][values.clone()];
                    next.iter().step_by(LANES).for_each(|line| prefetch(line));
                }
            }
            let (low, high) = (&low[values.clone()], high.map(|high| &high[values]));
            if self.layout.is_direct() {
                self.layout
                    .join_rows::<L>([low, high.unwrap_or_default()], top, &rows, to);
            } else {
                join::<L>(low, high.unwrap_or_default(), self.band);
                self.layout.spread(self.band, top, &rows, to);
            }
        }
    }
}

fn clamp(row: isize, height: usize) -> usize {
    row.clamp(0, height as isize) as usize
}

/// Values of two channels as items; zeros are the second channel where it is empty.
#[inline(always)]
fn join<L: Lanes>(low: &[f32], high: &[f32], items: &mut [u32]) {
    for first in (0..low.len()).step_by(LANES) {
        let high = sixteen(high.get(first..).unwrap_or_default());
        // SAFETY: jobs only run for a set that the processor has.
        let joined = unsafe { L::join(sixteen(&low[first..]), high) };
        items[first..first + LANES].copy_from_slice(&joined);
    }
}

impl Layout {
    /// Whether rows are whole vectors that go into one copy.
    fn is_direct(&self) -> bool {
        let Window {
            input: [_, width],
            output,
            stride,
            ..
        } = self.window;
        let same = stride == 1 && self.copies == 1 && width == output[1];
        same && width.is_multiple_of(LANES)
            && (0..=(self.pitch - width) as isize).contains(&self.window.before[1])
    }

    /// Joins the input rows `rows` and lays them out at once, where that [is possible](Self::is_direct).
    #[inline(always)]
    fn join_rows<L: Lanes>(
        &self,
        [low, high]: [&[f32]; 2],
        top: isize,
        rows: &Range<usize>,
        to: &mut [u32],
    ) {
        let [_, width] = self.window.input;
        let before = self.window.before[1] as usize;
        for (row, to) in to[..self.copy_len()]
            .chunks_exact_mut(self.pitch)
            .enumerate()
        {
            let y = top + row as isize;
            if y < rows.start as isize || y >= rows.end as isize {
                to.fill(0);
                continue;
            }
            let from = (y as usize - rows.start) * width;
            let (border, to) = to.split_at_mut(before);
            let (to, end) = to.split_at_mut(width);
            zero(border);
            zero(end);
            for (i, to) in to.chunks_exact_mut(LANES).enumerate() {
                let from = from + i * LANES;
                let high = sixteen(high.get(from..).unwrap_or_default());
                // SAFETY: jobs only run for a set that the processor has.
                let items = unsafe { L::join(sixteen(&low[from..]), high) };
                to.copy_from_slice(&items);
            }
        }
    }

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
            for phase in 0..stride {
                let to = &mut to[phase * self.phase_rows() * self.pitch..];
                for (row, to) in to
                    .chunks_exact_mut(self.pitch)
                    .take(self.phase_rows())
                    .enumerate()
                {
                    let y = top + (row * stride + phase) as isize;
                    if y < rows.start as isize || y >= rows.end as isize {
                        zero(to);
                        continue;
                    }
                    zero(&mut to[..first]);
                    zero(&mut to[end..]);
                    if first == end {
                        continue;
                    }
                    let from = (y - rows.start as isize) * width + shift;
                    let from = &items[(from + (first * stride) as isize) as usize..];
                    if stride == 1 {
                        copy_short(from, &mut to[first..end]);
                    } else {
                        for (j, to) in to[first..end].iter_mut().enumerate() {
                            *to = from[j * stride];
                        }
                    }
                }
            }
        }
    }
}

/// A copy without a library call, which a short row would wait for: the last 8 items may be copied
/// twice.
#[inline(always)]
pub(super) fn copy_short<T: Copy>(from: &[T], to: &mut [T]) {
    let n = to.len();
    let from = &from[..n];
    if n < 8 {
        for (from, to) in from.iter().zip(to) {
            *to = *from;
        }
        return;
    }
    let (from_eights, rest) = from.as_chunks::<8>();
    for (from, to) in from_eights.iter().zip(to.as_chunks_mut::<8>().0) {
        *to = *from;
    }
    if let (false, Some(from), Some(to)) =
        (rest.is_empty(), from.last_chunk::<8>(), to.last_chunk_mut())
    {
        *to = *from;
    }
}

/// Zeros, a few of them without a library call.
#[inline(always)]
fn zero(to: &mut [u32]) {
    match to {
        [] => {}
        [a] => *a = 0,
        [a, b] => (*a, *b) = (0, 0),
        _ => to.fill(0),
    }
}
