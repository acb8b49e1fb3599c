//! Guessing.

use tokio::time::Instant;

use super::auth_03::invented;
use super::rate::{self, Stop};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::notes::Burst;
use crate::probe::session::Session;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-10",
    title: "Guessing slowed down",
    category: Category::Authentication,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Credential, Need::Token],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[307], asvs: &["6.3.1"], url: "https://cwe.mitre.org/data/definitions/307.html" },
    what: "Tries 20 invented tokens one after the other, as fast as they are answered, and stops at the first sign of a \
           limit: 429, a close for that reason, no answer, or answers that take five times as long. As many good \
           handshakes show first whether they alone are limited.",
    why: "Without a limit an attacker tries tokens and passwords as fast as the network carries them.",
    remedy: "Count failed attempts by address prefix and by account, and answer 429 with Retry-After.",
    traps: "A limit of handshakes stops guesses as it stops good ones: it slows them down and counts no failures, which is \
            a `warn` of low severity. 20 attempts are few, and random tokens of 128 bits cannot be guessed at any speed: \
            never `fail`. Invented tokens name no account, so that nobody is locked out.",
};

const ATTEMPTS: u32 = 20;

/// What the attempts take at most where nothing slows them down, in seconds.
const GUESSING_SECONDS: f64 = 4.0;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let token = probe.options().token.clone().unwrap_or_default();
    let known = probe.shared().notes().burst;
    let burst = match known {
        Some(burst) => burst,
        None => match rate::burst(probe, ATTEMPTS, None).await {
            Stop::Nothing(outcome) => return outcome,
            Stop::Limited { number, .. } => {
                rate::lockout(probe).await;
                let let_in = number.saturating_sub(1);
                Burst { let_in, in_window: let_in, is_limited: true }
            }
            Stop::Free => {
                probe.wait(11.0).await;
                Burst { let_in: ATTEMPTS, in_window: ATTEMPTS, is_limited: false }
            }
        },
    };
    // What came shortly before counts towards a limit of handshakes as well: it should be little.
    while burst.is_limited
        && probe.recent() > burst.let_in / 4
        && probe.budget().left() > probe.shared().pace.seconds(GUESSING_SECONDS)
    {
        probe.wait(0.5).await;
    }
    let before = probe.recent();
    match guess(probe, &token).await {
        Guessed::Stopped { number, outcome }
            if burst.is_limited && number.saturating_add(before).saturating_add(1) >= burst.let_in =>
        {
            if before > number {
                return Outcome::unknown("a limit of handshakes may have stopped it as well as one of failures")
                    .and_all(outcome.evidence)
                    .settled_by("another run, later");
            }
            Outcome::warn(format!(
                "good handshakes are limited as well, after {}: guesses are slowed down, and failures not counted",
                burst.in_window
            ))
            .at(Severity::Low)
            .and_all(outcome.evidence)
        }
        Guessed::Stopped { outcome, .. } => outcome.and(format!("{} good handshakes at once are let in", burst.let_in)),
        Guessed::Free(outcome) if burst.is_limited => {
            outcome.at(Severity::Low).and(format!("handshakes of any kind are limited, after {}", burst.let_in))
        }
        Guessed::Free(outcome) => outcome,
    }
}

/// How the guessing went.
enum Guessed {
    /// Something stopped it.
    Stopped { number: u32, outcome: Outcome },
    /// Nothing did, or nothing was learnt.
    Free(Outcome),
}

async fn guess(probe: &Probe, token: &str) -> Guessed {
    let mut first_ms = None;
    // One slow answer is chance.
    let mut slow = 0_u32;
    for number in 1..=ATTEMPTS {
        let stopped =
            |how: String| Guessed::Stopped { number, outcome: Outcome::pass(format!("attempt {number}: {how}")) };
        let guess = invented(token);
        let started = Instant::now();
        let refusal = match probe.handshake_at_once(&probe.request_as(Some(&guess)).anew()).await {
            Handshake::Limited(response) => return stopped(response.to_string()),
            Handshake::Refused(response) => response.to_string(),
            Handshake::Dropped(end) => end.to_string(),
            Handshake::Unreached(why) if number > 1 => {
                let outcome = Outcome::pass(format!("attempt {number}: {why}")).probable();
                return Guessed::Stopped { number, outcome };
            }
            Handshake::Unreached(why) => return Guessed::Free(Outcome::unknown(why.to_string())),
            Handshake::Opened(socket) => match Session::establish(socket, probe.way(), Some(&guess)).await {
                Ok(session) => {
                    session.close().await;
                    "101".to_owned()
                }
                Err(denial) if matches!(denial.close_code(), Some(4429 | 1013)) => return stopped(denial.to_string()),
                Err(denial) => denial.to_string(),
            },
        };
        let took = started.elapsed().as_secs_f64() * 1_000.0;
        let first = *first_ms.get_or_insert(took.max(20.0));
        slow = if took > first * 5.0 && took > 500.0 { slow.saturating_add(1) } else { 0 };
        if slow == 3 {
            let outcome =
                Outcome::pass(format!("attempt {number} took {took:.0} ms, the first {first:.0} ms")).probable();
            return Guessed::Stopped { number, outcome };
        }
        if number == ATTEMPTS {
            let seen = format!("{ATTEMPTS} invented tokens in a row, the last answered with: {refusal}");
            return Guessed::Free(Outcome::warn(seen));
        }
    }
    Guessed::Free(Outcome::unknown("no attempt was made"))
}
