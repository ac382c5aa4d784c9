//! The weight of a convolution in tiles: G g Gᵀ of [Lavin15] eq. 9 for each pair of channels.

use crate::conv2d::planes::copy_short;
use crate::conv2d::winograd::POINTS;
use crate::isa::{Isa, Job};
use crate::lanes::{F32s, LANES, Lanes, ROWS, prefetch};
use crate::pack::sixteen;
use crate::parallel;
use crate::scratch::{SharedItems, filled_items};

/// A transformed weight in panels of 8 output channels: `[panels][POINTS][planes][8]`.
#[derive(Debug)]
pub(crate) struct PackedTiles {
    pub(super) isa: Isa,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) items: Vec<u32>,
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
            let from = &self.weight[at..];
            // Only the last taps of all have less than sixteen values behind them.
            *row = match from.first_chunk::<LANES>() {
                Some(values) => bytemuck::cast(*values),
                None => bytemuck::cast(sixteen(from)),
            };
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
