//! The languages that servers speak over a WebSocket.

use regex::Regex;
use serde_json::Value;

/// How a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Not found out.
    #[default]
    Unknown,
    /// wsguard's own.
    Wsguard,
    /// JSON objects, most often with a `type`.
    Json,
    /// JSON-RPC 2.0.
    JsonRpc,
    /// graphql-transport-ws.
    GraphqlTransportWs,
    /// The older graphql-ws of subscriptions-transport-ws.
    GraphqlWs,
    /// Socket.IO over Engine.IO of this version.
    SocketIo(u8),
    /// SockJS with its frames.
    SockJs,
    /// Engine.IO of this version, without Socket.IO above it.
    EngineIo(u8),
    /// Documents as JSON has them, in MessagePack.
    MessagePack,
    /// Binary messages alone, of a form that is not known.
    Binary,
    /// Texts that need not be JSON.
    Text,
}

impl Dialect {
    /// As reports call it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Unknown => "unknown".into(),
            Self::Wsguard => "wsguard.v1".into(),
            Self::Json => "JSON".into(),
            Self::JsonRpc => "JSON-RPC".into(),
            Self::GraphqlTransportWs => "graphql-transport-ws".into(),
            Self::GraphqlWs => "graphql-ws (subscriptions-transport-ws)".into(),
            Self::SocketIo(version) => format!("Socket.IO (Engine.IO {version})"),
            Self::SockJs => "SockJS".into(),
            Self::EngineIo(version) => format!("Engine.IO {version}"),
            Self::MessagePack => "MessagePack".into(),
            Self::Binary => "binary".into(),
            Self::Text => "text".into(),
        }
    }

    /// Whether the messages that it sends are JSON documents that the server parses.
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Wsguard | Self::Json | Self::JsonRpc | Self::GraphqlTransportWs | Self::GraphqlWs)
    }

    /// What a client of this dialect offers as subprotocol.
    pub(crate) fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Wsguard => Some(wsguard_protocol::SUBPROTOCOL),
            Self::GraphqlTransportWs => Some("graphql-transport-ws"),
            Self::GraphqlWs => Some("graphql-ws"),
            _ => None,
        }
    }

    /// The dialect that a greeting belongs to.
    pub(crate) fn of_greeting(text: &str, subprotocol: Option<&str>) -> Option<Self> {
        match subprotocol {
            Some(wsguard_protocol::SUBPROTOCOL) => return Some(Self::Wsguard),
            Some("graphql-transport-ws") => return Some(Self::GraphqlTransportWs),
            Some("graphql-ws") => return Some(Self::GraphqlWs),
            _ => {}
        }
        if text.starts_with("0{") && text.contains("\"sid\"") {
            return Some(Self::SocketIo(4));
        }
        if text == "o" {
            return Some(Self::SockJs);
        }
        let value: Value = serde_json::from_str(text).ok()?;
        let payload = value.get("payload");
        let is_wsguard = value.get("type").and_then(Value::as_str) == Some("welcome")
            && payload
                .is_some_and(|payload| payload.get("heartbeatMs").is_some() && payload.get("csrfToken").is_some());
        if is_wsguard {
            Some(Self::Wsguard)
        } else if value.get("jsonrpc").is_some() {
            Some(Self::JsonRpc)
        } else if value.is_object() {
            Some(Self::Json)
        } else {
            None
        }
    }
}

/// A message that the target answers, and how its answer is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    /// The message, with `{id}`, `{csrf}`, `{marker}`.
    pub(crate) send: String,
    /// A regular expression of the answer, with `{id}` and `{marker}`.
    pub(crate) expect: String,
    /// The message is the same whoever sends it, and its answer shows what was sent: `{marker}` comes back.
    pub(crate) echoes: bool,
}

impl Template {
    pub(crate) fn new(send: &str, expect: &str) -> Self {
        let echoes = send.contains("{marker}") && expect.contains("{marker}");
        Self { send: send.to_owned(), expect: expect.to_owned(), echoes }
    }

    /// It is an object of JSON.
    pub(crate) fn is_json(&self) -> bool {
        serde_json::from_str::<Value>(&self.message("1", "c", "m")).is_ok_and(|value| value.is_object())
    }

    /// The message with its places filled.
    pub(crate) fn message(&self, id: &str, csrf: &str, marker: &str) -> String {
        self.send.replace("{id}", id).replace("{csrf}", csrf).replace("{marker}", marker)
    }

    /// Whether `text` is the answer.
    pub(crate) fn is_answer(&self, text: &str, id: &str, marker: &str) -> bool {
        let pattern = self.expect.replace("{id}", &regex::escape(id)).replace("{marker}", &regex::escape(marker));
        Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(text))
    }
}

/// The messages that are tried on a server of this dialect, the most telling first.
pub(crate) fn templates(dialect: Dialect) -> Vec<Template> {
    let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(send, expect)| Template::new(send, expect)).collect();
    match dialect {
        Dialect::Wsguard => of(&[(
            r#"{"type":"echo","id":"{id}","csrfToken":"{csrf}","payload":{"marker":"{marker}"}}"#,
            r#""type":"echo".*{marker}"#,
        )]),
        Dialect::JsonRpc => of(&[
            (
                r#"{"jsonrpc":"2.0","id":"{id}","method":"echo","params":["{marker}"]}"#,
                r#""result".*{marker}|{marker}.*"result""#,
            ),
            (r#"{"jsonrpc":"2.0","id":"{id}","method":"ping"}"#, r#""result".*{id}|{id}.*"result""#),
        ]),
        Dialect::GraphqlTransportWs => {
            of(&[(r#"{"id":"{id}","type":"subscribe","payload":{"query":"{ __typename }"}}"#, r#""type":\s*"next""#)])
        }
        Dialect::GraphqlWs => {
            of(&[(r#"{"id":"{id}","type":"start","payload":{"query":"{ __typename }"}}"#, r#""type":\s*"data""#)])
        }
        Dialect::SocketIo(_) => of(&[
            (r#"42["echo","{marker}"]"#, "{marker}"),
            (r#"42["message","{marker}"]"#, "{marker}"),
            (r#"42["ping"]"#, r#"42\["pong""#),
        ]),
        Dialect::EngineIo(_) => of(&[
            (r#"4{"type":"echo","id":"{id}","payload":{"marker":"{marker}"}}"#, "{marker}"),
            ("4{marker}", "{marker}"),
        ]),
        Dialect::Binary => of(&[("{marker}", "{marker}")]),
        _ => of(&[
            (r#"{"type":"echo","id":"{id}","payload":{"marker":"{marker}"}}"#, "{marker}"),
            (
                r#"{"jsonrpc":"2.0","id":"{id}","method":"echo","params":["{marker}"]}"#,
                r#""result".*{marker}|{marker}.*"result""#,
            ),
            (r#"{"type":"ping","id":"{id}"}"#, r#"(?i)"(type|event|action)":\s*"pong""#),
            (r#"{"action":"ping","id":"{id}"}"#, r#"(?i)"(type|event|action)":\s*"pong""#),
            (r#"{"type":"message","text":"{marker}","message":"{marker}","data":"{marker}"}"#, "{marker}"),
            ("{marker}", "{marker}"),
        ]),
    }
}

/// Whether a message says that something was refused.
pub(crate) fn is_refusal(text: &str) -> bool {
    if text.starts_with("44") {
        return true;
    }
    let body = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        let lower = text.to_ascii_lowercase();
        return text.len() < 400 && REFUSING_WORDS.iter().any(|word| lower.contains(word));
    };
    says_no(&value) || value.as_array().is_some_and(|list| list.iter().take(4).any(says_no))
}

/// Words of refusals that are not JSON, and of error names.
const REFUSING_WORDS: [&str; 10] = [
    "unauthor",
    "forbidden",
    "not authenticated",
    "unauthenticated",
    "authentication",
    "invalid token",
    "access denied",
    "permission",
    "not allowed",
    "login required",
];

fn says_no(value: &Value) -> bool {
    if let Some(word) = value.as_str() {
        let lower = word.to_ascii_lowercase();
        return lower == "error" || lower == "connect_error" || lower == "exception";
    }
    let Some(object) = value.as_object() else { return false };
    let has_error = ["error", "errors"]
        .iter()
        .any(|name| object.get(*name).is_some_and(|held| !held.is_null() && held.as_bool() != Some(false)));
    // GraphQL's results carry them inside.
    let has_errors = object
        .get("payload")
        .and_then(|payload| payload.get("errors"))
        .and_then(Value::as_array)
        .is_some_and(|errors| !errors.is_empty());
    let named = ["type", "event", "action", "status", "op", "kind"].iter().any(|name| {
        object.get(*name).and_then(Value::as_str).is_some_and(|word| {
            let lower = word.to_ascii_lowercase();
            lower.contains("error")
                || lower.contains("unauth")
                || lower.contains("denied")
                || lower.contains("invalid")
                || lower == "fail"
                || lower == "failed"
                || lower.contains("forbidden")
                || lower.contains("reject")
        })
    });
    let denied = ["ok", "success", "authenticated"].iter().any(|name| object.get(*name) == Some(&Value::Bool(false)));
    let coded = ["code", "status", "statusCode"].iter().any(|name| {
        object.get(*name).and_then(Value::as_u64).is_some_and(|code| matches!(code, 400..=499 | 4000..=4999))
    });
    has_error || has_errors || named || denied || coded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_answers() {
        for (text, want) in [
            (r#"{"type":"error","payload":{"code":"unauthenticated"}}"#, true),
            (r#"{"error":"no"}"#, true),
            (r#"{"error":null,"result":1}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}"#, true),
            (r#"{"status":401}"#, true),
            (r#"{"authenticated":false}"#, true),
            (r#"{"type":"echo","payload":{"marker":"wsg1"}}"#, false),
            (r#"{"type":"welcome","error":false}"#, false),
            (r#"44{"message":"invalid"}"#, true),
            (r#"42["error",{"message":"no"}]"#, true),
            (r#"42["echo","wsg1"]"#, false),
            ("Unauthorized", true),
            ("wsg0011", false),
        ] {
            assert_eq!(is_refusal(text), want, "{text}");
        }
    }

    #[test]
    fn greetings_name_their_dialect() {
        for (text, subprotocol, want) in [
            (r#"0{"sid":"a","upgrades":[]}"#, None, Some(Dialect::SocketIo(4))),
            ("o", None, Some(Dialect::SockJs)),
            (r#"{"type":"welcome","payload":{"csrfToken":"x","heartbeatMs":1}}"#, None, Some(Dialect::Wsguard)),
            (r#"{"type":"welcome"}"#, None, Some(Dialect::Json)),
            (r#"{"jsonrpc":"2.0","method":"hello"}"#, None, Some(Dialect::JsonRpc)),
            ("", Some("graphql-transport-ws"), Some(Dialect::GraphqlTransportWs)),
            ("hello", None, None),
        ] {
            assert_eq!(Dialect::of_greeting(text, subprotocol), want, "{text}");
        }
    }

    #[test]
    fn every_template_knows_its_own_answer() {
        for dialect in
            [Dialect::Wsguard, Dialect::JsonRpc, Dialect::GraphqlTransportWs, Dialect::SocketIo(4), Dialect::Json]
        {
            for template in templates(dialect) {
                let pattern = template.expect.replace("{id}", "1").replace("{marker}", "m");
                assert!(Regex::new(&pattern).is_ok(), "{dialect:?} {}", template.expect);
            }
        }
    }
}
