//! Results to standard output, everything else to standard error, colours only on a terminal.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::os::fd::AsFd;

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

/// Columns of the terminal that `stream` is; where it is none, as many as a line wants.
pub(crate) fn width(stream: impl AsFd) -> usize {
    terminal_size::terminal_size_of(stream).map_or(usize::MAX, |(width, _)| usize::from(width.0))
}

/// Narrower than this no column of text becomes: then lines are cut by the terminal.
const TEXT_COLUMNS_MIN: usize = 24;

/// Writes the limits in force in columns, the last of them in lines that end at `width`.
pub(crate) fn limits(rows: &[LimitRow], width: usize) -> String {
    let longest = |of: fn(&LimitRow) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or_default();
    let (keys, values) = (longest(|row| row.key), longest(|row| &row.value));
    let margin = keys.saturating_add(values).saturating_add(6);
    let mut text = format!("{BOLD}Limits in force{BOLD:#}");
    for row in rows {
        let LimitRow { key, value, meaning, .. } = row;
        let _ = write!(text, "\n  {key:keys$}  {BOLD}{value:>values$}{BOLD:#}");
        for (number, line) in wrapped(meaning, width.saturating_sub(margin).max(TEXT_COLUMNS_MIN)).iter().enumerate() {
            // Writing to a String does not fail.
            let _ = if number == 0 {
                write!(text, "  {DIM}{line}{DIM:#}")
            } else {
                write!(text, "\n{:margin$}{DIM}{line}{DIM:#}", "")
            };
        }
    }
    text
}

/// `text` in lines that end at `width`, all but the first behind `margin` spaces.
pub(crate) fn indented(text: &str, margin: usize, width: usize) -> String {
    wrapped(text, width.saturating_sub(margin).max(TEXT_COLUMNS_MIN)).join(&format!("\n{:margin$}", ""))
}

/// `text` in lines of at most `width` characters, cut at spaces where there are any.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0_usize;
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        let fits = used.saturating_add(1).saturating_add(rest.len()) <= width;
        if used > 0 && !fits {
            lines.push(String::new());
            used = 0;
        }
        while !rest.is_empty() || used == 0 {
            let take = rest.len().min(width);
            let piece: String = rest.drain(..take).collect();
            let Some(line) = lines.last_mut() else { break };
            if used > 0 {
                line.push(' ');
                used = used.saturating_add(1);
            }
            used = used.saturating_add(piece.chars().count());
            line.push_str(&piece);
            if rest.is_empty() {
                break;
            }
            lines.push(String::new());
            used = 0;
        }
    }
    lines
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
        let text = limits(&[row("a.b", "256KiB"), row("long.key", "1")], usize::MAX);
        assert_eq!(plain(&text), "Limits in force\n  a.b       256KiB  what\n  long.key       1  what");
        let long = LimitRow { meaning: "what it is and what becomes of one more", ..row("a", "1") };
        let text = plain(&limits(&[long], 36));
        assert_eq!(text, "Limits in force\n  a  1  what it is and what becomes\n        of one more");
    }

    #[test]
    fn long_lines_are_cut_at_spaces_and_long_words_anywhere() {
        for (text, width, want) in [
            ("one two three", 80, &["one two three"][..]),
            ("one two three", 8, &["one two", "three"]),
            ("abcdefghij", 4, &["abcd", "efgh", "ij"]),
            ("a abcdefgh", 4, &["a", "abcd", "efgh"]),
            ("", 4, &[""]),
        ] {
            assert_eq!(wrapped(text, width), want, "{text}");
        }
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
