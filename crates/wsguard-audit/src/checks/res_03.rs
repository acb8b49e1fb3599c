//! A message of very many small parts.

use super::proto::{After, follows};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Opcode};
use crate::probe::session::{Answer, Message, Session};
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-RES-03",
    title: "Number of fragments limited",
    category: Category::Resources,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["2.2.1"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.4" },
    what: "Sends a good message in two parts with 2048 empty fragments between them (with `--full` 20000), then one with \
           2048 fragments of one byte; a target without a known message gets a ping behind them.",
    why: "What a server keeps about a fragment is many times the fragment; empty ones do not even count towards a limit \
          of bytes. Several libraries were brought down by it.",
    remedy: "Count fragments, empty ones too, and close with 1008 after a few hundred.",
    traps: "A close by a limit of frames in time has the same effect: it counts. Some servers answer the first part by \
            itself: what the answer shows stands in the last. 2048 that are taken are a `warn`, 20000 a failure.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let count = if probe.options().full { 20_000 } else { 2_048 };
    let (mut taken, mut seen) = (Vec::new(), Vec::new());
    for (name, filler) in [("empty fragments", &b""[..]), ("fragments of one byte", b" ")] {
        let mut session = match probe.session().await {
            Ok(session) => session,
            Err(outcome) => return outcome.and_all(taken).and_all(seen),
        };
        let mut after = flood(&mut session, count, filler, None).await;
        // Whoever takes no text says nothing about its fragments.
        if matches!(after, After::Ended(Event::Close { code: Some(1003), .. })) {
            let mut session = match probe.session().await {
                Ok(session) => session,
                Err(outcome) => return outcome.and_all(taken).and_all(seen),
            };
            after = flood(&mut session, count, filler, Some(Opcode::BINARY)).await;
        }
        let shown = format!("{count} {name}: {}", after.shown());
        match after {
            After::Ended(_) => seen.push(shown),
            After::Answered(_) | After::LivesOn(_) => taken.push(shown),
            After::Stuck | After::Nothing(_) => return Outcome::unknown(shown).and_all(taken).and_all(seen),
        }
    }
    match taken.is_empty() {
        true => Outcome::pass(seen.join("; ")),
        false if probe.options().full => Outcome::fail(taken.join("; ")).and_all(seen),
        false => Outcome::warn(taken.join("; ")).and_all(seen),
    }
}

/// A message whose fragments are many. With a template it is finished, so that its answer tells.
async fn flood(session: &mut Session, count: usize, filler: &[u8], opcode: Option<Opcode>) -> After {
    let message = session.message();
    let whole = session.frame(message.as_ref().map_or("x", |message| &message.text));
    let at = message.as_ref().map_or(whole.payload.len(), |message| seam(&whole.payload, message));
    let (first, last) = whole.payload.split_at(at);
    let mut frames = vec![Frame { fin: false, ..Frame::new(opcode.unwrap_or(whole.opcode), first) }];
    frames.resize_with(count, || Frame { fin: false, ..Frame::new(Opcode::CONTINUATION, filler) });
    frames.push(match &message {
        Some(_) => Frame::new(Opcode::CONTINUATION, last),
        None => Frame::ping("taken"),
    });
    for part in frames.chunks(256) {
        if let Err(spent) = session.socket.send_all(part).await {
            return After::Nothing(Outcome::unknown(spent.to_string()));
        }
    }
    if let Some(message) = &message {
        return match session.answer_to(message, 5.0).await {
            // A word about a limit of frames in time, and the close behind it.
            Answer::Limited(text) => match session.until_end(2.0).await {
                end if end.is_end() => After::Ended(end),
                _ => After::Nothing(Outcome::unknown(Answer::Limited(text).shown())),
            },
            // An error may be about the first part: whether the others were taken shows in what comes behind them.
            Answer::Refused(_) => match session.until_end(1.0).await {
                end if end.is_end() => After::Ended(end),
                _ => follows(session, Answer::Silent(Vec::new())).await,
            },
            first => follows(session, first).await,
        };
    }
    loop {
        match session.socket.next(5.0).await {
            Event::Pong(_) => {
                // The pong can overtake the close.
                return match session.socket.until_end(0.7).await {
                    end if end.is_end() => After::Ended(end),
                    _ => After::LivesOn("a ping behind them is answered".into()),
                };
            }
            Event::Quiet => return After::Stuck,
            end if end.is_end() => return After::Ended(end),
            _ => {}
        }
    }
}

/// Where a message is cut, so that its first part alone has no answer, and spaces between the two change nothing: behind
/// the first bracket of JSON; in other texts before the marker.
fn seam(payload: &[u8], message: &Message) -> usize {
    let bracket = payload.iter().position(|byte| b"{[".contains(byte)).map(|at| at.saturating_add(1));
    let marker = || payload.windows(message.marker.len()).position(|part| part == message.marker.as_bytes());
    bracket.or_else(marker).unwrap_or(0)
}
