//! Convolutions of 3×3 taps with stride 1 in tiles of 2×2 output pixels, F(2×2, 3×3) of [Lavin15]: 16 products of sums of
//! a tile's 4×4 input pixels instead of 36 products of the pixels. Leaves out larger tiles, which lose precision.

use crate::conv2d::planes::copy_short;
use crate::conv2d::window::Window;
use crate::isa::{Isa, Job};
use crate::lanes::{F32s, LANES, Lanes, ROWS, VECTORS, prefetch};
use crate::pack::sixteen;
use crate::parallel;
use crate::scratch::{Shared, SharedItems, filled_items, with_scratch};
use crate::tile::{Sink, Walk, groups, tile};

/// Pixels of a transformed tile.
const POINTS: usize = 16;
/// Items of transformed pixels that a job keeps in the second-level cache.
const BLOCK_ITEMS: usize = 160 << 10;
/// Fewer channels are sooner convolved than transformed.
const FEW_CHANNELS: usize = 24;
/// Vectors that a job should have.
const FEW_VECTORS: usize = 3;

/// Whether `window` over so many channels is convolved in tiles. Does not depend on the batch, which must not change
/// what an image gives.
pub(crate) fn suits(window: Window, inputs: usize, outputs: usize) -> bool {
    window.kernel == [3; 2]
        && window.stride == 1
        && inputs.min(outputs) >= FEW_CHANNELS
        && Grid::of(window).tiles() >= LANES / 2
}

/// How an output image is cut into tiles.
#[derive(Clone, Copy)]
struct Grid {
    rows: usize,
    columns: usize,
}

impl Grid {
    fn of(window: Window) -> Self {
        let [rows, columns] = window.output.map(|side| side.div_ceil(2));
        Self { rows, columns }
    }

    fn tiles(self) -> usize {
        self.rows * self.columns
    }
}

/// A transformed weight in panels of 8 output channels: `[panels][POINTS][planes][8]`.
#[derive(Debug)]
pub(crate) struct PackedTiles {
    isa: Isa,
    outputs: usize,
    inputs: usize,
    items: Vec<u32>,
}

impl PackedTiles {
    /// Transforms the values at `output * strides[0] + input * strides[1] + tap`; `taps` are in the order of the window.
    pub(crate) fn pack(
        isa: Isa,
        weight: &[f32],
        [outputs, inputs]: [usize; 2],
        strides: [usize; 2],
        taps: [usize; 9],
    ) -> Self {
        let panel = POINTS * inputs.div_ceil(isa.depth()) * ROWS;
        let len = outputs.div_ceil(ROWS) * panel;
        let fill = |to: SharedItems| {
            parallel::for_each(outputs.div_ceil(LANES), |job| {
                let first = job * LANES;
                let start = job * 2 * panel;
                isa.run(TransformWeight {
                    weight: &weight[first * strides[0]..],
                    outputs: LANES.min(outputs - first),
                    inputs,
                    strides,
                    taps,
                    to: to.part(start, (2 * panel).min(len - start)),
                });
            });
        };
        let items = match len {
            0 => vec![],
            // SAFETY: the jobs cover all panels, of which each writes all items.
            _ => unsafe { filled_items(len, fill) },
        };
        Self {
            isa,
            outputs,
            inputs,
            items,
        }
    }
}

/// Transforms the weights of up to sixteen output channels.
struct TransformWeight<'a> {
    weight: &'a [f32],
    outputs: usize,
    inputs: usize,
    strides: [usize; 2],
    taps: [usize; 9],
    /// One panel or two.
    to: &'a mut [u32],
}

/// Planes whose weights are transformed before any is stored: the points of one lie far apart.
const PLANES: usize = 8;
/// Input channels that memory is asked for in advance.
const AHEAD: usize = 8;

impl Job for TransformWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let planes = self.inputs.div_ceil(L::DEPTH);
        let mut block = [[[[0; ROWS]; PLANES]; 2]; POINTS];
        for first in (0..planes).step_by(PLANES) {
            let n = PLANES.min(planes - first);
            for i in 0..n {
                let input = (first + i) * L::DEPTH;
                // SAFETY: jobs only run for a set that the processor has.
                let (low, high) = unsafe {
                    let low = self.points::<L>(input);
                    let has_high = L::DEPTH == 2 && input + 1 < self.inputs;
                    let none = [[0.0; LANES]; POINTS];
                    (
                        low,
                        if has_high {
                            self.points::<L>(input + 1)
                        } else {
                            none
                        },
                    )
                };
                for point in 0..POINTS {
                    // SAFETY: as above.
                    let items = unsafe { L::join(low[point], high[point]) };
                    let [a, b] = bytemuck::cast::<_, [[u32; ROWS]; 2]>(items);
                    (block[point][0][i], block[point][1][i]) = (a, b);
                }
            }
            let panels = self.to.chunks_exact_mut(POINTS * planes * ROWS);
            for (panel, to) in panels.enumerate() {
                for (point, from) in block.iter().enumerate() {
                    let start = (point * planes + first) * ROWS;
                    copy_short(
                        from[panel][..n].as_flattened(),
                        &mut to[start..][..n * ROWS],
                    );
                }
            }
        }
    }
}

impl TransformWeight<'_> {
    /// G g Gᵀ of the taps that lead from `input` to each of the output channels. [Lavin15] eq. 9
    ///
    /// # Safety
    /// The processor has `L`.
    #[inline(always)]
    unsafe fn points<L: Lanes>(&self, input: usize) -> [F32s; POINTS] {
        let mut rows = [[0; LANES]; LANES];
        for (output, row) in rows.iter_mut().enumerate().take(self.outputs) {
            let at = output * self.strides[0] + input * self.strides[1];
            *row = bytemuck::cast(sixteen(&self.weight[at..]));
            prefetch(
                self.weight
                    .as_ptr()
                    .wrapping_add(at + AHEAD * self.strides[1]),
            );
        }
        let mut points = [[0.0; LANES]; POINTS];
        // SAFETY: the caller's promise; all arrays have sixteen values.
        unsafe {
            let by_tap = L::transpose(&rows);
            let mut taps = [L::zero(); 9];
            for i in 0..9 {
                taps[i] = L::load_sum(by_tap[self.taps[i]].as_ptr().cast());
            }
            let mut half = [[L::zero(); 4]; 3];
            for column in 0..3 {
                half[column] = three::<L>([taps[column], taps[3 + column], taps[6 + column]]);
            }
            for row in 0..4 {
                let sums = three::<L>([half[0][row], half[1][row], half[2][row]]);
                for column in 0..4 {
                    L::store_sum(sums[column], points[4 * row + column].as_mut_ptr());
                }
            }
        }
        points
    }
}

/// G g.
///
/// # Safety
/// The processor has `L`.
#[inline(always)]
unsafe fn three<L: Lanes>([a, b, c]: [L::Sum; 3]) -> [L::Sum; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let half = L::all(0.5);
        let outer = L::add(a, c);
        let [plus, minus] = [L::add(outer, b), L::sub(outer, b)];
        [a, L::mul(half, plus), L::mul(half, minus), c]
    }
}

/// Slides `window` over `images`, `[B, inputs, H, W]`, adds a value of `bias` to each channel and stores the sums at
/// `to`, `[B, outputs, H', W']`, without reading what is there.
///
/// # Safety
/// `to` has room for the result, and nothing else uses it.
pub(crate) unsafe fn convolve(
    images: &[f32],
    weight: &PackedTiles,
    window: Window,
    bias: Option<&[f32]>,
    to: Shared,
) {
    let PackedTiles {
        isa,
        outputs,
        inputs,
        ..
    } = *weight;
    let image = inputs * window.input[0] * window.input[1];
    if images.is_empty() {
        return;
    }
    let batch = images.len() / image;
    assert_eq!(images.len(), batch * image);
    assert!(bias.is_none_or(|bias| bias.len() == outputs));
    let grid = Grid::of(window);
    let planes = inputs.div_ceil(isa.depth());

    // Blocks of tiles that fit into the cache, and are enough for all threads.
    let multiplications = batch * outputs * inputs * POINTS * grid.tiles();
    let threads = parallel::threads_for(multiplications);
    let most = (BLOCK_ITEMS / (POINTS * planes)).max(LANES);
    let strips = grid.columns.div_ceil(most);
    let columns = grid.columns.div_ceil(strips);
    let mut rows = (most / columns).clamp(1, grid.rows);
    if threads > 1 {
        let few = (FEW_VECTORS * LANES).div_ceil(columns);
        rows = rows.min((batch * grid.rows).div_ceil(2 * threads).max(few));
    }
    let bands = grid.rows.div_ceil(rows);
    let rows = grid.rows.div_ceil(bands);
    let bands = grid.rows.div_ceil(rows);
    // Small images go together.
    let blocks = strips * bands;
    let together = match blocks {
        1 => (most / grid.tiles()).clamp(1, batch.div_ceil(2 * threads)),
        _ => 1,
    };
    let areas = batch.div_ceil(together) * blocks;
    // Where there are not enough of them, threads share the output channels.
    let panels = outputs.div_ceil(ROWS);
    let parts = threads.div_ceil(areas).min(panels);
    let each = panels.div_ceil(parts) * ROWS;
    parallel::for_each(areas * parts, |job| {
        let (area, part) = (job / parts, job % parts);
        let (first, block) = (area / blocks * together, area % blocks);
        let [row, column] = [block / strips * rows, block % strips * columns];
        let block = Block {
            window,
            first: [row, column],
            rows: rows.min(grid.rows - row),
            columns: columns.min(grid.columns - column),
            count: together.min(batch - first),
        };
        with_scratch(POINTS * planes * block.pitch(), |packed| {
            with_scratch(block.room(), |room| {
                isa.run(TransformPixels {
                    images: &images[first * image..][..block.count * image],
                    channels: inputs,
                    block,
                    room: bytemuck::cast_slice_mut(room),
                    to: packed,
                });
            });
            with_scratch(ROWS * VECTORS * POINTS * LANES, |sums| {
                isa.run(Multiply {
                    weight,
                    channels: [part * each, outputs.min((part + 1) * each)],
                    packed,
                    block,
                    bias,
                    sums: bytemuck::cast_slice_mut(sums),
                    to: to.at(first * outputs * window.pixels()),
                });
            });
        });
    });
}

/// Tiles that are convolved together: the same rectangle of a few images.
#[derive(Clone, Copy)]
struct Block {
    window: Window,
    /// Row and column of the first tile.
    first: [usize; 2],
    rows: usize,
    columns: usize,
    /// Images.
    count: usize,
}

impl Block {
    fn tiles(&self) -> usize {
        self.rows * self.columns
    }

    /// From plane to plane of the packed tiles, whole vectors.
    fn pitch(&self) -> usize {
        (self.count * self.tiles()).next_multiple_of(LANES)
    }

    /// Values of a row of pixels with its borders, and what is read past its end.
    fn padded(&self) -> usize {
        2 * self.columns + 2 + 2 * LANES
    }

    /// Values of all even or all odd rows at one of four columns of a tile, and what is written past the end.
    fn half(&self) -> usize {
        (self.rows + 1) * self.columns + 2 * LANES
    }

    /// Room for a channel pair's rows after the first half of the transform: `[2][2][4]` halves.
    fn room(&self) -> usize {
        self.padded() + 16 * self.half()
    }
}

/// Packs the transformed tiles of a block: `[POINTS][planes][pitch]`.
struct TransformPixels<'a> {
    /// The images of the block.
    images: &'a [f32],
    channels: usize,
    block: Block,
    room: &'a mut [f32],
    to: &'a mut [u32],
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

/// The products of a block, and what they are transformed back to.
struct Multiply<'a> {
    weight: &'a PackedTiles,
    /// The first output channel, a multiple of 8, and the one after the last.
    channels: [usize; 2],
    packed: &'a [u32],
    block: Block,
    bias: Option<&'a [f32]>,
    /// Room for `[ROWS][VECTORS][POINTS][LANES]`.
    sums: &'a mut [f32],
    to: *mut f32,
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
