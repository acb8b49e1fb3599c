//! `wsguard health --watch`: latency over time, drawn with the characters that every terminal has.
//!
//! A library for terminal pages would bring forty crates for one chart that nobody types into.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anstream::stdout;
use clap::builder::styling::Style;
use serde_json::json;
use wsguard_audit::health::{Beat, Watch, WatchError};
use wsguard_audit::measure::{Distribution, shown};
use wsguard_audit::{Options, TargetError};

use crate::cmd::Exit;
use crate::output::{self, BOLD, DIM, GREEN, RED, YELLOW};

/// What is watched for, and how it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) interval: Duration,
    /// End after so many beats.
    pub(super) count: Option<u32>,
    pub(super) json: bool,
}

/// Beats that are kept for the figures below the chart: an hour of seconds.
const KEPT_MAX: usize = 3_600;

/// Rows of the chart, where the terminal has them.
const ROWS_MAX: usize = 12;

/// Columns of the labels at the left.
const LABELS: usize = 10;

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)))
}

/// Watches until interrupted, or for so many beats.
pub(super) async fn run(options: Options, plan: Plan) -> Exit {
    if std::io::stdout().is_terminal() && !plan.json {
        // The chart is drawn over it.
        let _ = write!(stdout().lock(), "{DIM}connecting …{DIM:#}");
        let _ = stdout().lock().flush();
    }
    let mut watch = match Watch::begin(options, plan.interval).await {
        Ok(watch) => watch,
        Err(error) => {
            if std::io::stdout().is_terminal() && !plan.json {
                let _ = write!(stdout().lock(), "\r\x1b[2K");
            }
            return refused(error);
        }
    };
    let mut log = Log::new(watch.target(), watch.asks());
    let mut screen = Screen::begin(&plan);
    let mut left = plan.count.unwrap_or(u32::MAX);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while left > 0 {
        let beat = tokio::select! {
            beat = watch.next() => beat,
            _ = &mut interrupted => break,
        };
        if plan.count.is_some() {
            left = left.saturating_sub(1);
        }
        log.add(&beat);
        if screen.show(&log, &beat).is_err() {
            // The reader went away (`| head`).
            break;
        }
    }
    screen.end(&log)
}

/// There is nothing to watch.
fn refused(error: WatchError) -> Exit {
    match error {
        WatchError::Target(error @ TargetError::Url(_)) => output::failed(error, Exit::Usage),
        error @ WatchError::Refused { .. } => output::failed(error, Exit::Failed),
        error => output::failed(error, Exit::Unreached),
    }
}

/// What was seen until now.
#[derive(Debug)]
struct Log {
    target: String,
    asks: &'static str,
    since: Instant,
    /// Milliseconds, or none where nothing was answered; the newest last.
    beats: VecDeque<Option<f64>>,
    /// Of all beats, those that were not answered.
    lost: u32,
    all: u32,
    back: u32,
    /// Why there is no connection, if there is none.
    away: Option<String>,
}

impl Log {
    fn new(target: String, asks: &'static str) -> Self {
        Self { target, asks, since: Instant::now(), beats: VecDeque::new(), lost: 0, all: 0, back: 0, away: None }
    }

    fn add(&mut self, beat: &Beat) {
        let ms = match beat {
            Beat::Answered(ms) => Some(*ms),
            // To be back is not yet an answer, and no loss either.
            Beat::Back(_) => {
                self.back = self.back.saturating_add(1);
                self.away = None;
                return;
            }
            Beat::Late => None,
            Beat::Lost(why) | Beat::Away(why) => {
                self.away = Some(why.clone());
                None
            }
        };
        self.all = self.all.saturating_add(1);
        self.lost = self.lost.saturating_add(u32::from(ms.is_none()));
        if self.beats.len() >= KEPT_MAX {
            self.beats.pop_front();
        }
        self.beats.push_back(ms);
    }

    fn figures(&self) -> Option<Distribution> {
        let times: Vec<Duration> =
            self.beats.iter().flatten().map(|ms| Duration::from_secs_f64(ms / 1_000.0)).collect();
        Distribution::of(&times, 0).filter(|_| !times.is_empty())
    }

    /// The figures, in lines of at most `width` columns: a longer one would spoil what is drawn over it.
    fn told(&self, width: usize) -> String {
        let mut parts = Vec::new();
        if let Some(of) = self.figures() {
            for (name, ms) in [("p50", of.p50_ms), ("p95", of.p95_ms), ("jitter", of.jitter_ms), ("longest", of.max_ms)]
            {
                parts.push((format!("{name} {}", shown(ms)), Style::new()));
            }
        }
        let style = if self.lost > 0 { RED } else { Style::new() };
        parts.push((format!("lost {} of {}", self.lost, self.all), style));
        if self.back > 0 {
            parts.push((format!("came back {}×", self.back), Style::new()));
        }
        let (mut out, mut used) = (String::new(), 0_usize);
        for (text, style) in parts {
            let length = text.chars().count();
            if used > 0 && used.saturating_add(length).saturating_add(3) > width {
                out.push('\n');
                used = 0;
            }
            if used > 0 {
                out.push_str("   ");
                used = used.saturating_add(3);
            }
            // Writing to a String does not fail.
            let _ = write!(out, "{style}{text}{style:#}");
            used = used.saturating_add(length);
        }
        out
    }
}

/// Where it is shown: drawn over and over, or line by line.
#[derive(Debug)]
struct Screen {
    is_drawn: bool,
    json: bool,
    /// Lines of the last drawing.
    lines: usize,
}

impl Screen {
    fn begin(plan: &Plan) -> Self {
        let is_drawn = std::io::stdout().is_terminal() && !plan.json;
        if is_drawn {
            let _ = write!(stdout().lock(), "\x1b[?25l");
        }
        Self { is_drawn, json: plan.json, lines: 0 }
    }

    fn show(&mut self, log: &Log, beat: &Beat) -> std::io::Result<()> {
        let mut out = stdout().lock();
        if !self.is_drawn {
            let line = if self.json { machine(beat) } else { plain(log, beat) };
            writeln!(out, "{line}")?;
            return out.flush();
        }
        let (width, height) = size();
        let picture = picture(log, width, height);
        if self.lines > 0 {
            write!(out, "\x1b[{}A", self.lines)?;
        }
        self.lines = picture.lines().count();
        for line in picture.lines() {
            writeln!(out, "\r\x1b[2K{line}")?;
        }
        write!(out, "\x1b[0J")?;
        out.flush()
    }

    fn end(self, log: &Log) -> Exit {
        if self.is_drawn {
            let _ = write!(stdout().lock(), "\x1b[?25h");
        } else if !self.json {
            output::note(log.told(usize::MAX));
        }
        if log.lost > 0 { Exit::Failed } else { Exit::Good }
    }
}

/// A beat as a line of JSON.
fn machine(beat: &Beat) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    match beat {
        Beat::Answered(ms) => json!({"at": at, "beat": "answered", "ms": ms}),
        Beat::Late => json!({"at": at, "beat": "late"}),
        Beat::Lost(why) => json!({"at": at, "beat": "lost", "why": why}),
        Beat::Back(ms) => json!({"at": at, "beat": "back", "ms": ms}),
        Beat::Away(why) => json!({"at": at, "beat": "away", "why": why}),
    }
    .to_string()
}

/// A beat as a line of text.
fn plain(log: &Log, beat: &Beat) -> String {
    let told = match beat {
        Beat::Answered(ms) => shown(*ms),
        Beat::Late => format!("{RED}no answer in time{RED:#}"),
        Beat::Lost(why) => format!("{RED}lost{RED:#}: {}", output::harmless(why)),
        Beat::Back(ms) => format!("{GREEN}back{GREEN:#} after {} of connecting", shown(*ms)),
        Beat::Away(why) => format!("{RED}away{RED:#}: {}", output::harmless(why)),
    };
    format!("{:8.1} s  {told}", log.since.elapsed().as_secs_f64())
}

/// Head, chart and figures.
fn picture(log: &Log, width: usize, height: usize) -> String {
    let state = if let Some(why) = &log.away {
        let room = width.saturating_sub(2).max(20);
        let why: String = output::harmless(why).chars().take(room).collect();
        format!("{RED}{why}{RED:#}")
    } else {
        let last = log.beats.back().copied().flatten().map_or_else(|| "no answer yet".to_owned(), shown);
        let passed = log.since.elapsed().as_secs_f64();
        format!("{BOLD}{last}{BOLD:#}  {DIM}{}, {passed:.0} s, Ctrl-C ends{DIM:#}", log.asks)
    };
    let rows = height.saturating_sub(8).clamp(4, ROWS_MAX) & !1;
    let columns = width.saturating_sub(LABELS.saturating_add(1)).max(10);
    let beats: Vec<Option<f64>> = log.beats.iter().skip(log.beats.len().saturating_sub(columns)).copied().collect();
    format!(
        "{BOLD}{}{BOLD:#}\n{state}\n{}\n{}",
        output::harmless(&log.target),
        chart(&beats, columns, rows),
        log.told(width)
    )
}

/// Eighths of a character, from the bottom.
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A column for each beat, the newest at the right.
fn chart(beats: &[Option<f64>], columns: usize, rows: usize) -> String {
    let longest = beats.iter().flatten().copied().fold(0.0, f64::max);
    let top = ceiling(longest);
    let eighths: Vec<Option<usize>> = beats.iter().map(|beat| beat.map(|ms| level(ms, top, rows))).collect();
    let slow = top / 2.0;
    let mut out = String::new();
    for row in (0..rows).rev() {
        // The upper edge of a row is what its label names; the middle is exact where the rows are even in number.
        let label = match row.saturating_add(1) {
            edge if edge == rows => shown(top),
            edge if edge.saturating_mul(2) == rows => shown(top / 2.0),
            1 => "0".to_owned(),
            _ => String::new(),
        };
        // Writing to a String does not fail.
        let _ = write!(out, "{DIM}{label:>9} │{DIM:#}{:1$}", "", columns.saturating_sub(beats.len()));
        for (beat, level) in beats.iter().zip(&eighths) {
            let (letter, style) = cell(*level, row, beat.is_some_and(|ms| ms > slow && longest > 0.0));
            match style {
                Some(style) => {
                    let _ = write!(out, "{style}{letter}{style:#}");
                }
                None => out.push(letter),
            }
        }
        out.push('\n');
    }
    let _ = write!(out, "{DIM}{:9} └{}{DIM:#}", "", "─".repeat(columns));
    out
}

fn cell(level: Option<usize>, row: usize, is_slow: bool) -> (char, Option<Style>) {
    let Some(level) = level else {
        return if row == 0 { ('×', Some(RED)) } else { (' ', None) };
    };
    let colour = if is_slow { YELLOW } else { GREEN };
    match level.saturating_sub(row.saturating_mul(8)) {
        0 => (' ', None),
        part => (EIGHTHS.get(part.min(8).saturating_sub(1)).copied().unwrap_or('█'), Some(colour)),
    }
}

/// Eighths of a row that stand for `ms`; an answer is always seen.
fn level(ms: f64, top: f64, rows: usize) -> usize {
    let whole = rows.saturating_mul(8);
    let share = if top > 0.0 { ms / top } else { 0.0 };
    (1..=whole).rev().find(|part| fraction(*part, whole) <= share).unwrap_or(1)
}

fn fraction(part: usize, whole: usize) -> f64 {
    f64::from(u32::try_from(part).unwrap_or(u32::MAX)) / f64::from(u32::try_from(whole).unwrap_or(u32::MAX).max(1))
}

/// The next of 1, 2, 5 and their tens from `ms` on, in milliseconds; 0.1 at least.
fn ceiling(ms: f64) -> f64 {
    let mut top = 0.1;
    while top < 1e7 {
        for factor in [1.0, 2.0, 5.0] {
            if top * factor >= ms {
                return top * factor;
            }
        }
        top *= 10.0;
    }
    ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_round_numbers() {
        for (ms, want) in [(0.0, 0.1), (0.15, 0.2), (0.9, 1.0), (3.0, 5.0), (51.0, 100.0), (1_000.0, 1_000.0)] {
            assert!((ceiling(ms) - want).abs() < 1e-9, "{ms}: {}", ceiling(ms));
        }
    }

    #[test]
    fn a_chart_shows_answers_and_losses() {
        let beats = [Some(10.0), Some(5.0), None, Some(0.01)];
        let drawn = output::plain(&chart(&beats, 6, 3));
        let want = "  10.0 ms │  █   \n          │  █▄  \n        0 │  ██×▁\n          └──────";
        assert_eq!(drawn, want, "\n{drawn}");
    }

    #[test]
    fn losses_are_counted_and_returns_are_none() {
        let mut log = Log::new("ws://a/".to_owned(), "pings");
        for beat in [
            Beat::Answered(1.0),
            Beat::Lost("gone".into()),
            Beat::Away("no".into()),
            Beat::Back(2.0),
            Beat::Answered(3.0),
        ] {
            log.add(&beat);
        }
        assert_eq!((log.all, log.lost, log.back, log.away.clone()), (4, 2, 1, None));
        assert_eq!(log.figures().map(|of| (of.count, of.max_ms)), Some((2, 3.0)));
        let drawn = output::plain(&picture(&log, 40, 12));
        assert!(drawn.contains("lost 2 of 4") && drawn.contains("came back 1×"), "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 40), "{drawn}");
    }
}
