//! `wsguard health`.

mod watch;

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;

use anstream::stderr;
use clap::Args;
use wsguard_audit::Status;
use wsguard_audit::health::{Health, Item, Plan, Verdict, health};
use wsguard_audit::measure::shown;

use super::Exit;
use super::target::TargetArguments;
use crate::output::{self, BOLD, DIM, GREEN, RED, YELLOW};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Pings and messages whose answers are timed [default: 20]; with --watch: end after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Longest wait for a heartbeat of the server, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(0..=240), conflicts_with = "watch")]
    wait: u16,
    /// Ask once a second, come back after losses, and draw the latency until interrupted
    #[arg(long)]
    watch: bool,
    /// With --watch: seconds between two messages
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval, requires = "watch")]
    interval: f64,
    /// Print the report as JSON; with --watch: a line for each message
    #[arg(long)]
    json: bool,
    /// Show everything that was seen
    #[arg(long, short)]
    verbose: bool,
}

/// Five messages a second are within any quota worth the name.
fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds")?;
    if (0.2..=60.0).contains(&seconds) { Ok(seconds) } else { Err("expected 0.2 to 60 seconds".into()) }
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    let options = match arguments.target.options() {
        Ok(options) => options,
        Err(error) => return output::failed(error, Exit::Usage),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(format!("start: {error}"), Exit::Failed),
    };
    if arguments.watch {
        let plan = watch::Plan {
            interval: std::time::Duration::from_secs_f64(arguments.interval),
            count: arguments.count,
            json: arguments.json,
        };
        return runtime.block_on(watch::run(options, plan));
    }
    let count = arguments.count.unwrap_or(Plan::DEFAULT.count);
    if count > Plan::COUNT_MAX {
        return output::failed(format!("use --count {count}: at most {}", Plan::COUNT_MAX), Exit::Usage);
    }
    let plan = Plan { count, wait: f64::from(arguments.wait) };
    let line = Line::default();
    let health = match runtime.block_on(health(options, plan, &|what| line.say(what))) {
        Ok(health) => health,
        Err(error) => return output::failed(error, Exit::Usage),
    };
    line.clear();
    let printed = if arguments.json {
        output::json(&health)
    } else {
        output::result(table(&health, arguments.verbose, output::width(std::io::stdout())))
    };
    match health.verdict {
        _ if printed != Exit::Good => printed,
        Verdict::Healthy => Exit::Good,
        Verdict::Unhealthy => Exit::Failed,
        Verdict::Unreached => Exit::Unreached,
    }
}

/// What is being done, on one line of a terminal.
#[derive(Debug, Default)]
struct Line(Mutex<bool>);

impl Line {
    fn say(&self, what: &str) {
        if std::io::stderr().is_terminal() {
            *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
            // With standard error gone there is nobody left to tell.
            let _ = write!(stderr().lock(), "\r\x1b[K{DIM}{what} …{DIM:#}");
        }
    }

    fn clear(&self) {
        if *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }
}

/// Columns before what was seen: two, the status, the title.
const MARGIN: usize = 46;

/// The report as a person reads it.
fn table(health: &Health, verbose: bool, width: usize) -> String {
    let mut out = format!("{BOLD}{}{BOLD:#}", output::harmless(&health.target));
    if let Some(spoken) = &health.spoken {
        // Writing to a String does not fail.
        let _ = write!(out, "  {DIM}{}, credential: {}{DIM:#}", spoken.dialect, spoken.credential);
    }
    out.push('\n');
    let mut group = "";
    let blocked = health.steps.iter().filter(|item| item.is_blocked).count();
    for item in health.steps.iter().filter(|item| verbose || !item.is_blocked) {
        if item.group != group {
            group = item.group;
            let _ = write!(out, "\n{BOLD}{group}{BOLD:#}");
            let parts = parts(health);
            if group == "connection" && !parts.is_empty() {
                let _ = write!(out, "  {DIM}{parts}{DIM:#}");
            }
            out.push('\n');
        }
        row(&mut out, item, verbose, width);
    }
    if blocked > 0 && !verbose {
        let _ = writeln!(out, "\n{DIM}{blocked} further steps were not looked at (--verbose names them){DIM:#}");
    }
    let count = |word: &str| health.summary.get(word).copied().unwrap_or_default();
    let verdict = match health.verdict {
        Verdict::Healthy => format!("{GREEN}{BOLD}healthy{BOLD:#}{GREEN:#}"),
        other => format!("{RED}{}{RED:#}", other.as_str()),
    };
    let _ = write!(
        out,
        "\n{verdict}  {} passed, {} failed, {} warned, {} unknown, in {:.1} s",
        count("pass"),
        count("fail"),
        count("warn"),
        count("unknown"),
        std::time::Duration::from_millis(health.duration_ms).as_secs_f64()
    );
    out
}

/// How long each part of the connection took.
fn parts(health: &Health) -> String {
    let connection = &health.connection;
    let parts = [
        ("DNS", connection.dns_ms),
        ("TCP", connection.tcp_ms),
        ("TLS", connection.tls_ms),
        ("upgrade", connection.upgrade_ms),
    ];
    let known = parts.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {}", shown(ms))));
    known.collect::<Vec<_>>().join(" · ")
}

fn row(out: &mut String, item: &Item, verbose: bool, width: usize) {
    let status = match item.status.0 {
        Status::Pass => format!("{GREEN}pass   {GREEN:#}"),
        Status::Fail => format!("{RED}fail   {RED:#}"),
        Status::Warn => format!("{YELLOW}warn   {YELLOW:#}"),
        Status::Unknown | Status::Skipped => format!("{DIM}unknown{DIM:#}"),
    };
    let _ = write!(out, "  {status}  {:35}", item.title);
    let settled = item.settled_by.as_ref().map(|what| format!("settled by: {what}"));
    let shown = if verbose { item.evidence.len() } else { 1 };
    let lines = item.evidence.iter().take(shown).map(|line| output::harmless(line)).chain(settled);
    let mut is_first = true;
    for line in lines.flat_map(|line| output::wrapped(&line, width.saturating_sub(MARGIN).max(32))) {
        if !is_first {
            let _ = write!(out, "{:MARGIN$}", "");
        }
        is_first = false;
        let _ = writeln!(out, "{DIM}{line}{DIM:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds() {
        for (text, want) in
            [("1", true), ("0.2", true), ("60", true), ("0", false), ("61", false), ("x", false), ("NaN", false)]
        {
            assert_eq!(interval(text).is_ok(), want, "{text}");
        }
    }
}
