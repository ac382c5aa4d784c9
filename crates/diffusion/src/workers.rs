//! Independent pieces of work side by side, each on one thread, so that the number of threads never
//! changes a result. Accelerators do one piece after the other: they are parallel inside.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Single-threaded pools, one for each piece of work that can go on at once.
pub(crate) struct Workers(Vec<ThreadPool>);

impl Workers {
    /// As many as there are threads and `jobs` to keep them busy.
    pub fn new(device: &Device, jobs: usize) -> Result<Self, ThreadPoolBuildError> {
        // A single job has all threads to itself: what it computes does not depend on them either.
        let count = match is_cpu(device) && jobs > 1 {
            true => rayon::current_num_threads().min(jobs),
            false => 0,
        };
        let pool = || ThreadPoolBuilder::new().num_threads(1).build();
        (0..count)
            .map(|_| pool())
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// `work(0)` to `work(jobs - 1)`, in that order.
    pub fn map<T: Send>(&self, jobs: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
        if self.0.is_empty() {
            return (0..jobs).map(work).collect();
        }
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(jobs));
        let take = || {
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= jobs {
                    return;
                }
                let result = work(job);
                // Only a panic of `work` poisons, and that goes on through the scope.
                results
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .push((job, result));
            }
        };
        std::thread::scope(|scope| {
            for pool in &self.0 {
                scope.spawn(|| pool.install(take));
            }
        });
        let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
        results.sort_by_key(|(job, _)| *job);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// Whether `device` is burn's own CPU backend.
pub(crate) fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() -> Result<(), ThreadPoolBuildError> {
        let workers = Workers::new(&Device::flex(), 3)?;
        assert_eq!(
            workers.map(10, |i| i * i),
            (0..10).map(|i| i * i).collect::<Vec<_>>()
        );
        assert!(workers.map(0, |i| i).is_empty());
        Ok(())
    }
}
