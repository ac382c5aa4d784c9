//! The real spherical harmonics of degrees 0 to 3, orthonormal over the sphere: sixteen smooth
//! functions of a direction. [Sloan13] Leaves out higher degrees.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

/// Directions that a thread takes at a time.
const PART: usize = 1 << 12;

/// Functions of degrees below 4.
pub const N_HARMONICS: usize = 16;

/// The functions of unit vectors `dirs`, `[N]`, to `to`, `[N, 16]`: that of degree l and order m, with
/// the Condon-Shortley phase, is number l (l + 1) + m.
///
/// # Panics
/// If the lengths do not fit together.
pub fn spherical_harmonics(dirs: &[[f32; 3]], to: &mut [f32]) {
    assert_eq!(to.len(), dirs.len() * N_HARMONICS, "harmonics");
    let parts = dirs
        .par_chunks(PART)
        .zip(to.par_chunks_mut(PART * N_HARMONICS));
    parts.for_each(|(dirs, to)| {
        for (dir, to) in dirs.iter().zip(to.as_chunks_mut().0) {
            *to = harmonics(*dir);
        }
    });
}

fn harmonics([x, y, z]: [f32; 3]) -> [f32; N_HARMONICS] {
    let (xx, yy, zz) = (x * x, y * y, z * z);
    [
        0.282_094_79,
        -0.488_602_51 * y,
        0.488_602_51 * z,
        -0.488_602_51 * x,
        1.092_548_43 * x * y,
        -1.092_548_43 * y * z,
        0.315_391_57 * (3.0 * zz - 1.0),
        -1.092_548_43 * x * z,
        0.546_274_22 * (xx - yy),
        -0.590_043_59 * y * (3.0 * xx - yy),
        2.890_611_44 * x * y * z,
        -0.457_045_8 * y * (5.0 * zz - 1.0),
        0.373_176_33 * z * (5.0 * zz - 3.0),
        -0.457_045_8 * x * (5.0 * zz - 1.0),
        1.445_305_72 * z * (xx - yy),
        -0.590_043_59 * x * (xx - 3.0 * yy),
    ]
}
