//! `wsguard log verify`

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use wsguard_core::token::Key;
use wsguard_server::journal::verify::{Fault, Verified, verify};

use super::{EXIT_CODES, Exit};
use crate::output::{self, BOLD, DIM, RED};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find the first place where a security log is not what was written, and say which entries are affected.
    #[command(after_help = EXIT_CODES)]
    Verify(Verify),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("trust").args(["key", "chain_only"]).required(true)))]
struct Verify {
    /// The files of one log, in any order: the current one and its rotated ones.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The public key of the checkpoints (`security.key.pub`), kept where those who can write the log cannot write.
    #[arg(long, value_name = "FILE.pub")]
    key: Vec<PathBuf>,
    /// Verify the hashes alone. Whoever can write the files can also make the hashes good again.
    #[arg(long)]
    chain_only: bool,
    /// Checkpoints that were shipped elsewhere (`log.checkpoints`): they show whether the end was cut off.
    #[arg(long, value_name = "FILE", conflicts_with = "chain_only")]
    checkpoints: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let Command::Verify(arguments) = &arguments.command;
    let mut keys = Vec::with_capacity(arguments.key.len());
    for path in &arguments.key {
        match std::fs::read(path) {
            Ok(bytes) => match Key::parse(&path.display().to_string(), &bytes) {
                Ok(key) => keys.push(key),
                Err(error) => return output::failed(error, Exit::Usage),
            },
            Err(error) => return output::failed(format_args!("read {}: {error}", path.display()), Exit::Usage),
        }
    }
    let verified = match verify(&arguments.files, &keys, arguments.checkpoints.as_deref()) {
        Ok(verified) => verified,
        Err(error) => return output::failed(error, Exit::Usage),
    };
    let printed = if arguments.json {
        output::json(&verified)
    } else {
        output::result(report(&verified, !keys.is_empty(), arguments.checkpoints.is_some()))
    };
    let proved = verified.fault.is_none() && (keys.is_empty() || verified.signed_to.is_some());
    match printed {
        Exit::Good if !proved => Exit::Failed,
        other => other,
    }
}

/// What a person reads.
fn report(verified: &Verified, signed: bool, shipped: bool) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    match &verified.fault {
        None if signed && verified.signed_to.is_none() => {
            let _ = write!(text, "{RED}unproven{RED:#}");
        }
        None => {
            let _ = write!(text, "{BOLD}whole{BOLD:#}");
        }
        Some(Fault { place, kind, from, to }) => {
            let _ =
                write!(text, "{RED}broken{RED:#}  {}:{}: {kind}\n        affected: ", place.file.display(), place.line);
            let _ = match to {
                Some(to) if to == from => write!(text, "entry {from}"),
                Some(to) => write!(text, "entries {from} to {to}"),
                None => write!(text, "everything from entry {from} on"),
            };
        }
    }
    let _ = write!(text, "\n  entries      {} to {} ({})", verified.first, verified.last, verified.lines);
    let _ = match (signed, verified.signed_to) {
        (false, _) => {
            write!(text, "\n  signatures   not checked: the hashes alone prove nothing against who can write the file")
        }
        (true, None) => write!(text, "\n  signatures   none: nothing vouches for these entries"),
        (true, Some(to)) => {
            write!(text, "\n  signatures   {} checkpoints, good up to entry {to}", verified.checkpoints)
        }
    };
    if verified.first > 1 {
        let _ = write!(text, "\n  beginning    earlier entries are in files that were not given");
    }
    for place in &verified.torn {
        let _ =
            write!(text, "\n  torn line    {}:{}: a crash cut it off; no tampering", place.file.display(), place.line);
    }
    let _ = if shipped {
        write!(text, "\n  shipped      {} checkpoints found again", verified.shipped)
    } else {
        write!(text, "\n  {DIM}A cut end shows only against shipped checkpoints (--checkpoints).{DIM:#}")
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsguard_server::journal::verify::{FaultKind, Place};

    #[test]
    fn the_report_says_what_was_proved_and_what_was_not() {
        let whole = Verified { first: 1, last: 9, lines: 9, checkpoints: 2, signed_to: Some(8), ..Verified::default() };
        let place = Place { file: "a.jsonl".into(), line: 5 };
        let fault = |to| Some(Fault { place: place.clone(), kind: FaultKind::Missing, from: 5, to });
        for (name, verified, signed, shipped, want) in [
            (
                "whole",
                whole.clone(),
                true,
                true,
                vec!["whole", "1 to 9", "2 checkpoints, good up to entry 8", "found again"],
            ),
            ("unsigned", Verified { signed_to: None, ..whole.clone() }, false, false, vec!["not checked", "A cut end"]),
            (
                "no checkpoint",
                Verified { signed_to: None, ..whole.clone() },
                true,
                false,
                vec!["unproven", "nothing vouches"],
            ),
            (
                "one",
                Verified { fault: fault(Some(5)), ..whole.clone() },
                true,
                false,
                vec!["a.jsonl:5: lines are missing", "affected: entry 5"],
            ),
            ("some", Verified { fault: fault(Some(7)), ..whole.clone() }, true, false, vec!["entries 5 to 7"]),
            ("open", Verified { fault: fault(None), ..whole.clone() }, true, false, vec!["everything from entry 5 on"]),
            ("torn", Verified { torn: vec![place.clone()], ..whole.clone() }, true, false, vec!["a crash cut it off"]),
            ("later", Verified { first: 4, ..whole }, true, false, vec!["earlier entries"]),
        ] {
            let text = output::plain(&report(&verified, signed, shipped));
            for part in want {
                assert!(text.contains(part), "{name}: {part:?} in {text}");
            }
        }
    }
}
