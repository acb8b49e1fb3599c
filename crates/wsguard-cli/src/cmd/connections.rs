//! `wsguard connections`

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use wsguard_core::time::Millis;

use super::Exit;
use super::sessions::every_page;
use crate::admin::AdminArguments;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the open connections and how they stand.
    List {
        #[command(flatten)]
        admin: AdminArguments,
        /// Only those of this subject.
        #[arg(long)]
        subject: Option<String>,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let Command::List { admin, subject, json } = &arguments.command;
    let filter = subject.as_ref().map(|subject| format!("&subject={}", encoded(subject))).unwrap_or_default();
    match every_page(admin, "connections", &filter) {
        Err(failure) => {
            let exit = failure.exit;
            output::failed(failure, exit)
        }
        Ok(connections) if *json => output::json(&json!({"connections": connections})),
        Ok(connections) => output::result(table(&connections)),
    }
}

/// Percent-encoded, but for letters and digits (RFC 3986 section 2.1).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn table(connections: &[Value]) -> String {
    let mut lines = vec![format!(
        "{:<32}  {:<8}  {:>6}  {:>9}  {:<10}  {:>5}  {:<24}  {:<20}  SUBJECT",
        "SESSION", "AGE", "RTT", "MESSAGES", "LADDER", "SCORE", "REFUSED", "PREFIX"
    )];
    lines.extend(connections.iter().map(|one| {
        let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or("?");
        // Whole seconds are what people read.
        let age = Millis::from_secs(one.get("ageMs").and_then(Value::as_u64).unwrap_or(0) / 1_000).to_string();
        let state = one.get("state").filter(|state| state.is_object());
        let number = |pointer: &str| state.and_then(|state| state.pointer(pointer)).and_then(Value::as_u64);
        let round_trip = number("/rttMs").map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let messages = number("/messages").map_or_else(|| "?".to_owned(), |count| count.to_string());
        let rung = state.and_then(|state| state.pointer("/ladder/rung")).and_then(Value::as_str).unwrap_or("?");
        let ladder = format!("{rung} {}", number("/ladder/weight").unwrap_or(0));
        let score = number("/anomaly/score").map_or_else(|| "?".to_owned(), |score| score.to_string());
        output::harmless(&format!(
            "{:<32}  {age:<8}  {round_trip:>6}  {messages:>9}  {ladder:<10}  {score:>5}  {:<24}  {:<20}  {}",
            text("session"),
            refused(state),
            text("prefix"),
            text("subject"),
        ))
    }));
    lines.join("\n")
}

/// `rate 12, schema 1`
fn refused(state: Option<&Value>) -> String {
    let counts = state.and_then(|state| state.get("refusals")).and_then(Value::as_object);
    let words: Vec<String> =
        counts.into_iter().flatten().map(|(control, count)| format!("{control} {count}")).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_a_connection_stands() {
        let one = json!({
            "session": "000102030405060708090a0b0c0d0e0f", "subject": "ann\u{1b}[2J", "prefix": "192.0.2.7/32",
            "openedAt": 1, "ageMs": 61_999,
            "state": {
                "rttMs": 12, "messages": 41, "bytes": 900, "refusals": {"rate": 3, "schema": 1},
                "ladder": {"rung": "slow", "weight": 64},
                "anomaly": {"score": 71, "parts": []},
            },
        });
        let mute = json!({"session": "f", "subject": "bob", "prefix": "p", "openedAt": 1, "ageMs": 5, "state": null});
        let table = table(&[one, mute]);
        let lines: Vec<&str> = table.lines().collect();
        for word in ["61s", "12 ms", "41", "slow 64", "71", "rate 3, schema 1", "192.0.2.7/32"] {
            assert!(lines[1].contains(word), "{word} in {}", lines[1]);
        }
        assert!(!table.contains('\u{1b}'), "what a peer chose does not reach the terminal");
        assert!(lines[2].contains("? 0"), "{}", lines[2]);
    }

    #[test]
    fn a_subject_cannot_become_another_parameter() {
        assert_eq!(encoded("a&limit=1/ü"), "a%26limit%3D1%2F%C3%BC");
    }
}
