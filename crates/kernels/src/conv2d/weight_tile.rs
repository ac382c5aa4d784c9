//! The innermost loop of the derivative by a weight: tiles of sums that rows of input pixels and vectors of gradients add
//! to.

#[cfg(target_arch = "x86_64")]
use crate::lanes::amx;
use crate::lanes::{LANES, Lanes, ROWS};

/// The part of a walk that a tile makes at once.
#[derive(Clone, Copy)]
pub(super) struct Steps<'a> {
    /// Bytes from the beginning of a row.
    pub(super) offsets: &'a [usize],
    /// Items of the gradients from step to step.
    pub(super) width: usize,
    /// Whether there are no sums yet.
    pub(super) fresh: bool,
    /// Sums from row to row.
    pub(super) columns: usize,
}

/// One tile, or as many as the registers of `L` need for `vectors` vectors.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
pub(super) unsafe fn tiles<L: Lanes>(
    a: &[*const u8],
    (b, vectors): (*const u32, usize),
    walk: Steps<'_>,
    to: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (L::TILE_ROWS, L::TILE_VECTORS, vectors) {
            (8, 3, 1) => tile::<L, 8, 1>(a, b, walk, to),
            (8, 3, 2) => tile::<L, 8, 2>(a, b, walk, to),
            (8, 3, _) => tile::<L, 8, 3>(a, b, walk, to),
            (4, ..) => {
                for v in (0..vectors).map(|v| v * LANES) {
                    tile::<L, 4, 1>(a, b.add(v), walk, to.add(v));
                }
            }
            _ => {
                for v in (0..vectors).map(|v| v * LANES) {
                    tile::<L, 2, 1>(a, b.add(v), walk, to.add(v));
                }
            }
        }
    }
}

/// Adds to `R` rows times `V` vectors of sums.
///
/// # Safety
/// The processor has `L`; the first `R` of `a` and `b` are good for the walk, and `to` for the tile.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const V: usize>(
    a: &[*const u8],
    b: *const u32,
    walk: Steps<'_>,
    to: *mut f32,
) {
    #[cfg(target_arch = "x86_64")]
    if L::TILES && R == ROWS && walk.offsets.len() >= amx::STEPS {
        // SAFETY: the caller's promise.
        return unsafe { in_tiles::<V>(a, b, walk, to) };
    }
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[L::zero(); V]; R];
        if !walk.fresh {
            for r in 0..R {
                for v in 0..V {
                    sums[r][v] = L::load_sum(to.add(r * walk.columns + v * LANES));
                }
            }
        }
        let starts: [*const u8; R] = std::array::from_fn(|r| a[r]);
        let mut b = b;
        for &offset in walk.offsets {
            let mut vectors = [L::load(b); V];
            for v in 1..V {
                vectors[v] = L::load(b.add(v * LANES));
            }
            for r in 0..R {
                let value = L::splat(starts[r].add(offset).cast());
                for v in 0..V {
                    sums[r][v] = L::dot(sums[r][v], value, vectors[v]);
                }
            }
            b = b.add(walk.width);
        }
        for r in 0..R {
            for v in 0..V {
                L::store_sum(sums[r][v], to.add(r * walk.columns + v * LANES));
            }
        }
    }
}

/// The same for all rows, sixteen steps at a time.
///
/// # Safety
/// As [`tile`], and `L` has tiles.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn in_tiles<const V: usize>(a: &[*const u8], b: *const u32, walk: Steps<'_>, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        match walk.fresh {
            true => amx::clear(),
            false => amx::load::<V>(to, 4 * walk.columns),
        }
        let mut rows = amx::Rows([[0; amx::STEPS]; ROWS]);
        let mut vectors = [b; V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = b.add(v * LANES);
        }
        for offsets in walk.offsets.chunks(amx::STEPS) {
            if offsets.len() < amx::STEPS {
                rows = amx::Rows([[0; amx::STEPS]; ROWS]);
            }
            for (row, start) in rows.0.iter_mut().zip(a) {
                gather(*start, offsets, row);
            }
            if offsets.len() == amx::STEPS {
                amx::add::<V>(&rows, vectors, 4 * walk.width);
            } else {
                amx::add_few::<V>(&rows, vectors, walk.width, offsets.len());
            }
            for vector in &mut vectors {
                *vector = vector.add(amx::STEPS * walk.width);
            }
        }
        amx::store::<V>(to, [4 * walk.columns, 4 * LANES]);
    }
}

/// Reads the items at `offsets` from `start`, bytes, eight at once where they lie together.
///
/// # Safety
/// `start` is good for them, and `to` has room.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn gather(start: *const u8, offsets: &[usize], to: &mut [u32]) {
    for (offsets, to) in offsets.chunks(ROWS).zip(to.chunks_mut(ROWS)) {
        let together = offsets.len() == ROWS && offsets[ROWS - 1] - offsets[0] == 4 * (ROWS - 1);
        // SAFETY: the caller's promise.
        unsafe {
            if together {
                let from = start.add(offsets[0]).cast::<[u32; ROWS]>();
                to.copy_from_slice(&from.read_unaligned());
            } else {
                for (to, offset) in to.iter_mut().zip(offsets) {
                    *to = start.add(*offset).cast::<u32>().read_unaligned();
                }
            }
        }
    }
}
