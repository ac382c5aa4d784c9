//! A share of hits with its 95 % interval. [Wilson27]

use serde::Serialize;

/// Two-sided 95 % of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Where a figure lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How many of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Those that count.
    pub hits: usize,
    /// All.
    pub count: usize,
}

impl Share {
    /// Of `answers`, those that are true.
    pub fn of(answers: impl IntoIterator<Item = bool>) -> Self {
        let mut share = Self { hits: 0, count: 0 };
        for answer in answers {
            share.hits += usize::from(answer);
            share.count += 1;
        }
        share
    }

    /// Hits over all; NaN of none.
    pub fn value(self) -> f64 {
        self.hits as f64 / self.count as f64
    }

    /// Wilson's interval; all of [0, 1] if nothing was counted.
    pub fn interval(self) -> Interval {
        if self.count == 0 {
            return Interval {
                low: 0.0,
                high: 1.0,
            };
        }
        let (n, p) = (self.count as f64, self.value());
        let middle = p + Z * Z / (2.0 * n);
        let width = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        Interval {
            low: ((middle - width) / scale).max(0.0),
            high: ((middle + width) / scale).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_solve_the_equation_of_the_score_test() {
        for (hits, count) in [(8, 10), (1, 3), (150, 256), (500, 1000)] {
            let share = Share { hits, count };
            let Interval { low, high } = share.interval();
            assert!(low < share.value() && share.value() < high);
            for end in [low, high] {
                // (p - end)^2 = z^2 end (1 - end) / n defines the interval.
                let left = (share.value() - end).powi(2);
                let right = Z * Z * end * (1.0 - end) / count as f64;
                assert!((left - right).abs() < 1e-12, "{hits} of {count}: {end}");
            }
        }
    }

    #[test]
    fn none_all_and_nothing_stay_in_range() {
        let ends = |hits, count| Share { hits, count }.interval();
        assert_eq!(ends(0, 20).low, 0.0);
        assert_eq!(ends(20, 20).high, 1.0);
        assert_eq!((ends(0, 0).low, ends(0, 0).high), (0.0, 1.0));
        assert_eq!(Share::of([true, false, true]), Share { hits: 2, count: 3 });
    }
}
