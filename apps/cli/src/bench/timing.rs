//! Times of repeated work, and the memory that it needs.

use std::fs;
use std::time::Instant;

/// Too few for a median.
const FEWEST_RUNS: usize = 3;

/// Seconds that runs took.
pub(super) struct Times {
    pub(super) median: f64,
    pub(super) best: f64,
    pub(super) runs: usize,
}

/// Runs `work` for `seconds`, once or more before that to warm up; on a thread of the pool, as
/// pipelines and training do.
pub(super) fn measure(seconds: f64, work: &mut (dyn FnMut() + Send)) -> Times {
    rayon::scope(|_| measure_here(seconds, work))
}

fn measure_here(seconds: f64, work: &mut dyn FnMut()) -> Times {
    let mut timed = |seconds: f64, fewest: usize| {
        let (start, mut times) = (Instant::now(), vec![]);
        while times.len() < fewest || start.elapsed().as_secs_f64() < seconds {
            let start = Instant::now();
            work();
            times.push(start.elapsed().as_secs_f64());
        }
        times
    };
    timed(seconds / 10.0, 1);
    let mut times = timed(seconds, FEWEST_RUNS);
    times.sort_by(f64::total_cmp);
    Times {
        median: times[times.len() / 2],
        best: times[0],
        runs: times.len(),
    }
}

/// The memory of this process when some work began.
pub(super) struct MemoryMark {
    kb: u64,
}

impl MemoryMark {
    /// None where the system does not tell.
    pub(super) fn set() -> Option<Self> {
        status_kb("VmRSS:").map(|kb| Self { kb })
    }

    /// How much larger the process has been since than it was.
    pub(super) fn growth_mb(&self) -> Option<f64> {
        Some(status_kb("VmHWM:")?.saturating_sub(self.kb) as f64 / 1024.0)
    }
}

fn status_kb(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
