//! AVX-512, in f32 and with products of bf16 pairs; these by AMX where there is any.

use std::arch::x86_64::{
    __m256i, __m512, __m512bh, __m512i, _CMP_GT_OQ, _CMP_NGT_UQ, _mm256_loadu_si256, _mm512_add_ps,
    _mm512_castpd_ps, _mm512_cmp_ps_mask, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps,
    _mm512_fnmadd_ps, _mm512_i32gather_pd, _mm512_inserti64x4, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_maskz_mov_ps, _mm512_maskz_mul_ps, _mm512_max_ps, _mm512_mul_ps,
    _mm512_permutex2var_epi32, _mm512_permutex2var_ps, _mm512_permutexvar_epi16, _mm512_rcp14_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
    _mm512_storeu_si512, _mm512_sub_ps, _mm512_zextsi256_si512,
};
use std::mem::transmute;

use super::amx::Rows;
use super::{F32s, LANES, Lanes, ROWS};

/// f32 products.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

impl Lanes for Avx512 {
    const DEPTH: usize = 1;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;
    const FUSED: bool = true;
    type Vector = __m512;
    type Sum = __m512;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m512 {
        // SAFETY: the caller keeps the trait's promises; so in all blocks of this file.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn load_sum(from: *const f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_sum(sum: __m512, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, sum) }
    }

    #[inline(always)]
    unsafe fn all(value: f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn positive(x: __m512) -> __m512 {
        // SAFETY: as above. Of the two, NaN is taken if it is the second.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }

    #[inline(always)]
    unsafe fn where_positive(x: __m512, value: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(above, value)
        }
    }

    #[inline(always)]
    unsafe fn join(low: F32s, _high: F32s) -> [u32; LANES] {
        bytemuck::cast(low)
    }

    #[inline(always)]
    unsafe fn neighbours(values: [F32s; 2]) -> [u32; LANES] {
        values[0].map(f32::to_bits)
    }

    #[inline(always)]
    unsafe fn reciprocal(x: F32s) -> F32s {
        // SAFETY: as above.
        unsafe { reciprocal(x) }
    }

    #[inline(always)]
    unsafe fn pairs(from: *const f32, at: &[u32; LANES]) -> [F32s; 2] {
        // SAFETY: as above; indices of pairs are below 2^31.
        unsafe { pairs(from, at) }
    }

    #[inline(always)]
    unsafe fn zip(first: F32s, second: F32s) -> [[f32; 2]; LANES] {
        // SAFETY: as above.
        unsafe { zip(first, second) }
    }

    #[inline(always)]
    unsafe fn unzip(values: [F32s; 2]) -> [F32s; 2] {
        // SAFETY: as above.
        unsafe { unzip(values) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: &[[u32; LANES]; LANES]) -> [[u32; LANES]; LANES] {
        // SAFETY: as above.
        unsafe { transpose(rows) }
    }
}

/// Products of bf16 pairs, summed in f32; long ones in AMX's tiles, if it has them.
#[derive(Clone, Copy)]
pub(crate) struct Bf16Pairs<const TILES: bool>;

/// Moves word i of the first half next to word i of the second.
const INTERLEAVE: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 16 {
        order[2 * i] = i as u16;
        order[2 * i + 1] = 16 + i as u16;
        i += 1;
    }
    order
};

impl<const TILES: bool> Lanes for Bf16Pairs<TILES> {
    const TILES: bool = TILES;
    const DEPTH: usize = 2;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;
    const FUSED: bool = true;
    type Vector = __m512bh;
    type Sum = __m512;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m512bh {
        // SAFETY: as above; all bit patterns are good bf16 pairs.
        unsafe { transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> __m512bh {
        // SAFETY: as above.
        unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(from.read_unaligned() as i32)) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m512, a: __m512bh, b: __m512bh) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_dpbf16_ps(sum, a, b) }
    }

    #[inline(always)]
    unsafe fn load_sum(from: *const f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_sum(sum: __m512, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, sum) }
    }

    #[inline(always)]
    unsafe fn all(value: f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn positive(x: __m512) -> __m512 {
        // SAFETY: as above. Of the two, NaN is taken if it is the second.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }

    #[inline(always)]
    unsafe fn where_positive(x: __m512, value: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(above, value)
        }
    }

    #[inline(always)]
    unsafe fn join(low: F32s, high: F32s) -> [u32; LANES] {
        let mut items = [0; LANES];
        // SAFETY: as above; the arrays are 64 bytes long.
        unsafe {
            let (low, high) = (
                _mm512_loadu_ps(low.as_ptr()),
                _mm512_loadu_ps(high.as_ptr()),
            );
            let halves = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            let order = _mm512_loadu_si512(INTERLEAVE.as_ptr().cast());
            let pairs = _mm512_permutexvar_epi16(order, halves);
            _mm512_storeu_si512(items.as_mut_ptr().cast(), pairs);
        }
        items
    }

    #[inline(always)]
    unsafe fn neighbours(values: [F32s; 2]) -> [u32; LANES] {
        // SAFETY: as above; the arrays are 64 bytes long.
        unsafe {
            let low = _mm512_loadu_ps(values[0].as_ptr());
            let high = _mm512_loadu_ps(values[1].as_ptr());
            transmute::<__m512bh, [u32; LANES]>(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    #[inline(always)]
    unsafe fn zip(first: F32s, second: F32s) -> [[f32; 2]; LANES] {
        // SAFETY: as above.
        unsafe { zip(first, second) }
    }

    #[inline(always)]
    unsafe fn unzip(values: [F32s; 2]) -> [F32s; 2] {
        // SAFETY: as above.
        unsafe { unzip(values) }
    }

    #[inline(always)]
    unsafe fn reciprocal(x: F32s) -> F32s {
        // SAFETY: as above.
        unsafe { reciprocal(x) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: &[[u32; LANES]; LANES]) -> [[u32; LANES]; LANES] {
        // SAFETY: as above.
        unsafe { transpose(rows) }
    }
}

/// The eight items of each of `steps` steps, sixteen at most, `stride` items apart: turned, so that those of one row lie
/// together; zeros behind them.
///
/// # Safety
/// The processor has AVX-512 F, and `from` is good for all of them.
#[inline(always)]
pub(crate) unsafe fn turned(from: *const u32, stride: usize, steps: usize) -> Rows {
    // SAFETY: the caller's promise; the types have the same size.
    unsafe {
        let mut rows = [_mm512_setzero_si512(); ROWS];
        for (i, row) in rows.iter_mut().enumerate() {
            if i < steps {
                *row = _mm512_zextsi256_si512(_mm256_loadu_si256(from.add(i * stride).cast()));
            }
            if i + ROWS < steps {
                let later = _mm256_loadu_si256(from.add((i + ROWS) * stride).cast());
                *row = _mm512_inserti64x4::<1>(*row, later);
            }
        }
        round::<4, ROWS>(&mut rows, &EXCHANGES[1]);
        round::<2, ROWS>(&mut rows, &EXCHANGES[2]);
        round::<1, ROWS>(&mut rows, &EXCHANGES[3]);
        Rows(transmute::<[__m512i; ROWS], [[u32; LANES]; ROWS]>(rows))
    }
}

/// From two registers of pairs: the first value of each, and the second.
const UNZIP: [[u32; LANES]; 2] = {
    let mut order = [[0; LANES]; 2];
    let mut i = 0;
    while i < LANES {
        order[0][i] = 2 * i as u32;
        order[1][i] = 2 * i as u32 + 1;
        i += 1;
    }
    order
};

/// # Safety
/// The processor has AVX-512 F, and `from` is good for pairs number `at`, all below 2^31.
#[inline(always)]
unsafe fn pairs(from: *const f32, at: &[u32; LANES]) -> [F32s; 2] {
    // SAFETY: the caller's promise; the types have the same size.
    unsafe {
        let [a, b] = transmute::<[u32; LANES], [__m256i; 2]>(*at);
        let a = _mm512_castpd_ps(_mm512_i32gather_pd::<8>(a, from.cast()));
        let b = _mm512_castpd_ps(_mm512_i32gather_pd::<8>(b, from.cast()));
        unzip(transmute::<[__m512; 2], [F32s; 2]>([a, b]))
    }
}

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn unzip(values: [F32s; 2]) -> [F32s; 2] {
    // SAFETY: the caller's promise; the types have the same size.
    unsafe {
        let [a, b] = transmute::<[F32s; 2], [__m512; 2]>(values);
        let [first, second] = transmute::<[[u32; LANES]; 2], [__m512i; 2]>(UNZIP);
        let apart = [
            _mm512_permutex2var_ps(a, first, b),
            _mm512_permutex2var_ps(a, second, b),
        ];
        transmute::<[__m512; 2], [F32s; 2]>(apart)
    }
}

/// From a register of first values and one of second values: the first half of the pairs, and the second.
const ZIP: [[u32; LANES]; 2] = {
    let mut order = [[0; LANES]; 2];
    let mut i = 0;
    while i < LANES {
        // Items of the second register are numbered from 16.
        order[i / 8][2 * i % LANES] = i as u32;
        order[i / 8][2 * i % LANES + 1] = (LANES + i) as u32;
        i += 1;
    }
    order
};

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn zip(first: F32s, second: F32s) -> [[f32; 2]; LANES] {
    // SAFETY: the caller's promise; the types have the same size.
    unsafe {
        let [a, b] = transmute::<[F32s; 2], [__m512; 2]>([first, second]);
        let [low, high] = transmute::<[[u32; LANES]; 2], [__m512i; 2]>(ZIP);
        let pairs = [
            _mm512_permutex2var_ps(a, low, b),
            _mm512_permutex2var_ps(a, high, b),
        ];
        transmute::<[__m512; 2], [[f32; 2]; LANES]>(pairs)
    }
}

/// For each distance 8, 4, 2, 1: from which of two rows, and from where in it, each item of the first
/// and of the second row comes when they trade the parts that a transposition swaps.
const EXCHANGES: [[[u32; LANES]; 2]; 4] = {
    let mut exchanges = [[[0; LANES]; 2]; 4];
    let mut round = 0;
    while round < 4 {
        let half = 8 >> round;
        let mut j = 0;
        while j < LANES {
            let stays = j & half == 0;
            // Items of the second row are numbered from 16.
            exchanges[round][0][j] = if stays { j } else { LANES + j - half } as u32;
            exchanges[round][1][j] = if stays { j + half } else { LANES + j } as u32;
            j += 1;
        }
        round += 1;
    }
    exchanges
};

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn transpose(rows: &[[u32; LANES]; LANES]) -> [[u32; LANES]; LANES] {
    // SAFETY: the caller's promise; the types have the same size, and all bits are good items.
    unsafe {
        // Closures would be compiled for the smallest set: whole arrays change their type instead.
        let mut rows = transmute::<[[u32; LANES]; LANES], [__m512i; LANES]>(*rows);
        round::<8, LANES>(&mut rows, &EXCHANGES[0]);
        round::<4, LANES>(&mut rows, &EXCHANGES[1]);
        round::<2, LANES>(&mut rows, &EXCHANGES[2]);
        round::<1, LANES>(&mut rows, &EXCHANGES[3]);
        transmute::<[__m512i; LANES], [[u32; LANES]; LANES]>(rows)
    }
}

/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn round<const HALF: usize, const N: usize>(
    rows: &mut [__m512i; N],
    exchange: &[[u32; LANES]; 2],
) {
    // SAFETY: as above.
    unsafe {
        let [first, second] = transmute::<[[u32; LANES]; 2], [__m512i; 2]>(*exchange);
        for pair in 0..N / 2 {
            let i = pair / HALF * 2 * HALF + pair % HALF;
            let (a, b) = (rows[i], rows[i + HALF]);
            rows[i] = _mm512_permutex2var_epi32(a, first, b);
            rows[i + HALF] = _mm512_permutex2var_epi32(a, second, b);
        }
    }
}

/// Its reciprocal is a normal number.
const LARGEST: f32 = 8e37;

/// An estimate of 14 bits and one step of Newton's, in half the time of a division.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn reciprocal(x: F32s) -> F32s {
    // SAFETY: the caller's promise; the types have the same size.
    unsafe {
        let x = transmute::<F32s, __m512>(x);
        let estimate = _mm512_rcp14_ps(x);
        let rest = _mm512_fnmadd_ps(x, estimate, _mm512_set1_ps(2.0));
        // 0 where the result is no normal number, as infinity times 0 would be NaN.
        let normal = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(x, _mm512_set1_ps(LARGEST));
        transmute::<__m512, F32s>(_mm512_maskz_mul_ps(normal, estimate, rest))
    }
}
