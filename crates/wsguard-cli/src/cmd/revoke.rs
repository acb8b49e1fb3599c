//! `wsguard revoke`

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};
use wsguard_server::time_from_rfc3339;

use super::Exit;
use crate::admin::{AdminArguments, ask};
use crate::output;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["subject", "session", "jti", "lift", "list"]))]
pub(crate) struct Arguments {
    /// Everybody with this subject, whatever the token.
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// This session and the token that it has now.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// The token with this `jti`.
    #[arg(long, value_name = "JTI")]
    jti: Option<String>,
    /// Only what was issued to the subject before a time, such as 2026-11-25T03:10:52Z, or `now`: it may log in anew.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["session", "jti", "lift", "list"], value_parser = moment)]
    issued_before: Option<u64>,
    /// Lift the revocation of this id.
    #[arg(long, value_name = "ID")]
    lift: Option<u64>,
    /// List what is revoked.
    #[arg(long)]
    list: bool,
    /// Why, for the log and the list; 256 characters at most.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let answer = if arguments.list {
        list(arguments)
    } else if let Some(id) = arguments.lift {
        ask(&arguments.admin, "DELETE", &format!("/api/revocations/{id}"), None)
    } else {
        ask(&arguments.admin, "POST", "/api/revocations", Some(&body(arguments)))
    };
    match answer {
        Err(failure) => {
            let exit = failure.exit;
            output::failed(failure, exit)
        }
        Ok(answer) if arguments.json => output::json(&answer),
        Ok(answer) if arguments.list => output::result(lines(&answer)),
        Ok(answer) if arguments.lift.is_some() => output::result(format!("lifted (ref {})", word(&answer, "ref"))),
        Ok(answer) => {
            let sessions = word(&answer, "sessions");
            let mut text = format!(
                "revoked (id {}, ref {}); open sessions closed: {sessions}",
                word(&answer, "id"),
                word(&answer, "ref")
            );
            if arguments.session.is_some() && answer.get("tokenRevoked") == Some(&Value::Bool(false)) {
                text.push_str(match sessions.as_str() {
                    "0" => "\nno session of this id is open; its token, if there was one, is still good",
                    _ => "\nthe token of the session has no jti and is still good: revoke its subject",
                });
            }
            output::result(text)
        }
    }
}

fn body(arguments: &Arguments) -> Value {
    let mut body = Map::new();
    for (name, value) in [
        ("subject", &arguments.subject),
        ("session", &arguments.session),
        ("jti", &arguments.jti),
        ("reason", &arguments.reason),
    ] {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(before) = arguments.issued_before {
        body.insert("issuedBefore".to_owned(), json!(before));
    }
    Value::Object(body)
}

/// Every page in one.
fn list(arguments: &Arguments) -> Result<Value, crate::admin::Failure> {
    let mut all: Vec<Value> = Vec::new();
    let mut path = "/api/revocations?limit=1000".to_owned();
    loop {
        let mut page = ask(&arguments.admin, "GET", &path, None)?;
        if let Some(Value::Array(rows)) = page.get_mut("revocations").map(Value::take) {
            all.extend(rows);
        }
        match page.get("next").and_then(Value::as_u64) {
            Some(next) => path = format!("/api/revocations?limit=1000&after={next}"),
            None => return Ok(json!({"revocations": all, "cutOff": page.get("cutOff")})),
        }
    }
}

fn lines(answer: &Value) -> String {
    let rows = answer.get("revocations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return "nothing is revoked".to_owned();
    }
    let line = |row: &Value| {
        let target = ["subject", "session", "jti"].into_iter().find(|name| row.get(name).is_some()).unwrap_or("?");
        let before = row.get("issuedBefore").map(|before| format!(" issued before {before}")).unwrap_or_default();
        let reason = row.get("reason").and_then(Value::as_str).map(|reason| format!(": {reason}")).unwrap_or_default();
        output::harmless(&format!("{}  {target} {}{before}{reason}", word(row, "id"), word(row, target)))
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn word(answer: &Value, name: &str) -> String {
    match answer.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    }
}

fn moment(text: &str) -> Result<u64, String> {
    if text == "now" {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    }
    let time = time_from_rfc3339(text).map(|time| time.0);
    time.ok_or_else(|| "expected a time in UTC such as 2026-11-25T03:10:52Z, or now".to_owned())
}
