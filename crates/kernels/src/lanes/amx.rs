//! AMX: sums of products of bf16 pairs in tiles of eight rows and sixteen columns, up to `VECTORS` of them side by side; each
//! instruction adds sixteen steps. The standard library's intrinsics for it are not stable: so it is written in assembler.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

use super::{LANES, ROWS, VECTORS};

/// Steps that an instruction adds.
pub(crate) const STEPS: usize = 16;
/// Bytes of a row that fills a tile.
const ROW_BYTES: usize = 4 * LANES;

/// Items of eight rows at sixteen steps.
#[repr(align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Rows(pub(crate) [[u32; STEPS]; ROWS]);

/// Items of vectors at sixteen steps, where there are fewer in memory; the rest are zeros.
#[repr(align(64))]
pub(crate) struct Columns(pub(crate) [[[u32; LANES]; STEPS]; VECTORS]);

/// What the tiles are: 0 to 2 are sums, 3 is rows, 4 to 6 are vectors.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_row: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let mut shapes = Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes_of_row: [0; 16],
        rows: [0; 16],
    };
    let mut tile = 0;
    while tile <= 2 * VECTORS {
        shapes.bytes_of_row[tile] = ROW_BYTES as u16;
        shapes.rows[tile] = if tile <= VECTORS { ROWS } else { STEPS } as u8;
        tile += 1;
    }
    shapes
};

/// Whether the processor has tiles for bf16, and the system lets this process use them. Linux asks to be asked.
pub(crate) fn is_there() -> bool {
    const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
    let has = __cpuid_count(0, 0).eax >= 7 && {
        let features = __cpuid_count(7, 0).edx;
        features & BF16_AND_TILES == BF16_AND_TILES
    };
    has && is_granted()
}

#[cfg(target_os = "linux")]
fn is_granted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_STATE: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call only changes what this process may use. A system that does not know it says so.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") REQUEST_STATE,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_granted() -> bool {
    false
}

/// Gives the tiles of this thread their shapes. They keep them: a job may run within another.
///
/// # Safety
/// AMX is there; so for all functions of this file.
#[inline(always)]
pub(crate) unsafe fn shape() {
    // SAFETY: the caller's promise; only reads the shapes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) }
}

/// Forgets all sums.
#[inline(always)]
pub(crate) unsafe fn clear() {
    // SAFETY: as above; no tile is used by anything else. So in all blocks of this file.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            options(nostack, nomem)
        );
    }
}

/// Begins with the sums of `V` vectors at `from`, rows of which lie `stride` bytes apart.
#[inline(always)]
pub(crate) unsafe fn load<const V: usize>(from: *const f32, stride: usize) {
    // SAFETY: as above, and the caller's pointers.
    unsafe {
        asm!("tileloadd tmm0, [{f} + {s}]", f = in(reg) from, s = in(reg) stride, options(nostack, readonly));
        if V > 1 {
            asm!("tileloadd tmm1, [{f} + {s} + 64]", f = in(reg) from, s = in(reg) stride, options(nostack, readonly));
        }
        if V > 2 {
            asm!("tileloadd tmm2, [{f} + {s} + 128]", f = in(reg) from, s = in(reg) stride, options(nostack, readonly));
        }
    }
}

/// Stores the sums of `V` vectors at `to`: rows lie `stride` bytes apart, and vectors `apart`.
#[inline(always)]
pub(crate) unsafe fn store<const V: usize>(to: *mut f32, [stride, apart]: [usize; 2]) {
    // SAFETY: as above, and the caller's pointers.
    unsafe {
        let [second, third] = [1, 2].map(|v| to.wrapping_byte_add(v * apart));
        asm!("tilestored [{t} + {s}], tmm0", t = in(reg) to, s = in(reg) stride, options(nostack));
        if V > 1 {
            asm!("tilestored [{t} + {s}], tmm1", t = in(reg) second, s = in(reg) stride, options(nostack));
        }
        if V > 2 {
            asm!("tilestored [{t} + {s}], tmm2", t = in(reg) third, s = in(reg) stride, options(nostack));
        }
    }
}

/// Loads a tile of vectors, and adds their products with the rows to a tile of sums.
macro_rules! add_to {
    ($sums:literal, $vectors:literal, $from:expr, $stride:expr) => {
        asm!(
            concat!("tileloadd ", $vectors, ", [{v} + {s}]"),
            concat!("tdpbf16ps ", $sums, ", tmm3, ", $vectors),
            v = in(reg) $from, s = in(reg) $stride,
            options(nostack, readonly)
        )
    };
}

/// Adds the products of `rows` and of `V` vectors, sixteen steps of each, which lie `stride` bytes apart.
#[inline(always)]
pub(crate) unsafe fn add<const V: usize>(rows: &Rows, vectors: [*const u32; V], stride: usize) {
    // SAFETY: as above, and the caller's pointers.
    unsafe {
        asm!("tileloadd tmm3, [{r} + {n}]", r = in(reg) rows, n = in(reg) ROW_BYTES, options(nostack, readonly));
        add_to!("tmm0", "tmm4", vectors[0], stride);
        if V > 1 {
            add_to!("tmm1", "tmm5", vectors[1], stride);
        }
        if V > 2 {
            add_to!("tmm2", "tmm6", vectors[2], stride);
        }
    }
}

/// The same for fewer `steps`, `stride` items apart; rows are zeros after these.
#[inline(always)]
pub(crate) unsafe fn add_few<const V: usize>(
    rows: &Rows,
    vectors: [*const u32; V],
    stride: usize,
    steps: usize,
) {
    let mut columns = Columns([[[0; LANES]; STEPS]; VECTORS]);
    let mut within = vectors;
    for v in 0..V {
        for (step, items) in columns.0[v][..steps].iter_mut().enumerate() {
            // SAFETY: the caller's pointers are good for so many steps.
            *items = unsafe { vectors[v].add(step * stride).cast::<[u32; LANES]>().read() };
        }
        within[v] = columns.0[v].as_ptr().cast();
    }
    // SAFETY: as above; the columns are whole.
    unsafe { add::<V>(rows, within, ROW_BYTES) };
}

/// As many operations as `rounds` times all sums take, additions and multiplications counted apart.
#[inline(always)]
pub(crate) unsafe fn spin(rounds: usize) -> usize {
    for _ in 0..rounds {
        // SAFETY: as above.
        unsafe {
            asm!(
                "tdpbf16ps tmm0, tmm3, tmm4",
                "tdpbf16ps tmm1, tmm3, tmm5",
                "tdpbf16ps tmm2, tmm3, tmm6",
                options(nostack, nomem)
            );
        }
    }
    rounds * VECTORS * ROWS * LANES * STEPS * 4
}
