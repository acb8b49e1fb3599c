//! Pings of the audit.

use crate::probe::Probe;
use crate::probe::frame::Frame;
use crate::probe::socket::Event;
use tokio::time::Instant;

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;

pub(super) const META: Meta = Meta {
    id: "WSA-MON-02",
    title: "Pings answered",
    category: Category::Monitoring,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3" },
    what: "Sends pings of 0, 8 and 125 bytes, each after the answer to the one before, and compares what comes back.",
    why: "Who sends pings to find dead connections finds only dead ones where nobody answers.",
    remedy: "Answer every ping with a pong of the same payload, at once.",
    traps: "To answer only the latest of several pings is allowed: the next is sent after the answer alone.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut socket = match probe.open().await {
        Ok(socket) => socket,
        Err(outcome) => return outcome,
    };
    let (mut good, mut bad, mut pongs) = (Vec::new(), Vec::new(), 0_usize);
    for size in [0_usize, 8, 125] {
        let payload: Vec<u8> = crate::probe::random::<125>().into_iter().take(size).collect();
        if let Err(spent) = socket.send(&Frame::ping(payload.clone())).await {
            return Outcome::unknown(spent.to_string());
        }
        let since = Instant::now();
        let deadline = probe.shared().soon(2.5);
        let event = loop {
            match socket.next_until(deadline).await {
                Event::Text(_) | Event::Binary(_) | Event::Ping(_) => {}
                event => break event,
            }
        };
        match event {
            Event::Pong(held) if held == payload => {
                pongs = pongs.saturating_add(1);
                good.push(format!("{size} bytes: the same after {:.1} ms", since.elapsed().as_secs_f64() * 1_000.0));
            }
            Event::Pong(held) => {
                pongs = pongs.saturating_add(1);
                bad.push(format!("{size} bytes: a pong with another payload of {} bytes", held.len()));
            }
            event => {
                bad.push(format!("{size} bytes: {event}"));
                if event.is_end() {
                    break;
                }
            }
        }
    }
    let mut lines = bad.into_iter().chain(good);
    let first = lines.next().unwrap_or_default();
    match pongs {
        3 if first.contains(": the same") => Outcome::pass(first),
        0 => Outcome::fail(first),
        _ => Outcome::warn(first),
    }
    .and_all(lines)
}
