//! Results to standard output, everything else to standard error, colours only on a terminal.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};

use anstream::{stderr, stdout};
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use wsguard_server::config::{LimitRow, Warning};

use crate::cmd::Exit;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();

/// Prints a result. A reader that went away (`| head`) is no failure.
pub(crate) fn result(text: impl Display) -> Exit {
    ended(writeln!(stdout().lock(), "{text}"))
}

/// Prints a result as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Exit {
    match serde_json::to_string_pretty(value) {
        Ok(text) => result(text),
        Err(error) => failed(error, Exit::Failed),
    }
}

/// Says what went wrong and returns `exit`.
pub(crate) fn failed(error: impl Display, exit: Exit) -> Exit {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(stderr().lock(), "{RED}error{RED:#}: {error}");
    exit
}

/// Prints warnings to standard error.
pub(crate) fn warn(warnings: &[Warning]) {
    let mut out = stderr().lock();
    for warning in warnings {
        let _ = writeln!(out, "{YELLOW}warning{YELLOW:#}: {warning}");
    }
}

/// Writes the limits in force in columns.
pub(crate) fn limits(rows: &[LimitRow]) -> String {
    let width = |of: fn(&LimitRow) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or_default();
    let (keys, values) = (width(|row| row.key), width(|row| &row.value));
    let mut text = format!("{BOLD}Limits in force{BOLD:#}");
    for row in rows {
        let LimitRow { key, value, meaning, .. } = row;
        // Writing to a String does not fail.
        let _ = write!(text, "\n  {key:keys$}  {BOLD}{value:>values$}{BOLD:#}  {DIM}{meaning}{DIM:#}");
    }
    text
}

/// Makes what others chose (a subject, a reason) harmless for a terminal: control and bidi characters become escapes.
pub(crate) fn harmless(text: &str) -> String {
    let is_bidi =
        |letter| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || is_bidi(letter) {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Prints what is known at start to standard error.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(stderr().lock(), "{text}");
}

fn ended(written: io::Result<()>) -> Exit {
    match written {
        Ok(()) => Exit::Good,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Good,
        Err(error) => failed(format!("write to standard output: {error}"), Exit::Failed),
    }
}

/// Removes styles, for a text that is compared.
#[cfg(test)]
pub(crate) fn plain(text: &str) -> String {
    let mut out = Vec::new();
    anstream::AutoStream::never(&mut out).write_all(text.as_bytes()).unwrap();
    String::from_utf8(out).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_in_columns() {
        let row = |key, value: &str| LimitRow { key, value: value.to_owned(), meaning: "what", reason: "why" };
        let text = limits(&[row("a.b", "256KiB"), row("long.key", "1")]);
        assert_eq!(plain(&text), "Limits in force\n  a.b       256KiB  what\n  long.key       1  what");
    }

    #[test]
    fn what_others_chose_does_not_steer_the_terminal() {
        for (text, want) in
            [("ann", "ann"), ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"), ("a\u{202e}b", "a\\u{202e}b"), ("ä\n", "ä\\u{a}")]
        {
            assert_eq!(harmless(text), want);
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        for (kind, want) in [(io::ErrorKind::BrokenPipe, Exit::Good), (io::ErrorKind::StorageFull, Exit::Failed)] {
            assert_eq!(ended(Err(kind.into())), want, "{kind:?}");
        }
        assert_eq!(ended(Ok(())), Exit::Good);
    }
}
