//! The security log: one JSON object a line, with the names of the Elastic Common Schema.
//!
//! Attacks: forged log lines and terminal escapes in what peers choose (CWE-117, CWE-150: control and bidi characters are
//! escaped, strings are cut); a flood of refusals that makes the log the bottleneck (the caller never waits: what does
//! not fit the queue is counted, and the count is logged; a flood of one kind leaves its beginning, samples and a count);
//! lines that are changed afterwards (JSON lines are chained by hashes and vouched for by signed checkpoints). Tokens,
//! cookies and messages have no field here.
//!
//! # Specification
//! Elastic Common Schema 8.17; RFC 3339 for times; OWASP ASVS 5.0 16.2 and 16.4.1

mod chain;
mod checkpoint;
mod entry;
mod flood;
mod render;
mod sink;
mod start;
pub mod verify;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use wsguard_core::effect::Record;
use wsguard_core::time::UnixMs;
use wsguard_core::token::SigningKey;

use crate::config::{CheckpointTarget, LogFormat, LogTarget};
use chain::Chain;
pub use checkpoint::{CHECKPOINT_LINES, CHECKPOINT_MS};
pub use entry::{Entry, Outcome};
use flood::Floods;
pub use flood::{FLOOD_EVERY, FLOOD_KEPT};
pub use render::{DETAIL_CHARS_MAX, STRING_CHARS_MAX, human, json};
use sink::{LogFile, Sink};
pub use start::JournalError;

/// Entries waiting for the writer; one more is dropped and counted. Covers a stall of the disk during a flood. An ordinary
/// entry takes less than 1 KiB, and strings are cut before they wait, so even hostile ones stay below 12 KiB each.
pub const QUEUE_ENTRIES_MAX: usize = 8_192;

/// Lines that a subscriber of the tap may lag behind; then it misses the oldest.
pub const TAP_LINES_MAX: usize = 256;

/// Entries that can be asked for at the admin listener: about 1 MiB.
pub const RECENT_ENTRIES_MAX: usize = 1_000;

/// Bytes collected before they are written in one call.
const BATCH_BYTES: usize = 64 * 1_024;

/// Rest of the writer after each write. What arrives in the meantime is written together, and those who record never
/// have to wake it: a system call for each entry would be a fifth of what a handshake costs.
const COLLECT: Duration = Duration::from_millis(5);

/// Bytes that wait for a disk that takes no more. Beyond it entries are dropped and counted before they enter the chain,
/// so that what is written later still follows.
const UNWRITTEN_BYTES_MAX: usize = 1024 * 1_024;

/// Time after which the writer looks for drops to report, in milliseconds.
const REPORT_MS: u64 = 1_000;

/// How a log is written.
#[derive(Debug)]
pub struct Options {
    /// Where lines go.
    pub target: LogTarget,
    /// How they look. Only JSON lines form a chain.
    pub format: LogFormat,
    /// The key that signs checkpoints; without one there are none.
    pub key: Option<SigningKey>,
    /// Where checkpoints go besides.
    pub checkpoints: Option<CheckpointTarget>,
    /// Size in bytes at which a file is rotated.
    pub rotate_bytes: u64,
    /// Rotated files that are kept.
    pub keep_files: usize,
}

/// The sending end of the security log. Clones share the queue; the writer ends with the last of them.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: SyncSender<Command>,
    counts: Arc<Counts>,
    tap: broadcast::Sender<Arc<str>>,
    recent: Recent,
}

/// The last entries, oldest first. The writer thread and the admin listener share the lock; no connection takes it.
type Recent = Arc<Mutex<VecDeque<Box<Entry>>>>;

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
    /// As [`Command::Flush`], and a checkpoint vouches for all of it.
    End(SyncSender<()>),
}

impl Journal {
    /// Opens the log and starts its writer, a thread of its own. A file is appended to, and made with mode 0600.
    ///
    /// A chain that stands in the file already is continued.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub fn open(options: Options) -> io::Result<Self> {
        let (queue, commands) = sync_channel(QUEUE_ENTRIES_MAX);
        let (tap, _) = broadcast::channel(TAP_LINES_MAX);
        let counts = Arc::new(Counts::default());
        let recent = Recent::default();
        let mut writer = Writer::open(options, tap.clone(), Arc::clone(&counts), Arc::clone(&recent))?;
        thread::Builder::new().name("wsguard-journal".to_owned()).spawn(move || {
            writer.run(&commands);
            writer.end();
        })?;
        Ok(Self { queue, counts, tap, recent })
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

    /// Returns the newest of the last [`RECENT_ENTRIES_MAX`] entries that `wanted` takes, `limit` at most, newest first.
    pub fn recent(&self, limit: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().map(|entry| &**entry).filter(|entry| wanted(entry)).take(limit).cloned().collect()
    }

    /// Waits until everything recorded so far is written, `patience` at most. Returns whether it was. Blocks.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        self.wait(Command::Flush, patience)
    }

    /// As [`Journal::flush`], with a checkpoint that vouches for everything: for the end of the process.
    #[must_use]
    pub fn end(&self, patience: Duration) -> bool {
        self.wait(Command::End, patience)
    }

    fn wait(&self, command: fn(SyncSender<()>) -> Command, patience: Duration) -> bool {
        let (answer, written) = sync_channel(1);
        let mut command = command(answer);
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
    recent: Recent,
    /// Drops that are in the log already.
    reported: u64,
    /// Sealed lines that are not written yet.
    batch: Vec<u8>,
    line: String,
    chain: Chain,
    /// The next line is the first of its file, or of this process.
    opens: bool,
    floods: Floods,
    told: Vec<Entry>,
    key: Option<SigningKey>,
    checkpoints: Option<sink::Checkpoints>,
    /// Where the chain stood at the last checkpoint, and when that was.
    signed: (u64, u64),
}

impl Writer {
    fn open(
        options: Options,
        tap: broadcast::Sender<Arc<str>>,
        counts: Arc<Counts>,
        recent: Recent,
    ) -> io::Result<Self> {
        let Options { target, format, key, checkpoints, rotate_bytes, keep_files } = options;
        let (sink, found) = match target {
            LogTarget::Stderr => (Sink::Stderr, sink::Found::default()),
            LogTarget::File(path) => {
                let (file, found) = LogFile::open(&path, rotate_bytes, keep_files)?;
                (Sink::File(file), found)
            }
        };
        let mut writer = Self {
            sink,
            format,
            tap,
            counts,
            recent,
            reported: 0,
            batch: Vec::new(),
            line: String::new(),
            chain: found.chain,
            opens: true,
            floods: Floods::new(),
            told: Vec::new(),
            key,
            checkpoints: checkpoints.map(sink::Checkpoints::open).transpose()?,
            signed: (0, unix_ms()),
        };
        writer.begin(&found);
        Ok(writer)
    }

    /// The first line of this process says what it found.
    fn begin(&mut self, found: &sink::Found) {
        if self.format != LogFormat::Json {
            return;
        }
        self.line.clear();
        let detail = match found {
            sink::Found { foreign: true, .. } => Some("the file held lines of no chain; a new chain begins".to_owned()),
            sink::Found { torn_bytes: 1.., .. } => {
                Some(format!("the last line was cut off after {} bytes: the process died", found.torn_bytes))
            }
            _ => None,
        };
        json(&Entry { detail, ..Entry::new(unix_ms(), "log_opened", Outcome::Unknown) }, &mut self.line);
        if found.torn_bytes > 0 {
            self.line.pop();
            // Writing to a String does not fail.
            let _ = write!(self.line, ",\"wsguard.log.torn_bytes\":{}}}", found.torn_bytes);
        }
        self.seal();
        // Vouches for the tail of the run before, too.
        self.sign();
    }

    fn run(&mut self, commands: &Receiver<Command>) {
        loop {
            let mut rests = false;
            match commands.recv_timeout(Duration::from_millis(REPORT_MS)) {
                Ok(first) => {
                    rests = true;
                    self.take(first);
                    while self.batch.len() < BATCH_BYTES
                        && let Ok(next) = commands.try_recv()
                    {
                        self.take(next);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // With a full batch more is waiting already.
            rests &= self.batch.len() < BATCH_BYTES;
            self.report();
            self.write();
            if rests {
                thread::sleep(COLLECT);
            }
        }
    }

    fn end(&mut self) {
        self.floods.end(u64::MAX, &mut self.told);
        self.report();
        self.sign();
        self.write();
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Write(entry) => {
                if self.floods.keeps(&entry, &mut self.told) {
                    self.render(&entry);
                    self.remember(entry);
                }
            }
            Command::Flush(answer) => {
                self.report();
                self.write();
                // Nobody waits any more where the patience ended: that is no fault.
                let _ = answer.try_send(());
            }
            Command::End(answer) => {
                self.end();
                let _ = answer.try_send(());
            }
        }
    }

    fn remember(&self, entry: Box<Entry>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= RECENT_ENTRIES_MAX {
            recent.pop_front();
        }
        recent.push_back(entry);
    }

    fn render(&mut self, entry: &Entry) {
        if self.batch.len() > UNWRITTEN_BYTES_MAX {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let listened = self.tap.receiver_count() > 0;
        if listened || self.format == LogFormat::Json {
            self.line.clear();
            json(entry, &mut self.line);
        }
        if listened {
            // It fails when the last subscriber just left.
            let _ = self.tap.send(Arc::from(self.line.as_str()));
        }
        if self.format == LogFormat::Human {
            self.line.clear();
            human(entry, &mut self.line);
            self.batch.extend_from_slice(self.line.as_bytes());
            self.batch.push(b'\n');
            return;
        }
        self.seal();
        if self.chain.seq.saturating_sub(self.signed.0) >= CHECKPOINT_LINES {
            self.sign();
        }
    }

    /// Puts the line at the end of the chain and of what is to be written.
    fn seal(&mut self) {
        self.chain.seal(&mut self.line, std::mem::take(&mut self.opens));
        self.batch.extend_from_slice(self.line.as_bytes());
        self.batch.push(b'\n');
    }

    /// Signs where the chain stands, when there is something new and a key to do it.
    fn sign(&mut self) {
        if self.format != LogFormat::Json || self.chain.seq == self.signed.0 {
            return;
        }
        let Some(key) = &self.key else {
            return;
        };
        let now = unix_ms();
        if checkpoint::write(&self.chain, now, key, &mut self.line) {
            self.seal();
            self.signed = (self.chain.seq, now);
            if let Some(checkpoints) = &mut self.checkpoints
                && checkpoints.write(&self.line).is_err()
            {
                self.counts.unwritten.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            self.counts.unwritten.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What there is to say about the log itself: drops, floods that are over, a checkpoint that is due.
    fn report(&mut self) {
        let now = unix_ms();
        self.floods.end(now, &mut self.told);
        for entry in std::mem::take(&mut self.told) {
            self.render(&entry);
            self.remember(Box::new(entry));
        }
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        let new = dropped.saturating_sub(self.reported);
        if new > 0 && self.batch.len() <= UNWRITTEN_BYTES_MAX {
            self.reported = dropped;
            let detail = format!("{new} entries were dropped, {dropped} since the start: the queue was full");
            self.render(&Entry { detail: Some(detail), ..Entry::new(now, "journal_dropped", Outcome::Failure) });
        }
        if now.saturating_sub(self.signed.1) >= CHECKPOINT_MS {
            self.sign();
        }
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match &mut self.sink {
            Sink::Stderr => {
                if io::stderr().lock().write_all(&self.batch).is_err() {
                    self.counts.unwritten.fetch_add(1, Ordering::Relaxed);
                }
                self.batch.clear();
            }
            Sink::File(file) => {
                let (written, outcome) = file.write(&self.batch);
                // What the disk did not take waits: a line that is in the chain must come before the next one.
                self.batch.drain(..written);
                if outcome.is_err() {
                    self.counts.unwritten.fetch_add(1, Ordering::Relaxed);
                } else if file.is_full() {
                    self.rotate();
                }
            }
        }
    }

    /// Ends the file with a checkpoint and begins the next one.
    fn rotate(&mut self) {
        self.sign();
        let Sink::File(file) = &mut self.sink else {
            return;
        };
        let (written, outcome) = file.write(&self.batch);
        self.batch.drain(..written);
        match outcome.and_then(|()| file.sync()).and_then(|()| file.rotate()) {
            Ok(()) => self.opens = true,
            Err(_) => {
                self.counts.unwritten.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
