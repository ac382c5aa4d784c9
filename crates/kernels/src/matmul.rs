//! Products of matrices, tile by tile from packed panels. [Goto08]

use crate::isa::{Isa, Job};
use crate::lanes::{F32s, LANES, Lanes, ROWS, VECTORS};
use crate::pack::{Matrix, Order, Pack};
use crate::parallel;
use crate::scratch::{Shared, SharedItems, with_scratch};
use crate::tile::{EMPTY, Walk, tile};

/// Items of packed rows that a job keeps in the second-level cache.
const ROW_ITEMS: usize = 64 << 10;

/// What becomes of a product.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finish<'a> {
    /// Added to each column.
    pub(crate) bias: Option<&'a [f32]>,
    /// Whether the product is added to what is there.
    pub(crate) add: bool,
}

/// The right-hand operand, `[N, K]`, packed for products of any number of rows.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) isa: Isa,
    pub(crate) items: Vec<u32>,
}

/// Columns in a panel: 48, or 32 where this would leave a tile of one vector for much of the work.
pub(crate) fn width(n: usize) -> usize {
    let rest = n % (VECTORS * LANES);
    match n {
        0..=LANES => LANES,
        17..=600 if (1..=LANES).contains(&rest) => 2 * LANES,
        _ => VECTORS * LANES,
    }
}

impl Columns {
    /// Packs `matrix`, `[N, K]`.
    pub(crate) fn pack(isa: Isa, matrix: Matrix<'_>) -> Self {
        let [n, k] = matrix.size;
        let mut items = vec![0; Self::len(isa, n, k)];
        pack_columns(isa, matrix, &mut items);
        Self { n, k, isa, items }
    }

    fn len(isa: Isa, n: usize, k: usize) -> usize {
        Order::Vectors(width(n)).len(n, k.div_ceil(isa.depth()))
    }
}

/// Packs the panels of `matrix`, `[N, K]`, side by side.
fn pack_columns(isa: Isa, matrix: Matrix<'_>, to: &mut [u32]) {
    let [n, k] = matrix.size;
    let width = width(n);
    let panel = width * k.div_ceil(isa.depth());
    if panel == 0 {
        return;
    }
    // A few panels at a time are worth a thread's while.
    let panels = (1_usize << 14).div_ceil(panel);
    let to = SharedItems::of(to);
    parallel::for_each(n.div_ceil(width * panels), |job| {
        let first = job * width * panels;
        let rows = matrix.rows(first, width * panels);
        let len = Order::Vectors(width).len(rows.size[0], panel / width);
        isa.run(Pack {
            matrix: rows,
            order: Order::Vectors(width),
            to: to.part(job * panels * panel, len),
        });
    });
}

/// out = a b^T: `a` is `[M, K]`, `b` is `[N, K]`, `out` `[M, N]` row-major.
pub(crate) fn matmul(isa: Isa, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], finish: Finish<'_>) {
    let [n, k] = b.size;
    with_scratch(Columns::len(isa, n, k), |items| {
        pack_columns(isa, b, items);
        product(isa, a, n, items, out, finish);
    });
}

/// As [`matmul`], with `b` packed before.
pub(crate) fn matmul_packed(a: Matrix<'_>, b: &Columns, out: &mut [f32], finish: Finish<'_>) {
    assert_eq!(a.size[1], b.k);
    product(b.isa, a, b.n, &b.items, out, finish);
}

fn product(isa: Isa, a: Matrix<'_>, n: usize, b: &[u32], out: &mut [f32], finish: Finish<'_>) {
    let [m, k] = a.size;
    assert_eq!(out.len(), m * n);
    assert!(b.len() >= Columns::len(isa, n, k));
    assert!(finish.bias.is_none_or(|bias| bias.len() == n));
    if out.is_empty() {
        return;
    }
    let steps = k.div_ceil(isa.depth());
    let threads = parallel::threads();
    // Rows first, as each job packs its own; columns too where there are few rows.
    let most = (ROW_ITEMS / steps.max(1)).max(ROWS);
    let fair = m.div_ceil(2 * threads);
    let height = if threads == 1 { most } else { most.min(fair) };
    let height = height.div_ceil(ROWS) * ROWS;
    let blocks = m.div_ceil(height);
    let panels = n.div_ceil(width(n));
    let parts = match threads {
        1 => 1,
        _ => (2 * threads).div_ceil(blocks).min(panels),
    };
    let panels_each = panels.div_ceil(parts);
    let to = Shared::of(out);
    parallel::for_each(blocks * parts, |job| {
        let (block, part) = (job / parts, job % parts);
        let rows = a.rows(block * height, height);
        with_scratch(Order::Rows.len(rows.size[0], steps), |packed| {
            isa.run(Pack {
                matrix: rows,
                order: Order::Rows,
                to: packed,
            });
            isa.run(Product {
                a: packed,
                rows: rows.size[0],
                b,
                panels: [part * panels_each, panels.min((part + 1) * panels_each)],
                n,
                steps,
                to: to.at(block * height * n),
                finish,
            });
        });
    });
}

/// The product of one job.
struct Product<'a> {
    a: &'a [u32],
    rows: usize,
    b: &'a [u32],
    panels: [usize; 2],
    n: usize,
    steps: usize,
    to: *mut f32,
    finish: Finish<'a>,
}

impl Job for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { a, b, n, steps, .. } = self;
        let width = width(n);
        let walk = Walk {
            taps: &[0],
            planes: steps,
            plane: width,
        };
        let mut sums = EMPTY;
        for panel in self.panels[0]..self.panels[1] {
            let first = panel * width;
            let vectors = (n - first).min(width).div_ceil(LANES);
            let columns = &b[panel * width * steps..][..width * steps];
            let at: [usize; VECTORS] = std::array::from_fn(|v| v * LANES);
            for row in (0..self.rows).step_by(ROWS) {
                let rows = ROWS.min(self.rows - row);
                let panel = &a[row * steps..];
                // SAFETY: jobs only run for a set that the processor has.
                unsafe { tile::<L>(panel, rows, (columns, &at[..vectors]), walk, &mut sums) };
                for (r, sums) in sums[..rows].iter().enumerate() {
                    for (v, sums) in sums[..vectors].iter().enumerate() {
                        let column = first + v * LANES;
                        let len = LANES.min(n - column);
                        // SAFETY: row and columns of this job's block of `out`.
                        let to = unsafe {
                            std::slice::from_raw_parts_mut(self.to.add((row + r) * n + column), len)
                        };
                        let bias = self.finish.bias.map(|bias| &bias[column..column + len]);
                        store(sums, to, bias, self.finish.add);
                    }
                }
            }
        }
    }
}

/// Stores sums, or as many as `to` has room for.
#[inline(always)]
fn store(sums: &F32s, to: &mut [f32], bias: Option<&[f32]>, add: bool) {
    let mut values = *sums;
    if let Some(bias) = bias {
        values = plus(values, bias);
    }
    if add {
        values = plus(values, to);
    }
    if to.len() == LANES {
        to.copy_from_slice(&values);
    } else {
        to.copy_from_slice(&values[..to.len()]);
    }
}

#[inline(always)]
fn plus(mut values: F32s, more: &[f32]) -> F32s {
    if more.len() == LANES {
        for (value, more) in values.iter_mut().zip(&more[..LANES]) {
            *value += more;
        }
    } else {
        for (value, more) in values.iter_mut().zip(more) {
            *value += more;
        }
    }
    values
}
