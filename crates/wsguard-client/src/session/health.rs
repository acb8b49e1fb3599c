//! How long pings take.

use std::collections::VecDeque;
use std::time::Duration;

/// Round trips that the statistics look back on.
const SAMPLES: usize = 16;

/// How long pings took to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rtt {
    /// The last one.
    pub last: Duration,
    /// The median of the last 16.
    pub median: Duration,
    /// The mean difference from one to the next, over the last 16.
    pub jitter: Duration,
}

/// The last round trips.
#[derive(Debug, Default)]
pub(crate) struct Samples(VecDeque<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, sample: Duration) {
        if self.0.len() >= SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    pub(crate) fn rtt(&self) -> Option<Rtt> {
        let last = *self.0.back()?;
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len().checked_div(2)?).copied()?;
        let steps = self.0.iter().zip(self.0.iter().skip(1)).map(|(one, next)| one.abs_diff(*next));
        let sum = steps.fold(Duration::ZERO, Duration::saturating_add);
        let count = u32::try_from(self.0.len().saturating_sub(1)).unwrap_or(u32::MAX);
        Some(Rtt { last, median, jitter: sum.checked_div(count).unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_look_back_on_sixteen() {
        let ms = Duration::from_millis;
        let mut samples = Samples::default();
        assert_eq!(samples.rtt(), None);
        samples.add(ms(10));
        assert_eq!(samples.rtt(), Some(Rtt { last: ms(10), median: ms(10), jitter: ms(0) }));
        for sample in [20, 10, 40] {
            samples.add(ms(sample));
        }
        // 10, 20, 10, 40: the upper median, and (10 + 10 + 30) / 3.
        let Rtt { last, median, jitter } = samples.rtt().unwrap();
        assert_eq!((last, median), (ms(40), ms(20)));
        assert_eq!(jitter, ms(50) / 3);
        for _ in 0..16 {
            samples.add(ms(7));
        }
        assert_eq!(samples.rtt(), Some(Rtt { last: ms(7), median: ms(7), jitter: ms(0) }));
    }
}
