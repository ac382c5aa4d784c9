//! The backward direction: lanes are keys, so that of the weights and their derivatives only one is
//! turned, for the product that sums over keys. [Dao22]

use bytemuck::{cast_slice, cast_slice_mut};

use crate::attention::head::{
    Items, Rows, STARTS, Sizes, Store, Tokens, WIDTH, carve, multiply, pack, walk,
};
use crate::exp::exp;
use crate::isa::{Isa, Job};
use crate::lanes::{F32s, LANES, Lanes, ROWS, VECTORS};
use crate::pack::{Matrix, Order};
use crate::parallel;
use crate::scratch::{Shared, with_scratch};
use crate::tile::{Block, EMPTY, Walk, groups, tile};

/// Groups of queries whose weights are held at a time.
const GROUPS: usize = 4;
const QUERIES: usize = GROUPS * WIDTH;

/// What the derivatives are made from: the operands, what is added to the scores, the logarithms of
/// the sums of exponentials, the result and the derivative by it.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) operands: &'a [Tokens; 3],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) log_sums: &'a [f32],
    pub(super) out: &'a Tokens,
    pub(super) grad: &'a Tokens,
}

/// The derivatives by queries, keys and values.
pub(super) fn backward(isa: Isa, sizes: Sizes, given: Given<'_>, to: [&mut [f32]; 3]) {
    let Sizes {
        batch,
        heads,
        queries,
        keys,
        d,
    } = sizes;
    if queries == 0 || keys == 0 || d == 0 {
        return;
    }
    let lengths = lengths(isa, sizes);
    let to = to.map(Shared::of);
    parallel::for_each(batch * heads, |pair| {
        let head = [pair / heads, pair % heads];
        let [q, k, v] = given.operands.each_ref().map(|tokens| tokens.head(head, d));
        with_scratch(lengths.iter().sum(), |scratch| {
            isa.run(Backward {
                operands: [q, k, v],
                bias: given.bias.map(|bias| &bias[head[0] * keys..][..keys]),
                log_sums: &given.log_sums[pair * queries..][..queries],
                out: given.out.head(head, d),
                grad: given.grad.head(head, d),
                scale: sizes.scale(),
                memory: Memory::of(carve(scratch, lengths)),
                to: [
                    sizes.rows(to[0], queries, head),
                    sizes.rows(to[1], keys, head),
                    sizes.rows(to[2], keys, head),
                ],
            });
        });
    });
}

/// Items of the parts of a job's [`Memory`].
fn lengths(
    isa: Isa,
    Sizes {
        queries, keys, d, ..
    }: Sizes,
) -> [usize; 15] {
    let depth = isa.depth();
    let steps = d.div_ceil(depth);
    let rows = Order::Rows.len(queries, steps);
    let turned = Order::Rows.len(d, queries.div_ceil(depth));
    let column = WIDTH * steps;
    let k_turned = Order::Rows.len(d, WIDTH.min(keys).div_ceil(depth));
    let block = WIDTH * QUERIES;
    let sums = WIDTH * d.next_multiple_of(ROWS);
    let q_sums = sums * GROUPS * queries.div_ceil(QUERIES);
    [
        rows,
        rows,
        turned,
        turned,
        queries,
        column,
        column,
        k_turned,
        sums,
        sums,
        block / depth,
        block / depth,
        block,
        block / depth,
        q_sums,
    ]
}

/// What a job keeps. Panels sum over features, turned ones over queries or keys.
struct Memory<'a> {
    q_panels: &'a mut [u32],
    grad_panels: &'a mut [u32],
    q_turned: &'a mut [u32],
    grad_turned: &'a mut [u32],
    /// For each query, the sum of grad * out over features.
    deltas: &'a mut [f32],
    /// A group of keys and values.
    k_columns: &'a mut [u32],
    v_columns: &'a mut [u32],
    k_turned: &'a mut [u32],
    k_sums: &'a mut [Block],
    v_sums: &'a mut [Block],
    /// A block of queries by a group of keys: weights, derivatives by the scores.
    weights: &'a mut [Items],
    slopes: &'a mut [Items],
    slopes_flat: &'a mut [Block],
    slopes_turned: &'a mut [u32],
    q_sums: &'a mut [Block],
}

impl<'a> Memory<'a> {
    fn of(parts: [&'a mut [u32]; 15]) -> Self {
        let [
            q_panels,
            grad_panels,
            q_turned,
            grad_turned,
            deltas,
            k_columns,
            v_columns,
            k_turned,
            k_sums,
            v_sums,
            weights,
            slopes,
            slopes_flat,
            slopes_turned,
            q_sums,
        ] = parts;
        Self {
            q_panels,
            grad_panels,
            q_turned,
            grad_turned,
            deltas: cast_slice_mut(deltas),
            k_columns,
            v_columns,
            k_turned,
            k_sums: cast_slice_mut(k_sums),
            v_sums: cast_slice_mut(v_sums),
            weights: cast_slice_mut(weights),
            slopes: cast_slice_mut(slopes),
            slopes_flat: cast_slice_mut(slopes_flat),
            slopes_turned,
            q_sums: cast_slice_mut(q_sums),
        }
    }
}

/// One head: `q`, `out` and `grad` are `[N, d]`, `k` and `v` are `[L, d]`.
struct Backward<'a> {
    operands: [Matrix<'a>; 3],
    bias: Option<&'a [f32]>,
    log_sums: &'a [f32],
    out: Matrix<'a>,
    grad: Matrix<'a>,
    scale: f32,
    memory: Memory<'a>,
    to: [Rows; 3],
}

impl Job for Backward<'_> {
    type Output = ();

    // With S = scale q k^T + bias, P = e^(S - log sum) and D = sum(grad * out) over features:
    // dv = P^T grad, dS = P * (grad v^T - D), dk = scale dS^T q, dq = scale dS k.
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self {
            operands: [q, k, v],
            grad,
            to,
            ..
        } = self;
        let ([queries, d], keys) = (q.size, k.size[0]);
        let scales = [[self.scale; LANES]; VECTORS];
        let blocks = d.div_ceil(ROWS);
        let turned_stride = queries.div_ceil(L::DEPTH) * ROWS;
        let m = self.memory;
        pack::<L>(q, Order::Rows, m.q_panels);
        pack::<L>(grad, Order::Rows, m.grad_panels);
        pack::<L>(q.transposed(), Order::Rows, m.q_turned);
        pack::<L>(grad.transposed(), Order::Rows, m.grad_turned);
        dots(grad, self.out, m.deltas);
        for group in groups(keys.div_ceil(LANES)) {
            let (first, at) = (group.start * LANES, &STARTS[..group.len()]);
            let width = (group.len() * LANES).min(keys - first);
            let (k, v) = (k.rows(first, width), v.rows(first, width));
            pack::<L>(k, Order::Vectors(WIDTH), m.k_columns);
            pack::<L>(v, Order::Vectors(WIDTH), m.v_columns);
            pack::<L>(k.transposed(), Order::Rows, m.k_turned);
            let mut bias = [[0.0; LANES]; VECTORS];
            if let Some(from) = self.bias {
                bias.as_flattened_mut()[..width].copy_from_slice(&from[first..][..width]);
            }
            for (index, start) in (0..queries).step_by(QUERIES).enumerate() {
                let n = QUERIES.min(queries - start);
                let steps = d.div_ceil(L::DEPTH);
                let weigh = Weigh {
                    panels: [
                        &m.q_panels[start * steps..],
                        &m.grad_panels[start * steps..],
                    ],
                    columns: [m.k_columns, m.v_columns],
                    at,
                    walk: walk(steps),
                    scale: self.scale,
                    bias: &bias,
                    log_sums: &self.log_sums[start..][..n],
                    deltas: &m.deltas[start..][..n],
                };
                weigh.run::<L>([&mut *m.weights, &mut *m.slopes], m.slopes_flat);
                let flat = Matrix {
                    values: cast_slice(m.slopes_flat),
                    size: [n, width],
                    strides: [WIDTH, 1],
                };
                pack::<L>(flat, Order::Vectors(QUERIES), m.slopes_turned);

                let step = start / L::DEPTH * ROWS;
                let over_queries = walk(n.div_ceil(L::DEPTH));
                let grad_panels = (&m.grad_turned[step..], turned_stride);
                let q_panels = (&m.q_turned[step..], turned_stride);
                let weights = (cast_slice(m.weights), at);
                let slopes = (cast_slice(m.slopes), at);
                let store = if start == 0 { Store::Set } else { Store::Add };
                multiply::<L>(grad_panels, weights, over_queries, m.v_sums, store);
                multiply::<L>(q_panels, slopes, over_queries, m.k_sums, store);

                let steps = width.div_ceil(L::DEPTH);
                let over_keys = Walk {
                    plane: QUERIES,
                    ..walk(steps)
                };
                let k_panels = (&*m.k_turned, steps * ROWS);
                for (part, vectors) in groups(n.div_ceil(LANES)).enumerate() {
                    let at = STARTS.map(|at| vectors.start * LANES + at);
                    let slopes = (&*m.slopes_turned, &at[..vectors.len()]);
                    let sums = &mut m.q_sums[(index * GROUPS + part) * blocks..][..blocks];
                    let store = if first == 0 { Store::Set } else { Store::Add };
                    multiply::<L>(k_panels, slopes, over_keys, sums, store);
                }
            }
            // SAFETY: the rows are this job's.
            unsafe {
                to[1].from(first).store::<L>(width, m.k_sums, &scales);
                to[2]
                    .from(first)
                    .store::<L>(width, m.v_sums, &[[1.0; LANES]; VECTORS]);
            }
        }
        for (index, start) in (0..queries).step_by(QUERIES).enumerate() {
            let vectors = QUERIES.min(queries - start).div_ceil(LANES);
            for (part, vectors) in groups(vectors).enumerate() {
                let first = start + vectors.start * LANES;
                let n = (vectors.len() * LANES).min(queries - first);
                let sums = &m.q_sums[(index * GROUPS + part) * blocks..][..blocks];
                // SAFETY: the rows are this job's.
                unsafe { to[0].from(first).store::<L>(n, sums, &scales) };
            }
        }
    }
}

/// A block of queries by a group of keys: `panels` of queries and of derivatives by the result,
/// `columns` of keys and of values.
struct Weigh<'a> {
    panels: [&'a [u32]; 2],
    columns: [&'a [u32]; 2],
    at: &'a [usize],
    walk: Walk<'a>,
    scale: f32,
    bias: &'a [F32s; VECTORS],
    log_sums: &'a [f32],
    deltas: &'a [f32],
}

impl Weigh<'_> {
    /// Stores weights and the derivatives by the scores as items that join queries, and the latter
    /// also as they are.
    #[inline(always)]
    fn run<L: Lanes>(&self, [weights, slopes]: [&mut [Items]; 2], slopes_flat: &mut [Block]) {
        let ([q, grad], [k, v]) = (self.panels, self.columns);
        let (at, walk, n) = (self.at, self.walk, self.log_sums.len());
        let panel = walk.planes * ROWS;
        let mut p = EMPTY;
        for (i, first) in (0..n).step_by(ROWS).enumerate() {
            let rows = ROWS.min(n - first);
            let ds = &mut slopes_flat[i];
            // SAFETY: jobs only run for a set that the processor has.
            unsafe {
                tile::<L>(&q[i * panel..], rows, (k, at), walk, &mut p);
                tile::<L>(&grad[i * panel..], rows, (v, at), walk, ds);
            }
            for row in 0..rows {
                let (log_sum, delta) = (self.log_sums[first + row], self.deltas[first + row]);
                for v in 0..at.len() {
                    let (mut x, mut slope, bias) = (p[row][v], ds[row][v], self.bias[v]);
                    for lane in 0..LANES {
                        x[lane] = L::mul_add(x[lane], self.scale, bias[lane] - log_sum);
                    }
                    let weight = exp::<L>(x);
                    for lane in 0..LANES {
                        slope[lane] = weight[lane] * (slope[lane] - delta);
                    }
                    (p[row][v], ds[row][v]) = (weight, slope);
                }
            }
            let to = first / L::DEPTH;
            join::<L>(&p[..rows], at.len(), &mut weights[to..]);
            join::<L>(&ds[..rows], at.len(), &mut slopes[to..]);
        }
    }
}

/// Rounds rows to items that join neighbours among them.
#[inline(always)]
fn join<L: Lanes>(rows: &[[F32s; VECTORS]], vectors: usize, to: &mut [Items]) {
    for (rows, to) in rows.chunks(L::DEPTH).zip(to) {
        for v in 0..vectors {
            let high = if rows.len() == 2 {
                rows[1][v]
            } else {
                [0.0; LANES]
            };
            // SAFETY: jobs only run for a set that the processor has.
            to[v] = unsafe { L::join(rows[0][v], high) };
        }
    }
}

/// The products of the rows of `a` and `b`.
#[inline(always)]
fn dots(a: Matrix<'_>, b: Matrix<'_>, to: &mut [f32]) {
    let [n, d] = a.size;
    for (i, to) in to[..n].iter_mut().enumerate() {
        let a = a.values[i * a.strides[0]..][..d].chunks(LANES);
        let b = b.values[i * b.strides[0]..][..d].chunks(LANES);
        let mut sums = [0.0; LANES];
        for (a, b) in a.zip(b) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
        *to = sums.iter().sum();
    }
}
