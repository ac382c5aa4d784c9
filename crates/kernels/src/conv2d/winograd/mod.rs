//! Convolutions of 3×3 taps with stride 1 in tiles of 2×2 output pixels, F(2×2, 3×3) of [Lavin15]: 16 products of sums of
//! a tile's 4×4 input pixels instead of 36 products of the pixels. Leaves out larger tiles, which lose precision.

mod pixels;
mod products;
mod weight;

pub(crate) use weight::PackedTiles;

use crate::conv2d::window::Window;
use crate::conv2d::winograd::pixels::TransformPixels;
use crate::conv2d::winograd::products::Multiply;
use crate::lanes::{LANES, ROWS, VECTORS};
use crate::parallel;
use crate::scratch::{Shared, with_scratch};

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
