//! Makes what TypeScript knows of the protocol from the crate that defines it.
//!
//! The generated files are committed, so that a reader and `npm` need no Rust; `codegen --check` fails where they no
//! longer say what the crate says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;
use wsguard_protocol::frames::{CLIENT_FRAMES, FrameKind, SERVER_FRAMES};
use wsguard_protocol::{
    CloseCode, ENDPOINT_PATH, ErrorCode, SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX, SUBPROTOCOL_ORDERED,
    SUBPROTOCOL_RESUME, limits,
};

/// One generated file.
pub(crate) struct File {
    /// Where it stands, from the root of the workspace.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

impl File {
    /// Whether the file on disk is missing or says something else.
    pub(crate) fn is_stale(&self, root: &Path) -> bool {
        std::fs::read_to_string(root.join(&self.path)).map_or(true, |on_disk| on_disk != self.text)
    }
}

/// What the example `name` of a crate prints, as JSON. The whole workspace is built, so that no crate is built twice with
/// other features.
///
/// # Errors
/// When the crate does not build, or says something else.
pub(crate) fn said_by<T: DeserializeOwned>(root: &Path, name: &str) -> Result<T, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--example", name])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("run the example {name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("run the example {name}: its crate does not build (see above)"));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("read what the example {name} says: {error}"))
}

/// Every generated file, as it should be.
///
/// # Errors
/// When a value cannot be written as JSON, which would be a mistake in this file.
pub(crate) fn files() -> Result<Vec<File>, String> {
    Ok(vec![
        File { path: "packages/client/src/protocol.ts".into(), text: typescript() },
        File { path: "vectors/protocol.json".into(), text: vectors()? },
    ])
}

/// The limits of the protocol: name, value, and the sentence that generated code carries.
///
/// A module cannot be listed by a program; a test holds this table against the source of the module.
pub(crate) const LIMITS: [(&str, u64, &str); 12] = [
    ("MESSAGE_BYTES_MAX", limits::MESSAGE_BYTES_MAX as u64, "Largest message, in bytes of UTF-8."),
    (
        "FIRST_MESSAGE_BYTES_MAX",
        limits::FIRST_MESSAGE_BYTES_MAX as u64,
        "Largest first message of a connection that is not authenticated yet, in bytes.",
    ),
    ("ID_CHARS_MAX", limits::ID_CHARS_MAX as u64, "Longest `id` that is a string, in characters."),
    ("ID_INTEGER_MAX", limits::ID_INTEGER_MAX, "Largest `id` that is an integer."),
    ("ID_WINDOW", limits::ID_WINDOW as u64, "Ids that a server remembers at least."),
    ("ID_WINDOW_MS", limits::ID_WINDOW_MS, "Time after which a server may forget an id all the same, in milliseconds."),
    ("TYPE_BYTES_MAX", limits::TYPE_BYTES_MAX as u64, "Longest message type, in bytes."),
    (
        "CSRF_GRACE_MS",
        limits::CSRF_GRACE_MS,
        "Time that the previous CSRF token stays good after a rotation, in milliseconds.",
    ),
    (
        "AUTH_EXPIRING_MS",
        limits::AUTH_EXPIRING_MS,
        "Time before the end of a token at which `auth.expiring` is sent, in milliseconds.",
    ),
    ("ROOM_CHARS_MAX", limits::ROOM_CHARS_MAX as u64, "Longest room name, in characters."),
    ("CHAT_CHARS_MAX", limits::CHAT_CHARS_MAX as u64, "Longest chat message, in characters."),
    (
        "CLIENT_ACK_INTERVAL_MS",
        limits::CLIENT_ACK_INTERVAL_MS,
        "Least time between two `ack` frames of a client, in milliseconds.",
    ),
];

/// What both languages test themselves against. Structs and sorted maps, so that the order of the members does not
/// depend on the features that another crate switches on in `serde_json`.
#[derive(Serialize)]
struct Vectors {
    subprotocol: &'static str,
    #[serde(rename = "subprotocolBearerPrefix")]
    subprotocol_bearer_prefix: &'static str,
    #[serde(rename = "subprotocolResume")]
    subprotocol_resume: &'static str,
    #[serde(rename = "subprotocolOrdered")]
    subprotocol_ordered: &'static str,
    #[serde(rename = "errorCodes")]
    error_codes: Vec<ErrorVector>,
    #[serde(rename = "closeCodes")]
    close_codes: Vec<CloseVector>,
    #[serde(rename = "serverFrames")]
    server_frames: Vec<&'static str>,
    #[serde(rename = "clientFrames")]
    client_frames: Vec<&'static str>,
    limits: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct ErrorVector {
    code: &'static str,
    message: &'static str,
}

#[derive(Serialize)]
struct CloseVector {
    code: u16,
    name: &'static str,
    reconnect: &'static str,
}

fn vectors() -> Result<String, String> {
    let vectors = Vectors {
        subprotocol: SUBPROTOCOL,
        subprotocol_bearer_prefix: SUBPROTOCOL_BEARER_PREFIX,
        subprotocol_resume: SUBPROTOCOL_RESUME,
        subprotocol_ordered: SUBPROTOCOL_ORDERED,
        error_codes: ErrorCode::ALL
            .iter()
            .map(|code| ErrorVector { code: code.as_str(), message: code.message() })
            .collect(),
        close_codes: CloseCode::ALL
            .iter()
            .map(|code| CloseVector { code: code.number(), name: code.name(), reconnect: code.reconnect().as_str() })
            .collect(),
        server_frames: SERVER_FRAMES.iter().map(|frame| frame.kind).collect(),
        client_frames: CLIENT_FRAMES.iter().map(|frame| frame.kind).collect(),
        limits: LIMITS.iter().map(|&(name, value, _)| (name, value)).collect(),
    };
    let mut text = serde_json::to_string_pretty(&vectors).map_err(|error| format!("write vectors: {error}"))?;
    text.push('\n');
    Ok(text)
}

fn typescript() -> String {
    let mut out = String::from(
        "// Generated by `cargo xtask codegen` from the crate wsguard-protocol. Changes belong there.\n\n",
    );
    constant(&mut out, "The subprotocol that a server selects.", "SUBPROTOCOL", &format!("'{SUBPROTOCOL}'"));
    constant(
        &mut out,
        "Prefix of the subprotocol entry that carries a token. Never echoed by a server.",
        "SUBPROTOCOL_BEARER_PREFIX",
        &format!("'{SUBPROTOCOL_BEARER_PREFIX}'"),
    );
    constant(
        &mut out,
        "The subprotocol entry that announces a resume; with `.TOKEN.LASTSEQ` behind it, one that asks for it.",
        "SUBPROTOCOL_RESUME",
        &format!("'{SUBPROTOCOL_RESUME}'"),
    );
    constant(
        &mut out,
        "The subprotocol entry that asks for order, of a client that sends again what was `rate_limited`.",
        "SUBPROTOCOL_ORDERED",
        &format!("'{SUBPROTOCOL_ORDERED}'"),
    );
    constant(
        &mut out,
        "The path of the WebSocket endpoint; the ticket and session endpoints stand below it.",
        "ENDPOINT_PATH",
        &format!("'{ENDPOINT_PATH}'"),
    );

    for &(name, value, doc) in &LIMITS {
        constant(&mut out, doc, name, &with_separators(value));
    }
    out.push('\n');

    // A bundler can put a constant in place where it cannot leave out members of an object that are not used, as long as
    // nothing but constants stands before it.
    for code in CloseCode::ALL {
        let name = code.name().to_uppercase();
        line(&mut out, &format!("export const CLOSE_{name} = {};", code.number()));
    }
    out.push('\n');

    error_codes(&mut out);
    close_codes(&mut out);
    frames(&mut out, "Server", SERVER_FRAMES);
    frames(&mut out, "Client", CLIENT_FRAMES);
    exempt_types(&mut out);
    out
}

fn error_codes(out: &mut String) {
    out.push_str("/** The code of an `error` frame or of a refused handshake. */\n");
    out.push_str("export const ERROR_CODES = [\n");
    for code in ErrorCode::ALL {
        line(out, &format!("  /** {} */", code.message()));
        line(out, &format!("  '{code}',"));
    }
    out.push_str("] as const;\n");
    out.push_str("export type ErrorCode = (typeof ERROR_CODES)[number];\n\n");
}

fn close_codes(out: &mut String) {
    out.push_str("/** The close codes that a server sends, by name. */\nexport const CLOSE_CODE = {\n");
    for code in CloseCode::ALL {
        line(out, &format!("  {}: {},", code.name(), code.number()));
    }
    out.push_str("} as const;\nexport type CloseCodeName = keyof typeof CLOSE_CODE;\n\n");

    let mut policies: Vec<&str> = Vec::new();
    for code in CloseCode::ALL {
        let policy = code.reconnect().as_str();
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    let union: Vec<String> = policies.iter().map(|policy| format!("'{policy}'")).collect();
    out.push_str("/** What a client does after a close code. */\n");
    line(out, &format!("export type Reconnect = {};\n", union.join(" | ")));

    out.push_str("/** What a client does after each close code of the protocol. */\n");
    out.push_str("export const RECONNECT: Readonly<Record<number, Reconnect>> = {\n");
    for code in CloseCode::ALL {
        line(out, &format!("  {}: '{}',", code.number(), code.reconnect().as_str()));
    }
    out.push_str("};\n\n");
}

/// Writes the payload interfaces of one direction, the map from type to payload and the union of the frames.
fn frames(out: &mut String, direction: &str, kinds: &[FrameKind]) {
    for frame in kinds {
        line(out, &format!("/** `{}`: {} */", frame.kind, sentence(frame.doc)));
        if frame.fields.is_empty() {
            line(out, &format!("export type {} = Record<string, never>;\n", frame.payload));
            continue;
        }
        line(out, &format!("export interface {} {{", frame.payload));
        for field in frame.fields {
            let mark = if field.optional { "?" } else { "" };
            line(out, &format!("  /** {} */", sentence(field.doc)));
            line(out, &format!("  {}{mark}: {};", field.name, field.ts));
        }
        out.push_str("}\n\n");
    }

    line(out, &format!("/** The payload of each control frame, by type ({}). */", direction.to_lowercase()));
    line(out, &format!("export interface {direction}Payloads {{"));
    for frame in kinds {
        line(out, &format!("  '{}': {};", frame.kind, frame.payload));
    }
    out.push_str("}\n");
    line(out, &format!("export type {direction}FrameType = keyof {direction}Payloads;"));
    line(
        out,
        &format!(
            "export type {direction}Frame = {{\n  [T in {direction}FrameType]: {{ type: T; id?: string | number; payload: {direction}Payloads[T] }};\n}}[{direction}FrameType];"
        ),
    );
    let upper = direction.to_uppercase();
    line(out, &format!("export const {upper}_FRAME_TYPES: readonly {direction}FrameType[] = ["));
    for frame in kinds {
        line(out, &format!("  '{}',", frame.kind));
    }
    out.push_str("];\n\n");
}

fn exempt_types(out: &mut String) {
    out.push_str("/** Message types that carry no CSRF token. */\n");
    out.push_str("export const CSRF_EXEMPT_TYPES: readonly ClientFrameType[] = [\n");
    for frame in CLIENT_FRAMES.iter().filter(|frame| frame.csrf_exempt) {
        line(out, &format!("  '{}',", frame.kind));
    }
    out.push_str("];\n");
}

fn constant(out: &mut String, doc: &str, name: &str, value: &str) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "/** {doc} */\nexport const {name} = {value};\n");
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// A doc comment as one sentence: the attribute keeps the blank after the slashes.
fn sentence(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `65536` as `65_536`, which people read and TypeScript accepts.
fn with_separators(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_the_protocol_is_generated() {
        let root = crate::workspace_root();
        let source = std::fs::read_to_string(root.join("crates/wsguard-protocol/src/limits.rs")).unwrap();
        let declared: Vec<&str> =
            source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
        let generated: Vec<&str> = LIMITS.iter().map(|limit| limit.0).collect();
        assert_eq!(declared, generated);
    }

    #[test]
    fn every_word_of_the_protocol_is_in_the_typescript() {
        let text = typescript();
        for code in ErrorCode::ALL {
            assert!(text.contains(&format!("  '{code}',\n")), "{code}");
        }
        for code in CloseCode::ALL {
            assert!(text.contains(&format!("  {}: {},\n", code.name(), code.number())), "{code}");
            let policy = format!("  {}: '{}',\n", code.number(), code.reconnect().as_str());
            assert!(text.contains(&policy), "{code}");
        }
        for frame in SERVER_FRAMES.iter().chain(CLIENT_FRAMES) {
            assert!(text.contains(&format!("  '{}': {};\n", frame.kind, frame.payload)), "{}", frame.kind);
            for field in frame.fields {
                let mark = if field.optional { "?" } else { "" };
                assert!(text.contains(&format!("  {}{mark}: {};\n", field.name, field.ts)), "{}", field.name);
            }
        }
    }

    #[test]
    fn a_changed_or_missing_file_is_stale() {
        let folder = std::env::temp_dir().join(format!("wsguard-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = File { path: "generated.txt".into(), text: "now\n".to_owned() };
        assert!(file.is_stale(&folder), "missing");
        std::fs::write(folder.join(&file.path), "before\n").unwrap();
        assert!(file.is_stale(&folder), "changed");
        std::fs::write(folder.join(&file.path), "now\n").unwrap();
        assert!(!file.is_stale(&folder), "same");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        for (value, want) in [(64, "64"), (4_000, "4_000"), (65_536, "65_536"), (1_000_000, "1_000_000")] {
            assert_eq!(with_separators(value), want);
        }
    }
}
