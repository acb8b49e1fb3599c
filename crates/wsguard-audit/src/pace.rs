//! Time as the checks see it: tests run the same waits in a fraction.

use std::time::Duration;

/// How fast time passes: every wait and every deadline of a check goes through it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What a second of the catalogue lasts.
    second: Duration,
}

impl Pace {
    /// Seconds that are seconds.
    pub const REAL: Self = Self { second: Duration::from_secs(1) };

    /// Seconds of this length.
    pub const fn shortened(second: Duration) -> Self {
        Self { second }
    }

    /// So many seconds of the catalogue.
    pub fn seconds(self, seconds: f64) -> Duration {
        self.second.mul_f64(seconds.max(0.0))
    }

    /// How many seconds of the catalogue `real` is.
    pub fn in_seconds(self, real: Duration) -> f64 {
        real.as_secs_f64() / self.second.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}
