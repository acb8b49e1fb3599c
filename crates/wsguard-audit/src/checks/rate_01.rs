//! Many messages at once.

use tokio::time::Instant;

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-01",
    title: "Messages rate limited",
    category: Category::RateLimiting,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Template],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["2.4.1"], url: "https://cwe.mitre.org/data/definitions/770.html" },
    what: "Sends the good message 120 times (with `--full` 1000 times) within 10 s on one connection, each as soon as the \
           one before it is answered, and stops at the first that is limited.",
    why: "A message costs the sender nothing and the server a parse, a lookup, a write; one peer without a limit works \
          for thousands.",
    remedy: "Limit messages by identity with a bucket, answer an error with a time to wait, and close who goes on.",
    traps: "Answers are counted: messages that are dropped without a word are a limit as well, once the good message is \
            answered again after a rest. A limit above what is sent is not seen: then `warn`, `fail` only at 1000.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    flood(probe).await
}

/// Messages as fast as they are answered, up to the limit; notes how it looked.
pub(super) async fn flood(probe: &Probe) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let messages = if probe.options().full { 1_000_u32 } else { 120 };
    probe.shared().notes().flooded = true;
    let met = |number: u32, shown: &str, is_told: bool| {
        let seen = format!("message {number}: {shown}");
        probe.shared().notes().signal(&seen, is_told);
        Outcome::pass(seen)
    };
    let began = session.socket.age();
    for number in 1..=messages {
        let Some(message) = session.message() else { return Outcome::unknown("no message that the target answers") };
        match session.ask_at_once(&message.text.clone(), &message).await {
            Answer::Served(_) => {}
            Answer::Limited(text) => return met(number, &crate::probe::shortened(&text), true),
            Answer::Ended(end @ Event::Close { code: Some(1008 | 1013 | 4000..=4999), .. }) => {
                return met(number, &end.to_string(), true);
            }
            // The first messages of a connection are served in the baseline: an end here may be anything.
            Answer::Ended(end) if number > 10 => return met(number, &end.to_string(), false).probable(),
            Answer::Refused(text) if number > 10 => {
                return met(number, &crate::probe::shortened(&text), true).probable();
            }
            Answer::Silent(_) if number > 10 => return dropped(probe, number).await,
            other => return Outcome::unknown(format!("message {number}: {}", other.shown())),
        }
        let took = session.socket.age() - began;
        if took > 10.0 * f64::from(messages) / 120.0 {
            return Outcome::unknown(format!("the target answered {number} messages in {took:.0} s: too slow to tell"))
                .settled_by("a run nearer to the target");
        }
    }
    let seen = format!("{messages} messages in {:.1} s, all answered", session.socket.age() - began);
    if probe.options().full { Outcome::fail(seen) } else { Outcome::warn(seen) }
}

/// Dropping without a word is a limit if it ends.
async fn dropped(probe: &Probe, number: u32) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let since = Instant::now();
    loop {
        if session.still_serves().await {
            probe.shared().notes().signal(format!("message {number}: no answer, and no word of a limit"), false);
            let seconds = probe.in_seconds(since.elapsed());
            let seen = format!("message {number} is not answered; {seconds:.0} s later the next one is");
            return Outcome::pass(seen).probable();
        }
        if probe.in_seconds(since.elapsed()) > WINDOW {
            return Outcome::unknown(format!("message {number} is not answered, and none after {WINDOW} s either"));
        }
    }
}

/// How long a window of a limit lasts that nobody told, and a little more, in seconds.
const WINDOW: f64 = 11.0;
