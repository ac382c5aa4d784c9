//! The forward direction: lanes are queries, so that no sum of the softmax runs across a vector.

use bytemuck::{cast, cast_slice_mut};

use crate::attention::head::{
    Items, Rows, STARTS, Sizes, Store, Tokens, WIDTH, carve, multiply, pack, product, walk,
};
use crate::exp::exp;
use crate::isa::{Isa, Job};
use crate::lanes::{F32s, LANES, Lanes, ROWS, VECTORS};
use crate::pack::{Matrix, Order};
use crate::parallel;
use crate::scratch::{Shared, with_scratch};
use crate::tile::{Block, groups, tile};

/// Keys whose scores are held at a time.
const KEYS: usize = 256;

/// Results: the tokens, and for each head and query the logarithm of the sum of exponentials, for
/// which there may be no room.
pub(super) fn forward(
    isa: Isa,
    sizes: Sizes,
    [q, k, v]: &[Tokens; 3],
    bias: Option<&[f32]>,
    [out, log_sums]: [&mut [f32]; 2],
) {
    let Sizes {
        heads,
        queries,
        keys,
        d,
        ..
    } = sizes;
    if out.is_empty() || keys == 0 {
        return;
    }
    let pairs = sizes.batch * heads;
    let threads = parallel::threads();
    // Heads first, as each job packs its own keys and values; queries too where there are few heads.
    let parts = match threads {
        1 => 1,
        _ => (2 * threads).div_ceil(pairs).min(queries.div_ceil(WIDTH)),
    };
    let each = queries.div_ceil(parts * WIDTH) * WIDTH;
    let lengths = lengths(isa, [keys, d]);
    let (to, n_logs, logs_to) = (Shared::of(out), log_sums.len(), Shared::of(log_sums));
    parallel::for_each(pairs * queries.div_ceil(each), |job| {
        let (pair, first) = (job % pairs, job / pairs * each);
        let head = [pair / heads, pair % heads];
        let n = each.min(queries - first);
        let log_sums = match n_logs {
            0 => &mut [],
            // SAFETY: there is one for each query of each head, and this job's are its own.
            _ => unsafe { std::slice::from_raw_parts_mut(logs_to.at(pair * queries + first), n) },
        };
        with_scratch(lengths.iter().sum(), |scratch| {
            isa.run(Forward {
                q: q.head(head, d).rows(first, n),
                k: k.head(head, d),
                v: v.head(head, d),
                bias: bias.map(|bias| &bias[head[0] * keys..][..keys]),
                scale: sizes.scale(),
                parts: carve(scratch, lengths),
                out: sizes.rows(to, queries, head).from(first),
                log_sums,
            });
        });
    });
}

/// Items of the keys' and the values' panels, a group of queries, scores and sums.
fn lengths(isa: Isa, [keys, d]: [usize; 2]) -> [usize; 5] {
    let steps = d.div_ceil(isa.depth());
    [
        Order::Rows.len(keys, steps),
        Order::Rows.len(d, keys.div_ceil(isa.depth())),
        WIDTH * steps,
        WIDTH * keys.next_multiple_of(ROWS).min(KEYS),
        WIDTH * d.next_multiple_of(ROWS),
    ]
}

/// Some queries of a head: `q` is `[N, d]`, `k` and `v` are `[L, d]`.
struct Forward<'a> {
    q: Matrix<'a>,
    k: Matrix<'a>,
    v: Matrix<'a>,
    bias: Option<&'a [f32]>,
    scale: f32,
    parts: [&'a mut [u32]; 5],
    out: Rows,
    log_sums: &'a mut [f32],
}

impl Job for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self {
            q,
            k,
            v,
            bias,
            scale,
            parts,
            out,
            log_sums,
        } = self;
        let [k_panels, v_panels, columns, scores, sums] = parts;
        let sums: &mut [Block] = cast_slice_mut(sums);
        let [keys, d] = k.size;
        let steps = d.div_ceil(L::DEPTH);
        let v_stride = keys.div_ceil(L::DEPTH) * ROWS;
        pack::<L>(k, Order::Rows, k_panels);
        pack::<L>(v.transposed(), Order::Rows, v_panels);
        for group in groups(q.size[0].div_ceil(LANES)) {
            let (first, at) = (group.start * LANES, &STARTS[..group.len()]);
            let queries = q.rows(first, group.len() * LANES);
            pack::<L>(queries, Order::Vectors(WIDTH), columns);
            let mut softmax = Softmax::default();
            for start in (0..keys).step_by(KEYS) {
                let n = KEYS.min(keys - start);
                let bias = bias.map(|bias| &bias[start..][..n]);
                let panels = &k_panels[start * steps..];
                let tiles = cast_slice_mut(scores);
                let tops = score::<L>(panels, (columns, at), steps, tiles, (n, scale, bias));
                let rows = cast_slice_mut(scores);
                let factors = softmax.weigh::<L>(&tops, &mut rows[..n], at.len());
                let walk = walk(n.div_ceil(L::DEPTH));
                let panels = (&v_panels[start / L::DEPTH * ROWS..], v_stride);
                let store = if start == 0 { Store::Set } else { Store::Add };
                if store == Store::Add {
                    rescale(sums, &factors, at.len());
                }
                multiply::<L>(panels, (scores, at), walk, sums, store);
            }
            let n = queries.size[0];
            let mut shares = softmax.sums;
            for share in shares.as_flattened_mut() {
                *share = share.recip();
            }
            // SAFETY: the rows are this job's.
            unsafe { out.from(first).store::<L>(n, sums, &shares) };
            if !log_sums.is_empty() {
                softmax.store_logarithms(&mut log_sums[first..][..n]);
            }
        }
    }
}

/// Scores of `n` keys, times `scale` plus `bias`, and the greatest of each query.
#[inline(always)]
fn score<L: Lanes>(
    panels: &[u32],
    (columns, at): (&[u32], &[usize]),
    steps: usize,
    tiles: &mut [Block],
    (n, scale, bias): (usize, f32, Option<&[f32]>),
) -> [F32s; VECTORS] {
    let mut tops = [[f32::MIN; LANES]; VECTORS];
    for (panel, first) in (0..n).step_by(ROWS).enumerate() {
        let rows = ROWS.min(n - first);
        let scores = &mut tiles[panel];
        // SAFETY: jobs only run for a set that the processor has.
        unsafe {
            tile::<L>(
                &panels[first * steps..],
                rows,
                (columns, at),
                walk(steps),
                scores,
            );
        }
        for (row, scores) in scores[..rows].iter_mut().enumerate() {
            let bias = match bias {
                Some(bias) => bias[first + row],
                None => 0.0,
            };
            for (scores, tops) in scores[..at.len()].iter_mut().zip(&mut tops) {
                let mut x = *scores;
                for score in &mut x {
                    *score = L::mul_add(*score, scale, bias);
                }
                *scores = x;
                *tops = greater(tops, &x);
            }
        }
    }
    tops
}

/// The greatest scores of a group of queries so far, and the sums of their exponentials.
#[derive(Clone, Copy)]
struct Softmax {
    tops: [F32s; VECTORS],
    sums: [F32s; VECTORS],
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            tops: [[f32::MIN; LANES]; VECTORS],
            sums: [[0.0; LANES]; VECTORS],
        }
    }
}

impl Softmax {
    /// Replaces scores, whose greatest are `tops`, by their exponentials over that of the greatest
    /// so far, rounded to items. What was summed before has to be multiplied by the result.
    #[inline(always)]
    fn weigh<L: Lanes>(
        &mut self,
        tops: &[F32s; VECTORS],
        rows: &mut [Items],
        vectors: usize,
    ) -> [F32s; VECTORS] {
        let mut factors = [[0.0; LANES]; VECTORS];
        for v in 0..vectors {
            let top = greater(&self.tops[v], &tops[v]);
            let mut sum = [0.0; LANES];
            for step in 0..rows.len().div_ceil(L::DEPTH) {
                let low = weight::<L>(cast(rows[step * L::DEPTH][v]), &top);
                let high = match rows.get(step * L::DEPTH + 1) {
                    Some(row) if L::DEPTH == 2 => weight::<L>(cast(row[v]), &top),
                    _ => [0.0; LANES],
                };
                for lane in 0..LANES {
                    sum[lane] += low[lane] + high[lane];
                }
                // SAFETY: jobs only run for a set that the processor has.
                rows[step][v] = unsafe { L::join(low, high) };
            }
            let factor = weight::<L>(self.tops[v], &top);
            for lane in 0..LANES {
                self.sums[v][lane] = L::mul_add(self.sums[v][lane], factor[lane], sum[lane]);
            }
            self.tops[v] = top;
            factors[v] = factor;
        }
        factors
    }

    /// The logarithms of the sums of exponentials of the scores themselves.
    #[inline(always)]
    fn store_logarithms(&self, to: &mut [f32]) {
        let (tops, sums) = (self.tops.as_flattened(), self.sums.as_flattened());
        for ((to, top), sum) in to.iter_mut().zip(tops).zip(sums) {
            *to = top + sum.ln();
        }
    }
}

/// The greater value of each lane.
#[inline(always)]
fn greater(a: &F32s, b: &F32s) -> F32s {
    let mut out = *a;
    for lane in 0..LANES {
        out[lane] = if b[lane] > a[lane] { b[lane] } else { a[lane] };
    }
    out
}

/// e^(score - top).
#[inline(always)]
fn weight<L: Lanes>(mut scores: F32s, tops: &F32s) -> F32s {
    for lane in 0..LANES {
        scores[lane] -= tops[lane];
    }
    exp::<L>(scores)
}

/// Multiplies the columns of `sums`.
#[inline(always)]
fn rescale(sums: &mut [Block], factors: &[F32s; VECTORS], vectors: usize) {
    for sums in sums.as_flattened_mut() {
        for (sums, factors) in sums[..vectors].iter_mut().zip(factors) {
            *sums = product(sums, factors);
        }
    }
}
