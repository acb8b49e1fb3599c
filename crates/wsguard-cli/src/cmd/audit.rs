//! `wsguard audit`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anstream::stderr;
use clap::Args;
use clap::builder::PossibleValuesParser;
use wsguard_audit::report;
use wsguard_audit::{
    AuditError, CHECKS, Check, Limits, Options, Outcome, Progress, Report, Severity, Silent, Status, TargetError,
};

use super::Exit;
use super::target::TargetArguments;
use crate::output::{self, BOLD, DIM, GREEN, RED, YELLOW};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// A credential of another account
    #[arg(long, value_name = "TOKEN")]
    token_b: Option<String>,
    /// A credential that has ended
    #[arg(long, value_name = "TOKEN")]
    expired_token: Option<String>,
    /// A good credential that is meant for another service
    #[arg(long, value_name = "TOKEN")]
    foreign_token: Option<String>,
    /// A good credential, a JWT that ends within half a minute (with --full within ten)
    #[arg(long, value_name = "TOKEN")]
    short_token: Option<String>,
    /// A good credential that the audit may end at --logout-url [default: at the very end that of --token]
    #[arg(long, value_name = "TOKEN", requires = "logout_url")]
    logout_token: Option<String>,
    /// Where a request with the credential ends the session
    #[arg(long, value_name = "URL")]
    logout_url: Option<String>,
    /// Where a request with the credential gives a ticket
    #[arg(long, value_name = "URL")]
    ticket_url: Option<String>,
    /// Where a POST logs in and sets the session cookie
    #[arg(long, value_name = "URL")]
    login_url: Option<String>,
    /// What is posted there: JSON, or the fields of a form
    #[arg(long, value_name = "BODY", requires = "login_url")]
    login_data: Option<String>,
    /// A login that fails, with `{user}` and `{password}`: a message, or what is posted to --bad-login-url
    #[arg(long, value_name = "MESSAGE", requires = "known_user")]
    bad_login: Option<String>,
    /// Where a POST of --bad-login logs in
    #[arg(long, value_name = "URL", requires = "bad_login")]
    bad_login_url: Option<String>,
    /// An account of your own, whose name --bad-login uses: it may be locked for a while
    #[arg(long, value_name = "NAME", requires = "bad_login")]
    known_user: Option<String>,
    /// The message that resumes a session; `{session}` stands for what the server called it
    #[arg(long, value_name = "MESSAGE")]
    resume: Option<String>,
    /// A second address of this machine, of the same network, to come from
    #[arg(long, value_name = "ADDRESS")]
    source_b: Option<IpAddr>,
    /// Run only the checks whose id begins so (csrf, WSA-TLS-01)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave out the checks whose id begins so
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    skip: Vec<String>,
    /// With the longer waits, and with performance and stress (64 sockets at most)
    #[arg(long)]
    full: bool,
    /// With what might hurt a weak server
    #[arg(long)]
    intrusive: bool,
    /// With --full: up to 512 sockets at a time, as fast as they open
    #[arg(long)]
    i_own_this_target: bool,
    /// Explain a check and do nothing
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
    /// Where the reports go
    #[arg(long, value_name = "DIR", default_value = "reports/websocket-security")]
    out: PathBuf,
    /// A report in JSON to compare with
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Exit with 1 from this severity on
    #[arg(long, value_name = "SEVERITY", default_value = "low", value_parser = PossibleValuesParser::new(["critical", "high", "medium", "low", "info", "never"]))]
    fail_on: String,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Show every check with its evidence, also those that passed
    #[arg(long, short)]
    verbose: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    if let Some(id) = &arguments.explain {
        return match wsguard_audit::explain(id) {
            Some(page) => output::result(page.trim_end()),
            None => {
                output::failed(format!("explain {id}: no such check; the ids are {}", ids().join(", ")), Exit::Usage)
            }
        };
    }
    let options = match options(arguments) {
        Ok(options) => options,
        Err(error) => return output::failed(error, Exit::Usage),
    };
    let old = match arguments.compare.as_deref().map(read_report).transpose() {
        Ok(old) => old,
        Err(error) => return output::failed(error, Exit::Usage),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(format!("start: {error}"), Exit::Failed),
    };
    let terminal = Terminal::default();
    let progress: &dyn Progress = if std::io::stderr().is_terminal() { &terminal } else { &Silent };
    let audited = runtime.block_on(wsguard_audit::audit(options, progress));
    terminal.clear();
    let mut report = match audited {
        Ok(report) => report,
        Err(error @ (AuditError::Unreached { .. } | AuditError::Target(TargetError::Name(..)))) => {
            return output::failed(error, Exit::Unreached);
        }
        Err(error) => return output::failed(error, Exit::Usage),
    };
    report.comparison = old.as_ref().map(|old| report::compare(old, &report));
    if let Err(error) = write_reports(&arguments.out, &report) {
        return output::failed(error, Exit::Failed);
    }
    let printed = if arguments.json {
        output::json(&report)
    } else {
        output::result(table(&report, arguments.verbose, &arguments.out, output::width(std::io::stdout())))
    };
    if printed != Exit::Good {
        return printed;
    }
    let has_failed =
        Severity::named(&arguments.fail_on).is_some_and(|severity| report.failures(severity).next().is_some());
    if has_failed { Exit::Failed } else { Exit::Good }
}

fn ids() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.meta.id).collect()
}

fn options(arguments: &Arguments) -> Result<Options, String> {
    Ok(Options {
        token_b: arguments.token_b.clone(),
        expired_token: arguments.expired_token.clone(),
        foreign_token: arguments.foreign_token.clone(),
        short_token: arguments.short_token.clone(),
        logout_token: arguments.logout_token.clone(),
        logout_url: arguments.logout_url.clone(),
        ticket_url: arguments.ticket_url.clone(),
        login_url: arguments.login_url.clone(),
        login_data: arguments.login_data.clone(),
        bad_login: arguments.bad_login.clone(),
        bad_login_url: arguments.bad_login_url.clone(),
        known_user: arguments.known_user.clone(),
        resume: arguments.resume.clone(),
        source_b: arguments.source_b,
        full: arguments.full,
        intrusive: arguments.intrusive,
        own_target: arguments.i_own_this_target,
        only: arguments.only.clone(),
        skip: arguments.skip.clone(),
        ..arguments.target.options()?
    })
}

fn read_report(path: &Path) -> Result<Report, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("read {} as a report: {error}", path.display()))
}

/// Names of the files in the folder of reports.
const FILES: [&str; 4] = ["report.json", "report.md", "report.html", "report.sarif"];

fn write_reports(folder: &Path, report: &Report) -> Result<(), String> {
    let could_not = |what: &Path, error: &dyn std::fmt::Display| format!("write {}: {error}", what.display());
    std::fs::create_dir_all(folder).map_err(|error| could_not(folder, &error))?;
    let json = report.json().map_err(|error| could_not(folder, &error))?;
    let sarif = serde_json::to_string_pretty(&report::sarif(report)).map_err(|error| could_not(folder, &error))?;
    for (name, text) in FILES.into_iter().zip([json, report::markdown(report), report::html(report), sarif]) {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| could_not(&path, &error))?;
    }
    Ok(())
}

/// The result as a person reads it.
fn table(report: &Report, verbose: bool, folder: &Path, width: usize) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let dim = |out: &mut String, line: &str| {
        let _ = writeln!(out, "         {DIM}{}{DIM:#}", output::indented(line, 9, width));
    };
    for item in &report.checks {
        let status = item.status.0;
        if !verbose && matches!(status, Status::Pass | Status::Skipped | Status::Unknown) {
            continue;
        }
        // Writing to a String does not fail.
        let _ = writeln!(out, "{}  {:12} {:8}  {}", coloured(status), item.id, item.severity.0.as_str(), item.title);
        let lines = if verbose { item.evidence.len() } else { 2 };
        for line in item.evidence.iter().take(lines) {
            dim(&mut out, &output::harmless(line));
        }
        if let Some(settle) = &item.settled_by {
            dim(&mut out, &format!("settled by: {settle}"));
        }
    }
    let needs: BTreeSet<&str> = report.checks.iter().filter_map(|item| item.settled_by.as_deref()).collect();
    let summary = &report.summary;
    let grade = report.grade.as_deref().unwrap_or("no letter");
    let counts = format!(
        "score {}, coverage {} %: {} passed, {} failed, {} warned, {} unknown, {} skipped",
        report.score, report.coverage, summary.pass, summary.fail, summary.warn, summary.unknown, summary.skipped
    );
    let margin = grade.len().saturating_add(8);
    let counts = output::indented(&counts, margin, width);
    let _ = writeln!(out, "\n{BOLD}Grade {grade}{BOLD:#}  {counts}");
    for reason in &report.grade_reasons {
        let _ = writeln!(out, "  {reason}");
    }
    if let Some(comparison) = &report.comparison {
        let (target, when) = (output::harmless(&comparison.target), output::harmless(&comparison.started_at));
        let other = if comparison.target == report.target { "" } else { "another target, " };
        let _ = writeln!(out, "  compared with {other}{target} of {when}");
        for (word, list) in [
            ("new", &comparison.new),
            ("fixed", &comparison.fixed),
            ("unchanged", &comparison.unchanged),
            ("undecided", &comparison.undecided),
        ] {
            let ids: Vec<String> = list.iter().map(|id| output::harmless(id)).collect();
            let _ = writeln!(out, "  {word}: {}", if ids.is_empty() { "none".to_owned() } else { ids.join(", ") });
        }
    }
    if summary.unknown > 0 && !needs.is_empty() {
        let needs = needs.into_iter().collect::<Vec<_>>().join("; ");
        let _ = writeln!(out, "  {}", output::indented(&format!("what would settle the unknown: {needs}"), 2, width));
    }
    if let Some(performance) = &report.performance {
        let _ = writeln!(out, "\n{BOLD}Performance and stress{BOLD:#}");
        for (name, value) in performance.lines() {
            let _ = writeln!(out, "  {name:28}{}", output::harmless(&value));
        }
        out.push('\n');
    }
    let used = &report.budget;
    let _ = write!(
        out,
        "  used {} handshakes, {} messages, {} bytes in {:.0} s; reports in {}",
        used.handshakes.first().copied().unwrap_or_default(),
        used.messages.first().copied().unwrap_or_default(),
        used.bytes.first().copied().unwrap_or_default(),
        std::time::Duration::from_millis(report.duration_ms).as_secs_f64(),
        folder.display()
    );
    out
}

fn coloured(status: Status) -> String {
    match status {
        Status::Pass => format!("{GREEN}pass   {GREEN:#}"),
        Status::Fail => format!("{RED}fail   {RED:#}"),
        Status::Warn => format!("{YELLOW}warn   {YELLOW:#}"),
        Status::Unknown => format!("{DIM}unknown{DIM:#}"),
        Status::Skipped => format!("{DIM}skipped{DIM:#}"),
    }
}

/// A line that is written over, and findings as they come.
#[derive(Debug, Default)]
struct Terminal(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    started: Option<Instant>,
    seconds: u64,
    total: usize,
    done: usize,
    at_work: Vec<String>,
}

impl Terminal {
    fn draw(line: &Line) {
        let passed = line.started.map_or(0, |started| started.elapsed().as_secs());
        let left = line.seconds.saturating_sub(passed);
        let at_work = line.at_work.join(" ");
        let _ = write!(
            stderr().lock(),
            "\r\x1b[K{DIM}{}/{}  at most {left} s left  {at_work:.44}{DIM:#}",
            line.done,
            line.total
        );
    }

    fn clear(&self) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).started.is_some() {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Progress for Terminal {
    fn begins(&self, target: &str, spoken: &str, limits: Limits, checks: usize) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *line = Line { started: Some(Instant::now()), seconds: limits.seconds, total: checks, ..Line::default() };
        output::note(format!(
            "{BOLD}{}{BOLD:#}  {}\n{DIM}budget: {} handshakes ({} in 10 s), {} sockets, {} messages, {} bytes, {} s{DIM:#}",
            output::harmless(target),
            output::harmless(spoken),
            limits.handshakes,
            limits.handshakes_per_10_s,
            limits.sockets,
            limits.messages,
            limits.bytes,
            limits.seconds
        ));
        Self::draw(&line);
    }

    fn started(&self, check: &Check) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A check may be run twice.
        if !line.at_work.iter().any(|id| id == check.meta.id) {
            line.at_work.push(check.meta.id.to_owned());
        }
        Self::draw(&line);
    }

    fn finished(&self, check: &Check, outcome: &Outcome, done: usize) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.at_work.retain(|id| id != check.meta.id);
        line.done = done;
        if matches!(outcome.status, Status::Fail | Status::Warn) {
            let severity = outcome.severity.unwrap_or(check.meta.severity);
            let _ = writeln!(
                stderr().lock(),
                "\r\x1b[K{}  {:12} {:8}  {}",
                coloured(outcome.status),
                check.meta.id,
                severity.as_str(),
                check.meta.title
            );
        }
        Self::draw(&line);
    }

    fn measuring(&self, what: &str) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.at_work = vec![what.to_owned()];
        Self::draw(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text beside the other forms of the same report; `WSGUARD_UPDATE=1` writes it anew.
    #[test]
    fn the_text_looks_as_it_did() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testkit/tests/snapshots"));
        let report = read_report(&folder.join("report.json")).unwrap();
        let found = [false, true].map(|verbose| {
            let text = output::plain(&table(&report, verbose, Path::new("reports"), usize::MAX));
            format!(
                "{}$ wsguard audit{}\n{text}\n",
                if verbose { "\n" } else { "" },
                if verbose { " --verbose" } else { "" }
            )
        });
        let (found, path) = (found.concat(), folder.join("report.txt"));
        if std::env::var_os("WSGUARD_UPDATE").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), found);
    }
}
