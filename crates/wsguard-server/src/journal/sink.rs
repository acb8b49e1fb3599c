//! Where lines go: standard error, or a file that is rotated without breaking the chain.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::chain::{Chain, Link};
use super::verify::LINE_BYTES_MAX;
use crate::config::CheckpointTarget;

/// Digits of the number in the name of a rotated file: `security.jsonl.000000000001` begins with line 1.
const NAME_DIGITS: usize = 12;

pub(super) enum Sink {
    Stderr,
    File(LogFile),
}

/// The file that is written now.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Not for what is no regular file, such as a pipe.
    rotates: bool,
    rotate_bytes: u64,
    keep_files: usize,
}

/// Where checkpoints go besides the log.
pub(super) enum Checkpoints {
    Stdout,
    File(File),
}

impl Checkpoints {
    pub(super) fn open(target: CheckpointTarget) -> io::Result<Self> {
        Ok(match target {
            CheckpointTarget::Stdout => Self::Stdout,
            CheckpointTarget::File(path) => {
                Self::File(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?)
            }
        })
    }

    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stdout => writeln!(io::stdout().lock(), "{line}"),
            Self::File(file) => file.write_all(format!("{line}\n").as_bytes()),
        }
    }
}

/// What was found in the file when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the chain stood.
    pub(super) chain: Chain,
    /// Bytes of a last line that never ended: the process died while it wrote.
    pub(super) torn_bytes: u64,
    /// There are lines, but the last is none of a chain.
    pub(super) foreign: bool,
}

impl LogFile {
    /// Opens `path` for appending (made with mode 0600) and finds out where its chain stands. A torn last line is ended,
    /// so that the next begins on a line of its own.
    pub(super) fn open(path: &Path, rotate_bytes: u64, keep_files: usize) -> io::Result<(Self, Found)> {
        let mut file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
        let about = file.metadata()?;
        let rotates = about.is_file();
        let mut found = Found::default();
        let mut bytes = 0;
        if rotates {
            bytes = about.len();
            found = last_of(&mut file, bytes)?;
            if found.torn_bytes > 0 {
                file.write_all(b"\n")?;
                bytes = bytes.saturating_add(1);
            }
            // The file may be new because the process died between the two steps of a rotation.
            if bytes == 0
                && let Some(before) = rotated(path)?.pop()
            {
                let mut before = File::open(before)?;
                let bytes = before.metadata()?.len();
                found.chain = last_of(&mut before, bytes)?.chain;
            }
        }
        Ok((Self { path: path.to_owned(), file, bytes, rotates, rotate_bytes, keep_files }, found))
    }

    /// Writes what it can of `bytes` and returns how much that was, and the error that stopped it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(more) => {
                    written = written.saturating_add(more);
                    self.bytes = self.bytes.saturating_add(more as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    pub(super) fn is_full(&self) -> bool {
        self.rotates && self.bytes >= self.rotate_bytes
    }

    /// What was written is on the disk when this returns.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.rotates { self.file.sync_data() } else { Ok(()) }
    }

    /// Gives the file the name of its first line's number, begins a new one, and removes the oldest beyond the limit.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let first = first_of(&self.path)?;
        fs::rename(&self.path, numbered(&self.path, first))?;
        self.file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&self.path)?;
        self.bytes = 0;
        let old = rotated(&self.path)?;
        for path in old.iter().take(old.len().saturating_sub(self.keep_files)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn numbered(path: &Path, first: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first:0NAME_DIGITS$}"));
    name.into()
}

/// The rotated files of `path`, oldest first.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let Some(prefix) = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}.")) else {
        return Ok(Vec::new());
    };
    let mut found: Vec<PathBuf> = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str()?.strip_prefix(&prefix))
                .is_some_and(|digits| digits.len() >= NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .collect();
    found.sort_by(|a, b| (a.as_os_str().len(), a).cmp(&(b.as_os_str().len(), b)));
    Ok(found)
}

/// The number of the first line of `path`; 0 when it has none.
fn first_of(path: &Path) -> io::Result<u64> {
    let mut head = Vec::new();
    File::open(path)?.take(LINE_BYTES_MAX as u64).read_to_end(&mut head)?;
    let line = head.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    Ok(line.and_then(Link::read).map_or(0, |link| link.seq))
}

/// Where the chain of an open file of `bytes` stands.
fn last_of(file: &mut File, bytes: u64) -> io::Result<Found> {
    // The last whole line, and a torn one behind it.
    let window = bytes.min((LINE_BYTES_MAX as u64).saturating_mul(2));
    file.seek(SeekFrom::Start(bytes.saturating_sub(window)))?;
    let mut tail = Vec::new();
    file.take(window).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let (lines, torn) = tail.split_at_checked(whole).unwrap_or_default();
    // A torn line of an earlier crash was ended there; the line before it is where the chain stood.
    let last_two: Vec<_> = lines
        .split(|byte| *byte == b'\n')
        .rev()
        .filter(|line| !line.is_empty())
        .map(|line| std::str::from_utf8(line).ok().and_then(Link::read))
        .take(2)
        .collect();
    let last = last_two.iter().flatten().next();
    Ok(Found {
        chain: last.map(|last| Chain { seq: last.seq, head: last.hash }).unwrap_or_default(),
        torn_bytes: torn.len() as u64,
        foreign: !last_two.is_empty() && last.is_none(),
    })
}
