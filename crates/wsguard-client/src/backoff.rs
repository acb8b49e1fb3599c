//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with full jitter: each delay is drawn from zero to a bound that doubles from try to try.
///
/// Full jitter spreads the clients of a server that restarts over the whole interval, the first try included; a delay
/// that is only shaken a little brings them all back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    /// `min` bounds the first delay, `max` every one.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, tries: 0 }
    }

    /// The wait until the next try; `random` is from 0 to 1. Every call counts as a try, however the try ends.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let factor = 1_u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        let bound = self.min.saturating_mul(factor).min(self.max);
        self.tries = self.tries.saturating_add(1);
        // What is not a number counts as 0: the cast of a float saturates.
        bound.mul_f64(if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.0 })
    }

    /// Starts over. Called once a connection has been stable, not when it opens: a server may accept and drop.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_bound_doubles_to_its_limit_and_the_delay_is_drawn_below_it() {
        let mut backoff = Backoff::new(MS(500), MS(20_000));
        for want in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000] {
            assert_eq!(backoff.next(1.0), MS(want));
        }
        assert_eq!(backoff.next(0.0), MS(0));
        assert_eq!(backoff.next(0.25), MS(5_000));
        backoff.reset();
        assert_eq!(backoff.next(0.5), MS(250));
    }

    #[test]
    fn no_number_of_tries_and_no_random_value_breaks_it() {
        let mut backoff = Backoff::new(MS(500), MS(20_000));
        backoff.tries = u32::MAX;
        for (random, want) in [(1.0, 20_000), (7.0, 20_000), (-1.0, 0), (f64::NAN, 0), (f64::INFINITY, 0)] {
            assert_eq!(backoff.next(random), MS(want), "{random}");
        }
    }
}
