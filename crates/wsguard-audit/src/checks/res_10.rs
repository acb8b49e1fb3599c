//! What ended real servers, though it is harmless.

use super::survival::{After, after};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::link::Fill;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-RES-10",
    title: "Survives odd handshakes",
    category: Category::Resources,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Perilous,
    intrusive: true,
    since: "0.1.0",
    refs: Refs { cwe: &[248, 755], asvs: &["16.5.4"], url: "https://cwe.mitre.org/data/definitions/248.html" },
    what: "Sends half a handshake and resets the connection, a whole one and resets it, five times, \
           characters that no subprotocol may have, and the extensions `constructor` and `__proto__`; after each, a new \
           good connection must be served. With `--intrusive` alone, behind all other checks.",
    why: "Each of these ended servers that many use: one packet of a stranger, and nobody is served any more.",
    remedy: "Update the library; handle the errors of sockets before the handshake is done; look names up in a table that \
             has no prototype; let a supervisor restart what dies.",
    traps: "A target that refuses the auditor after his offences protects itself: `unknown`. A supervisor may restart the \
            process before anybody looks: not seen.",
};

const HEADERS: [(&str, &str, &str); 3] = [
    ("illegal characters in Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol", "a b;\"c"),
    ("Sec-WebSocket-Extensions: constructor", "Sec-WebSocket-Extensions", "constructor"),
    ("Sec-WebSocket-Extensions: __proto__", "Sec-WebSocket-Extensions", "__proto__"),
];

/// Resets behind a whole handshake: only one that comes before the answer tells anything.
const RESETS: usize = 5;

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut seen = Vec::new();
    for (name, share, times) in [("half a handshake, then a reset", 2, 1), ("a handshake, then a reset", 1, RESETS)] {
        for _ in 0..times {
            reset(probe, share).await.map_err(|outcome| outcome.and_all(seen.clone()))?;
        }
        lives(probe, name, &mut seen).await?;
    }
    for (name, header, value) in HEADERS {
        let answer = match probe.handshake(&probe.request().set(header, value)).await {
            Handshake::Opened(socket) => {
                socket.close().await;
                "101".to_owned()
            }
            Handshake::Limited(response) => {
                return Err(Outcome::unknown(format!("the target limits the audit: {response}")).and_all(seen));
            }
            Handshake::Refused(response) => response.to_string(),
            Handshake::Dropped(end) => end.to_string(),
            Handshake::Unreached(why) => why.to_string(),
        };
        lives(probe, &format!("{name}: {answer}"), &mut seen).await?;
    }
    let first = seen.first().cloned().unwrap_or_default();
    Ok(Outcome::pass(first).and_all(seen.into_iter().skip(1)))
}

async fn lives(probe: &Probe, what: &str, seen: &mut Vec<String>) -> Result<(), Outcome> {
    match after(probe, what).await {
        After::Serves(shown) => {
            seen.push(shown);
            Ok(())
        }
        After::Hurt(outcome) | After::Unclear(outcome) => Err(outcome.and_all(seen.clone())),
    }
}

/// Sends a part of the good handshake, the whole for 1 and half of it for 2, and resets the connection.
async fn reset(probe: &Probe, share: usize) -> Result<(), Outcome> {
    let shared = probe.shared();
    let mut link = probe.connect().await.map_err(|why| Outcome::unknown(why.to_string()))?;
    let bytes = probe.request().encode();
    let part = bytes.get(..bytes.len().checked_div(share).unwrap_or(0)).unwrap_or_default();
    shared.budget.send(0, 0, part.len() as u64).map_err(|spent| Outcome::unknown(spent.to_string()))?;
    let _ = link.write(part, shared.patience(3.0)).await;
    if share > 1 {
        // Half a head is read by itself.
        let _: Fill = link.fill(shared.soon(0.2)).await;
    }
    link.reset();
    probe.wait(0.3).await;
    Ok(())
}
