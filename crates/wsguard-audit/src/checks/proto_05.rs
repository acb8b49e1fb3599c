//! Frames without a mask.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::Frame;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-05",
    title: "Masking enforced",
    category: Category::Protocol,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.1" },
    what: "Sends one message without a mask on a good connection: the one that the target answers, or `x`.",
    why: "Masking keeps scripts from writing bytes that a proxy takes for a request, and from poisoning its cache.",
    remedy: "Fail the connection with 1002 at the first frame that is not masked.",
    traps: "A proxy in front may terminate frames and answer for the server.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let message = session.message();
    let text = message.as_ref().map_or_else(|| "x".to_owned(), |message| message.text.clone());
    if let Err(spent) = session.socket.send(&Frame { mask: None, ..Frame::text(&text) }).await {
        return Outcome::unknown(spent.to_string());
    }
    let Some(message) = message else {
        let end = session.socket.until_end(3.0).await;
        return if end.is_end() {
            Outcome::pass(format!("after a frame without a mask: {end}"))
        } else {
            Outcome::unknown("the connection stays open; whether the message was handled cannot be seen")
                .settled_by("--send and --expect")
        };
    };
    match session.answer_to(&message, 3.0).await {
        Answer::Served(reply) => {
            Outcome::fail(format!("a message without a mask was answered: {}", crate::probe::shortened(&reply)))
        }
        Answer::Ended(end) => Outcome::pass(format!("after a frame without a mask: {end}")),
        // An error before the close is a refusal all the same.
        Answer::Refused(_) if session.socket.until_end(1.0).await.is_end() => {
            Outcome::pass("after a frame without a mask: an error, and the connection ends")
        }
        Answer::Refused(text) => {
            Outcome::warn(format!("a frame without a mask was read and refused as a message: {text}"))
        }
        Answer::Silent(_) if session.still_serves().await => {
            Outcome::warn("a frame without a mask was dropped, and the connection lives on")
        }
        Answer::Silent(_) => Outcome::pass("after a frame without a mask nothing is answered any more").probable(),
        other => Outcome::unknown(other.shown()),
    }
}
