//! The sums of a convolution: packed weights are broadcast, sixteen pixels are one vector.

use crate::conv2d::planes::{Layout, PackPlanes};
use crate::conv2d::window::Window;
use crate::isa::{Isa, Job};
use crate::lanes::{F32s, LANES, Lanes, ROWS, VECTORS};
use crate::pack::{Order, put_transposed, sixteen};
use crate::parallel;
use crate::scratch::{Shared, SharedItems, filled_items, with_scratch};
use crate::tile::{EMPTY, Sink, Walk, groups, tile};

/// Items of packed pixels that a job keeps in the second-level cache.
const BAND_ITEMS: usize = 128 << 10;
/// Vectors that a job should have, so that its tiles are full.
const FEW_VECTORS: usize = 12;

/// A weight in panels of 8 output channels: `[panels][planes][taps][8]`.
#[derive(Debug)]
pub(crate) struct PackedTaps {
    isa: Isa,
    outputs: usize,
    inputs: usize,
    /// Whether the taps of the window are packed from the last to the first.
    flipped: bool,
    items: Vec<u32>,
}

impl PackedTaps {
    /// Packs the values at `output * strides[0] + input * strides[1] + tap`, for each of `taps`.
    pub(crate) fn pack(
        isa: Isa,
        weight: &[f32],
        [outputs, inputs]: [usize; 2],
        strides: [usize; 2],
        taps: &[usize],
        flipped: bool,
    ) -> Self {
        let steps = inputs.div_ceil(isa.depth()) * taps.len();
        // Channels of a job and items of a block: many of those that lie together in memory.
        let items_of_all = inputs.div_ceil(isa.depth());
        let [each, block] = match strides[0] > strides[1] {
            true => [LANES, items_of_all.next_multiple_of(LANES)],
            false => [(outputs / 4).clamp(LANES, 4 * LANES) / LANES * LANES, LANES],
        };
        let (len, panels) = (Order::Rows.len(outputs, steps), each * steps);
        let fill = |to: SharedItems| {
            parallel::for_each(outputs.div_ceil(each), |job| {
                let to = to.part(job * panels, panels.min(len - job * panels));
                with_scratch(each * (block * taps.len() + LANES), |rows| {
                    isa.run(PackWeight {
                        weight: &weight[job * each * strides[0]..],
                        outputs: each.min(outputs - job * each),
                        inputs,
                        strides,
                        taps,
                        block,
                        rows,
                        to,
                    });
                });
            });
        };
        let items = match len {
            0 => vec![],
            // SAFETY: the jobs cover all panels, whose rows are written sixteen at a time at every
            // step.
            _ => unsafe { filled_items(len, fill) },
        };
        Self {
            isa,
            outputs,
            inputs,
            flipped,
            items,
        }
    }
}

/// Packs some output channels.
struct PackWeight<'a> {
    weight: &'a [f32],
    outputs: usize,
    inputs: usize,
    strides: [usize; 2],
    taps: &'a [usize],
    /// Items of each tap that are packed at a time.
    block: usize,
    /// Room for a block of all taps of each channel, and for sixteen items more at the end of each.
    rows: &'a mut [u32],
    to: &'a mut [u32],
}

impl Job for PackWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { taps, strides, .. } = self;
        let steps = self.inputs.div_ceil(L::DEPTH) * taps.len();
        let row = self.block * taps.len() + LANES;
        let adjacent = taps.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        for first in (0..self.inputs).step_by(self.block * L::DEPTH) {
            let n_items = (self.inputs - first).div_ceil(L::DEPTH).min(self.block);
            // What lies together is read together.
            let outputs_first = strides[0] > strides[1];
            let [outer, inner] = match outputs_first {
                true => [self.outputs, n_items],
                false => [n_items, self.outputs],
            };
            for i in 0..outer {
                for j in 0..inner {
                    let [output, item] = if outputs_first { [i, j] } else { [j, i] };
                    let input = first + item * L::DEPTH;
                    let more = L::DEPTH == 2 && input + 1 < self.inputs;
                    let low = &self.weight[output * strides[0] + input * strides[1]..];
                    let high = if more { &low[strides[1]..] } else { &[] };
                    let mut next = output * row + item * taps.len();
                    for taps in taps.chunks(LANES) {
                        // What is read after adjacent taps is written over later.
                        let (low, high) = if adjacent {
                            let high = high.get(taps[0]..).unwrap_or_default();
                            (sixteen(&low[taps[0]..]), sixteen(high))
                        } else {
                            (picked(low, taps), picked(high, taps))
                        };
                        // SAFETY: jobs only run for a set that the processor has.
                        let joined = unsafe { L::join(low, high) };
                        self.rows[next..next + LANES].copy_from_slice(&joined);
                        next += taps.len();
                    }
                }
            }
            let n_steps = n_items * taps.len();
            for step in (0..n_steps).step_by(LANES) {
                let at = first / L::DEPTH * taps.len() + step;
                for output in (0..self.outputs).step_by(LANES) {
                    let mut items = [[0; LANES]; LANES];
                    let n = LANES.min(self.outputs - output);
                    for (i, items) in items[..n].iter_mut().enumerate() {
                        items.copy_from_slice(&self.rows[(output + i) * row + step..][..LANES]);
                    }
                    put_transposed::<L>(&items, Order::Rows, self.to, [output, at, steps]);
                }
            }
        }
    }
}

/// The values at `taps`; zeros where there are none.
#[inline(always)]
fn picked(values: &[f32], taps: &[usize]) -> F32s {
    let mut out = [0.0; LANES];
    if !values.is_empty() {
        for (out, tap) in out.iter_mut().zip(taps) {
            *out = values[*tap];
        }
    }
    out
}

/// Where the pixels of the output go: pixel u to `offset + stride u` of an image of `size`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) offset: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) size: [usize; 2],
}

impl Spread {
    /// Each pixel at its own place.
    pub(crate) fn dense(window: Window) -> Self {
        Self {
            offset: [0; 2],
            stride: 1,
            size: window.output,
        }
    }
}

/// What is added to the sums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Addends<'a> {
    /// A value for each output channel.
    pub(crate) bias: Option<&'a [f32]>,
}

/// Slides `window` over `images`, `[B, inputs, H, W]`, and stores the sums at `to`,
/// `[B, outputs, ..spread.size]`, without reading what is there.
///
/// # Safety
/// `to` has room for the result, and nothing else uses it.
pub(crate) unsafe fn convolve(
    images: &[f32],
    weight: &PackedTaps,
    window: Window,
    spread: Spread,
    addends: Addends<'_>,
    to: Shared,
) {
    let PackedTaps {
        isa,
        outputs,
        inputs,
        ..
    } = *weight;
    let image = inputs * window.input[0] * window.input[1];
    let result = outputs * spread.size[0] * spread.size[1];
    let [height, width] = window.output;
    if images.is_empty() || result == 0 || window.pixels() == 0 {
        return;
    }
    let batch = images.len() / image;
    assert_eq!(images.len(), batch * image);
    assert!(addends.bias.is_none_or(|bias| bias.len() == outputs));
    let planes = inputs.div_ceil(isa.depth());

    // Bands of rows that fit into the cache, and are enough for all threads.
    let multiplications = batch * outputs * inputs * window.n_taps() * window.pixels();
    let threads = parallel::threads_for(multiplications);
    let mut rows = height;
    while rows > 1 && planes * Layout::new(window, rows).plane() > BAND_ITEMS {
        rows = rows.div_ceil(2);
    }
    if threads > 1 {
        let few = (FEW_VECTORS * LANES).div_ceil(width);
        rows = rows.min((batch * height).div_ceil(2 * threads).max(few));
    }
    let bands = height.div_ceil(rows);
    let rows = height.div_ceil(bands);
    let bands = height.div_ceil(rows);
    // Small images go together.
    let layout = Layout::new(window, rows);
    let len = planes * layout.plane();
    let together = match bands {
        1 => (BAND_ITEMS / len.max(1)).clamp(1, batch.div_ceil(2 * threads)),
        _ => 1,
    };
    let areas = batch.div_ceil(together) * bands;
    // Where there are not enough of them, threads share the output channels.
    let panels = outputs.div_ceil(ROWS);
    let parts = threads.div_ceil(areas).min(panels);
    let each = panels.div_ceil(parts) * ROWS;
    let mut taps = layout.taps();
    if weight.flipped {
        taps.reverse();
    }
    parallel::for_each(areas * parts, |job| {
        let (area, part) = (job / parts, job % parts);
        let (first, band) = (area / bands * together, area % bands);
        let count = together.min(batch - first);
        let first_row = band * rows;
        with_scratch(count * len + LANES, |packed| {
            with_scratch(layout.band(), |joined| {
                for i in 0..count {
                    isa.run(PackPlanes {
                        image: &images[(first + i) * image..][..image],
                        channels: inputs,
                        layout,
                        first_row,
                        band: joined,
                        to: &mut packed[i * len..][..len],
                    });
                }
            });
            isa.run(Convolve {
                weight,
                channels: [part * each, outputs.min((part + 1) * each)],
                packed,
                layout,
                taps: &taps,
                count,
                pixels: rows.min(height - first_row) * width,
                first_row,
                window,
                spread,
                addends,
                to: to.at(first * result),
            });
        });
    });
}

/// The sums of one band of a few images.
struct Convolve<'a> {
    weight: &'a PackedTaps,
    /// The first output channel, a multiple of 8, and the one after the last.
    channels: [usize; 2],
    packed: &'a [u32],
    layout: Layout,
    taps: &'a [usize],
    /// Images.
    count: usize,
    /// Pixels of the band.
    pixels: usize,
    first_row: usize,
    window: Window,
    spread: Spread,
    addends: Addends<'a>,
    to: *mut f32,
}

impl Job for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let PackedTaps { inputs, items, .. } = self.weight;
        let plane = self.layout.plane();
        let planes = inputs.div_ceil(L::DEPTH);
        let walk = Walk {
            taps: self.taps,
            planes,
            plane,
        };
        let panel = ROWS * walk.depth();
        let vectors = self.pixels.div_ceil(LANES);
        let [first, end] = self.channels;
        let mut block = EMPTY;
        for first in (first..end).step_by(ROWS) {
            let rows = ROWS.min(end - first);
            let a = &items[first / ROWS * panel..][..panel];
            for group in groups(self.count * vectors) {
                let (mut at, mut pixels) = ([0; VECTORS], [[0; 2]; VECTORS]);
                let mut whole = rows == ROWS && self.spread.stride == 1;
                for (i, v) in group.clone().enumerate() {
                    let (image, q) = (v / vectors, v % vectors * LANES);
                    at[i] = image * planes * plane + self.layout.pixel(q);
                    pixels[i] = [image, q];
                    whole &= q + LANES <= self.pixels;
                }
                let b = (self.packed, &at[..group.len()]);
                if whole {
                    let mut out = Out {
                        to: pixels
                            .map(|[image, q]| self.to.wrapping_add(self.place(image, first, q))),
                        stride: self.spread.size[0] * self.spread.size[1],
                        bias: self.addends.bias.map(|bias| &bias[first..first + ROWS]),
                    };
                    // SAFETY: jobs only run for a set that the processor has.
                    unsafe { tile::<L>(a, rows, b, walk, &mut out) };
                    continue;
                }
                // SAFETY: as above.
                unsafe { tile::<L>(a, rows, b, walk, &mut block) };
                for (v, [image, q]) in pixels[..group.len()].iter().enumerate() {
                    for (r, sums) in block[..rows].iter().enumerate() {
                        self.store(*image, first + r, *q, &sums[v]);
                    }
                }
            }
        }
    }
}

/// Where a tile of the result goes that is stored as it is.
struct Out<'a> {
    to: [*mut f32; VECTORS],
    /// From one output channel to the next.
    stride: usize,
    bias: Option<&'a [f32]>,
}

impl<L: Lanes> Sink<L> for Out<'_> {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, vector: usize, sums: L::Sum) {
        // SAFETY: the caller's promise; these are pixels of the job's band, and there are eight
        // channels and values of the bias.
        unsafe {
            let sums = match self.bias {
                Some(bias) => L::add(sums, L::all(*bias.as_ptr().add(row))),
                None => sums,
            };
            L::store_sum(sums, self.to[vector].wrapping_add(row * self.stride));
        }
    }
}

impl Convolve<'_> {
    /// The place of pixel `q` of the band in the result, where pixels lie side by side.
    #[inline(always)]
    fn place(&self, image: usize, output: usize, q: usize) -> usize {
        let [height, width] = self.spread.size;
        let channel = (image * self.weight.outputs + output) * height * width;
        channel + self.first_row * self.window.output[1] + q
    }

    /// Stores sixteen pixels of an output channel, from `q` of the band on, or as many as there are.
    #[inline(always)]
    fn store(&self, image: usize, output: usize, q: usize, sums: &F32s) {
        let mut values = *sums;
        if let Some(bias) = self.addends.bias {
            for value in &mut values {
                *value += bias[output];
            }
        }
        let [height, width] = self.spread.size;
        let channel = (image * self.weight.outputs + output) * height * width;
        let len = LANES.min(self.pixels - q);
        let first = self.first_row * self.window.output[1] + q;
        if self.spread.stride == 1 {
            // SAFETY: pixels of this job's band; the result has `outputs` channels for each image.
            unsafe {
                let to = self.to.add(channel + first);
                values.as_ptr().copy_to_nonoverlapping(to, len);
            }
            return;
        }
        let Spread { offset, stride, .. } = self.spread;
        let columns = self.window.output[1];
        let (mut y, mut x) = (first / columns, first % columns);
        for value in &values[..len] {
            let pixel = (offset[0] + y * stride) * width + offset[1] + x * stride;
            // SAFETY: as above.
            unsafe { *self.to.add(channel + pixel) = *value };
            x += 1;
            if x == columns {
                (y, x) = (y + 1, 0);
            }
        }
    }
}
