//! What this machine can do at most: products from registers alone, and reading of memory.
//! Leaves out the caches.

use std::hint::black_box;
use std::time::Instant;

use crate::isa::{Isa, Job, Precision};
#[cfg(target_arch = "x86_64")]
use crate::lanes::amx;
use crate::lanes::{LANES, Lanes};
use crate::parallel;
use crate::reduce::Sum;

/// Rounds of a loop in one measurement: about a millisecond.
const ROUNDS: usize = 1 << 17;
/// Seconds of measurements, of which the best counts: others may use the machine as well.
const SECONDS: f64 = 0.4;
/// Values that lie beyond all caches.
const VALUES: usize = 64 << 20;
/// Values that a thread reads at a time.
const PART: usize = 1 << 18;

/// Operations a second, additions and multiplications counted apart, of all threads of the present
/// pool together, with factors in `precision`.
pub fn peak(precision: Precision) -> f64 {
    let isa = Isa::of(precision);
    best_rate(|| {
        let operations = rayon::broadcast(|_| isa.run(Spin));
        operations.iter().sum()
    })
}

/// Bytes a second that all threads of the present pool read from memory.
pub fn bandwidth() -> f64 {
    // Not zeros: untouched pages of zeros are all the same page.
    let values = vec![1.0_f32; VALUES];
    let isa = Isa::of(Precision::F32);
    best_rate(|| {
        parallel::for_each(VALUES / PART, |part| {
            black_box(isa.run(Sum(&values[part * PART..][..PART])));
        });
        size_of_val(&values[..]) as f64
    })
}

/// The most that `work` did in a second, by its own count.
fn best_rate(work: impl Fn() -> f64) -> f64 {
    let (start, mut best) = (Instant::now(), 0.0_f64);
    while start.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        let done = work();
        best = best.max(done / start.elapsed().as_secs_f64());
    }
    best
}

/// Products in registers; the output is the number of operations.
struct Spin;

impl Job for Spin {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f64 {
        #[cfg(target_arch = "x86_64")]
        if L::TILES {
            // SAFETY: jobs only run for a set that the processor has.
            return unsafe { amx::spin(ROUNDS) as f64 };
        }
        // As many sums as the tiles of products hold, so that none waits for the one before.
        match L::TILE_ROWS * L::TILE_VECTORS {
            24 => spin::<L, 24>(),
            4 => spin::<L, 4>(),
            _ => spin::<L, 2>(),
        }
    }
}

#[inline(always)]
fn spin<L: Lanes, const N: usize>() -> f64 {
    let [a, b] = [black_box([0; LANES]), black_box([0; LANES])];
    let mut out = [0.0; LANES];
    // SAFETY: jobs only run for a set that the processor has; the arrays have LANES values.
    unsafe {
        let [a, b] = [L::load(a.as_ptr()), L::load(b.as_ptr())];
        let mut sums = [L::zero(); N];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = L::dot(*sum, a, b);
            }
        }
        for sum in sums {
            L::store_sum(sum, out.as_mut_ptr());
            black_box(&out);
        }
    }
    (ROUNDS * N * LANES * L::DEPTH * 2) as f64
}
