//! Fragments out of order, and text that is none.

use super::proto::{After, after};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Opcode};

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-08",
    title: "Fragments and UTF-8 enforced",
    category: Category::Protocol,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[176], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.4" },
    what: "Sends a continuation of nothing, a text inside an unfinished text, a text that is not UTF-8, and one whose \
           character breaks off between two fragments, each on a good connection.",
    why: "Where fragments may be out of order, a filter and the server put together different messages; bytes that are \
          no text reach code that trusts they are.",
    remedy: "Fail the connection: 1002 for fragments, 1007 for UTF-8.",
    traps: "Applications that take any bytes switch the check of UTF-8 off on purpose: `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let part = |text: &str| Frame { fin: false, ..Frame::text(text) };
    let rest = |bytes: &[u8]| Frame::new(Opcode::CONTINUATION, bytes);
    let cases = [
        ("a continuation of nothing", vec![rest(b"x")], true),
        ("a text inside an unfinished text", vec![part("x"), Frame::text("x")], true),
        ("bytes that are not UTF-8", vec![Frame::new(Opcode::TEXT, b"\"\xff\xfe\"")], false),
        (
            "a character broken off between fragments",
            vec![Frame { fin: false, ..Frame::new(Opcode::TEXT, b"\"\xf0\x9f") }, rest(b"A\"")],
            false,
        ),
    ];
    let (mut bad, mut weak, mut seen, mut nothing) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (name, frames, is_bad) in cases {
        let mut session = match probe.session().await {
            Ok(session) => session,
            Err(outcome) => return outcome.and_all(bad).and_all(weak).and_all(seen),
        };
        if let Err(spent) = session.socket.send_all(&frames).await {
            return Outcome::unknown(spent.to_string()).and_all(bad).and_all(weak).and_all(seen);
        }
        let after = after(&mut session, None, 1.0).await;
        let shown = format!("{name}: {}", after.shown());
        match after {
            After::Ended(_) => seen.push(shown),
            After::Answered(_) | After::LivesOn(_) if is_bad => bad.push(shown),
            After::Answered(_) | After::LivesOn(_) => weak.push(shown),
            After::Stuck | After::Nothing(_) => nothing = Some(shown),
        }
    }
    match nothing {
        _ if !bad.is_empty() => Outcome::fail(bad.join("; ")).and_all(weak).and_all(seen),
        Some(shown) => Outcome::unknown(shown).and_all(weak).and_all(seen),
        None if !weak.is_empty() => Outcome::warn(weak.join("; ")).and_all(seen),
        None => Outcome::pass(seen.join("; ")),
    }
}
