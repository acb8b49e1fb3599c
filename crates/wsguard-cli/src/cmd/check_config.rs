//! `wsguard check-config`

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use wsguard_core::policy::MessageType;
use wsguard_core::schema::Engine;
use wsguard_server::config::{Config, ConfigError, LimitRow, Loaded, Overrides, Place};
use wsguard_server::{environment, keys, schemas, tls};

use super::{Exit, config_file};
use crate::output::{self, BOLD, DIM, RED};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration; `wsguard.toml` of the working directory if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check what `serve --dev` would run with.
    #[arg(long)]
    dev: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    file: Option<PathBuf>,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
    limits: Vec<Limit>,
    schemas: Vec<Schema>,
}

/// A mistake. Where no line is known, `text` still names the file or variable.
#[derive(Debug, Default, Serialize)]
struct Mistake {
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Limit {
    key: &'static str,
    value: String,
    meaning: &'static str,
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Schema {
    #[serde(rename = "type")]
    name: String,
    engine: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let file = config_file(arguments.config.clone());
    let overrides = Overrides { dev: arguments.dev, ..Overrides::default() };
    let (report, rows) = match Config::load(file.as_deref(), environment(), &overrides) {
        Ok(loaded) => examine(&loaded),
        Err(errors) => {
            let mistakes = errors.all().iter().map(mistake).collect();
            (Report { file, mistakes, ..Report::default() }, Vec::new())
        }
    };
    let printed = if arguments.json { output::json(&report) } else { output::result(text(&report, &rows)) };
    if report.mistakes.is_empty() { printed } else { Exit::Usage }
}

/// Every mistake of `file`, as `check-config` would report it to somebody without settings in the environment.
pub(crate) fn mistakes(file: &Path) -> Vec<String> {
    match Config::load(Some(file), std::iter::empty(), &Overrides::default()) {
        Ok(loaded) => examine(&loaded).0.mistakes.into_iter().map(|mistake| mistake.text).collect(),
        Err(errors) => errors.all().iter().map(ToString::to_string).collect(),
    }
}

/// Looks into what the configuration names: certificates, keys, schemas.
fn examine(loaded: &Loaded) -> (Report, Vec<LimitRow>) {
    let config = &loaded.config;
    let rows = config.limits_table();
    let mut report = Report {
        file: loaded.source.clone(),
        warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
        limits: rows
            .iter()
            .map(|row| Limit { key: row.key, value: row.value.clone(), meaning: row.meaning, reason: row.reason })
            .collect(),
        ..Report::default()
    };
    let mut wrong = |key: &str, text: String| {
        report.mistakes.push(Mistake { text: format!("{key}: {text}"), key: key.to_owned(), ..Mistake::default() });
    };
    if let Some(error) = config.tls.as_ref().and_then(|files| tls::server_config(files).err()) {
        wrong("tls", error.to_string());
    }
    if let Err(invalid) = keys::load_keys(&config.auth.keys) {
        for fault in invalid.faults() {
            wrong("auth.keys", fault.to_string());
        }
    }
    if let Some(error) = config.auth.jwks.as_ref().and_then(|jwks| jwks.check().err()) {
        wrong("auth.jwks", error.to_string());
    }
    match schemas::message_types(config) {
        Ok(messages) if config.messages_dir.is_some() => report.schemas = messages.iter().map(schema).collect(),
        Ok(_) => {}
        Err(errors) => {
            for error in errors {
                let (key, text) = (error.key(), error.to_string());
                let text = if text.starts_with(key) { text } else { format!("{key}: {text}") };
                report.mistakes.push(Mistake { text, key: key.to_owned(), ..Mistake::default() });
            }
        }
    }
    (report, rows)
}

fn schema(message: &MessageType) -> Schema {
    let compiled = message.schema();
    let (engine, because) = match compiled.engine() {
        Engine::Own => ("own", None),
        Engine::Fallback { because } => ("fallback", Some(because)),
    };
    Schema { name: compiled.name().to_owned(), engine, because }
}

fn mistake(error: &ConfigError) -> Mistake {
    let (file, line, column) = match &error.place {
        Place::File { path, line, column } => (Some(path.clone()), Some(*line), Some(*column)),
        Place::Environment(_) | Place::Flag(_) | Place::Whole => (None, None, None),
    };
    Mistake { text: error.to_string(), key: error.key.clone(), file, line, column }
}

fn text(report: &Report, rows: &[LimitRow]) -> String {
    let mut parts = Vec::new();
    if !report.mistakes.is_empty() {
        parts.extend(report.mistakes.iter().map(|mistake| format!("{RED}error{RED:#}: {}", mistake.text)));
        let count = report.mistakes.len();
        parts.push(format!("{count} {}", if count == 1 { "mistake" } else { "mistakes" }));
        return parts.join("\n");
    }
    parts.extend(report.warnings.iter().map(|warning| format!("{BOLD}warning{BOLD:#}: {warning}")));
    parts.push(output::limits(rows, output::width(std::io::stdout())));
    if !report.schemas.is_empty() {
        parts.push(format!("{BOLD}Message types{BOLD:#}"));
        let width = report.schemas.iter().map(|schema| schema.name.len()).max().unwrap_or_default();
        for Schema { name, engine, because } in &report.schemas {
            let because = because.map(|because| format!(", because of {because}")).unwrap_or_default();
            parts.push(format!("  {name:width$}  {DIM}{engine} engine{because}{DIM:#}"));
        }
    }
    let source = report.file.as_ref().map_or("defaults and environment".to_owned(), |file| file.display().to_string());
    parts.push(format!("{source}: good"));
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::plain;

    fn load(files: &[(&str, &str)], name: &str) -> (Report, String) {
        let directory = std::env::temp_dir().join(format!("wsguard-check-{name}-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("schemas")).unwrap();
        for (file, text) in files {
            std::fs::write(directory.join(file), text).unwrap();
        }
        let path = directory.join("wsguard.toml");
        let dev = Overrides { dev: true, ..Overrides::default() };
        let loaded = Config::load(Some(&path), std::iter::empty(), &dev).unwrap();
        let (report, rows) = examine(&loaded);
        std::fs::remove_dir_all(&directory).unwrap();
        let text = plain(&text(&report, &rows));
        (report, text)
    }

    #[test]
    fn a_good_configuration_shows_limits_and_engines() {
        let (report, text) = load(
            &[
                ("wsguard.toml", "[messages]\ndir = \"schemas\"\n[rate]\nburst = 61"),
                ("schemas/chat.json", r#"{"type":"object"}"#),
                ("schemas/odd.json", r#"{"type":"string","pattern":"^(?=a)"}"#),
            ],
            "good",
        );
        assert!(report.mistakes.is_empty(), "{report:?}");
        assert_eq!(report.schemas.len(), 2);
        assert!(text.contains("chat  own engine"), "{text}");
        assert!(
            text.lines().any(|line| line.trim_start().starts_with("rate.burst") && line.contains(" 61 ")),
            "{text}"
        );
        assert!(text.ends_with("wsguard.toml: good"), "{text}");
    }

    #[test]
    fn files_that_the_configuration_names_are_looked_into() {
        let (report, text) = load(
            &[
                (
                    "wsguard.toml",
                    "[tls]\ncert = \"a.pem\"\nkey = \"a.pem\"\n[auth]\nkeys = [\"a.pem\"]\n[messages]\ndir = \"schemas\"",
                ),
                ("a.pem", "nothing"),
                ("schemas/chat.json", "{\n\"type\": \"objekt\"}"),
            ],
            "bad",
        );
        let keys: Vec<_> = report.mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
        assert_eq!(keys, ["tls", "auth.keys", "messages.dir"]);
        assert!(text.contains("chat.json:2: "), "{text}");
        assert!(text.ends_with("3 mistakes"), "{text}");
    }

    #[test]
    fn what_a_start_would_refuse_is_told() {
        for (name, toml, files, want) in [
            (
                "word-of-the-protocol",
                "[messages]\ndir = \"schemas\"",
                [("schemas/chat.json", "{}"), ("schemas/ping.json", "{}")],
                "schemas/ping.json: message type \"ping\": expected",
            ),
            (
                "rate-of-no-type",
                "[messages]\ndir = \"schemas\"\n[rate.types]\nchat = 5\nchta = 5",
                [("schemas/chat.json", "{}"), ("schemas/echo.json", "{}")],
                "error: rate.types.chta: expected one of the message types chat, echo",
            ),
        ] {
            let (report, text) = load(&[&[("wsguard.toml", toml)][..], &files].concat(), name);
            assert_eq!(report.mistakes.len(), 1, "{name}: {text}");
            assert!(text.contains(want), "{name}: {text}");
        }
    }

    #[test]
    fn mistakes_keep_their_place() {
        let error = ConfigError {
            place: Place::File { path: "wsguard.toml".into(), line: 12, column: 3 },
            key: "rate.burst".to_owned(),
            message: "expected more".to_owned(),
        };
        let json = serde_json::to_value(mistake(&error)).unwrap();
        let want = serde_json::json!({
            "text": "wsguard.toml:12: rate.burst: expected more",
            "key": "rate.burst", "file": "wsguard.toml", "line": 12, "column": 3,
        });
        assert_eq!(json, want);
    }
}
