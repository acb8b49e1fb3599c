//! The reasons of closes.

use super::internals::internals;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Opcode};
use crate::probe::session::Answer;
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-ERR-03",
    title: "Close reasons and errors minimal",
    category: Category::Errors,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[209, 117], asvs: &["16.5.1"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-7.1.6" },
    what: "Sends an unfinished message with a mark and a tag in it, a frame of an opcode that does not exist, and a binary message, and reads what the reasons of the closes show of the inside, and whether they or the errors repeat it.",
    why: "A reason that repeats what was sent ends up in logs and pages; one in a library's words tells which holes to try.",
    remedy: "Close with a code and a short reason of your own, and repeat nothing that a peer sent.",
    traps: "The words of a library are a fingerprint, no hole: `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// Words that libraries close with.
const LIBRARIES: [&str; 10] = [
    "invalid websocket frame",
    "invalid utf-8 sequence",
    "rsv1 must be clear",
    "invalid opcode",
    "reserved opcode",
    "unrecognized frame opcode",
    "received frame with",
    "text frames are not supported",
    "unsupported opcode",
    "unexpected token",
];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mark = format!("{}<i>", crate::probe::marker());
    let frames = [
        ("an unfinished message", Frame::text(&format!("{{\"{mark}"))),
        ("an opcode that does not exist", Frame::new(Opcode(3), "")),
        ("a binary message", Frame::new(Opcode::BINARY, mark.as_str())),
    ];
    let (mut seen, mut library, mut said) = (Vec::new(), None, false);
    for (name, frame) in frames {
        let mut session = probe.session().await?;
        if let Err(spent) = session.socket.send(&frame).await {
            return Err(Outcome::unknown(spent.to_string()).and_all(seen));
        }
        let mut shown = format!("{name}: nothing");
        for _ in 0..3 {
            let deadline = probe.shared().soon(1.5);
            let event = session.socket.next_until(deadline).await;
            let text = match &event {
                Event::Close { reason, .. } => {
                    said = true;
                    reason.clone()
                }
                Event::Text(text) if crate::discover::dialect::is_refusal(text) => {
                    said = true;
                    if crate::probe::session::is_limit(text) {
                        return Err(
                            Outcome::unknown(Answer::Limited(text.clone()).shown()).settled_by("another run, later")
                        );
                    }
                    text.clone()
                }
                _ => String::new(),
            };
            if text.contains(&mark) {
                return Ok(Outcome::fail(format!("{name}: what was sent comes back raw"))
                    .and(crate::probe::shortened(&text))
                    .and_all(seen));
            }
            // What messages show of the inside is judged by WSA-ERR-01.
            if let (Event::Close { .. }, Some(sign)) = (&event, internals(&text)) {
                return Ok(Outcome::fail(format!("{name}: {sign}")).and_all(seen));
            }
            let lower = text.to_ascii_lowercase();
            if matches!(event, Event::Close { .. }) && LIBRARIES.iter().any(|words| lower.contains(words)) {
                library =
                    library.or(Some(format!("{name}: in the words of a library: {}", crate::probe::shortened(&text))));
            }
            if !text.is_empty() || event.is_end() {
                shown = format!("{name}: {event}");
            }
            if event.is_end() || event == Event::Quiet {
                break;
            }
        }
        seen.push(shown);
    }
    if let Some(library) = library {
        return Ok(Outcome::warn(library).and_all(seen));
    }
    let first = seen.first().cloned().unwrap_or_default();
    let rest = seen.into_iter().skip(1);
    Ok(if said {
        Outcome::pass(first).and_all(rest)
    } else {
        Outcome::unknown("no close and no error came").and(first).and_all(rest)
    })
}
