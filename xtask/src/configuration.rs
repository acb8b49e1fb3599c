//! The page that says every key of the configuration, and every limit that no key changes.

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use crate::codegen::{File, LIMITS, said_by};

#[derive(Deserialize)]
struct Row {
    key: String,
    form: String,
    default: String,
    meaning: String,
    reason: String,
    needs_restart: bool,
}

const HEAD: &str = "\
# Configuration

Made by `cargo xtask codegen` from `crates/wsguard-server/src/config/`. [wsguard.example.toml](../wsguard.example.toml) \
has the same keys with their defaults, commented out.

`wsguard.toml`, and each key also as `WSGUARD_SECTION__KEY`: `rate.burst` is `WSGUARD_RATE__BURST`, lists are \
comma-separated, tables are `name=value` with commas. Flags beat the environment, the environment beats the file, the \
file beats the defaults. Paths in the file are relative to it. For files with secrets `WSGUARD_…_FILE` is a second name. \
An unknown key is an error. `wsguard check-config` says every mistake at once, with its line, and prints the limits in \
force.

Times are strings (`250ms`, `30s`, `15m`, `24h`, `7d`); sizes are integers of bytes or strings (`64KiB`, `1MiB`). Keys \
with a † count after a restart; all others after SIGHUP or a change of the file, also for connections that are open.
";

/// The page.
///
/// # Errors
/// When the server's crate does not build.
pub(crate) fn page(root: &Path) -> Result<File, String> {
    let rows: Vec<Row> = said_by(root, "configuration")?;
    let mut text = HEAD.to_owned();
    let mut section = "";
    for row in &rows {
        let (of, name) = row.key.split_once('.').unwrap_or(("", &row.key));
        if of != section {
            section = of;
            // Writing to a String does not fail.
            let _ = write!(text, "\n## {of}\n\n| key | unit, form | default | what it is, *and why this default* |\n");
            text.push_str("| --- | --- | --- | --- |\n");
        }
        let mark = if row.needs_restart { " †" } else { "" };
        let Row { form, default, meaning, reason, .. } = row;
        let (meaning, reason) = (plain(meaning), plain(reason));
        let _ = writeln!(text, "| `{of}.{name}`{mark} | {form} | {default} | {meaning}<br>*{reason}* |");
    }
    text.push_str("\n## Limits without a key\n\nParts of the protocol, the same for every server and client.\n\n");
    text.push_str("| limit | value | |\n| --- | --: | --- |\n");
    for (name, value, meaning) in LIMITS {
        let _ = writeln!(text, "| `{name}` | {value} | {meaning} |");
    }
    text.push_str("\nThose of the server: [operations](operations.md#fixed-limits).\n");
    Ok(File { path: "docs/configuration.md".into(), text })
}

/// A sentence as it stands in a terminal, for a page.
fn plain(text: &str) -> String {
    text.replace("(docs/anomaly.md)", "([anomaly scores](anomaly.md))").replace('<', "&lt;")
}
