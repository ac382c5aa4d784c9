//! Independent pieces of work side by side, each on one thread, so that the number of threads never
//! changes a result. Accelerators do one piece after the other: they are parallel inside.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Single-threaded pools, one for each piece of work that can go on at once.
pub struct Workers(Vec<ThreadPool>);

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
        let push = |mut results: Vec<T>, result| {
            results.push(result);
            results
        };
        self.fold(jobs, Vec::with_capacity(jobs), work, push)
    }

    /// Adds `work(0)` to `work(jobs - 1)` to `sum` in that order, each as soon as it can be, so that
    /// few of them are in memory.
    pub fn fold<T: Send, S: Send>(
        &self,
        jobs: usize,
        sum: S,
        work: impl Fn(usize) -> T + Sync,
        add: impl Fn(S, T) -> S + Sync,
    ) -> S {
        if self.0.is_empty() {
            // In the pool, where an operation finds the other threads faster than from outside.
            return rayon::scope(|_| (0..jobs).map(&work).fold(sum, &add));
        }
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Done {
            sum: Some(sum),
            added: 0,
            waiting: BTreeMap::new(),
        });
        let take = || {
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= jobs {
                    return;
                }
                let result = work(job);
                // Only a panic poisons, and that goes on through the scope.
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.waiting.insert(job, result);
                done.add(&add);
            }
        };
        std::thread::scope(|scope| {
            for pool in &self.0 {
                scope.spawn(|| pool.install(take));
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sum.expect("taken only while something is added")
    }
}

/// The results of a fold so far.
struct Done<T, S> {
    sum: Option<S>,
    added: usize,
    /// Those that came before their turn.
    waiting: BTreeMap<usize, T>,
}

impl<T, S> Done<T, S> {
    /// Adds all whose turn it is.
    fn add(&mut self, add: impl Fn(S, T) -> S) {
        while let Some(result) = self.waiting.remove(&self.added) {
            self.sum = self.sum.take().map(|sum| add(sum, result));
            self.added += 1;
        }
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
