//! AVX2 with FMA: two registers for sixteen lanes.

use std::arch::x86_64::{
    __m256, _CMP_GT_OQ, _mm256_add_ps, _mm256_and_ps, _mm256_cmp_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_max_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

use super::{F32s, LANES, Lanes};

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
}
