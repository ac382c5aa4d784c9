//! Which instructions this processor has, and how a job is compiled for each of them.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512, Bf16Pairs, amx};
use crate::lanes::{Lanes, Portable};

/// How numbers are multiplied. Sums, norms and everything elementwise are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Factors as they are. The result does not depend on the number of threads, to the bit.
    #[default]
    F32,
    /// Factors rounded to bf16, on processors that multiply these twice as fast; as `F32` on others.
    /// Nor does this result depend on the number of threads.
    Bf16,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("expected f32 or bf16".into()),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// An instruction set that there is a tile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor of this architecture has.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with products of bf16.
    Avx512Bf16,
    /// That and AMX with tiles of bf16.
    Amx,
}

impl Isa {
    /// The best set of this processor, or the one that the environment variable `DREAMSMITH_ISA`
    /// (portable, avx2, avx512, avx512bf16) limits it to.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let limit = match std::env::var("DREAMSMITH_ISA").as_deref() {
                Ok("portable") => Self::Portable,
                Ok("avx2") => Self::Avx2,
                Ok("avx512") => Self::Avx512,
                Ok("avx512bf16") => Self::Avx512Bf16,
                _ => Self::Amx,
            };
            Self::detect().min(limit)
        })
    }

    /// The set that multiplies in `precision`.
    pub fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::best().min(Self::Avx512),
            Precision::Bf16 => Self::best(),
        }
    }

    /// Values of the summed axis in one item of a pack.
    pub(crate) fn depth(self) -> usize {
        if self >= Self::Avx512Bf16 { 2 } else { 1 }
    }

    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
        match () {
            () if bf16 && amx::is_there() => Self::Amx,
            () if bf16 => Self::Avx512Bf16,
            () if avx512 => Self::Avx512,
            () if avx2 => Self::Avx2,
            () => Self::Portable,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Self {
        Self::Portable
    }

    /// Runs `job` compiled for this set.
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        // A set is only ever made by `detect` or made smaller from there, so that it is present.
        match self {
            Self::Portable => job.run::<Portable>(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has the set, see above.
            Self::Avx2 => unsafe { run_avx2(job) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has the set, see above.
            Self::Avx512 => unsafe { run_avx512(job) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has the set, see above.
            Self::Avx512Bf16 => unsafe { run_avx512_bf16::<J, false>(job) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has the set, see above; all jobs shape the tiles alike.
            Self::Amx => unsafe {
                amx::shape();
                run_avx512_bf16::<J, true>(job)
            },
            #[cfg(not(target_arch = "x86_64"))]
            _ => job.run::<Portable>(),
        }
    }
}

/// Work for one thread, written once for all instruction sets. `run` and all that it calls in its
/// loops must be `#[inline(always)]`, closures included, or it is compiled for the smallest set.
pub(crate) trait Job {
    type Output;
    fn run<L: Lanes>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<J: Job>(job: J) -> J::Output {
    job.run::<Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_avx512<J: Job>(job: J) -> J::Output {
    job.run::<Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_avx512_bf16<J: Job, const TILES: bool>(job: J) -> J::Output {
    job.run::<Bf16Pairs<TILES>>()
}
