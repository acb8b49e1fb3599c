//! A byte every three seconds.

use tokio::join;

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::Frame;
use crate::probe::link::{Fill, Offered};
use crate::probe::socket::Event;

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
           34 s (with `--full` 180 s) for the target to end them.",
    why: "What is begun and never finished holds a connection and its memory; a thousand slow peers cost their sender \
          nothing (slow loris).",
    remedy: "Give a handshake 10 s from the first byte to the last, and a message 15 s; answer 408 or close.",
    traps: "A proxy in front gathers the head and cuts it off for the server: that counts, and says nothing of the server \
            itself. Open after 34 s is a `warn`, after 180 s a failure.",
};

/// Between two bytes, in seconds.
const PAUSE_SECONDS: f64 = 3.0;

/// Cut off by then, in seconds, is right.
const PROMPT_SECONDS: f64 = 31.0;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let seconds = if probe.options().full { 180.0 } else { 34.0 };
    let (head, frame) = join!(slow_head(probe, seconds), slow_frame(probe, seconds));
    let (mut open, mut late, mut cut) = (Vec::new(), Vec::new(), Vec::new());
    for (name, result) in [("a handshake", head), ("a frame", frame)] {
        match result {
            Ok(Slow::Open) => open.push(format!("{name}, a byte every 3 s: still open after {seconds} s")),
            Ok(Slow::Cut(how, after)) => {
                let line = format!("{name}, a byte every 3 s: {how} after {after:.1} s");
                if after > PROMPT_SECONDS { late.push(line) } else { cut.push(line) }
            }
            Err(outcome) => return outcome.and_all(open).and_all(late).and_all(cut),
        }
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

async fn slow_head(probe: &Probe, seconds: f64) -> Result<Slow, Outcome> {
    let shared = probe.shared();
    let mut link = probe.connect().await.map_err(|why| Outcome::unknown(why.to_string()))?;
    link.set_aside();
    let started = tokio::time::Instant::now();
    let age = || probe.in_seconds(started.elapsed());
    for byte in probe.request().encode() {
        if let Err(spent) = shared.budget.send(0, 0, 1) {
            return Err(Outcome::unknown(spent.to_string()));
        }
        if let Offered::Ended(end) = link.offer(&[byte], shared.patience(3.0)).await {
            return Ok(Slow::Cut(end.to_string(), age()));
        }
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
    }
    Err(Outcome::unknown("the handshake was sent before the time was over"))
}

async fn slow_frame(probe: &Probe, seconds: f64) -> Result<Slow, Outcome> {
    let mut session = probe.session().await?;
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
