//! All or nothing: what setup changes is written down before it is done, and undone when the rest fails.
//!
//! The folder `.wsguard-setup` of the project holds the new files, the old ones and a journal. A step stands in the journal,
//! on the disk, before it is taken. Whatever ends the run (an error, Ctrl-C, SIGTERM), the steps are taken back in reverse;
//! where even that was cut off, as by SIGKILL or a power failure, the next run does it first.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::plan::{Change, Content};

/// The folder of a run, in the project.
pub(crate) const STAGE: &str = ".wsguard-setup";

/// Most old files that are kept beside a new one.
const BACKUPS_MAX: u32 = 1_000;

/// Longest journal that is read back, in bytes: a few hundred steps of the longest paths.
const JOURNAL_BYTES_MAX: u64 = 4 * 1_048_576;

/// Why something could not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("{what} {}: {error}", path.display())]
    Io { what: &'static str, path: PathBuf, error: io::Error },
    #[error("begin: another setup is at work in {}", .0.display())]
    Busy(PathBuf),
    #[error("write in {}: it belongs to another account; run setup as its owner, not with elevated rights", .0.display())]
    NotOurs(PathBuf),
    #[error("change {}: it is not what it was when the plan was made", .0.display())]
    Moved(PathBuf),
    #[error("take back an earlier setup: {} is not its work; remove it by hand", .0.display())]
    Foreign(PathBuf),
    #[error("make a key: {0}")]
    Key(#[from] wsguard_server::keys::KeygenError),
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ApplyError {
    let path = path.to_owned();
    move |error| ApplyError::Io { what, path, error }
}

/// How a step is taken back. Paths are relative to the project.
#[derive(Debug, PartialEq, Eq)]
enum Undo {
    /// What is at the place was not there: it goes.
    Remove(PathBuf),
    /// The folder was not there: it goes, if it is empty.
    RemoveFolder(PathBuf),
    /// What was at the place lies in the stage under this number.
    Restore(PathBuf, u32),
}

/// A run of setup in a project. Dropped without [`Transaction::commit`], it takes everything back.
pub(crate) struct Transaction {
    root: PathBuf,
    journal: File,
    steps: Vec<Undo>,
    count: u32,
    committed: bool,
    /// The folders that were made so that there is a project, the innermost first.
    made: Vec<PathBuf>,
    /// Files above the project, and what they held.
    above: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl Transaction {
    /// Begins.
    pub(crate) fn begin(root: &Path) -> Result<Self, ApplyError> {
        let made: Vec<PathBuf> = root.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        fs::create_dir_all(root).map_err(failed("make", root))?;
        let stage = root.join(STAGE);
        match DirBuilder::new().mode(0o700).create(&stage) {
            Ok(()) => Self::fresh(root, made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(ApplyError::Busy(root.to_owned())),
            Err(error) => Err(failed("make", &stage)(error)),
        }
    }

    fn fresh(root: &Path, made: Vec<PathBuf>) -> Result<Self, ApplyError> {
        let path = root.join(STAGE).join("journal");
        let journal =
            OpenOptions::new().create_new(true).append(true).mode(0o600).open(&path).map_err(failed("make", &path))?;
        lock(&journal, root)?;
        let (root_path, steps, above) = (root.to_owned(), Vec::new(), Vec::new());
        let transaction = Self { root: root_path, journal, steps, count: 0, committed: false, made, above };
        // What we make belongs to who we are: without asking the system for it in another way.
        let (ours, theirs) = (owner(&path)?, owner(root)?);
        if ours == 0 && theirs != 0 {
            return Err(ApplyError::NotOurs(root.to_owned()));
        }
        Ok(transaction)
    }

    /// Takes back what an earlier run left behind that could not do it itself; `true` says that there was something. To be
    /// done before anybody looks at the project.
    ///
    /// Attack: a repository that brings a folder of this name, whose journal names files to remove (CWE-73). What git lays
    /// out others can read; what we make they cannot, and only so it is believed.
    pub(crate) fn recover(root: &Path) -> Result<bool, ApplyError> {
        let stage = root.join(STAGE);
        let about = match fs::symlink_metadata(&stage) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("read", &stage)(error)),
        };
        if !about.is_dir() || about.permissions().mode() & 0o077 != 0 {
            return Err(ApplyError::Foreign(stage));
        }
        let path = stage.join("journal");
        // Held until all is taken back.
        let journal;
        let steps = match File::open(&path) {
            Ok(opened) => {
                journal = opened;
                lock(&journal, root)?;
                let mut text = Vec::new();
                (&journal).take(JOURNAL_BYTES_MAX).read_to_end(&mut text).map_err(failed("read", &path))?;
                parse(&text)
            }
            // Without a journal nothing was changed yet, or all was done.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        undo(root, &steps)?;
        fs::remove_dir_all(&stage).map_err(failed("remove", &stage))?;
        Ok(true)
    }

    /// Carries out `changes`. `told` hears of each, before it is made.
    pub(crate) fn apply(&mut self, changes: &[Change], mut told: impl FnMut(&Path)) -> Result<(), ApplyError> {
        for Change { path, old, new, keeps_old } in changes {
            told(path);
            let place = self.root.join(path);
            // Somebody may have written in between: what was shown is what is done.
            let now = super::detect::read(&place).map_err(failed("read", &place))?;
            if now != *old {
                return Err(ApplyError::Moved(place));
            }
            match new {
                Content::Text(text) => {
                    let mode = fs::metadata(&place).map_or(0o644, |about| about.permissions().mode() & 0o7777);
                    if *keeps_old {
                        self.keep(path)?;
                    }
                    self.write(path, text.as_bytes(), mode)?;
                }
                Content::KeyPair => {
                    let key = wsguard_server::keys::generate(wsguard_core::token::Algorithm::EdDsa)?;
                    self.folders(path, 0o700)?;
                    self.write(path, key.private.as_bytes(), 0o600)?;
                    let public = wsguard_server::keys::public_path(path);
                    self.write(&public, key.public_pem.unwrap_or_default().as_bytes(), 0o644)?;
                }
            }
        }
        Ok(())
    }

    /// Before others change or make what is at `path`: a copy of a file, the folder itself put aside.
    pub(crate) fn protect(&mut self, path: &Path) -> Result<(), ApplyError> {
        let place = self.root.join(path);
        match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.step(Undo::Remove(path.to_owned())),
            Err(error) => Err(failed("read", &place)(error)),
            Ok(about) if about.is_dir() => {
                let number = self.number();
                self.step(Undo::Restore(path.to_owned(), number))?;
                let aside = self.aside(number);
                fs::rename(&place, &aside).map_err(failed("put aside", &place))
            }
            Ok(_) => {
                let number = self.number();
                let aside = self.aside(number);
                fs::copy(&place, &aside).map_err(failed("copy", &place))?;
                self.step(Undo::Restore(path.to_owned(), number))
            }
        }
    }

    /// The same for a file above the project, which only this process remembers.
    pub(crate) fn protect_above(&mut self, path: &Path) -> Result<(), ApplyError> {
        let old = match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", path)(error)),
        };
        self.above.push((path.to_owned(), old));
        Ok(())
    }

    /// A place in the stage for what nobody keeps.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join(STAGE).join("scratch")
    }

    /// Keeps everything.
    pub(crate) fn commit(mut self) -> Result<(), ApplyError> {
        let journal = self.root.join(STAGE).join("journal");
        // Here it is decided: without the journal nobody takes anything back.
        fs::remove_file(&journal).map_err(failed("remove", &journal))?;
        self.committed = true;
        let stage = self.root.join(STAGE);
        fs::remove_dir_all(&stage).map_err(failed("remove", &stage))
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// What could not be taken back stays in the journal for the next run.
    pub(crate) fn roll_back(mut self) -> Result<(), ApplyError> {
        self.committed = true;
        self.take_back()
    }

    fn take_back(&mut self) -> Result<(), ApplyError> {
        undo(&self.root, &self.steps)?;
        let stage = self.root.join(STAGE);
        fs::remove_dir_all(&stage).map_err(failed("remove", &stage))?;
        for (path, old) in &self.above {
            match old {
                Some(bytes) => fs::write(path, bytes).map_err(failed("restore", path))?,
                None if path.exists() => fs::remove_file(path).map_err(failed("remove", path))?,
                None => {}
            }
        }
        for folder in &self.made {
            // Only if it is empty: what others put there meanwhile is theirs.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Puts `bytes` at `path`, in one step.
    fn write(&mut self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), ApplyError> {
        self.folders(path, 0o755)?;
        let place = self.root.join(path);
        let number = self.number();
        let new = self.root.join(STAGE).join(format!("new-{number}"));
        let mut file =
            OpenOptions::new().create_new(true).write(true).mode(mode).open(&new).map_err(failed("make", &new))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
        if place.exists() {
            fs::set_permissions(&new, fs::Permissions::from_mode(mode)).map_err(failed("set the mode of", &new))?;
            fs::copy(&place, self.aside(number)).map_err(failed("copy", &place))?;
            self.step(Undo::Restore(path.to_owned(), number))?;
        } else {
            self.step(Undo::Remove(path.to_owned()))?;
        }
        fs::rename(&new, &place).map_err(failed("write", &place))
    }

    /// Keeps what is at `path` beside it: as `.bak`, or with a number behind it where that is taken.
    fn keep(&mut self, path: &Path) -> Result<(), ApplyError> {
        let name = |number: u32| {
            let mut name = path.as_os_str().to_owned();
            name.push(if number == 1 { ".bak".to_owned() } else { format!(".bak{number}") });
            PathBuf::from(name)
        };
        let is_free = |name: &PathBuf| fs::symlink_metadata(self.root.join(name)).is_err();
        let Some(free) = (1..BACKUPS_MAX).map(name).find(is_free) else {
            return Err(failed("keep", path)(io::ErrorKind::AlreadyExists.into()));
        };
        let (place, copy) = (self.root.join(path), self.root.join(&free));
        self.step(Undo::Remove(free))?;
        fs::copy(&place, &copy).map(|_| ()).map_err(failed("keep", &place))
    }

    /// Makes the folders that `path` lies in.
    fn folders(&mut self, path: &Path, mode: u32) -> Result<(), ApplyError> {
        let mut missing: Vec<PathBuf> = path
            .ancestors()
            .skip(1)
            .take_while(|folder| !self.root.join(folder).exists())
            .map(Path::to_owned)
            .collect();
        missing.reverse();
        for (left, folder) in (0..missing.len()).rev().zip(missing.iter()) {
            self.step(Undo::RemoveFolder(folder.clone()))?;
            // The mode is for the last of them, which holds the file.
            let mode = if left == 0 { mode } else { 0o755 };
            let place = self.root.join(folder);
            DirBuilder::new().mode(mode).create(&place).map_err(failed("make", &place))?;
        }
        Ok(())
    }

    fn number(&mut self) -> u32 {
        self.count = self.count.saturating_add(1);
        self.count
    }

    fn aside(&self, number: u32) -> PathBuf {
        self.root.join(STAGE).join(format!("old-{number}"))
    }

    /// Writes down how what comes next is taken back.
    fn step(&mut self, undo: Undo) -> Result<(), ApplyError> {
        let path = self.root.join(STAGE).join("journal");
        self.journal.write_all(&line(&undo)).and_then(|()| self.journal.sync_data()).map_err(failed("write", &path))?;
        self.steps.push(undo);
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.committed {
            // Nobody is left to be told; the journal stays for the next run.
            let _ = self.take_back();
        }
    }
}

fn owner(path: &Path) -> Result<u32, ApplyError> {
    fs::metadata(path).map(|about| about.uid()).map_err(failed("read", path))
}

fn lock(journal: &File, root: &Path) -> Result<(), ApplyError> {
    match journal.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(ApplyError::Busy(root.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("lock the journal of", root)(error)),
    }
}

/// A step of the journal: a letter, a number, the path, and a NUL, which no path has.
fn line(undo: &Undo) -> Vec<u8> {
    let (letter, number, path) = match undo {
        Undo::Remove(path) => ('n', 0, path),
        Undo::RemoveFolder(path) => ('d', 0, path),
        Undo::Restore(path, number) => ('o', *number, path),
    };
    let mut line = format!("{letter} {number} ").into_bytes();
    line.extend(path.as_os_str().as_bytes());
    line.push(0);
    line
}

/// The steps of a journal. Its last line may be torn: then the step was not taken.
fn parse(text: &[u8]) -> Vec<Undo> {
    let whole = text.iter().rposition(|byte| *byte == 0).and_then(|end| text.get(..end)).unwrap_or_default();
    whole
        .split(|byte| *byte == 0)
        .filter_map(|line| {
            let mut parts = line.splitn(3, |byte| *byte == b' ');
            let (letter, number, path) = (parts.next()?, parts.next()?, parts.next()?);
            let number = std::str::from_utf8(number).ok()?.parse().ok()?;
            let path = PathBuf::from(OsStr::from_bytes(path));
            match letter {
                b"n" => Some(Undo::Remove(path)),
                b"d" => Some(Undo::RemoveFolder(path)),
                b"o" => Some(Undo::Restore(path, number)),
                _ => None,
            }
        })
        .collect()
}

/// Takes steps back, the last first. A step that was written down and not taken is no failure.
fn undo(root: &Path, steps: &[Undo]) -> Result<(), ApplyError> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    for step in steps.iter().rev() {
        let (Undo::Remove(path) | Undo::RemoveFolder(path) | Undo::Restore(path, _)) = step;
        let path = inside(root, path)?;
        match step {
            Undo::Remove(_) => gone(remove(&path)).map_err(failed("remove", &path))?,
            Undo::RemoveFolder(_) => match gone(fs::remove_dir(&path)) {
                // Something of others is in it.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => other.map_err(failed("remove", &path))?,
            },
            Undo::Restore(_, number) => {
                let old = root.join(STAGE).join(format!("old-{number}"));
                if fs::symlink_metadata(&old).is_ok() {
                    if old.is_dir() {
                        gone(remove(&path)).map_err(failed("remove", &path))?;
                    }
                    fs::rename(&old, &path).map_err(failed("restore", &path))?;
                }
            }
        }
    }
    Ok(())
}

/// `path` in the project, without a way out of it.
fn inside(root: &Path, path: &Path) -> Result<PathBuf, ApplyError> {
    let mut place = root.to_owned();
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        place.push(part);
        let is_link = || fs::symlink_metadata(&place).is_ok_and(|about| about.file_type().is_symlink());
        if !matches!(part, Component::Normal(_)) || (parts.peek().is_some() && is_link()) {
            return Err(ApplyError::Foreign(root.join(STAGE)));
        }
    }
    Ok(place)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests;
