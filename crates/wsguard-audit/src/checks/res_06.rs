//! Small messages that become large.

use super::input::Form;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::deflate::deflated;
use crate::probe::entry::Entry;
use crate::probe::frame::Frame;
use crate::probe::session::{Answer, Message, Session};

pub(super) const META: Meta = Meta {
    id: "WSA-RES-06",
    title: "Inflated size limited",
    category: Category::Resources,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Template],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[409], asvs: &["2.2.1"], url: "https://www.rfc-editor.org/rfc/rfc7692#section-8" },
    what: "Where the target takes `permessage-deflate`: finds a size of the good message, 1 MiB or 3 MiB, that is refused \
           in clear, and sends the same message deflated, which makes some kilobytes of it.",
    why: "A limit that looks at the bytes on the wire is none for what they become: a thousandfold, for each peer that \
          sends a few kilobytes.",
    remedy: "Count while inflating and close with 1009 at the limit of a message; or leave compression off.",
    traps: "Without a limit in clear below 3 MiB nothing is passed by: `unknown`. Never more than 3 MiB are sent, in clear \
            or deflated.",
};

/// What is tried in clear, in bytes.
const SIZES: [usize; 2] = [1 << 20, 3 << 20];

/// Sent before the target is asked whether it goes on to listen, in bytes: most compare the length in the header.
const FIRST_BYTES: usize = 64 * 1024;

const OFFER: &str = "permessage-deflate; client_max_window_bits";

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let session = compressed(probe).await?;
    let chosen = session.socket.head.value("Sec-WebSocket-Extensions").unwrap_or_default().to_owned();
    drop(session);
    if !chosen.contains("permessage-deflate") {
        return Ok(Outcome::skipped("permessage-deflate was offered, and not chosen"));
    }
    let mut seen = Vec::new();
    for size in SIZES {
        let answer = in_clear(probe, size).await?;
        let line = format!("{size} bytes in clear: {}", answer.shown());
        match answer {
            Answer::Served(_) => seen.push(line),
            Answer::Ended(_) => return Ok(against(probe, size).await?.and(line).and_all(seen)),
            _ => return Err(Outcome::unknown(line).and_all(seen)),
        }
    }
    let first = seen.pop().unwrap_or_default();
    Ok(Outcome::unknown(first).and_all(seen).and("there is no limit in clear that deflated bytes could pass by"))
}

/// The same size deflated.
async fn against(probe: &Probe, size: usize) -> Result<Outcome, Outcome> {
    let mut session = compressed(probe).await?;
    let (text, message) = padded(&mut session, size)?;
    let payload = deflated(text.as_bytes());
    let wire = payload.len();
    let frame = Frame { reserved: 4, payload, ..Frame::text("") };
    session.socket.send(&frame).await.map_err(|spent| Outcome::unknown(spent.to_string()))?;
    let answer = session.marked_answer_to(&message, 10.0).await;
    let line = format!("{wire} bytes that inflate to {size}: {}", answer.shown());
    Ok(match answer {
        // An error of the application is one about a message that was inflated for it.
        Answer::Served(_) | Answer::Refused(_) => Outcome::fail(line),
        Answer::Ended(_) => Outcome::pass(line),
        Answer::Silent(_) | Answer::Limited(_) | Answer::Spent(_) => Outcome::unknown(line),
    })
}

async fn in_clear(probe: &Probe, size: usize) -> Result<Answer, Outcome> {
    let mut session = probe.session().await?;
    let (text, message) = padded(&mut session, size)?;
    let bytes = session.frame(&text).encode();
    let (first, rest) = bytes.split_at_checked(FIRST_BYTES).unwrap_or((&bytes, &[]));
    let spent = |spent: crate::probe::budget::Spent| Outcome::unknown(spent.to_string());
    session.socket.send_raw(first).await.map_err(spent)?;
    let early = session.socket.until_end(0.7).await;
    if early.is_end() {
        return Ok(Answer::Ended(early));
    }
    session.socket.send_raw(rest).await.map_err(spent)?;
    Ok(session.marked_answer_to(&message, 10.0).await)
}

/// The good message with a text of so many bytes in it.
fn padded(session: &mut Session, size: usize) -> Result<(String, Message), Outcome> {
    let no_place = || {
        Outcome::unknown("the message that the target answers has no text to fill")
            .settled_by("--send with {marker} in a text")
    };
    let message = session.message().ok_or_else(no_place)?;
    let text = Form::of(&message).with_text(&"x".repeat(size)).ok_or_else(no_place)?;
    Ok((text, message))
}

async fn compressed(probe: &Probe) -> Result<Session, Outcome> {
    let credential = probe.options().token.clone();
    match probe.admit(&probe.request().set("Sec-WebSocket-Extensions", OFFER), credential.as_deref()).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => Ok(*session),
        // Somebody who refuses the offer has none of what this is about.
        Entry::Denied(denial) => Err(Outcome::skipped(format!("permessage-deflate was offered: {denial}"))),
        other => Err(Outcome::unknown(other.shown())),
    }
}
