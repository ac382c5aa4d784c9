//! In which cells of a level sixteen points lie: the entries of the eight vertices, and the shares of
//! the point in them.

use super::{Indexing, Level};
use crate::lanes::{F32s, LANES};

/// The factors of [Mueller22] eq. 4; that of x is 1.
const PRIMES: [u32; 2] = [2_654_435_761, 805_459_861];
/// Vertices of a cell; bit a of a number says on which side of axis a it lies.
pub(super) const CORNERS: usize = 8;

/// Sixteen integers.
type U32s = [u32; LANES];

/// The cells of sixteen points.
pub(super) struct Cells {
    /// All of them below the entries of the level.
    pub(super) entries: [U32s; CORNERS],
    /// The shares of the far and of the near side on each axis.
    shares: [[F32s; 2]; 3],
}

impl Cells {
    /// The cells of points with these coordinates on each axis, moved into the unit cube.
    #[inline(always)]
    pub(super) fn of(level: &Level, points: [F32s; 3]) -> Self {
        let resolution = level.resolution as f32;
        let last = level.resolution as i32 - 1;
        let mut shares = [[[0.0; LANES]; 2]; 3];
        // What a vertex adds to the index, on the near and on the far side.
        let mut terms = [[[0; LANES]; 2]; 3];
        let factors = match level.indexing {
            Indexing::Dense { stride } => [stride, stride * stride],
            Indexing::Hashed { .. } => PRIMES,
        };
        for axis in 0..3 {
            let factor = if axis == 0 { 1 } else { factors[axis - 1] };
            for i in 0..LANES {
                let x = points[axis][i];
                // NaN becomes 0.
                let x = if x > 0.0 { x } else { 0.0 };
                let x = if x < 1.0 { x } else { 1.0 } * resolution;
                // SAFETY: from 0 to the resolution, which is 65536 at most.
                let vertex = unsafe { x.to_int_unchecked::<i32>() }.min(last);
                let far = x - vertex as f32;
                shares[axis][0][i] = 1.0 - far;
                shares[axis][1][i] = far;
                terms[axis][0][i] = (vertex as u32).wrapping_mul(factor);
                terms[axis][1][i] = terms[axis][0][i].wrapping_add(factor);
            }
        }
        let mut entries = [[0; LANES]; CORNERS];
        for corner in 0..CORNERS {
            let [x, y, z] = sides(corner);
            let (x, y, z) = (&terms[0][x], &terms[1][y], &terms[2][z]);
            match level.indexing {
                Indexing::Dense { .. } => {
                    for i in 0..LANES {
                        entries[corner][i] = x[i] + y[i] + z[i];
                    }
                }
                Indexing::Hashed { mask } => {
                    for i in 0..LANES {
                        entries[corner][i] = (x[i] ^ y[i] ^ z[i]) & mask;
                    }
                }
            }
        }
        Self { entries, shares }
    }

    /// The weights of all corners.
    #[inline(always)]
    pub(super) fn weights(&self) -> [F32s; CORNERS] {
        let [xs, ys, zs] = &self.shares;
        let mut weights = [[0.0; LANES]; CORNERS];
        for corner in 0..CORNERS {
            let [x, y, z] = sides(corner);
            for i in 0..LANES {
                weights[corner][i] = xs[x][i] * (ys[y][i] * zs[z][i]);
            }
        }
        weights
    }

    /// The derivatives of the weights of a corner by the coordinate on `axis`, times `values`, in cells.
    #[inline(always)]
    pub(super) fn add_slopes(&self, corner: usize, axis: usize, values: &F32s, to: &mut F32s) {
        let side = sides(corner);
        let sign = if side[axis] == 0 { -1.0 } else { 1.0 };
        let others = [(axis + 1) % 3, (axis + 2) % 3];
        let [a, b] = [
            &self.shares[others[0]][side[others[0]]],
            &self.shares[others[1]][side[others[1]]],
        ];
        for i in 0..LANES {
            to[i] += sign * a[i] * b[i] * values[i];
        }
    }
}

/// On which side of each axis a corner lies.
#[inline(always)]
const fn sides(corner: usize) -> [usize; 3] {
    [corner & 1, corner >> 1 & 1, corner >> 2 & 1]
}

/// Points by coordinate, sixteen at a time: `[3][blocks]`.
pub(super) struct Columns<'a> {
    axes: [&'a [F32s]; 3],
}

impl<'a> Columns<'a> {
    /// Values that `points` take as columns.
    pub(super) fn room(points: usize) -> usize {
        3 * points.next_multiple_of(LANES)
    }

    /// Rearranges `points` in `room`, filled up with the origin.
    pub(super) fn of(points: &[[f32; 3]], room: &'a mut [f32]) -> Self {
        let len = points.len().next_multiple_of(LANES);
        let [x, y, z] = [0, 1, 2].map(|axis| axis * len);
        for (i, point) in points.iter().enumerate() {
            [room[x + i], room[y + i], room[z + i]] = *point;
        }
        for axis in [x, y, z] {
            room[axis + points.len()..axis + len].fill(0.0);
        }
        let room: &[f32] = room;
        Self {
            axes: [x, y, z].map(|axis| room[axis..axis + len].as_chunks().0),
        }
    }

    /// Points 16 i to 16 i + 15.
    #[inline(always)]
    pub(super) fn block(&self, i: usize) -> [F32s; 3] {
        [self.axes[0][i], self.axes[1][i], self.axes[2][i]]
    }
}
