//! The security log: one JSON object a line, with the names of the Elastic Common Schema.
//!
//! Attacks: forged log lines and terminal escapes in what peers choose (CWE-117, CWE-150: control and bidi characters are
//! escaped, strings are cut); a flood of refusals that makes the log the bottleneck (the caller never waits: what does
//! not fit the queue is counted, and the count is logged). Tokens, cookies and messages have no field here.
//!
//! # Specification
//! Elastic Common Schema 8.17; RFC 3339 for times; OWASP ASVS 5.0 16.2 and 16.4.1

mod entry;
mod render;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use wsguard_core::effect::Record;
use wsguard_core::time::UnixMs;

use crate::config::{LogFormat, LogTarget};
pub use entry::{Entry, Outcome};
pub use render::{DETAIL_CHARS_MAX, STRING_CHARS_MAX, human, json};

/// Entries waiting for the writer; one more is dropped and counted. Covers a stall of the disk during a flood. An ordinary
/// entry takes less than 1 KiB, and strings are cut before they wait, so even hostile ones stay below 12 KiB each.
pub const QUEUE_ENTRIES_MAX: usize = 8_192;

/// Lines that a subscriber of the tap may lag behind; then it misses the oldest.
pub const TAP_LINES_MAX: usize = 256;

/// Bytes collected before they are written in one call.
const BATCH_BYTES: usize = 64 * 1_024;

/// Rest of the writer after each write. What arrives in the meantime is written together, and those who record never
/// have to wake it: a system call for each entry would be a fifth of what a handshake costs.
const COLLECT: Duration = Duration::from_millis(5);

/// Time after which the writer looks for drops to report, in milliseconds.
const REPORT_MS: u64 = 1_000;

/// The sending end of the security log. Clones share the queue; the writer ends with the last of them.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: SyncSender<Command>,
    counts: Arc<Counts>,
    tap: broadcast::Sender<Arc<str>>,
}

#[derive(Debug, Default)]
struct Counts {
    dropped: AtomicU64,
    unwritten: AtomicU64,
}

#[derive(Debug)]
enum Command {
    Write(Box<Entry>),
    /// Everything before this is to be written; then an answer.
    Flush(SyncSender<()>),
}

enum Sink {
    Stderr,
    File(File),
}

impl Journal {
    /// Opens the log and starts its writer, a thread of its own. A file is appended to, and made with mode 0600.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub fn open(target: &LogTarget, format: LogFormat) -> io::Result<Self> {
        let sink = match target {
            LogTarget::Stderr => Sink::Stderr,
            LogTarget::File(path) => Sink::File(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?),
        };
        let (queue, commands) = sync_channel(QUEUE_ENTRIES_MAX);
        let (tap, _) = broadcast::channel(TAP_LINES_MAX);
        let counts = Arc::new(Counts::default());
        let writer =
            Writer { sink, format, tap: tap.clone(), counts: Arc::clone(&counts), reported: 0, batch: Vec::new() };
        thread::Builder::new().name("wsguard-journal".to_owned()).spawn(move || writer.run(&commands))?;
        Ok(Self { queue, counts, tap })
    }

    /// Hands `entry` to the writer. Never waits: with a full queue the entry is dropped and counted.
    pub fn record(&self, mut entry: Entry) {
        entry.cut();
        match self.queue.try_send(Command::Write(Box::new(entry))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Entries dropped since the start because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Writes that failed since the start: disk full, file gone.
    pub fn write_failures(&self) -> u64 {
        self.counts.unwritten.load(Ordering::Relaxed)
    }

    /// Returns the lines to come, as JSON without the line's end, for the live panel. A subscriber that lags more than
    /// [`TAP_LINES_MAX`] behind misses lines; the log does not.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.tap.subscribe()
    }

    /// Waits until everything recorded so far is written, `patience` at most. Returns whether it was. Blocks: for the end of
    /// the process.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        let (answer, written) = sync_channel(1);
        let mut command = Command::Flush(answer);
        let deadline = std::time::Instant::now().checked_add(patience);
        loop {
            match self.queue.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => command = back,
            }
            if deadline.is_none_or(|deadline| std::time::Instant::now() >= deadline) {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        written.recv_timeout(patience).is_ok()
    }
}

impl wsguard::Journal for Journal {
    fn record(&self, at: UnixMs, record: Record) {
        Self::record(self, Entry::from_record(at, record));
    }
}

struct Writer {
    sink: Sink,
    format: LogFormat,
    tap: broadcast::Sender<Arc<str>>,
    counts: Arc<Counts>,
    /// Drops that are in the log already.
    reported: u64,
    batch: Vec<u8>,
}

impl Writer {
    fn run(mut self, commands: &Receiver<Command>) {
        let mut line = String::new();
        loop {
            match commands.recv_timeout(Duration::from_millis(REPORT_MS)) {
                Ok(first) => {
                    self.take(first, &mut line);
                    while self.batch.len() < BATCH_BYTES
                        && let Ok(next) = commands.try_recv()
                    {
                        self.take(next, &mut line);
                    }
                    let full = self.batch.len() >= BATCH_BYTES;
                    self.report_drops(&mut line);
                    self.write();
                    // With a full batch more is waiting already.
                    if !full {
                        thread::sleep(COLLECT);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.report_drops(&mut line);
                    self.write();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.report_drops(&mut line);
        self.write();
    }

    fn take(&mut self, command: Command, line: &mut String) {
        match command {
            Command::Write(entry) => self.render(&entry, line),
            Command::Flush(answer) => {
                self.report_drops(line);
                self.write();
                // Nobody waits any more where the patience ended: that is no fault.
                let _ = answer.try_send(());
            }
        }
    }

    fn render(&mut self, entry: &Entry, line: &mut String) {
        let listened = self.tap.receiver_count() > 0;
        if listened || self.format == LogFormat::Json {
            line.clear();
            json(entry, line);
        }
        if listened {
            // It fails when the last subscriber just left.
            let _ = self.tap.send(Arc::from(line.as_str()));
        }
        if self.format == LogFormat::Human {
            line.clear();
            human(entry, line);
        }
        self.batch.extend_from_slice(line.as_bytes());
        self.batch.push(b'\n');
    }

    fn report_drops(&mut self, line: &mut String) {
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        let new = dropped.saturating_sub(self.reported);
        if new > 0 {
            self.reported = dropped;
            let unix_ms = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            let detail = format!("{new} entries were dropped, {dropped} since the start: the queue was full");
            let entry = Entry { detail: Some(detail), ..Entry::new(unix_ms, "journal_dropped", Outcome::Failure) };
            self.render(&entry, line);
        }
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let written = match &mut self.sink {
            Sink::Stderr => io::stderr().lock().write_all(&self.batch),
            Sink::File(file) => file.write_all(&self.batch),
        };
        if written.is_err() {
            self.counts.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        self.batch.clear();
    }
}

#[cfg(test)]
mod tests;
