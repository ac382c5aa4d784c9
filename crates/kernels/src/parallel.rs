//! Work shared among the threads of the present pool. What a job computes never depends on how many
//! there are.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Threads of the present pool.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// Multiplications that are worth another thread's being woken.
const WORTH_A_THREAD: usize = 1 << 21;

/// Threads of the present pool that `multiplications` are worth sharing among.
pub(crate) fn threads_for(multiplications: usize) -> usize {
    if multiplications < WORTH_A_THREAD {
        1
    } else {
        threads()
    }
}

/// `work(0)` to `work(jobs - 1)`, in any order.
pub(crate) fn for_each(jobs: usize, work: impl Fn(usize) + Send + Sync) {
    if jobs < 2 || threads() == 1 {
        (0..jobs).for_each(work);
    } else {
        (0..jobs).into_par_iter().with_max_len(1).for_each(work);
    }
}
