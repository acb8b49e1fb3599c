//! The commands, and the exit codes that scripts rely on.

mod audit;
pub(crate) mod check_config;
mod completions;
mod connections;
mod health;
mod keygen;
mod log;
mod man;
mod revoke;
mod serve;
mod sessions;
mod setup;
mod target;
mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wsguard_server::config::FILE_NAME;

/// What a command ends with. The numbers are part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: it was done, or the check found nothing.
    Good,
    /// 1: the check found a failure, or the work failed on the way.
    Failed,
    /// 2: wrong usage or configuration; nothing was done.
    Usage,
    /// 3: the target could not be reached.
    Unreached,
}

impl Exit {
    /// The number that the process ends with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreached => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Shown under every `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  good
  1  the check found a failure, or the work failed on the way
  2  wrong usage or configuration
  3  the target could not be reached

Results go to standard output, everything else to standard error. NO_COLOR is respected.";

/// A security layer for WebSockets: every handshake and every message passes the guard.
#[derive(Debug, Parser)]
#[command(name = "wsguard", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the guarded server.
    #[command(after_help = EXIT_CODES)]
    Serve(serve::Arguments),
    /// Report every mistake of the configuration at once, or print the limits in force.
    #[command(after_help = EXIT_CODES)]
    CheckConfig(check_config::Arguments),
    /// Make a key that signs tokens, and the key that verifies them.
    #[command(after_help = EXIT_CODES)]
    Keygen(keygen::Arguments),
    /// Sign a token and print it alone.
    #[command(after_help = EXIT_CODES)]
    Token(token::Arguments),
    /// Make tokens, sessions or subjects worthless at once, on a running server.
    #[command(after_help = EXIT_CODES)]
    Revoke(revoke::Arguments),
    /// Look at the open sessions of a running server.
    #[command(after_help = EXIT_CODES)]
    Sessions(sessions::Arguments),
    /// Look at how the open connections of a running server stand.
    #[command(after_help = EXIT_CODES)]
    Connections(connections::Arguments),
    /// Judge a WebSocket server from outside: any server, not only this one.
    #[command(after_help = EXIT_CODES)]
    Audit(Box<audit::Arguments>),
    /// Look at how a WebSocket server is, from outside: is it there, does it answer, does it come back.
    #[command(after_help = EXIT_CODES)]
    Health(Box<health::Arguments>),
    /// Secure a project: configuration, schemas, keys, the guarded endpoint, the client, a unit, an audit job.
    #[command(after_help = EXIT_CODES)]
    Setup(setup::Arguments),
    /// Look at the security log.
    #[command(after_help = EXIT_CODES)]
    Log(log::Arguments),
    /// Print the completions of a shell.
    #[command(after_help = EXIT_CODES)]
    Completions(completions::Arguments),
    /// Print the manual page, or write it and one for each command to a folder.
    #[command(after_help = EXIT_CODES)]
    Man(man::Arguments),
}

/// Runs a command.
pub(crate) fn run(cli: Cli) -> Exit {
    match cli.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::Keygen(arguments) => keygen::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Revoke(arguments) => revoke::run(&arguments),
        Command::Sessions(arguments) => sessions::run(&arguments),
        Command::Connections(arguments) => connections::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Log(arguments) => log::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}

/// The file to read: the one that was named, else `wsguard.toml` if it is there.
fn config_file(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| Path::new(FILE_NAME).exists().then(|| PathBuf::from(FILE_NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        for (exit, want) in [(Exit::Good, 0), (Exit::Failed, 1), (Exit::Usage, 2), (Exit::Unreached, 3)] {
            assert_eq!(exit.code(), want);
            assert!(EXIT_CODES.contains(&format!("\n  {want}  ")), "{exit:?}");
        }
    }

    #[test]
    fn flags_are_those_of_the_contract() {
        for (line, good) in [
            ("serve", true),
            ("serve --config a.toml --dev --listen 127.0.0.1:0 --admin 127.0.0.1:0", true),
            ("serve a.toml", false),
            ("check-config", true),
            ("check-config --config a.toml --json", true),
            ("keygen --out a", true),
            ("keygen --alg ES256 --out a --json", true),
            ("keygen --alg HS256 --out a", true),
            ("keygen --alg RS256 --out a", false),
            ("keygen --alg none --out a", false),
            ("keygen", false),
            ("token --key a --sub ann", true),
            ("token --key a --sub ann --role x --role y --scope z --ttl 15m --json", true),
            ("token --key a --sub ann --ttl 15", false),
            ("token --key a --sub ann --ttl 0s", false),
            ("token --sub ann", false),
            ("revoke --subject ann --reason gone --json", true),
            ("revoke --subject ann --issued-before now --admin http://localhost:1 --key-file k", true),
            ("revoke --subject ann --issued-before 2026-11-25T03:10:52Z", true),
            ("revoke --subject ann --issued-before yesterday", false),
            ("revoke --session 000102030405060708090a0b0c0d0e0f", true),
            ("revoke --jti j", true),
            ("revoke --list", true),
            ("revoke --lift 7", true),
            ("revoke --jti j --subject ann", false),
            ("revoke --jti j --issued-before now", false),
            ("revoke", false),
            ("sessions list --json --admin http://localhost:1", true),
            ("sessions", false),
            ("connections list --subject ann --json --admin http://localhost:1", true),
            ("connections", false),
            ("health", true),
            ("health --url ws://localhost:1/ws --token t --verbose --count 5 --json --wait 0", true),
            ("health --watch --count 5 --interval 0.5 --json", true),
            ("health --interval 2", false),
            ("health --watch --wait 1", false),
            ("health --count 0", false),
            ("setup", true),
            ("setup a --force --verbose --yes --dry-run", true),
            ("setup a b", false),
            ("completions bash", true),
            ("completions", false),
            ("completions cmd", false),
            ("man", true),
            ("man --out a", true),
            ("log verify a.jsonl --key a.pub", true),
            ("log verify a.jsonl b.jsonl --key a.pub --key b.pub --checkpoints c.jsonl --json", true),
            ("log verify a.jsonl --chain-only", true),
            ("log verify a.jsonl", false),
            ("log verify a.jsonl --chain-only --key a.pub", false),
            ("log verify a.jsonl --chain-only --checkpoints c.jsonl", false),
            ("log verify --key a.pub", false),
            ("", false),
            ("dance", false),
        ] {
            let words = std::iter::once("wsguard").chain(line.split_whitespace());
            assert_eq!(Cli::try_parse_from(words).is_ok(), good, "{line}");
        }
    }

    #[test]
    fn every_help_names_the_exit_codes() {
        for line in [
            "--help",
            "serve --help",
            "check-config --help",
            "keygen --help",
            "token --help",
            "audit --help",
            "health --help",
            "setup --help",
            "completions --help",
            "man --help",
            "log --help",
            "log verify --help",
        ] {
            let words = std::iter::once("wsguard").chain(line.split_whitespace());
            let answer = Cli::try_parse_from(words).unwrap_err();
            assert!(!answer.use_stderr(), "{line}");
            assert!(answer.to_string().contains("3  the target could not be reached"), "{line}");
        }
    }
}
