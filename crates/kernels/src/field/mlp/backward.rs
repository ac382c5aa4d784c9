//! The derivatives of a block of samples: down the layers panel by panel, then the weights of each
//! layer from the whole block, which stays in the cache.

use crate::isa::Job;
use crate::lanes::{LANES, Lanes, ROWS, VECTORS};
use crate::matmul::width;
use crate::pack::{Matrix, Order, Pack, sixteen};
use crate::tile::{Sink, Walk, tile};

use super::Layer;
use super::panel::{Kept, Masked, Relu, SIDE, Stage, VECTORS_AT, pack_panel, put_samples};

/// Samples in a block.
pub(super) const BLOCK: usize = 4 * SIDE;

/// The derivatives of some samples.
pub(super) struct Backward<'a> {
    pub(super) layers: &'a [Layer],
    pub(super) biases: &'a [&'a [f32]],
    /// The matrix of each layer, and their transposes.
    pub(super) stages: [&'a [Stage<'a>]; 2],
    /// `[n, inputs]`
    pub(super) x: Matrix<'a>,
    /// `[n, outputs]`
    pub(super) grad: Matrix<'a>,
    pub(super) room: Room<'a>,
    /// `[n, inputs]`
    pub(super) by_x: &'a mut [f32],
    /// What is added to.
    pub(super) by_weights: &'a mut [f32],
}

/// Memory for one block.
pub(super) struct Room<'a> {
    /// `[steps][SIDE]` of the widest layer, for what goes into a layer and for what comes out.
    pub(super) items: [&'a mut [u32]; 2],
    /// `[rows][SIDE]` of the inputs.
    pub(super) values: &'a mut [f32],
    /// `[hidden layers][width][BLOCK]`, and the derivatives by them.
    pub(super) hidden: &'a mut [f32],
    pub(super) by_hidden: &'a mut [f32],
    /// The two operands of a layer's weight gradient.
    pub(super) operands: [&'a mut [u32]; 2],
}

impl Job for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self {
            layers,
            stages,
            mut room,
            by_x,
            by_weights,
            ..
        } = self;
        let inputs = layers[0].inputs;
        for first in (0..self.x.size[0]).step_by(BLOCK) {
            let (x, grad) = (self.x.rows(first, BLOCK), self.grad.rows(first, BLOCK));
            let n = x.size[0];
            for at in (0..n).step_by(SIDE) {
                let (x, grad) = (x.rows(at, SIDE), grad.rows(at, SIDE));
                let by_x = &mut by_x[(first + at) * inputs..][..x.size[0] * inputs];
                panel::<L>(stages, self.biases, [x, grad], at, &mut room, by_x);
            }
            let depth = BLOCK * layers[0].outputs;
            for (l, layer) in layers.iter().enumerate() {
                let hidden = |values, l: usize| Matrix {
                    size: [layers[l].outputs, n],
                    ..Matrix::new(values, [layers[l].outputs, BLOCK])
                };
                let below = match l {
                    0 => x.transposed(),
                    _ => hidden(&room.hidden[(l - 1) * depth..], l - 1),
                };
                let grad = match l + 1 == layers.len() {
                    true => grad.transposed(),
                    false => hidden(&room.by_hidden[l * depth..], l),
                };
                let [a, b] = &mut room.operands;
                add_product::<L>(
                    [grad, below],
                    [a, b],
                    &mut by_weights[layer.weights.clone()],
                );
                add_sums(grad, &mut by_weights[layer.bias.clone()]);
            }
        }
    }
}

/// Forward and back through the layers: `x` and `grad` of a panel, which is `at` so many samples of
/// the block.
#[inline(always)]
fn panel<L: Lanes>(
    [forward, back]: [&[Stage<'_>]; 2],
    biases: &[&[f32]],
    [x, grad]: [Matrix<'_>; 2],
    at: usize,
    room: &mut Room<'_>,
    by_x: &mut [f32],
) {
    let vectors = x.size[0].div_ceil(LANES);
    let rows = forward[0].rows();
    let depth = BLOCK * rows;
    let hidden = forward.len() - 1;
    let [mut items, mut next] = room.items.each_mut().map(|items| &mut **items);
    pack_panel::<L>(x, items);
    for l in 0..hidden {
        let kept = Kept {
            relu: Relu { bias: biases[l] },
            to: &mut room.hidden[l * depth..][at..depth],
            stride: BLOCK,
        };
        forward[l].layer::<L>(items, vectors, kept, next);
        std::mem::swap(&mut items, &mut next);
    }
    pack_panel::<L>(grad, items);
    for l in (0..hidden).rev() {
        let masked = Masked {
            hidden: &room.hidden[l * depth..][at..depth],
            to: &mut room.by_hidden[l * depth..][at..depth],
            stride: BLOCK,
        };
        back[l + 1].layer::<L>(items, vectors, masked, next);
        std::mem::swap(&mut items, &mut next);
    }
    back[0].values::<L>(items, vectors, room.values);
    put_samples::<L>(room.values, x.size[1], &[], by_x);
}

/// Adds a b^T to `to`: `a` is `[M, K]`, `b` is `[N, K]`.
#[inline(always)]
fn add_product<L: Lanes>(
    [a, b]: [Matrix<'_>; 2],
    [a_items, b_items]: [&mut [u32]; 2],
    to: &mut [f32],
) {
    let ([m, k], [n, _]) = (a.size, b.size);
    let (width, steps) = (width(n), k.div_ceil(L::DEPTH));
    Pack {
        matrix: a,
        order: Order::Rows,
        to: a_items,
    }
    .run::<L>();
    Pack {
        matrix: b,
        order: Order::Vectors(width),
        to: b_items,
    }
    .run::<L>();
    let walk = Walk {
        taps: &[0],
        planes: steps,
        plane: width,
    };
    for first in (0..n).step_by(width) {
        let vectors = (n - first).min(width).div_ceil(LANES);
        let b = &b_items[first * steps..];
        for row in (0..m).step_by(ROWS) {
            let mut sums = Sums {
                size: [m - row, n - first],
                stride: n,
                to: &mut to[row * n + first..],
            };
            let a = &a_items[row * steps..];
            // SAFETY: jobs only run for a set that the processor has.
            unsafe { tile::<L>(a, m - row, (b, &VECTORS_AT[..vectors]), walk, &mut sums) };
        }
    }
    const { assert!(VECTORS * LANES == SIDE) };
}

/// Adds the sum of each row of `a` to `to`, if that is not empty.
#[inline(always)]
fn add_sums(a: Matrix<'_>, to: &mut [f32]) {
    if to.is_empty() {
        return;
    }
    let [rows, n] = a.size;
    if a.strides[1] == 1 {
        for (row, to) in to.iter_mut().enumerate() {
            let (blocks, rest) = a.values[row * a.strides[0]..][..n].as_chunks::<LANES>();
            // One sum for each lane: a single one would wait for each addition.
            let mut sums = sixteen(rest);
            for block in blocks {
                for i in 0..LANES {
                    sums[i] += block[i];
                }
            }
            *to += sums.iter().sum::<f32>();
        }
    } else {
        for values in a.values.chunks(a.strides[1]).take(n) {
            for (to, value) in to.iter_mut().zip(&values[..rows]) {
                *to += value;
            }
        }
    }
}

/// Where a tile of a weight gradient is added.
struct Sums<'a> {
    /// Rows and columns from here on.
    size: [usize; 2],
    /// From row to row.
    stride: usize,
    to: &'a mut [f32],
}

impl<L: Lanes> Sink<L> for Sums<'_> {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, vector: usize, sums: L::Sum) {
        let column = vector * LANES;
        if row >= self.size[0] {
            return;
        }
        let len = LANES.min(self.size[1] - column);
        let to = &mut self.to[row * self.stride + column..][..len];
        // SAFETY: the caller's promise; there is room for sixteen values where sixteen are stored.
        unsafe {
            if len == LANES {
                return L::store_sum(L::add(sums, L::load_sum(to.as_ptr())), to.as_mut_ptr());
            }
            let mut values = [0.0; LANES];
            L::store_sum(sums, values.as_mut_ptr());
            for (to, value) in to.iter_mut().zip(values) {
                *to += value;
            }
        }
    }
}
