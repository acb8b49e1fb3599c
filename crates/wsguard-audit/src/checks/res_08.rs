//! A byte every three seconds.

use tokio::join;
use tokio::time::Instant;

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::entry::Entry;
use crate::probe::frame::Frame;
use crate::probe::link::{Fill, Link, Offered};
use crate::probe::socket::Event;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-RES-08",
    title: "Slow handshakes and frames cut off",
    category: Category::Resources,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[400], asvs: &["13.1.2"], url: "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.9" },
    what: "Sends the good handshake, and on a good connection a good message in one frame, a byte every 3 s, and waits \
           34 s (with `--full` 180 s) for the target to end them. Where nobody else is let in meanwhile, gives the \
           handshake up at once.",
    why: "What is begun and never finished holds a connection and its memory; a thousand slow peers cost their sender \
          nothing (slow loris).",
    remedy: "Give a handshake 10 s from the first byte to the last, and a message 15 s; answer 408 or close.",
    traps: "A proxy in front gathers the head and cuts it off for the server: that counts, and says nothing of the server \
            itself. Open after 34 s is a `warn`, after 180 s a failure; so is a handshake that keeps all others out, where \
            these were answered twice without it and twice not beside it.",
};

/// Between two bytes, in seconds.
const PAUSE_SECONDS: f64 = 3.0;

/// Cut off by then, in seconds, is right.
const PROMPT_SECONDS: f64 = 31.0;

/// Who gets no answer for so long, in seconds, is kept out.
const KEPT_OUT_SECONDS: f64 = 4.0;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let seconds = if probe.options().full { 180.0 } else { 34.0 };
    let begun = begin(probe).await;
    // The connection of the frame shows whether others get in beside it.
    let Some(beside) = probe.handshake_within(&probe.request(), KEPT_OUT_SECONDS).await else {
        drop(begun);
        return kept_out(probe).await.unwrap_or_else(|outcome| outcome);
    };
    let (head, frame) = join!(slow_head(probe, begun, seconds), slow_frame(probe, beside, seconds));
    let (mut open, mut late, mut cut, mut nothing) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (name, result) in [("a handshake", head), ("a frame", frame)] {
        match result {
            Ok(Slow::Open) => open.push(format!("{name}, a byte every 3 s: still open after {seconds} s")),
            Ok(Slow::Cut(how, after)) => {
                let line = format!("{name}, a byte every 3 s: {how} after {after:.1} s");
                if after > PROMPT_SECONDS { late.push(line) } else { cut.push(line) }
            }
            Err(outcome) => nothing = Some(outcome),
        }
    }
    if let Some(outcome) = nothing.filter(|_| open.is_empty() && late.is_empty()) {
        return outcome.and_all(cut);
    }
    let is_open = !open.is_empty();
    let is_late = !late.is_empty();
    let mut lines = open.into_iter().chain(late).chain(cut);
    let first = lines.next().unwrap_or_default();
    match (is_open, is_late) {
        (true, _) if probe.options().full => Outcome::fail(first),
        (true, _) | (_, true) => Outcome::warn(first),
        (false, false) => Outcome::pass(first),
    }
    .and_all(lines)
}

enum Slow {
    Open,
    /// How it ended, and after how many seconds.
    Cut(String, f64),
}

/// A handshake of which one byte was sent.
struct Begun {
    link: Link,
    rest: Vec<u8>,
    at: Instant,
}

async fn begin(probe: &Probe) -> Result<Begun, Outcome> {
    let mut link = probe.connect().await.map_err(|why| Outcome::unknown(why.to_string()))?;
    link.set_aside();
    let mut rest = probe.request().encode();
    let first: Vec<u8> = rest.drain(..1).collect();
    probe.shared().budget.send(0, 0, 1).map_err(|spent| Outcome::unknown(spent.to_string()))?;
    let _ = link.offer(&first, probe.shared().patience(3.0)).await;
    Ok(Begun { link, rest, at: Instant::now() })
}

/// The good handshake got no answer beside one that was begun: whether it gets one alone, and again none beside it.
async fn kept_out(probe: &Probe) -> Result<Outcome, Outcome> {
    let seen = format!("beside a handshake of one byte the good one is not answered within {KEPT_OUT_SECONDS} s");
    for is_beside in [false, true, false] {
        let begun = if is_beside { Some(begin(probe).await?) } else { None };
        let answer = probe.handshake_within(&probe.request(), KEPT_OUT_SECONDS).await;
        drop(begun);
        let why = match answer {
            Some(Handshake::Opened(socket)) => {
                socket.close().await;
                if !is_beside {
                    continue;
                }
                "once it was".to_owned()
            }
            None if is_beside => continue,
            None => "nor is it alone".to_owned(),
            Some(Handshake::Refused(response) | Handshake::Limited(response)) => response.to_string(),
            Some(Handshake::Dropped(end)) => end.to_string(),
            Some(Handshake::Unreached(why)) => why.to_string(),
        };
        return Err(Outcome::unknown(seen).and(why));
    }
    Ok(Outcome::fail(seen).and("it is as soon as that one is given up").and("seen twice"))
}

async fn slow_head(probe: &Probe, begun: Result<Begun, Outcome>, seconds: f64) -> Result<Slow, Outcome> {
    let shared = probe.shared();
    let Begun { mut link, rest, at } = begun?;
    let age = || probe.in_seconds(at.elapsed());
    for byte in rest {
        match link.fill(shared.later(shared.pace.seconds(PAUSE_SECONDS))).await {
            Fill::Quiet => {}
            Fill::Ended(end) => return Ok(Slow::Cut(end.to_string(), age())),
            Fill::Bytes(_) => {
                let said = String::from_utf8_lossy(&link.buffer).lines().next().unwrap_or_default().to_owned();
                return Ok(Slow::Cut(format!("{:?}", crate::probe::shortened(&said)), age()));
            }
        }
        if age() >= seconds {
            return Ok(Slow::Open);
        }
        if let Err(spent) = shared.budget.send(0, 0, 1) {
            return Err(Outcome::unknown(spent.to_string()));
        }
        if let Offered::Ended(end) = link.offer(&[byte], shared.patience(3.0)).await {
            return Ok(Slow::Cut(end.to_string(), age()));
        }
    }
    Err(Outcome::unknown("the handshake was sent before the time was over"))
}

async fn slow_frame(probe: &Probe, opened: Handshake, seconds: f64) -> Result<Slow, Outcome> {
    let credential = probe.options().token.as_deref();
    let mut session = match probe.admit_behind(opened, probe.way(), credential).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => session,
        // The pause that a limit brings comes before the next handshake.
        Entry::Limited(_) => Box::new(probe.session().await?),
        other => return Err(Outcome::unknown(format!("the good handshake was not let in: {}", other.shown()))),
    };
    let text = session.message().map_or_else(|| "x".repeat(100), |message| format!("{:100}", message.text));
    // Everything that is sent now belongs to the frame, the answer to a ping too.
    session.socket.answers_pings = false;
    let before = session.socket.age();
    for byte in Frame::text(&text).encode() {
        session.socket.send_raw(&[byte]).await.map_err(|spent| Outcome::unknown(spent.to_string()))?;
        let end = session.socket.until_end(PAUSE_SECONDS).await;
        let age = session.socket.age() - before;
        if end != Event::Quiet {
            return Ok(Slow::Cut(end.to_string(), age));
        }
        if age >= seconds {
            return Ok(Slow::Open);
        }
    }
    Err(Outcome::unknown("the frame was sent before the time was over"))
}
