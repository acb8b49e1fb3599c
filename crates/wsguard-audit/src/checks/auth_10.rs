//! Guessing.

use tokio::time::Instant;

use super::auth_03::invented;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::session::Session;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-10",
    title: "Guessing slowed down",
    category: Category::Authentication,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Credential, Need::Token],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[307], asvs: &["6.3.1"], url: "https://cwe.mitre.org/data/definitions/307.html" },
    what: "Tries 40 invented tokens one after the other, as fast as they are answered, and stops at the first sign of a \
           limit: 429, a close for that reason, no answer, or answers that take five times as long.",
    why: "Without a limit an attacker tries tokens and passwords as fast as the network carries them.",
    remedy: "Count failed attempts by address prefix and by account, and answer 429 with Retry-After.",
    traps: "40 attempts are few, and random tokens of 128 bits cannot be guessed at any speed: `warn`, never `fail`. \
            Invented tokens name no account, so that nobody is locked out.",
};

const ATTEMPTS: u32 = 40;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let token = probe.options().token.clone().unwrap_or_default();
    let outcome = guess(probe, &token).await;
    // Whatever was provoked has passed before the next check begins.
    probe.wait(11.0).await;
    outcome
}

async fn guess(probe: &Probe, token: &str) -> Outcome {
    let mut first_ms = None;
    // One slow answer is chance.
    let mut slow = 0_u32;
    for count in 1..=ATTEMPTS {
        let guess = invented(token);
        let started = Instant::now();
        let refusal = match probe.handshake_at_once(&probe.request_as(Some(&guess)).anew()).await {
            Handshake::Limited(response) => return Outcome::pass(format!("attempt {count}: {response}")),
            Handshake::Refused(response) => response.to_string(),
            Handshake::Dropped(end) => end.to_string(),
            Handshake::Unreached(why) if count > 1 => {
                return Outcome::pass(format!("attempt {count}: {why}")).probable();
            }
            Handshake::Unreached(why) => return Outcome::unknown(why.to_string()),
            Handshake::Opened(socket) => match Session::establish(socket, probe.way(), Some(&guess)).await {
                Ok(session) => {
                    session.close().await;
                    "101".to_owned()
                }
                Err(denial) if matches!(denial.close_code(), Some(4429 | 1013)) => {
                    return Outcome::pass(format!("attempt {count}: {denial}"));
                }
                Err(denial) => denial.to_string(),
            },
        };
        let took = started.elapsed().as_secs_f64() * 1_000.0;
        let first = *first_ms.get_or_insert(took.max(20.0));
        slow = if took > first * 5.0 && took > 500.0 { slow.saturating_add(1) } else { 0 };
        if slow == 3 {
            return Outcome::pass(format!("attempt {count} took {took:.0} ms, the first {first:.0} ms")).probable();
        }
        if count == ATTEMPTS {
            return Outcome::warn(format!("{ATTEMPTS} invented tokens in a row, the last answered with: {refusal}"));
        }
    }
    Outcome::unknown("no attempt was made")
}
