//! Reads a log back and finds the first place where it is not what was written.
//!
//! What it can prove: with the public key, that every line up to the last checkpoint is the line that was written then,
//! in that order, with none missing. What it cannot: whoever holds the signing key can write another log; lines behind
//! the last checkpoint can be cut off or written anew, unless checkpoints were shipped elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use wsguard_core::token::Key;

use super::chain::{Chain, Hash, Link};
use super::checkpoint::{self, CHECKPOINT_LINES, Checkpoint};

/// Longest line in bytes. An entry with every string at its limit, each character escaped, takes less than 24 KiB.
pub const LINE_BYTES_MAX: usize = 64 * 1_024;

/// How the log was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The files, in the order of their lines' numbers.
    pub files: Vec<PathBuf>,
    /// Lines that belong to the chain.
    pub lines: u64,
    /// Number of the first line.
    pub first: u64,
    /// Number of the last line.
    pub last: u64,
    /// Checkpoints with a good signature.
    pub checkpoints: u64,
    /// Number of the last line that a signature covers, if any does.
    pub signed_to: Option<u64>,
    /// Shipped checkpoints that were found in the log.
    pub shipped: u64,
    /// Lines that a crash left unfinished: no tampering.
    pub torn: Vec<Place>,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
}

/// What is wrong, where, and which lines cannot be believed for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Where it shows.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong.
    pub kind: FaultKind,
    /// The first number that is affected.
    pub from: u64,
    /// The last number that is affected; `None`: everything from there on.
    pub to: Option<u64>,
}

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// A line does not fit its hash.
    Changed,
    /// Numbers are missing.
    Missing,
    /// A number comes again or too late.
    OutOfOrder,
    /// A line that nobody wrote as part of the chain.
    Foreign,
    /// A new chain begins behind an old one.
    BegunAnew,
    /// A checkpoint does not fit the lines before it, or its signature is not good.
    CheckpointForged,
    /// A checkpoint of another key than those given.
    CheckpointOfUnknownKey,
    /// More lines than [`CHECKPOINT_LINES`] without a checkpoint.
    CheckpointMissing,
    /// A shipped checkpoint says that there were lines which are not there any more, or that they were others.
    ShippedCheckpointDisagrees,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "the line was changed: it does not fit its hash",
            Self::Missing => "lines are missing",
            Self::OutOfOrder => "a number comes again or too late: lines were moved or repeated",
            Self::Foreign => "a line that is not part of the chain",
            Self::BegunAnew => "a new chain begins: what stood before is not continued",
            Self::CheckpointForged => "a checkpoint that does not fit the lines before it",
            Self::CheckpointOfUnknownKey => "a checkpoint of another key than the ones given",
            Self::CheckpointMissing => "more lines than are ever written without a checkpoint",
            Self::ShippedCheckpointDisagrees => "a shipped checkpoint says otherwise: lines were cut off or rewritten",
        })
    }
}

/// Why a log could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("read {}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file does not begin with a line of a chain.
    #[error("read {}: it is no security log: expected a first line that ends in wsguard.log.hash", .path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// A line of the file of shipped checkpoints is none, or its signature is not good.
    #[error("read {}: line {line} is not a checkpoint signed by the keys given", .path.display())]
    NoCheckpoint {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
}

/// Verifies the log in `files` (any order) with the public `keys`, against the checkpoints that were `shipped` to another
/// place. Without keys the chain alone is verified, which anyone who can write the files can make good again.
///
/// Memory: one line, and 40 bytes for each shipped checkpoint.
///
/// # Errors
/// A file that cannot be read, or is no log. What is wrong *in* a log is no error: see [`Verified::fault`].
pub fn verify(files: &[PathBuf], keys: &[Key], shipped: Option<&Path>) -> Result<Verified, VerifyError> {
    let shipped = shipped.map(|path| read_shipped(path, keys)).transpose()?.unwrap_or_default();
    let mut ordered = Vec::with_capacity(files.len());
    for path in files {
        let first = first_link(path)?;
        ordered.push((first, path.clone()));
    }
    ordered.sort();
    let mut reader = Reading { keys, shipped, ..Reading::default() };
    reader.verified.files = ordered.iter().map(|(_, path)| path.clone()).collect();
    let count = ordered.len();
    for (index, (_, path)) in ordered.iter().enumerate() {
        reader.file(path, index.saturating_add(1) == count)?;
    }
    Ok(reader.end())
}

#[derive(Default)]
struct Reading<'k> {
    keys: &'k [Key],
    /// Number and hash of lines that somebody vouched for elsewhere.
    shipped: HashMap<u64, Hash>,
    verified: Verified,
    chain: Chain,
    begun: bool,
    /// A line of no chain: torn, if the next line says so.
    odd: Option<(Place, u64)>,
    trust: Trust,
    /// The last line that a good checkpoint covers.
    vouched: u64,
    place: Option<Place>,
}

/// What the lines read so far are worth.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Trust {
    /// Nothing was wrong.
    #[default]
    Whole,
    /// There was a fault, and every line since then follows the one before it: a good checkpoint confirms them all.
    Broken,
    /// There was more than one fault since the last good checkpoint: only what comes behind the next one counts again.
    Scattered,
    /// A good checkpoint came behind the fault: what is affected is known.
    Bounded,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, is_last: bool) -> Result<(), VerifyError> {
        let unreadable = |error| VerifyError::Unreadable { path: path.to_owned(), error };
        let mut reader = BufReader::with_capacity(LINE_BYTES_MAX, File::open(path).map_err(unreadable)?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let limit = (LINE_BYTES_MAX as u64).saturating_add(1);
            let read = (&mut reader).take(limit).read_until(b'\n', &mut line).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            let place = Place { file: path.to_owned(), line: number };
            let whole = line.pop_if(|last| *last == b'\n').is_some();
            let text = std::str::from_utf8(&line).ok().filter(|_| whole);
            match text.and_then(Link::read) {
                Some(chained) => self.take(&chained, text.unwrap_or_default(), number == 1, &place),
                // Cut in the middle at the very end: the process died while it wrote.
                None if !whole && is_last && line.len() <= LINE_BYTES_MAX => self.verified.torn.push(place),
                None => {
                    self.settle_odd();
                    self.odd = Some((place, line.len() as u64));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, chained: &Link<'_>, line: &str, opens_file: bool, place: &Place) {
        self.verified.lines = self.verified.lines.saturating_add(1);
        if !self.begun {
            self.begun = true;
            self.verified.first = chained.seq;
            // What stood before the first file given is its own word; a checkpoint covers it.
            self.chain = Chain { seq: chained.seq.saturating_sub(1), head: chained.prev.unwrap_or_default() };
            self.vouched = self.chain.seq;
            if chained.prev.is_none() {
                // Every file begins with a line that names its predecessor: what stood before this one was cut off.
                self.fault(FaultKind::Missing, place, 1, Some(chained.seq));
                self.chain = Chain { seq: chained.seq, head: chained.hash };
                self.verified.last = chained.seq;
                return;
            }
        }
        let Chain { seq: last, head } = self.chain;
        let expected = last.saturating_add(1);
        let follows = chained.seq == expected && chained.follows(&head) && (!opens_file || chained.prev == Some(head));
        if let Some((odd, bytes)) = self.odd.take() {
            let says_torn = format!("\"wsguard.log.torn_bytes\":{bytes},");
            if chained.body.contains(&says_torn) {
                self.verified.torn.push(odd);
            } else {
                self.fault(FaultKind::Foreign, &odd, expected, None);
            }
        }
        if !follows {
            let (kind, from, to) = if chained.seq == 1 && chained.prev == Some(Hash::default()) {
                (FaultKind::BegunAnew, 1, None)
            } else if chained.seq > expected {
                (FaultKind::Missing, expected, Some(chained.seq))
            } else if chained.seq < expected {
                (FaultKind::OutOfOrder, chained.seq, Some(last))
            } else {
                (FaultKind::Changed, chained.seq, Some(chained.seq))
            };
            self.fault(kind, place, from, to);
        }
        self.chain = Chain { seq: chained.seq, head: chained.hash };
        self.verified.last = chained.seq;
        if let Some(hash) = self.shipped.remove(&chained.seq) {
            if hash == chained.hash {
                self.verified.shipped = self.verified.shipped.saturating_add(1);
            } else {
                let from = self.vouched.saturating_add(1);
                self.fault(FaultKind::ShippedCheckpointDisagrees, place, from, Some(chained.seq));
            }
        }
        if chained.body.contains(checkpoint::ACTION)
            && let Some(checkpoint) = Checkpoint::read(line)
        {
            self.checkpoint(&checkpoint, &Chain { seq: last, head }, place);
        } else if self.trust == Trust::Whole
            && !self.keys.is_empty()
            && chained.seq.saturating_sub(self.vouched) > CHECKPOINT_LINES.saturating_mul(2)
        {
            let from = self.vouched.saturating_add(1);
            self.fault(FaultKind::CheckpointMissing, place, from, None);
        }
        self.place = Some(place.clone());
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint, before: &Chain, place: &Place) {
        if self.keys.is_empty() {
            return;
        }
        let from = self.vouched.saturating_add(1);
        let Some(key) = self.keys.iter().find(|key| key.thumbprint() == checkpoint.key) else {
            self.fault(FaultKind::CheckpointOfUnknownKey, place, from, None);
            return;
        };
        let fits = (checkpoint.seq, checkpoint.hash) == (before.seq, before.head);
        if !fits || !checkpoint.is_signed_by(key) {
            self.fault(FaultKind::CheckpointForged, place, from, Some(before.seq));
            return;
        }
        self.verified.checkpoints = self.verified.checkpoints.saturating_add(1);
        match (self.trust, &mut self.verified.fault) {
            (Trust::Whole, _) => self.verified.signed_to = Some(checkpoint.seq),
            (Trust::Broken | Trust::Scattered, Some(fault)) => {
                if fault.to.is_none() || self.trust == Trust::Scattered {
                    fault.to = Some(before.seq);
                }
                self.trust = Trust::Bounded;
            }
            _ => {}
        }
        self.vouched = checkpoint.seq;
    }

    /// Keeps the first fault. One more before the next good checkpoint means that its bound is not certain.
    fn fault(&mut self, kind: FaultKind, place: &Place, from: u64, to: Option<u64>) {
        match self.trust {
            Trust::Whole => {
                self.trust = Trust::Broken;
                self.verified.fault = Some(Fault { place: place.clone(), kind, from, to });
            }
            Trust::Broken => self.trust = Trust::Scattered,
            Trust::Scattered | Trust::Bounded => {}
        }
    }

    fn settle_odd(&mut self) {
        if let Some((place, _)) = self.odd.take() {
            let from = self.chain.seq.saturating_add(1);
            self.fault(FaultKind::Foreign, &place, from, None);
        }
    }

    fn end(mut self) -> Verified {
        // The last line may be one that a crash tore, and the next start ended, and nothing came after it.
        if let Some((place, _)) = self.odd.take() {
            self.verified.torn.push(place);
        }
        let beyond = self.shipped.keys().filter(|seq| **seq >= self.verified.first).min().copied();
        if let (Some(seq), Some(place)) = (beyond, self.place.take()) {
            self.fault(FaultKind::ShippedCheckpointDisagrees, &place, self.vouched.saturating_add(1).min(seq), None);
        }
        // Without a later checkpoint nothing says what somebody could have written behind the break.
        if matches!(self.trust, Trust::Broken | Trust::Scattered)
            && let Some(fault) = &mut self.verified.fault
        {
            fault.to = None;
        }
        self.verified
    }
}

fn first_link(path: &Path) -> Result<u64, VerifyError> {
    let unreadable = |error| VerifyError::Unreadable { path: path.to_owned(), error };
    let mut line = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    BufReader::new(file.take(LINE_BYTES_MAX as u64)).read_until(b'\n', &mut line).map_err(unreadable)?;
    line.pop_if(|last| *last == b'\n');
    let first = std::str::from_utf8(&line).ok().and_then(Link::read);
    first.map(|first| first.seq).ok_or_else(|| VerifyError::NoLog { path: path.to_owned() })
}

fn read_shipped(path: &Path, keys: &[Key]) -> Result<HashMap<u64, Hash>, VerifyError> {
    let unreadable = |error| VerifyError::Unreadable { path: path.to_owned(), error };
    let mut shipped = HashMap::new();
    for (line, number) in BufReader::new(File::open(path).map_err(unreadable)?).lines().zip(1..) {
        let checkpoint = Checkpoint::read(&line.map_err(unreadable)?)
            .filter(|checkpoint| keys.iter().any(|key| checkpoint.is_signed_by(key)))
            .ok_or_else(|| VerifyError::NoCheckpoint { path: path.to_owned(), line: number })?;
        shipped.insert(checkpoint.seq, checkpoint.hash);
    }
    Ok(shipped)
}

#[cfg(test)]
mod tests;
