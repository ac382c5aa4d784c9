//! Plain arrays, which the compiler turns into whatever vectors the target has: SSE2, NEON.

use super::{F32s, LANES, Lanes};

/// f32 products.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Lanes for Portable {
    const DEPTH: usize = 1;
    const TILE_ROWS: usize = if cfg!(target_arch = "aarch64") { 4 } else { 2 };
    const TILE_VECTORS: usize = 1;
    const FUSED: bool = cfg!(target_arch = "aarch64");
    type Vector = F32s;
    type Sum = F32s;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> F32s {
        // SAFETY: the caller keeps the trait's promises; so in all blocks of this file.
        unsafe { from.cast::<F32s>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> F32s {
        // SAFETY: as above.
        [unsafe { from.cast::<f32>().read_unaligned() }; LANES]
    }

    #[inline(always)]
    unsafe fn zero() -> F32s {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn dot(mut sum: F32s, a: F32s, b: F32s) -> F32s {
        for i in 0..LANES {
            sum[i] = Self::mul_add(a[i], b[i], sum[i]);
        }
        sum
    }

    #[inline(always)]
    unsafe fn load_sum(from: *const f32) -> F32s {
        // SAFETY: as above.
        unsafe { from.cast::<F32s>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_sum(sum: F32s, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<F32s>().write_unaligned(sum) }
    }

    #[inline(always)]
    unsafe fn all(value: f32) -> F32s {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn add(mut a: F32s, b: F32s) -> F32s {
        for i in 0..LANES {
            a[i] += b[i];
        }
        a
    }

    #[inline(always)]
    unsafe fn sub(mut a: F32s, b: F32s) -> F32s {
        for i in 0..LANES {
            a[i] -= b[i];
        }
        a
    }

    #[inline(always)]
    unsafe fn mul(mut a: F32s, b: F32s) -> F32s {
        for i in 0..LANES {
            a[i] *= b[i];
        }
        a
    }

    #[inline(always)]
    unsafe fn positive(mut x: F32s) -> F32s {
        for x in &mut x {
            *x = if *x < 0.0 { 0.0 } else { *x };
        }
        x
    }

    #[inline(always)]
    unsafe fn where_positive(x: F32s, mut value: F32s) -> F32s {
        for i in 0..LANES {
            value[i] = if x[i] > 0.0 { value[i] } else { 0.0 };
        }
        value
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
