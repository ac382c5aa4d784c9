//! Sixteen products at once: the vector registers that the tiles are written in, one file for each
//! instruction set. Leaves out the choice among them: see `isa`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Avx512, Bf16Pairs, turned};
pub(crate) use portable::Portable;

use crate::tile::{Sink, Walk, part};

/// Pixels or columns in one vector.
pub(crate) const LANES: usize = 16;
/// Rows in one panel of the operand that is broadcast.
pub(crate) const ROWS: usize = 8;
/// Vectors side by side in the widest tile.
pub(crate) const VECTORS: usize = 3;

/// Sixteen values, as elementwise functions use them.
pub(crate) type F32s = [f32; LANES];

/// An instruction set. What is multiplied are items of 32 bits: one f32, or two bf16 that lie next
/// to each other on the axis summed over.
///
/// # Safety
/// Every method may only run on a processor that has the instructions, and every pointer must be
/// good for what its method reads or writes: 16 items or values, or one item for `splat`.
pub(crate) trait Lanes: Copy + Send + Sync + 'static {
    /// Whether sums of many steps are made in the tiles of `amx`.
    const TILES: bool = false;
    /// Values of the summed axis in one item.
    const DEPTH: usize;
    /// Rows of a panel that fit into the registers at once.
    const TILE_ROWS: usize;
    /// Vectors that fit into the registers at once.
    const TILE_VECTORS: usize;
    /// Whether a product and a sum are rounded once.
    const FUSED: bool;
    /// Sixteen items.
    type Vector: Copy;
    /// Sixteen sums in f32.
    type Sum: Copy;

    unsafe fn load(from: *const u32) -> Self::Vector;
    unsafe fn splat(from: *const u32) -> Self::Vector;
    unsafe fn zero() -> Self::Sum;
    unsafe fn dot(sum: Self::Sum, a: Self::Vector, b: Self::Vector) -> Self::Sum;
    unsafe fn load_sum(from: *const f32) -> Self::Sum;
    unsafe fn store_sum(sum: Self::Sum, to: *mut f32);
    unsafe fn all(value: f32) -> Self::Sum;
    unsafe fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    unsafe fn sub(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    unsafe fn mul(a: Self::Sum, b: Self::Sum) -> Self::Sum;

    /// max(0, x); NaN stays NaN.
    unsafe fn positive(x: Self::Sum) -> Self::Sum;

    /// `value` where `x` is above 0, elsewhere 0.
    unsafe fn where_positive(x: Self::Sum, value: Self::Sum) -> Self::Sum;

    /// Rounds `low` and `high`, neighbours on the summed axis, to items; `high` is ignored where an
    /// item holds one value.
    unsafe fn join(low: F32s, high: F32s) -> [u32; LANES];

    /// Rounds as `join`, and stores the items.
    #[inline(always)]
    unsafe fn store_joined(low: Self::Sum, high: Self::Sum, to: &mut [u32; LANES]) {
        let mut values = [[0.0; LANES]; 2];
        // SAFETY: the caller's promise; the arrays have sixteen values.
        unsafe {
            Self::store_sum(low, values[0].as_mut_ptr());
            Self::store_sum(high, values[1].as_mut_ptr());
            *to = Self::join(values[0], values[1]);
        }
    }

    /// Rounds neighbours on the summed axis to items: 16 of the values, or all 32.
    unsafe fn neighbours(values: [F32s; 2]) -> [u32; LANES];

    /// Four rows of panel `a` times three vectors, given to `sink` as those from `row` on.
    ///
    /// # Safety
    /// `a` and each of `b` are good for the walk.
    #[inline(always)]
    unsafe fn four_rows(
        a: *const u32,
        b: [*const u32; VECTORS],
        walk: Walk<'_>,
        sink: &mut impl Sink<Self>,
        row: usize,
    ) {
        for (v, b) in b.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { part::<Self, 4, 1>(a, [b], walk, sink, [row, v]) };
        }
    }

    /// Pairs of values, number `at` of those that begin at `from`: all first, and all second values.
    /// `from` must be good for all of them.
    #[inline(always)]
    unsafe fn pairs(from: *const f32, at: &[u32; LANES]) -> [F32s; 2] {
        let mut pairs = [[0.0; LANES]; 2];
        for i in 0..LANES {
            // SAFETY: the caller's promise.
            let [a, b] = unsafe { from.cast::<[f32; 2]>().add(at[i] as usize).read() };
            (pairs[0][i], pairs[1][i]) = (a, b);
        }
        pairs
    }

    /// Values of both in turn.
    #[inline(always)]
    unsafe fn zip(first: F32s, second: F32s) -> [[f32; 2]; LANES] {
        std::array::from_fn(|i| [first[i], second[i]])
    }

    /// Values of even and of odd number, taken apart.
    #[inline(always)]
    unsafe fn unzip(values: [F32s; 2]) -> [F32s; 2] {
        let values = values.as_flattened();
        let every_other = |first: usize| std::array::from_fn(|i| values[2 * i + first]);
        [every_other(0), every_other(1)]
    }

    /// Transposes a block of items.
    #[inline(always)]
    unsafe fn transpose(rows: &[[u32; LANES]; LANES]) -> [[u32; LANES]; LANES] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }

    /// 1 / x for x >= 1, to about a unit in the last place; NaN stays NaN.
    #[inline(always)]
    unsafe fn reciprocal(mut x: F32s) -> F32s {
        for x in &mut x {
            *x = 1.0 / *x;
        }
        x
    }

    /// a b + c.
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        if Self::FUSED {
            a.mul_add(b, c)
        } else {
            a * b + c
        }
    }
}

/// Asks for the line of memory at `from`, which may be any address: for where the processor does not
/// foresee what is read next.
#[inline(always)]
pub(crate) fn prefetch(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which has no effect but on time.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(from.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}
