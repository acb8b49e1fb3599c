//! Messages of another kind than the good one.

use super::internals::voice;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Opcode};
use crate::probe::link::End;
use crate::probe::session::Answer;
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-11",
    title: "Kinds of messages told apart",
    category: Category::Input,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[502, 843], asvs: &["1.5.2"], url: "https://cwe.mitre.org/data/definitions/502.html" },
    what: "Sends the good message in a binary frame, then 64 random bytes and the first bytes of MessagePack, of Python's pickle and of a serialised Java object.",
    why: "A server that guesses the format from the bytes hands a stranger's bytes to a deserialiser that builds any object.",
    remedy: "Take the one kind of frame that the protocol has, close with 1003 otherwise, and never deserialise objects from a peer.",
    traps: "Servers that take JSON in both kinds of frames do so by design: `warn`. `fail` needs the voice of a deserialiser.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

const FOREIGN: [(&str, &[u8]); 3] = [
    ("MessagePack", b"\x82\xa1a\x01\xa1b\x02"),
    ("pickle", b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K*"),
    ("a Java object", b"\xac\xed\x00\x05t\x00\x01"),
];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let noise = crate::probe::random::<64>();
    let mut seen = Vec::new();
    let mut same = None;
    let mut silent = true;
    let foreign = FOREIGN.into_iter().chain([("64 random bytes", noise.as_slice())]);
    for (name, bytes) in
        [("JSON in a binary frame", None)].into_iter().chain(foreign.map(|(name, bytes)| (name, Some(bytes))))
    {
        let mut session = probe.session().await?;
        let Some(message) = session.message() else {
            return Err(Outcome::unknown("needs a message that the target answers"));
        };
        let payload = bytes.map_or_else(|| message.text.clone().into_bytes(), <[u8]>::to_vec);
        let sent = session.socket.send(&Frame::new(Opcode::BINARY, payload)).await;
        if let Err(spent) = sent {
            return Err(Outcome::unknown(spent.to_string()).and_all(seen));
        }
        let answer = session.answer_to(&message, 1.5).await;
        let texts = match &answer {
            Answer::Served(text) | Answer::Refused(text) => vec![text.clone()],
            Answer::Silent(others) => others.clone(),
            Answer::Ended(Event::Close { reason, .. }) => vec![reason.clone()],
            Answer::Limited(_) | Answer::Spent(_) => return Err(Outcome::unknown(answer.shown()).and_all(seen)),
            Answer::Ended(_) => Vec::new(),
        };
        if let Some(sign) = texts.iter().find_map(|text| voice(text, "an error of a deserialiser")) {
            return Ok(Outcome::fail(format!("{name}: the answer shows {sign}")).and_all(seen));
        }
        let shown = super::input::line(name, &answer);
        silent &= matches!(answer, Answer::Silent(_));
        match answer {
            Answer::Served(_) if bytes.is_none() => same = Some(shown),
            Answer::Ended(Event::Close { code: Some(1011 | 1006), .. } | Event::Ended(End::Reset)) => {
                return Ok(Outcome::warn(shown).and_all(seen));
            }
            _ => seen.push(shown),
        }
    }
    if let Some(shown) = same {
        return Ok(Outcome::warn(shown).and_all(seen));
    }
    let first = if seen.is_empty() { String::new() } else { seen.remove(0) };
    let outcome = Outcome::pass(first).and_all(seen);
    // Nothing was served, and nothing was said either.
    Ok(if silent { outcome.probable() } else { outcome })
}
