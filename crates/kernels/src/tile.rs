//! The innermost loop of every product: a tile of sums held in registers. [Goto08]
//! Leaves out the order in which tiles are visited: each operation has its own.

#[cfg(target_arch = "x86_64")]
use std::mem::MaybeUninit;

use crate::lanes::{F32s, LANES, Lanes, ROWS, VECTORS};
#[cfg(target_arch = "x86_64")]
use crate::lanes::{amx, turned};

/// How far the operand in vectors lies apart along the summed axis: `planes` of `plane` items each,
/// read at each of `taps` within a plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    pub(crate) taps: &'a [usize],
    pub(crate) planes: usize,
    pub(crate) plane: usize,
}

impl Walk<'_> {
    /// Items summed over.
    #[inline(always)]
    pub(crate) fn depth(&self) -> usize {
        self.planes * self.taps.len()
    }

    /// Items from the beginning of a vector to its end at the last tap of the last plane.
    #[inline(always)]
    fn reach(&self) -> usize {
        if self.depth() == 0 {
            return 0;
        }
        let farthest = self.taps.iter().max().copied().unwrap_or(0);
        (self.planes - 1) * self.plane + farthest + LANES
    }
}

/// A finished tile: the sums of up to `VECTORS` vectors in each row of a panel.
pub(crate) type Block = [[F32s; VECTORS]; ROWS];

/// An empty tile to compute into.
pub(crate) const EMPTY: Block = [[[0.0; LANES]; VECTORS]; ROWS];

/// Where the sums of a tile go.
pub(crate) trait Sink<L: Lanes> {
    /// Takes the sums of one vector of one row.
    ///
    /// # Safety
    /// The processor has `L`.
    unsafe fn put(&mut self, row: usize, vector: usize, sums: L::Sum);
}

impl<L: Lanes> Sink<L> for Block {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, vector: usize, sums: L::Sum) {
        // SAFETY: the caller's promise.
        unsafe { L::store_sum(sums, self[row][vector].as_mut_ptr()) };
    }
}

/// Sums of the rows of panel `a`, `[planes][taps][ROWS]`, times 1 to `VECTORS` vectors: `b[at[v]]` is
/// where vector v begins in the first plane. Rows past `rows` may be given as well.
///
/// # Safety
/// The processor has `L`.
#[inline(always)]
pub(crate) unsafe fn tile<L: Lanes>(
    a: &[u32],
    rows: usize,
    (b, at): (&[u32], &[usize]),
    walk: Walk<'_>,
    sink: &mut impl Sink<L>,
) {
    let reach = walk.reach();
    assert!(a.len() >= walk.depth() * ROWS && at.iter().all(|at| at + reach <= b.len()));
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let mut row = 0;
    while row < rows.min(ROWS) {
        // SAFETY: the caller's promise; the walks stay within the slices, as asserted, because a
        // panel has ROWS items at each step.
        unsafe {
            let a = a.add(row);
            match (L::TILE_ROWS, L::TILE_VECTORS, at) {
                (8, 3, &[x]) => part::<L, 8, 1>(a, [b.add(x)], walk, sink, [row, 0]),
                (8, 3, &[x, y]) => part::<L, 8, 2>(a, [b.add(x), b.add(y)], walk, sink, [row, 0]),
                (8, 3, &[x, y, z]) => {
                    let b = [b.add(x), b.add(y), b.add(z)];
                    part::<L, 8, 3>(a, b, walk, sink, [row, 0]);
                }
                (4, _, &[x, y, z]) => {
                    L::four_rows(a, [b.add(x), b.add(y), b.add(z)], walk, sink, row);
                }
                (4, ..) => {
                    for (v, at) in at.iter().enumerate() {
                        part::<L, 4, 1>(a, [b.add(*at)], walk, sink, [row, v]);
                    }
                }
                _ => {
                    for (v, at) in at.iter().enumerate() {
                        part::<L, 2, 1>(a, [b.add(*at)], walk, sink, [row, v]);
                    }
                }
            }
        }
        row += L::TILE_ROWS;
    }
}

/// `R` rows times `V` vectors, given to `sink` as those from row and vector `first` on.
///
/// # Safety
/// The processor has `L`; `a` and each of `b` are good for the walk.
#[inline(always)]
pub(crate) unsafe fn part<L: Lanes, const R: usize, const V: usize>(
    a: *const u32,
    b: [*const u32; V],
    walk: Walk<'_>,
    sink: &mut impl Sink<L>,
    first: [usize; 2],
) {
    #[cfg(target_arch = "x86_64")]
    if L::TILES && R == ROWS && walk.planes >= amx::STEPS {
        // SAFETY: the caller's promise.
        return unsafe { part_in_tiles::<L, V>(a, b, walk, sink) };
    }
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[L::zero(); V]; R];
        let (mut a, mut start) = (a, 0);
        for _ in 0..walk.planes {
            for &tap in walk.taps {
                let mut vectors = [L::load(b[0].add(start + tap)); V];
                for v in 1..V {
                    vectors[v] = L::load(b[v].add(start + tap));
                }
                for r in 0..R {
                    let value = L::splat(a.add(r));
                    for v in 0..V {
                        sums[r][v] = L::dot(sums[r][v], value, vectors[v]);
                    }
                }
                a = a.add(ROWS);
            }
            start += walk.plane;
        }
        for r in 0..R {
            for v in 0..V {
                sink.put(first[0] + r, first[1] + v, sums[r][v]);
            }
        }
    }
}

/// The same for all rows, sixteen planes at a time.
///
/// # Safety
/// As [`part`], and `L` has tiles.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn part_in_tiles<L: Lanes, const V: usize>(
    a: *const u32,
    b: [*const u32; V],
    walk: Walk<'_>,
    sink: &mut impl Sink<L>,
) {
    let of_plane = walk.taps.len() * ROWS;
    // SAFETY: the caller's promise.
    unsafe {
        amx::clear();
        for first in (0..walk.planes).step_by(amx::STEPS) {
            let planes = amx::STEPS.min(walk.planes - first);
            for (t, tap) in walk.taps.iter().enumerate() {
                let from = a.add(first * of_plane + t * ROWS);
                let mut vectors = b;
                for vector in &mut vectors {
                    *vector = vector.add(first * walk.plane + tap);
                }
                if planes == amx::STEPS {
                    let rows = turned(from, of_plane, amx::STEPS);
                    amx::add::<V>(&rows, vectors, 4 * walk.plane);
                } else {
                    let rows = turned(from, of_plane, planes);
                    amx::add_few::<V>(&rows, vectors, walk.plane, planes);
                }
            }
        }
        let mut sums = MaybeUninit::<[[F32s; ROWS]; VECTORS]>::uninit();
        let sums = sums.as_mut_ptr().cast::<f32>();
        amx::store::<V>(sums, [4 * LANES, 4 * LANES * ROWS]);
        for r in 0..ROWS {
            for v in 0..V {
                sink.put(r, v, L::load_sum(sums.add((v * ROWS + r) * LANES)));
            }
        }
    }
}

/// Splits `n` vectors into tiles of 3 and 2, which both keep the processor busy; a single vector
/// does not, and is left only where n is 1.
pub(crate) fn groups(n: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let first = next;
        next += match n - first {
            0 => return None,
            2 | 4 => 2,
            1 => 1,
            _ => 3,
        };
        Some(first..next)
    })
}
