//! Products of matrices, tile by tile from packed panels. [Goto08]

use crate::isa::{Isa, Job};
use crate::lanes::{LANES, Lanes, ROWS, VECTORS};
use crate::pack::{Matrix, Order, Pack};
use crate::parallel;
use crate::scratch::{Shared, SharedItems, filled, with_scratch};
use crate::tile::{Sink, Walk, tile};

/// Items of packed rows that a job has: the more, the less often columns come from memory.
const ROW_ITEMS: usize = 512 << 10;

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

/// a b^T, `[M, N]` row-major: `a` is `[M, K]`, `b` is `[N, K]`.
pub(crate) fn matmul(isa: Isa, a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let [n, k] = b.size;
    with_scratch(Columns::len(isa, n, k), |items| {
        pack_columns(isa, b, items);
        product(isa, a, n, items, None)
    })
}

/// As [`matmul`], with `b` packed before, and with a `bias` for each column.
pub(crate) fn matmul_packed(a: Matrix<'_>, b: &Columns, bias: Option<&[f32]>) -> Vec<f32> {
    assert_eq!(a.size[1], b.k);
    product(b.isa, a, b.n, &b.items, bias)
}

fn product(isa: Isa, a: Matrix<'_>, n: usize, b: &[u32], bias: Option<&[f32]>) -> Vec<f32> {
    // SAFETY: the blocks of rows and the panels of columns cover the result.
    unsafe { filled(a.size[0] * n, |to| product_into(isa, a, n, b, bias, to)) }
}

/// # Safety
/// `to` has room for the result, and nothing else uses it.
unsafe fn product_into(
    isa: Isa,
    a: Matrix<'_>,
    n: usize,
    b: &[u32],
    bias: Option<&[f32]>,
    to: Shared,
) {
    let [m, k] = a.size;
    assert!(b.len() >= Columns::len(isa, n, k));
    assert!(bias.is_none_or(|bias| bias.len() == n));
    if m * n == 0 {
        return;
    }
    let steps = k.div_ceil(isa.depth());
    let threads = parallel::threads_for(m * n * k);
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
                bias,
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
    bias: Option<&'a [f32]>,
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
        for panel in self.panels[0]..self.panels[1] {
            let first = panel * width;
            let vectors = (n - first).min(width).div_ceil(LANES);
            let columns = &b[panel * width * steps..][..width * steps];
            let at: [usize; VECTORS] = std::array::from_fn(|v| v * LANES);
            for row in (0..self.rows).step_by(ROWS) {
                let rows = ROWS.min(self.rows - row);
                let panel = &a[row * steps..];
                let mut out = Out {
                    // Within this job's block of the result.
                    to: self.to.wrapping_add(row * n + first),
                    size: [rows, n - first],
                    stride: n,
                    bias: self.bias.map(|bias| &bias[first..]),
                };
                // SAFETY: jobs only run for a set that the processor has.
                unsafe { tile::<L>(panel, rows, (columns, &at[..vectors]), walk, &mut out) };
            }
        }
    }
}

/// Where a tile of the result lies, and what is added to it.
struct Out<'a> {
    to: *mut f32,
    /// Rows and columns from here on.
    size: [usize; 2],
    /// From row to row.
    stride: usize,
    bias: Option<&'a [f32]>,
}

impl<L: Lanes> Sink<L> for Out<'_> {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, vector: usize, sums: L::Sum) {
        let column = vector * LANES;
        if row >= self.size[0] {
            return;
        }
        let to = self.to.wrapping_add(row * self.stride + column);
        let len = LANES.min(self.size[1] - column);
        // SAFETY: the caller's promise; the tile lies in the result, and the bias is as long as a
        // row of it.
        unsafe {
            if len == LANES {
                let sums = match self.bias {
                    Some(bias) => L::add(sums, L::load_sum(bias.as_ptr().add(column))),
                    None => sums,
                };
                return L::store_sum(sums, to);
            }
            let mut values = [0.0; LANES];
            L::store_sum(sums, values.as_mut_ptr());
            for i in 0..len {
                let bias = self.bias.map_or(0.0, |bias| bias[column + i]);
                to.add(i).write(values[i] + bias);
            }
        }
    }
}
