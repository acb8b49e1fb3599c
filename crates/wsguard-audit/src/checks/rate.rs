//! What the checks of limits share: a burst up to the limit of handshakes, and the time until the target lets the audit
//! in again.

use std::net::IpAddr;

use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::probe::notes::Burst;
use crate::probe::{Handshake, Probe};

/// Handshakes of a burst. Many targets allow as many in 10 s, or fewer.
pub(super) const HANDSHAKES: u32 = 45;

/// Longest that a target is waited for after its limit was met, in seconds; with `--full`.
const LOCKOUT_MAX: f64 = 25.0;
const LOCKOUT_FULL_MAX: f64 = 130.0;

/// The one of these that counts for this run.
pub(super) fn lockout_max(probe: &Probe) -> f64 {
    if probe.options().full { LOCKOUT_FULL_MAX } else { LOCKOUT_MAX }
}

/// How long a window of a limit lasts that nobody told, and a little more.
const WINDOW: f64 = 11.0;

/// How a burst went.
pub(super) enum Stop {
    /// Every handshake was let in.
    Free,
    /// This one was not.
    Limited { number: u32, shown: String },
    /// Nothing was learnt.
    Nothing(Outcome),
}

/// Whether a good handshake was let in; otherwise how not, and whether that says "too many".
pub(super) enum Door {
    In,
    Out { shown: String, is_told: bool },
    Nothing(Outcome),
}

/// Knocks once, as fast as can be.
pub(super) async fn knock(probe: &Probe, header: Option<(&str, &str)>, source: Option<IpAddr>) -> Door {
    let mut request = probe.request().anew();
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let handshake = match source {
        Some(source) => probe.handshake_from(&request, source).await,
        None => probe.handshake_at_once(&request).await,
    };
    match handshake {
        Handshake::Opened(socket) => {
            socket.close().await;
            Door::In
        }
        Handshake::Limited(response) => {
            let retry = response.value("Retry-After").map(str::to_owned);
            let shown = format!("{response}, Retry-After: {}", retry.as_deref().unwrap_or("none"));
            Door::Out { shown, is_told: retry.is_some() }
        }
        Handshake::Refused(response) => Door::Out { shown: response.to_string(), is_told: false },
        Handshake::Dropped(end) => Door::Out { shown: end.to_string(), is_told: false },
        Handshake::Unreached(why) => Door::Nothing(Outcome::unknown(why.to_string())),
    }
}

/// Good handshakes one after the other as fast as they are answered, each closed, until one is refused.
pub(super) async fn burst(probe: &Probe, most: u32, source: Option<IpAddr>) -> Stop {
    for number in 1..=most {
        match knock(probe, None, source).await {
            Door::In => {}
            // A peer that is refused at once is kept out for something else.
            Door::Out { shown, .. } if number <= 2 => {
                return Stop::Nothing(Outcome::unknown(format!("handshake {number} is refused already: {shown}")));
            }
            Door::Out { shown, is_told } => {
                let let_in = number.saturating_sub(1);
                let in_window = probe.recent().saturating_sub(1).max(let_in);
                let mut notes = probe.shared().notes();
                notes.burst = Some(Burst { let_in, in_window, is_limited: true });
                if notes.lockouts.is_empty() {
                    notes.signal(format!("handshake {number}: {shown}"), is_told);
                }
                return Stop::Limited { number, shown };
            }
            Door::Nothing(outcome) => return Stop::Nothing(outcome),
        }
    }
    let mut notes = probe.shared().notes();
    if notes.burst.is_none_or(|burst| !burst.is_limited && burst.let_in < most) {
        notes.burst = Some(Burst { let_in: most, in_window: most, is_limited: false });
    }
    Stop::Free
}

/// Waits until the target lets a good handshake in again, notes how long that took, and rests until what was
/// provoked has passed. `None`: it did not within [`lockout_max`].
pub(super) async fn lockout(probe: &Probe) -> Option<f64> {
    let since = Instant::now();
    loop {
        probe.wait(1.0).await;
        let took = probe.in_seconds(since.elapsed());
        match knock(probe, None, None).await {
            Door::In => {
                probe.shared().notes().lockouts.push(took);
                probe.wait(WINDOW - took).await;
                return Some(took);
            }
            Door::Out { .. } if took < lockout_max(probe) => {}
            _ => return None,
        }
    }
}

/// Why a check that begins at the limit of handshakes has nothing to do, where another check saw that.
pub(super) fn unlimited(probe: &Probe) -> Option<Outcome> {
    let burst = probe.shared().notes().burst.filter(|burst| !burst.is_limited && burst.let_in >= HANDSHAKES)?;
    Some(no_limit(burst.let_in))
}

/// The outcome where no limit was met.
pub(super) fn no_limit(let_in: u32) -> Outcome {
    Outcome::unknown(format!("{let_in} handshakes at once without a limit"))
        .settled_by("a target that limits handshakes")
}
