//! Messages that are not JSON.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::discover::dialect::Dialect;
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::link::End;
use crate::probe::session::Answer;
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-01",
    title: "Malformed JSON handled",
    category: Category::Input,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20], asvs: &["2.2.1"], url: "https://www.rfc-editor.org/rfc/rfc8259#section-2" },
    what: "Sends `{\"a\":`, `{a:1}`, an empty text and a single `}`, each on a good connection, and looks whether the \
           message is refused (wrapped as Socket.IO and Engine.IO wrap their documents) and the good message is still answered afterwards.",
    why: "A parser whose error nobody catches takes the connection, or the process, down.",
    remedy: "Catch the parser's error, answer with a code, and close after repeated offences.",
    traps: "A target whose messages are not JSON is left alone. A refusal by closing is a refusal, as long as the next \
            handshake is served.",
};

const MALFORMED: [&str; 4] = [r#"{"a":"#, "{a:1}", "", "}"];

/// The malformed document where the target's language has the document: Socket.IO's stands in an event, Engine.IO's
/// behind the digit of a message.
fn wrapped(dialect: Dialect, good: &str, malformed: &str) -> String {
    match dialect {
        Dialect::SocketIo(_) => {
            let event = good.split(['{', ',']).next().unwrap_or_default();
            match event.contains('[') {
                // A packet of an event without data is allowed: nothing at all is not.
                _ if malformed.is_empty() => String::new(),
                true => format!("{},{malformed}]", event.trim_end_matches([',', ']'])),
                false => format!("42{malformed}"),
            }
        }
        Dialect::EngineIo(_) => format!("4{malformed}"),
        _ => malformed.to_owned(),
    }
}

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut seen = Vec::new();
    let mut silent = 0_usize;
    for malformed in MALFORMED {
        let mut session = match probe.session().await {
            Ok(session) => session,
            Err(outcome) => return outcome.and_all(seen),
        };
        let Some(message) = session.message() else {
            return Outcome::unknown("needs a message that the target answers");
        };
        let malformed = wrapped(probe.way().dialect, &message.text, malformed);
        match session.ask_with(&malformed, &message).await {
            Answer::Ended(end @ (Event::Close { code: Some(1011 | 1006), .. } | Event::Ended(End::Reset))) => {
                // The next handshake shows whether that was one connection or the server.
                return if probe.session().await.is_ok() {
                    Outcome::warn(format!("{malformed:?}: {end}")).and("the server itself lives on").and_all(seen)
                } else {
                    Outcome::fail(format!("{malformed:?}: {end}, and the next handshake failed")).and_all(seen)
                };
            }
            Answer::Served(reply) => {
                return Outcome::warn(format!("{malformed:?} was answered: {}", crate::probe::shortened(&reply)))
                    .and_all(seen);
            }
            answer @ (Answer::Refused(_) | Answer::Ended(_)) => seen.push(format!("{malformed:?}: {}", answer.shown())),
            Answer::Silent(_) => {
                silent = silent.saturating_add(1);
                if !session.still_serves().await {
                    return Outcome::fail(format!("{malformed:?}: the connection is dead afterwards"))
                        .and_all(seen)
                        .probable();
                }
                seen.push(format!("{malformed:?}: ignored"));
            }
            answer => return Outcome::unknown(answer.shown()).and_all(seen),
        }
    }
    let first = seen.first().cloned().unwrap_or_default();
    let rest = seen.into_iter().skip(1);
    if silent == 0 { Outcome::pass(first).and_all(rest) } else { Outcome::warn(first).and_all(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_wrapped_as_the_language_has_them() {
        let event = r#"42["message",{"type":"echo"}]"#;
        for (dialect, good, malformed, want) in [
            (Dialect::SocketIo(4), event, r#"{"a":"#, r#"42["message",{"a":]"#),
            (Dialect::SocketIo(4), r#"42["echo","m"]"#, "{a:1}", r#"42["echo",{a:1}]"#),
            (Dialect::SocketIo(4), r#"42["ping"]"#, "}", r#"42["ping",}]"#),
            (Dialect::SocketIo(4), event, "", ""),
            (Dialect::SocketIo(4), "42", "{a:1}", "42{a:1}"),
            (Dialect::EngineIo(4), r#"4{"type":"echo"}"#, "{a:1}", "4{a:1}"),
            (Dialect::Json, r#"{"type":"echo"}"#, "", ""),
        ] {
            assert_eq!(wrapped(dialect, good, malformed), want);
        }
    }
}
