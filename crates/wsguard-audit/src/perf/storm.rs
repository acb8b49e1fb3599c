//! What a server sees when it comes back, or when a network does: everybody at once.

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Storm;
use crate::measure::Distribution;
use crate::probe::session::Session;
use crate::probe::{Handshake, Probe};

/// Tries to be served again, five seconds apart.
const TRIES: u32 = 6;

/// Loses all of `held` without a farewell and sends as many handshakes at once. `None` of fewer than two.
pub(super) async fn storm(probe: &Probe, held: Vec<Session>) -> Option<Storm> {
    let sockets = u32::try_from(held.len()).unwrap_or(u32::MAX);
    if sockets < 2 {
        return None;
    }
    drop(held);
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..sockets {
        let probe = probe.clone();
        tasks.spawn(async move {
            let began = Instant::now();
            let handshake = probe.handshake_at_once(&probe.request()).await;
            (handshake, began.elapsed())
        });
    }
    let mut storm = Storm { sockets, ..Storm::default() };
    let (mut times, mut open) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((Handshake::Opened(socket), took)) => {
                storm.back = storm.back.saturating_add(1);
                times.push(took);
                open.push(socket);
            }
            Ok((Handshake::Limited(_), _)) => storm.limited = storm.limited.saturating_add(1),
            _ => storm.failed = storm.failed.saturating_add(1),
        }
    }
    storm.seconds = (since.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    storm.handshake = Distribution::of(&times, 0);
    for socket in open {
        socket.close().await;
    }
    let credential = probe.options().token.clone();
    for attempt in 0..TRIES {
        if attempt > 0 {
            probe.wait(5.0).await;
        }
        // Without the budget's pace, which would be mistaken for the target's.
        if let Handshake::Opened(socket) = probe.handshake_at_once(&probe.request()).await
            && let Ok(mut session) = Session::establish(socket, probe.way(), credential.as_deref()).await
            && (probe.way().template.is_none() || session.still_serves().await)
        {
            session.close().await;
            storm.served_after = Some((since.elapsed().as_secs_f64() * 10.0).round() / 10.0);
            break;
        }
    }
    Some(storm)
}
