//! One head among those that lie side by side in the features of tokens, and the products that the
//! forward and the backward direction share.

use burn_flex::FlexTensor;

use crate::isa::Job;
use crate::lanes::{F32s, LANES, Lanes, ROWS, VECTORS};
use crate::pack::{Matrix, Order, Pack};
use crate::scratch::Shared;
use crate::tile::{Block, EMPTY, Walk, tile};

/// Lanes of the widest tile.
pub(super) const WIDTH: usize = VECTORS * LANES;

/// Where the vectors of a tile begin.
pub(super) const STARTS: [usize; VECTORS] = [0, LANES, 2 * LANES];

/// A row of items as wide as the widest tile.
pub(super) type Items = [[u32; LANES]; VECTORS];

/// B, heads, N, L and the features d of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) d: usize,
}

impl Sizes {
    /// The shape of `length` tokens.
    pub(super) fn shape(self, length: usize) -> [usize; 3] {
        [self.batch, length, self.heads * self.d]
    }

    /// Values of the result.
    pub(super) fn outputs(self) -> usize {
        self.shape(self.queries).iter().product()
    }

    /// Factor of the scores.
    pub(super) fn scale(self) -> f32 {
        (self.d as f32).sqrt().recip()
    }

    /// The rows of a head in contiguous tokens `[B, length, heads*d]`.
    pub(super) fn rows(self, to: Shared, length: usize, [batch, head]: [usize; 2]) -> Rows {
        let stride = self.heads * self.d;
        Rows {
            to: Shared(to.at(batch * length * stride + head * self.d)),
            stride,
            d: self.d,
        }
    }
}

/// Tokens `[B, L, heads*d]` whose features are contiguous.
#[derive(Clone, Debug)]
pub(super) struct Tokens(FlexTensor);

impl Tokens {
    /// Copies only if the features are scattered.
    pub(super) fn of(x: FlexTensor) -> Self {
        match *x.layout().strides() {
            [batch, row, 1] if batch >= 0 && row >= 0 => Self(x),
            _ => Self(x.to_contiguous()),
        }
    }

    /// The rows of a head, `[L, d]`.
    pub(super) fn head(&self, [batch, head]: [usize; 2], d: usize) -> Matrix<'_> {
        let layout = self.0.layout();
        let [image, row] = [0, 1].map(|axis| layout.strides()[axis] as usize);
        let start = layout.start_offset() + batch * image + head * d;
        Matrix {
            values: &self.0.storage()[start..],
            size: [layout.shape()[1], d],
            strides: [row, 1],
        }
    }
}

/// Rows of d values that one job writes.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    to: Shared,
    stride: usize,
    d: usize,
}

impl Rows {
    /// The rows from `first` on.
    pub(super) fn from(self, first: usize) -> Self {
        Self {
            to: Shared(self.to.at(first * self.stride)),
            ..self
        }
    }

    /// Stores sums whose columns are the first `n` rows, each times its factor.
    ///
    /// # Safety
    /// There are n rows, which no other thread uses.
    #[inline(always)]
    pub(super) unsafe fn store<L: Lanes>(
        self,
        n: usize,
        sums: &[Block],
        factors: &[F32s; VECTORS],
    ) {
        let sums = sums.as_flattened();
        for (v, first) in (0..n).step_by(LANES).enumerate() {
            for feature in (0..self.d).step_by(LANES) {
                let mut columns = [[0; LANES]; LANES];
                for (column, sums) in columns.iter_mut().zip(&sums[feature..]) {
                    *column = bytemuck::cast(product(&sums[v], &factors[v]));
                }
                // SAFETY: jobs only run for a set that the processor has.
                let rows = unsafe { L::transpose(&columns) };
                let len = LANES.min(self.d - feature);
                for (i, row) in rows[..LANES.min(n - first)].iter().enumerate() {
                    let at = self.to.at((first + i) * self.stride + feature);
                    // SAFETY: the caller's promise.
                    let to = unsafe { std::slice::from_raw_parts_mut(at.cast::<u32>(), len) };
                    if len == LANES {
                        to.copy_from_slice(row);
                    } else {
                        to.copy_from_slice(&row[..len]);
                    }
                }
            }
        }
    }
}

/// Packs within a job.
#[inline(always)]
pub(super) fn pack<L: Lanes>(matrix: Matrix<'_>, order: Order, to: &mut [u32]) {
    Pack { matrix, order, to }.run::<L>();
}

/// Steps through vectors as wide as the widest tile.
#[inline(always)]
pub(super) fn walk(steps: usize) -> Walk<'static> {
    Walk {
        taps: &[0],
        planes: steps,
        plane: WIDTH,
    }
}

/// a b.
#[inline(always)]
pub(super) fn product(a: &F32s, b: &F32s) -> F32s {
    let mut out = *a;
    for lane in 0..LANES {
        out[lane] *= b[lane];
    }
    out
}

/// Whether sums are the first ones or added to what is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Set,
    Add,
}

/// The products of panels, `stride` items apart, with the vectors `b`.
#[inline(always)]
pub(super) fn multiply<L: Lanes>(
    (a, stride): (&[u32], usize),
    b: (&[u32], &[usize]),
    walk: Walk<'_>,
    sums: &mut [Block],
    store: Store,
) {
    let mut more = EMPTY;
    for (panel, sums) in sums.iter_mut().enumerate() {
        let to = match store {
            Store::Set => &mut *sums,
            Store::Add => &mut more,
        };
        // SAFETY: jobs only run for a set that the processor has.
        unsafe { tile::<L>(&a[panel * stride..], ROWS, b, walk, to) };
        if store == Store::Set {
            continue;
        }
        for (sums, more) in sums.iter_mut().zip(&more) {
            for (sums, more) in sums[..b.1.len()].iter_mut().zip(more) {
                let mut values = *sums;
                for lane in 0..LANES {
                    values[lane] += more[lane];
                }
                *sums = values;
            }
        }
    }
}

/// Cuts scratch memory into parts of these lengths.
#[inline(always)]
pub(super) fn carve<const N: usize>(
    mut scratch: &mut [u32],
    lengths: [usize; N],
) -> [&mut [u32]; N] {
    lengths.map(|length| {
        let (part, rest) = std::mem::take(&mut scratch).split_at_mut(length);
        scratch = rest;
        part
    })
}
