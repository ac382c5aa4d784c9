//! The derivative of a convolution by its weight: for each tap, products of input pixels with the
//! gradients of output pixels, summed over all pixels. Inputs are broadcast, sixteen output
//! channels are one vector.

use std::ops::Range;

use crate::conv2d::planes::copy_short;
use crate::conv2d::weight_tile::{Steps, tiles};
use crate::conv2d::window::Window;
use crate::isa::{Isa, Job};
use crate::lanes::{LANES, Lanes, ROWS};
use crate::matmul::width;
use crate::pack::{Matrix, Order, Pack, neighbours};
use crate::parallel;
use crate::scratch::{Shared, SharedItems, filled, with_scratch};

/// Items of packed images that are worked on together.
const GROUP_ITEMS: usize = 192 << 10;
/// Steps whose gradients stay in the nearest caches while all rows of a job use them.
const BLOCK_STEPS: usize = 256;
/// Rows of sums that make a job.
const JOB_ROWS: usize = 8 * ROWS;

/// How the input lies in memory: `[channels][phases][rows][pitch]` values, whose neighbours on a row
/// belong to neighbouring output pixels.
#[derive(Clone, Copy, Debug)]
struct Layout {
    window: Window,
    rows: usize,
    pitch: usize,
    depth: usize,
}

impl Layout {
    fn new(window: Window, depth: usize) -> Self {
        let beyond = |axis: usize| window.kernel[axis].saturating_sub(1) / window.stride;
        Self {
            window,
            rows: window.output[0] + beyond(0),
            // Even, so that the last pair is whole.
            pitch: (window.output[1] + beyond(1)).next_multiple_of(2) + 2,
            depth,
        }
    }

    fn phase(&self) -> usize {
        self.rows * self.pitch
    }

    /// Values of a channel.
    fn channel(&self) -> usize {
        self.window.stride * self.window.stride * self.phase()
    }

    /// Items of `channels`.
    fn len(&self, channels: usize) -> usize {
        (channels * self.channel()).div_ceil(self.depth) + LANES
    }

    /// The first value of tap `t`.
    fn tap(&self, t: usize) -> usize {
        let Window { kernel, stride, .. } = self.window;
        let (y, x) = (t / kernel[1], t % kernel[1]);
        let phase = y % stride * stride + x % stride;
        phase * self.phase() + y / stride * self.pitch + x / stride
    }

    /// Where each row of sums, an input channel at a tap, begins to read: bytes.
    fn offsets(&self, channels: usize) -> Vec<usize> {
        let bytes = 4 / self.depth;
        (0..channels)
            .flat_map(|channel| {
                (0..self.window.n_taps())
                    .map(move |t| (channel * self.channel() + self.tap(t)) * bytes)
            })
            .collect()
    }

    /// How far from where a row of sums begins each pair, or single pixel, of the outputs of
    /// `images` lies, each of which is `image` items: bytes.
    fn walk(&self, images: usize, image: usize) -> Vec<usize> {
        let row = self.pitch * (4 / self.depth);
        let of_row = |start: usize| (0..self.steps()).map(move |step| start + 4 * step);
        (0..images)
            .flat_map(|i| (0..self.window.output[0]).map(move |y| 4 * i * image + y * row))
            .flat_map(of_row)
            .collect()
    }

    /// Pairs, or single pixels, of the output.
    fn gradients(&self) -> usize {
        self.window.output[0] * self.steps()
    }

    /// The same of one row of it.
    fn steps(&self) -> usize {
        self.window.output[1].div_ceil(self.depth)
    }
}

/// The derivative by the weight, `[outputs, inputs, kh, kw]`, of `window` over `images`,
/// `[batch, inputs, H, W]`, whose result has the derivative `grad`, `[batch, outputs, H', W']`.
/// `sizes` are batch, inputs and outputs.
pub(crate) fn weight_gradient(
    isa: Isa,
    images: &[f32],
    grad: &[f32],
    [batch, inputs, outputs]: [usize; 3],
    window: Window,
) -> Vec<f32> {
    let layout = Layout::new(window, isa.depth());
    let n_rows = inputs * window.n_taps();
    let len = n_rows * outputs;
    if len == 0 || batch * window.pixels() == 0 {
        return vec![0.0; len];
    }
    let offsets = layout.offsets(inputs);
    let (image, result) = (
        inputs * window.input[0] * window.input[1],
        outputs * window.pixels(),
    );
    assert!(images.len() == batch * image && grad.len() == batch * result);
    let width = width(outputs);
    let panels = outputs.div_ceil(width);
    let panel = width * layout.gradients();
    let lens = [layout.len(inputs), panels * panel];
    let group = (GROUP_ITEMS / (lens[0] + lens[1])).clamp(1, batch);
    let walk = layout.walk(group, lens[0]);
    let columns = panels * width;
    let sums_len = match group < batch {
        true => n_rows.next_multiple_of(ROWS) * columns,
        false => 0,
    };
    let work = |items: &mut [u32], to: Shared| {
        let (sums, packed) = items.split_at_mut(sums_len);
        let sums = Shared::of(bytemuck::cast_slice_mut(sums));
        let (x, dy) = packed.split_at_mut(group * lens[0]);
        for first in (0..batch).step_by(group) {
            let count = group.min(batch - first);
            let (x_items, dy_items) = (SharedItems::of(x), SharedItems::of(dy));
            parallel::for_each(count * (1 + panels), |job| {
                let (i, part) = (job / (1 + panels), job % (1 + panels));
                if part == panels {
                    let to = x_items.part(i * lens[0], lens[0]);
                    let image = &images[(first + i) * image..][..image];
                    with_scratch(window.input[0] * window.input[1] + LANES, |plane| {
                        isa.run(PackInput {
                            image,
                            layout,
                            plane,
                            to,
                        });
                    });
                } else {
                    let channel = part * width;
                    let n = width.min(outputs - channel);
                    let from = (first + i) * result + channel * window.pixels();
                    let grad = &grad[from..][..n * window.pixels()];
                    let to = dy_items.part((part * count + i) * panel, panel);
                    pack_gradient(isa, grad, n, layout, to);
                }
            });
            let add_up = |rows: Range<usize>, sums: *mut f32| {
                isa.run(Sums {
                    x: &x[..count * lens[0]],
                    dy: &dy[..count * lens[1]],
                    walk: &walk[..count * layout.gradients()],
                    fresh: first == 0,
                    offsets: &offsets[rows.clone()],
                    outputs,
                    to: sums,
                });
                if first + count == batch {
                    isa.run(Transpose {
                        sums,
                        columns,
                        n_rows: rows.len(),
                        outputs,
                        stride: n_rows,
                        to: to.at(rows.start),
                    });
                }
            };
            parallel::for_each(n_rows.div_ceil(JOB_ROWS), |job| {
                let first_row = job * JOB_ROWS;
                let rows = first_row..n_rows.min(first_row + JOB_ROWS);
                if group < batch {
                    return add_up(rows, sums.at(first_row * columns));
                }
                // Nothing to remember: the sums stay in the thread's cache.
                with_scratch(JOB_ROWS * columns, |sums| {
                    add_up(rows, sums.as_mut_ptr().cast());
                });
            });
        }
    };
    // SAFETY: the jobs cover all rows of sums, and the last images come to each.
    unsafe {
        filled(len, |to| {
            with_scratch(sums_len + group * (lens[0] + lens[1]), |items| {
                work(items, to)
            });
        })
    }
}

/// Packs the gradient of one image, up to a panel of channels, so that sixteen channels are a vector.
fn pack_gradient(isa: Isa, grad: &[f32], outputs: usize, layout: Layout, to: &mut [u32]) {
    let [height, width] = layout.window.output;
    let order = Order::Vectors(to.len() / layout.gradients());
    let even = layout.steps() * layout.depth;
    let mut pack = |grad: &[f32]| {
        let matrix = Matrix::new(grad, [outputs, height * even]);
        isa.run(Pack { matrix, order, to });
    };
    if even == width {
        return pack(grad);
    }
    // A zero after each row, or the last pixel would be paired with the first of the next row.
    with_scratch(outputs * height * even, |items| {
        let rows: &mut [f32] = bytemuck::cast_slice_mut(items);
        for (row, grad) in rows.chunks_exact_mut(even).zip(grad.chunks_exact(width)) {
            row[..width].copy_from_slice(grad);
            row[width..].fill(0.0);
        }
        pack(rows);
    });
}

/// Packs one image, `[channels, H, W]`.
struct PackInput<'a> {
    image: &'a [f32],
    layout: Layout,
    /// Room for one channel.
    plane: &'a mut [u32],
    to: &'a mut [u32],
}

impl Job for PackInput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let [height, width] = self.layout.window.input;
        let len = self.layout.channel();
        for (channel, values) in self.image.chunks_exact(height * width).enumerate() {
            for first in (0..values.len()).step_by(LANES * L::DEPTH) {
                let items = neighbours::<L>(&values[first..]);
                self.plane[first / L::DEPTH..][..LANES].copy_from_slice(&items);
            }
            if L::DEPTH == 2 {
                let plane: &[u16] = bytemuck::cast_slice(self.plane);
                let to: &mut [u16] = bytemuck::cast_slice_mut(self.to);
                self.layout.spread(plane, &mut to[channel * len..][..len]);
            } else {
                self.layout
                    .spread(self.plane, &mut self.to[channel * len..][..len]);
            }
        }
    }
}

impl Layout {
    /// Lays one channel out over its phases, with zeros around.
    #[inline(always)]
    fn spread<T: Copy + Default>(&self, from: &[T], to: &mut [T]) {
        let Window {
            stride,
            before,
            input,
            ..
        } = self.window;
        to.fill(T::default());
        let step = stride as isize;
        let pitch = self.pitch as isize;
        for (phase, to) in to.chunks_exact_mut(self.phase()).enumerate() {
            // The columns that lie in the image.
            let shift = (phase % stride) as isize - before[1];
            let first = ((-shift).max(0) + step - 1).div_euclid(step).min(pitch);
            let end = ((input[1] as isize - shift).max(0) + step - 1).div_euclid(step);
            let end = end.clamp(first, pitch);
            let start = (first * step + shift) as usize;
            let (first, end) = (first as usize, end as usize);
            for (row, to) in to.chunks_exact_mut(self.pitch).enumerate() {
                let y = (row * stride + phase / stride) as isize - before[0];
                if y < 0 || y >= input[0] as isize || first == end {
                    continue;
                }
                let from = &from[y as usize * input[1] + start..];
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

/// Adds what a few images give to the sums of some rows, a row being an input channel at a tap:
/// `[rows][columns]`.
struct Sums<'a> {
    x: &'a [u32],
    dy: &'a [u32],
    /// How `x` is walked through, from where a row begins.
    walk: &'a [usize],
    /// Whether there are no sums yet.
    fresh: bool,
    /// Where the rows begin in `x`.
    offsets: &'a [usize],
    outputs: usize,
    to: *mut f32,
}

impl Job for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self {
            walk, x, outputs, ..
        } = self;
        let width = width(outputs);
        let columns = outputs.div_ceil(width) * width;
        let reach = walk.iter().max().map_or(0, |last| last + 4);
        let starts = self.offsets.iter().max().copied().unwrap_or(0);
        assert!(starts + reach <= 4 * x.len());
        for first_column in (0..outputs).step_by(width) {
            let vectors = (outputs - first_column).min(width).div_ceil(LANES);
            let b = &self.dy[first_column * walk.len()..][..width * walk.len()];
            for (block, walk) in walk.chunks(BLOCK_STEPS).enumerate() {
                let b = &b[block * BLOCK_STEPS * width..][..walk.len() * width];
                let walk = Steps {
                    offsets: walk,
                    width,
                    fresh: self.fresh && block == 0,
                    columns,
                };
                for (first, offsets) in self.offsets.chunks(ROWS).enumerate() {
                    // Rows after the last one repeat it; their sums are not wanted.
                    let n = offsets.len();
                    let x = x.as_ptr().cast::<u8>();
                    let a: [*const u8; ROWS] =
                        std::array::from_fn(|r| x.wrapping_add(offsets[r.min(n - 1)]));
                    for row in (0..n).step_by(L::TILE_ROWS) {
                        let row_of_sums = first * ROWS + row;
                        let to = self.to.wrapping_add(row_of_sums * columns + first_column);
                        // SAFETY: jobs only run for a set that the processor has; the walks stay
                        // within the packs, as asserted and sliced; the sums are padded to whole
                        // tiles, and each job has its own rows of them.
                        unsafe { tiles::<L>(&a[row..], (b.as_ptr(), vectors), walk, to) };
                    }
                }
            }
        }
    }
}

/// Turns `[n_rows][columns]` sums into `[outputs][n_rows]`.
struct Transpose {
    sums: *const f32,
    columns: usize,
    n_rows: usize,
    outputs: usize,
    /// From output to output.
    stride: usize,
    to: *mut f32,
}

impl Job for Transpose {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for output in (0..self.outputs).step_by(LANES) {
            for row in (0..self.n_rows).step_by(LANES) {
                let n = LANES.min(self.n_rows - row);
                let mut block = [[0; LANES]; LANES];
                for (i, block) in block[..n].iter_mut().enumerate() {
                    let sums = self.sums.wrapping_add((row + i) * self.columns + output);
                    // SAFETY: the job's own rows, which are padded to whole vectors.
                    *block = unsafe { sums.cast::<[u32; LANES]>().read() };
                }
                // SAFETY: jobs only run for a set that the processor has.
                let block = unsafe { L::transpose(&block) };
                let outputs = LANES.min(self.outputs - output);
                for (i, values) in block[..outputs].iter().enumerate() {
                    let to = self.to.wrapping_add((output + i) * self.stride + row);
                    // SAFETY: each job has its own rows of each output.
                    unsafe { values.as_ptr().copy_to_nonoverlapping(to.cast(), n) };
                }
            }
        }
    }
}
