//! AVX2 with FMA: two registers for sixteen lanes.

use std::arch::asm;
use std::arch::x86_64::{
    __m256, _CMP_GT_OQ, _mm256_add_ps, _mm256_and_ps, _mm256_cmp_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_max_ps, _mm256_mul_ps, _mm256_permute2f128_ps, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_sub_ps, _mm256_unpackhi_ps,
    _mm256_unpacklo_ps,
};

use super::{F32s, LANES, Lanes, ROWS, VECTORS};
use crate::tile::{Sink, Walk};

/// f32 products.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

impl Lanes for Avx2 {
    const DEPTH: usize = 1;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 1;
    const FUSED: bool = true;
    type Vector = [__m256; 2];
    type Sum = [__m256; 2];

    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self::Vector {
        // SAFETY: the caller keeps the trait's promises; so in all blocks of this file.
        unsafe { Self::load_sum(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> Self::Vector {
        // SAFETY: as above.
        unsafe { [_mm256_set1_ps(from.cast::<f32>().read_unaligned()); 2] }
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Sum {
        // SAFETY: as above.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, a: Self::Vector, b: Self::Vector) -> Self::Sum {
        // SAFETY: as above.
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], sum[0]),
                _mm256_fmadd_ps(a[1], b[1], sum[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_sum(from: *const f32) -> Self::Sum {
        // SAFETY: as above.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store_sum(sum: Self::Sum, to: *mut f32) {
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_ps(to, sum[0]);
            _mm256_storeu_ps(to.add(8), sum[1]);
        }
    }

    #[inline(always)]
    unsafe fn all(value: f32) -> Self::Sum {
        // SAFETY: as above.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum {
        // SAFETY: as above.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::Sum, b: Self::Sum) -> Self::Sum {
        // SAFETY: as above.
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Sum, b: Self::Sum) -> Self::Sum {
        // SAFETY: as above.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn positive(x: Self::Sum) -> Self::Sum {
        // SAFETY: as above. Of the two, NaN is taken if it is the second.
        unsafe {
            let zero = _mm256_setzero_ps();
            [_mm256_max_ps(zero, x[0]), _mm256_max_ps(zero, x[1])]
        }
    }

    #[inline(always)]
    unsafe fn where_positive(x: Self::Sum, value: Self::Sum) -> Self::Sum {
        // SAFETY: as above.
        unsafe {
            let zero = _mm256_setzero_ps();
            [
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x[0], zero), value[0]),
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x[1], zero), value[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn join(low: F32s, _high: F32s) -> [u32; LANES] {
        bytemuck::cast(low)
    }

    #[inline(always)]
    unsafe fn neighbours(values: [F32s; 2]) -> [u32; LANES] {
        bytemuck::cast(values[0])
    }

    #[inline(always)]
    unsafe fn transpose(rows: &[[u32; LANES]; LANES]) -> [[u32; LANES]; LANES] {
        let mut columns = [[0; LANES]; LANES];
        for block in 0..4 {
            let [i, j] = [block / 2 * 8, block % 2 * 8];
            // SAFETY: as above; a block is eight items of eight rows.
            unsafe { transpose_block(&rows[i..i + 8], j, &mut columns[j..j + 8], i) };
        }
        columns
    }

    /// Twice three registers are twelve chains of sums, where three times two would be eight, each
    /// of which waits for its last product.
    #[inline(always)]
    unsafe fn four_rows(
        a: *const u32,
        [x, y, z]: [*const u32; VECTORS],
        walk: Walk<'_>,
        sink: &mut impl Sink<Self>,
        row: usize,
    ) {
        // SAFETY: as above; a half of a vector is eight items.
        unsafe {
            let left = sums(a, [x, x.add(8), y], walk);
            for r in 0..4 {
                sink.put(row + r, 0, [left[r][0], left[r][1]]);
            }
            let right = sums(a, [y.add(8), z, z.add(8)], walk);
            for r in 0..4 {
                sink.put(row + r, 1, [left[r][2], right[r][0]]);
                sink.put(row + r, 2, [right[r][1], right[r][2]]);
            }
        }
    }
}

/// Transposes eight items of each of eight rows, from item `first` on, to items from `to_first` on of
/// eight others.
///
/// # Safety
/// The processor has AVX2; `first` and `to_first` are at most eight.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_block(
    rows: &[[u32; LANES]],
    first: usize,
    columns: &mut [[u32; LANES]],
    to_first: usize,
) {
    // SAFETY: the caller's promise.
    let row = |r: usize| unsafe { _mm256_loadu_ps(rows[r].as_ptr().add(first).cast()) };
    let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
    let [e, f, g, h] = [row(4), row(5), row(6), row(7)];
    // Of each half of a register: pairs of two rows, then fours of four, then eights of eight.
    let [ab, cd] = [_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)];
    let [ef, gh] = [_mm256_unpacklo_ps(e, f), _mm256_unpacklo_ps(g, h)];
    let low = [
        _mm256_shuffle_ps::<0x44>(ab, cd),
        _mm256_shuffle_ps::<0xee>(ab, cd),
        _mm256_shuffle_ps::<0x44>(ef, gh),
        _mm256_shuffle_ps::<0xee>(ef, gh),
    ];
    let [ab, cd] = [_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)];
    let [ef, gh] = [_mm256_unpackhi_ps(e, f), _mm256_unpackhi_ps(g, h)];
    let high = [
        _mm256_shuffle_ps::<0x44>(ab, cd),
        _mm256_shuffle_ps::<0xee>(ab, cd),
        _mm256_shuffle_ps::<0x44>(ef, gh),
        _mm256_shuffle_ps::<0xee>(ef, gh),
    ];
    for (i, [p, q, r, s]) in [low, high].into_iter().enumerate() {
        let whole = [
            _mm256_permute2f128_ps::<0x20>(p, r),
            _mm256_permute2f128_ps::<0x20>(q, s),
            _mm256_permute2f128_ps::<0x31>(p, r),
            _mm256_permute2f128_ps::<0x31>(q, s),
        ];
        for (column, values) in [0, 1, 4, 5].into_iter().zip(whole) {
            let to = &mut columns[2 * i + column];
            // SAFETY: the caller's promise.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr().add(to_first).cast(), values) };
        }
    }
}

/// Sums of four rows of panel `a` times three registers.
///
/// A step is in assembly, as it takes all sixteen registers: compilers want one more and move sums
/// to memory and back.
///
/// # Safety
/// The processor has AVX2 and FMA; `a` and each of `b` are good for the walk.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sums(mut a: *const u32, b: [*const u32; 3], walk: Walk<'_>) -> [[__m256; 3]; 4] {
    // Twelve names: an array would live in memory.
    let [mut p0, mut p1, mut p2] = [_mm256_setzero_ps(); 3];
    let [mut q0, mut q1, mut q2] = [_mm256_setzero_ps(); 3];
    let [mut r0, mut r1, mut r2] = [_mm256_setzero_ps(); 3];
    let [mut s0, mut s1, mut s2] = [_mm256_setzero_ps(); 3];
    let mut start = 0;
    for _ in 0..walk.planes {
        for &tap in walk.taps {
            // SAFETY: the caller's promise; nothing but the sums is changed.
            unsafe {
                asm!(
                    "vmovups {x}, [{bx} + 4 * {at}]",
                    "vmovups {y}, [{by} + 4 * {at}]",
                    "vmovups {z}, [{bz} + 4 * {at}]",
                    "vbroadcastss {v}, [{a}]",
                    "vfmadd231ps {p0}, {v}, {x}",
                    "vfmadd231ps {p1}, {v}, {y}",
                    "vfmadd231ps {p2}, {v}, {z}",
                    "vbroadcastss {v}, [{a} + 4]",
                    "vfmadd231ps {q0}, {v}, {x}",
                    "vfmadd231ps {q1}, {v}, {y}",
                    "vfmadd231ps {q2}, {v}, {z}",
                    "vbroadcastss {v}, [{a} + 8]",
                    "vfmadd231ps {r0}, {v}, {x}",
                    "vfmadd231ps {r1}, {v}, {y}",
                    "vfmadd231ps {r2}, {v}, {z}",
                    "vbroadcastss {v}, [{a} + 12]",
                    "vfmadd231ps {s0}, {v}, {x}",
                    "vfmadd231ps {s1}, {v}, {y}",
                    "vfmadd231ps {s2}, {v}, {z}",
                    a = in(reg) a, at = in(reg) start + tap,
                    bx = in(reg) b[0], by = in(reg) b[1], bz = in(reg) b[2],
                    x = out(ymm_reg) _, y = out(ymm_reg) _, z = out(ymm_reg) _, v = out(ymm_reg) _,
                    p0 = inout(ymm_reg) p0, p1 = inout(ymm_reg) p1, p2 = inout(ymm_reg) p2,
                    q0 = inout(ymm_reg) q0, q1 = inout(ymm_reg) q1, q2 = inout(ymm_reg) q2,
                    r0 = inout(ymm_reg) r0, r1 = inout(ymm_reg) r1, r2 = inout(ymm_reg) r2,
                    s0 = inout(ymm_reg) s0, s1 = inout(ymm_reg) s1, s2 = inout(ymm_reg) s2,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            a = a.wrapping_add(ROWS);
        }
        start += walk.plane;
    }
    [[p0, p1, p2], [q0, q1, q2], [r0, r1, r2], [s0, s1, s2]]
}
