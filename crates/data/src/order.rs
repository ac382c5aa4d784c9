//! The order of training: a new shuffle each epoch, as a pure function of (seed, epoch).
//! Leaves out weighting: each sample comes once an epoch.

use dreamsmith_base::{Purpose, Stream};

/// The shuffled sample indices of one epoch.
pub fn epoch_order(seed: u64, epoch: u64, len: u32) -> Vec<u32> {
    Stream::new(seed, Purpose::Shuffle, epoch).permutation(len)
}

/// Which samples each step sees: the epochs' orders, end to end, cut into batches.
///
/// A pure function of (seed, step): the kept order is only a shortcut.
#[derive(Clone, Debug)]
pub struct Shuffler {
    seed: u64,
    len: u32,
    batch: usize,
    epoch: u64,
    order: Vec<u32>,
}

impl Shuffler {
    /// An order over `len` samples in batches of `batch`.
    pub fn new(seed: u64, len: usize, batch: usize) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self {
            seed,
            len,
            batch,
            epoch: 0,
            order: epoch_order(seed, 0, len),
        }
    }

    /// The sample indices of `step` (from 0). Empty if there are no samples.
    pub fn indices(&mut self, step: u64) -> Vec<usize> {
        if self.len == 0 {
            return Vec::new();
        }
        let (len, batch) = (u128::from(self.len), self.batch as u128);
        let start = u128::from(step) * batch;
        (start..start + batch)
            .map(|position| {
                let epoch = (position / len) as u64;
                if epoch != self.epoch {
                    self.order = epoch_order(self.seed, epoch, self.len);
                    self.epoch = epoch;
                }
                self.order[(position % len) as usize] as usize
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_shows_every_sample_once_in_its_own_order() {
        let mut shuffler = Shuffler::new(7, 10, 4);
        let seen: Vec<usize> = (0..5).flat_map(|step| shuffler.indices(step)).collect();
        for epoch in seen.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(seen[..10], seen[10..]);
    }

    #[test]
    fn a_step_does_not_depend_on_the_steps_before() {
        let mut running = Shuffler::new(7, 10, 4);
        let all: Vec<_> = (0..20).map(|step| running.indices(step)).collect();
        for step in [19, 3, 0, 11] {
            assert_eq!(Shuffler::new(7, 10, 4).indices(step), all[step as usize]);
            assert_eq!(running.indices(step), all[step as usize]);
        }
        assert_ne!(Shuffler::new(8, 10, 4).indices(0), all[0]);
    }

    #[test]
    fn batches_larger_than_the_set_and_empty_sets_work() {
        assert_eq!(Shuffler::new(1, 3, 8).indices(5).len(), 8);
        assert!(Shuffler::new(1, 0, 8).indices(5).is_empty());
    }
}
