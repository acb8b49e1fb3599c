//! A connection on which nothing happens but signs of life: one for the two checks that look at such a one.

use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::notes::Watched;
use crate::probe::socket::Event;

/// How long idle connections are watched, in seconds.
pub(super) fn seconds(probe: &Probe) -> f64 {
    if probe.options().full { 900.0 } else { 65.0 }
}

/// A good connection that only answers what asks for a sign of life.
pub(super) async fn idle(probe: &Probe) -> Result<Watched, Outcome> {
    probe.shared().idle.get_or_try_init(|| watch(probe)).await.cloned()
}

/// The same, on a connection of its own.
pub(super) async fn watch(probe: &Probe) -> Result<Watched, Outcome> {
    let mut session = probe.session().await?;
    let before = session.socket.age();
    let shared = session.socket.shared();
    let deadline = shared.later(shared.pace.seconds(seconds(probe)));
    let mut news = 0_u32;
    let end = loop {
        match session.hear_until(deadline).await {
            Event::Text(text) if is_beat(&text) => news = news.saturating_add(1),
            event if event.is_end() || event == Event::Quiet => break event,
            _ => {}
        }
    };
    let beats = session.socket.pings.saturating_add(session.beats).saturating_add(news);
    Ok(Watched { end, age: session.socket.age() - before, beats })
}

/// A heartbeat that the language has no name for.
fn is_beat(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.len() < 200
        && ["\"ping\"", "heartbeat", "\"ka\"", "keepalive", "keep-alive"].iter().any(|word| lower.contains(word))
}
