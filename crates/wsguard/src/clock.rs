//! The two clocks of the driver, read once an event.
//!
//! In a simulated world they are the world's ([`crate::simulation`]).

use wsguard_core::time::Now;

#[cfg(wsguard_simulation)]
pub(crate) use crate::simulation::{instant_of, tick, unix};
#[cfg(not(wsguard_simulation))]
pub(crate) use system::{instant_of, tick, unix};

/// The time of this moment.
pub(crate) fn now() -> Now {
    Now { tick: tick(), unix: unix() }
}

#[cfg(not(wsguard_simulation))]
mod system {
    use std::sync::OnceLock;
    use std::time::{Instant, SystemTime};

    use wsguard_core::time::{Tick, UnixMs};

    static START: OnceLock<Instant> = OnceLock::new();

    /// The first tick: not zero, so that "long ago" can be told.
    const FIRST_TICK_MS: u64 = 3_600_000;

    /// The wall clock of this moment.
    pub(crate) fn unix() -> UnixMs {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixMs(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX))
    }

    /// The monotonic time of this moment.
    pub(crate) fn tick() -> Tick {
        let since = START.get_or_init(Instant::now).elapsed().as_millis();
        Tick(u64::try_from(since).unwrap_or(u64::MAX).saturating_add(FIRST_TICK_MS))
    }

    /// The moment at which `tick` comes, for a timer; `None` for one that never comes.
    pub(crate) fn instant_of(tick: Tick) -> Option<tokio::time::Instant> {
        let start = *START.get_or_init(Instant::now);
        let since = tick.0.saturating_sub(FIRST_TICK_MS);
        start.checked_add(std::time::Duration::from_millis(since)).map(tokio::time::Instant::from_std)
    }
}
