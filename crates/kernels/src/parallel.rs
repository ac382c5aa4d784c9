//! Work shared among the threads of the present pool. What a job computes never depends on how many
//! there are.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Threads of the present pool.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// `work(0)` to `work(jobs - 1)`, in any order.
pub(crate) fn for_each(jobs: usize, work: impl Fn(usize) + Send + Sync) {
    if jobs < 2 || threads() == 1 {
        (0..jobs).for_each(work);
    } else {
        (0..jobs).into_par_iter().with_max_len(1).for_each(work);
    }
}
