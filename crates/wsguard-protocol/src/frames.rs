//! The control frames: what server and client say to each other besides the application's messages.
//!
//! Each payload is a struct whose serde form is the wire form. [`SERVER_FRAMES`] and [`CLIENT_FRAMES`] describe the
//! same for generated code and documents.

use serde::{Deserialize, Serialize};

/// One field of a payload, as generated code and documents need it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name on the wire.
    pub name: &'static str,
    /// Type in TypeScript.
    pub ts: &'static str,
    /// May be absent.
    pub optional: bool,
    /// One sentence.
    pub doc: &'static str,
}

/// One frame type, as generated code and documents need it.
#[derive(Clone, Copy, Debug)]
pub struct FrameKind {
    /// The `type` on the wire.
    pub kind: &'static str,
    /// Name of the payload's type in generated code.
    pub payload: &'static str,
    /// When it is sent.
    pub doc: &'static str,
    /// Whether a message of this type needs a CSRF token (client frames only).
    pub csrf_exempt: bool,
    /// The payload's fields.
    pub fields: &'static [Field],
}

/// What a `ping` carries and its `pong` brings back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PingValue {
    /// A number without fraction.
    Integer(u64),
    /// Any other number.
    Number(f64),
    /// A string of at most [`crate::limits::ID_CHARS_MAX`] characters.
    Text(String),
}

/// Declares a payload as a struct and as a description, so that the two cannot differ.
macro_rules! frames {
    ($table:ident, $table_doc:literal; $(
        $(#[doc = $doc:literal])+
        $kind:literal $(($exempt:ident))? => $name:ident {
            $( $(#[doc = $field_doc:literal])+ $field:ident ($wire:literal, $ts:literal $(, $optional:ident)?): $ty:ty, )*
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $( $(#[doc = $field_doc])+ #[serde(rename = $wire $(, $optional, skip_serializing_if = "Option::is_none")?)] pub $field: $ty, )*
            }
        )+
        #[doc = $table_doc]
        pub const $table: &[FrameKind] = &[
            $( FrameKind {
                kind: $kind,
                payload: stringify!($name),
                doc: concat!($($doc),+),
                csrf_exempt: frames!(@flag $($exempt)?),
                fields: &[ $( Field {
                    name: $wire, ts: $ts, optional: frames!(@flag $($optional)?), doc: concat!($($field_doc),+),
                }, )* ],
            }, )+
        ];
    };
    (@flag) => { false };
    (@flag $any:ident) => { true };
}

frames! { SERVER_FRAMES, "Every control frame that a server sends.";
    /// First, after authentication.
    "welcome" => Welcome {
        /// Identifies the session in the server's log; not a secret.
        session("session", "string"): String,
        /// Who the server takes this client for.
        subject("subject", "string"): String,
        /// Goes into `csrfToken` of every message that is not exempt.
        csrf_token("csrfToken", "string"): String,
        /// When that token is rotated, in milliseconds since 1970.
        csrf_expires_at("csrfExpiresAt", "number"): u64,
        /// When the credential ends, in milliseconds since 1970.
        auth_expires_at("authExpiresAt", "number"): u64,
        /// Time between the server's pings; a client that saw nothing for twice as long is cut off.
        heartbeat_ms("heartbeatMs", "number"): u64,
        /// Largest message that the server accepts, in bytes.
        max_message_bytes("maxMessageBytes", "number"): u64,
        /// Names the session in a later handshake that resumes it; absent where the server does not offer that.
        resume_token("resumeToken", "string", default): Option<String>,
        /// Whether this connection went on with an earlier session.
        resumed("resumed", "boolean"): bool,
    }
    /// A message with an `id` was handled.
    "ack" => Ack {}
    /// A message was refused; also sent before every 44xx close.
    "error" => ErrorPayload {
        /// What went wrong, as a word.
        code("code", "ErrorCode"): String,
        /// What went wrong, as a generic sentence.
        message("message", "string"): String,
        /// Finds the full story in the server's log.
        reference("ref", "string"): String,
        /// Time to wait before the next try.
        retry_after_ms("retryAfterMs", "number", default): Option<u64>,
    }
    /// The CSRF token rotated; the old one stays good for a minute.
    "csrf" => CsrfRotated {
        /// The new token.
        csrf_token("csrfToken", "string"): String,
        /// When it is rotated, in milliseconds since 1970.
        csrf_expires_at("csrfExpiresAt", "number"): u64,
    }
    /// The token ends soon; answer with `auth.refresh`.
    "auth.expiring" => AuthExpiring {
        /// When it ends, in milliseconds since 1970.
        auth_expires_at("authExpiresAt", "number"): u64,
    }
    /// After `auth.refresh`.
    "auth.refreshed" => AuthRefreshed {
        /// When the new token ends, in milliseconds since 1970.
        auth_expires_at("authExpiresAt", "number"): u64,
    }
    /// Answer to an application `ping`.
    "pong" => Pong {
        /// The number or string of the ping, unchanged.
        t("t", "number | string", default): Option<PingValue>,
        /// The server's clock, in milliseconds since 1970.
        server_time("serverTime", "number"): u64,
    }
    /// The server is about to go away.
    "draining" => Draining {
        /// Time to wait before reconnecting, different for each client.
        reconnect_after_ms("reconnectAfterMs", "number"): u64,
    }
}

frames! { CLIENT_FRAMES, "Every control frame that a client sends.";
    /// The first message of a connection that brought no credential in its handshake.
    "auth" (exempt) => Auth {
        /// The token.
        token("token", "string", default): Option<String>,
        /// Resumes an earlier session; without it `lastSeq` announces that the client will come back.
        resume_token("resumeToken", "string", default): Option<String>,
        /// The last `seq` that the client saw of it.
        last_seq("lastSeq", "number", default): Option<u64>,
    }
    /// Replaces the token of the open connection by a fresh one of the same subject.
    "auth.refresh" (exempt) => AuthRefresh {
        /// The fresh token.
        token("token", "string"): String,
    }
    /// Asks for a `pong`.
    "ping" (exempt) => Ping {
        /// A number, or a string of at most 64 characters: comes back unchanged.
        t("t", "number | string", default): Option<PingValue>,
    }
    /// The client has everything up to here.
    "ack" (exempt) => ClientAck {
        /// The last `seq` seen.
        seq("seq", "number"): u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_wire_names() {
        let welcome = Welcome {
            session: "s".into(),
            subject: "ann".into(),
            csrf_token: "c".into(),
            csrf_expires_at: 1,
            auth_expires_at: 2,
            heartbeat_ms: 25_000,
            max_message_bytes: 65_536,
            resume_token: None,
            resumed: false,
        };
        assert_eq!(
            serde_json::to_string(&welcome).unwrap(),
            r#"{"session":"s","subject":"ann","csrfToken":"c","csrfExpiresAt":1,"authExpiresAt":2,"heartbeatMs":25000,"maxMessageBytes":65536,"resumed":false}"#
        );
        let error: ErrorPayload = serde_json::from_str(r#"{"code":"internal","message":"m","ref":"r"}"#).unwrap();
        assert_eq!(error.retry_after_ms, None);
    }

    #[test]
    fn every_described_field_is_a_field() {
        let described: Vec<_> = SERVER_FRAMES.iter().find(|kind| kind.kind == "welcome").unwrap().fields.to_vec();
        assert_eq!(described.len(), 9);
        assert_eq!(described.iter().filter(|field| field.optional).count(), 1);
        assert!(CLIENT_FRAMES.iter().all(|kind| kind.csrf_exempt));
    }
}
