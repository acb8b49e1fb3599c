//! `wsguard sessions`

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use wsguard_core::time::Millis;

use super::Exit;
use crate::admin::{AdminArguments, Failure, ask};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the open sessions.
    List {
        #[command(flatten)]
        admin: AdminArguments,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let Command::List { admin, json } = &arguments.command;
    match every_page(admin, "sessions", "") {
        Err(failure) => {
            let exit = failure.exit;
            output::failed(failure, exit)
        }
        Ok(sessions) if *json => output::json(&json!({"sessions": sessions})),
        Ok(sessions) => output::result(table(&sessions)),
    }
}

/// All rows of `/api/KIND`, page by page; `filter` is what follows the limit in the query.
pub(super) fn every_page(admin: &AdminArguments, kind: &str, filter: &str) -> Result<Vec<Value>, Failure> {
    let mut rows: Vec<Value> = Vec::new();
    let first = format!("/api/{kind}?limit=1000{filter}");
    let mut path = first.clone();
    loop {
        let mut page = ask(admin, "GET", &path, None)?;
        if let Some(Value::Array(more)) = page.get_mut(kind).map(Value::take) {
            rows.extend(more);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => path = format!("{first}&after={next}"),
            None => return Ok(rows),
        }
    }
}

fn table(sessions: &[Value]) -> String {
    let text = |session: &Value, name: &str| session.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let mut lines = vec![format!("{:<32}  {:<8}  {:<24}  SUBJECT", "SESSION", "AGE", "PREFIX")];
    lines.extend(sessions.iter().map(|session| {
        // Whole seconds are what people read.
        let age = session.get("ageMs").and_then(Value::as_u64).unwrap_or(0) / 1_000;
        output::harmless(&format!(
            "{:<32}  {:<8}  {:<24}  {}",
            text(session, "session"),
            Millis::from_secs(age).to_string(),
            text(session, "prefix"),
            text(session, "subject"),
        ))
    }));
    lines.join("\n")
}
