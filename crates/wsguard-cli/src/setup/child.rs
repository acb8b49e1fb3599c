//! Other programs: package managers, compilers, the server that is tried.
//!
//! Each gets a process group of its own and no standard input: Ctrl-C reaches us alone, and we end the whole group, so
//! that nothing goes on writing while files are put back.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::interrupt;

/// Between two looks at a program.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// From asking a program to end to ending it.
const GRACE: Duration = Duration::from_secs(3);

/// Most of what a program said that is shown, in bytes: its end says why it failed.
const SHOWN_BYTES_MAX: u64 = 2_000;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("run {program}: {error}")]
    Start { program: String, error: io::Error },
    #[error("run {program}: it ended with {status}\n{said}")]
    Failed { program: String, status: ExitStatus, said: String },
    #[error("run {program}: it took longer than {} s", .limit.as_secs())]
    Slow { program: String, limit: Duration },
    #[error("interrupted")]
    Interrupted,
}

/// A program that runs.
pub(crate) struct Running {
    program: String,
    child: Child,
    /// What it said, where that is not shown as it comes.
    said: Option<PathBuf>,
    ended: bool,
}

impl Running {
    /// Starts `command`. What it says goes to `said`, or with `None` to our standard error.
    pub(crate) fn start(mut command: Command, said: Option<&Path>) -> Result<Self, ChildError> {
        let program = shown(&command);
        let failed = |error| ChildError::Start { program: program.clone(), error };
        command.stdin(Stdio::null()).process_group(0);
        // Piped by whoever reads it as it comes.
        match said {
            Some(path) => {
                let file = File::create(path).map_err(failed)?;
                command.stdout(file.try_clone().map_err(failed)?).stderr(file);
            }
            None => {
                command.stdout(io::stderr()).stderr(Stdio::inherit());
            }
        }
        let child = command.spawn().map_err(failed)?;
        Ok(Self { program: program.clone(), child, said: said.map(Path::to_owned), ended: false })
    }

    /// What it said until now.
    pub(crate) fn said(&self) -> String {
        self.said
            .as_ref()
            .and_then(|path| fs::read(path).ok())
            .map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        self.ended |= status.is_some();
        status
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has done its work.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<(), ChildError> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.has_ended() {
                if status.success() {
                    return Ok(());
                }
                return Err(ChildError::Failed { program: self.program.clone(), status, said: self.last_words() });
            }
            if interrupt::asked() {
                return Err(ChildError::Interrupted);
            }
            if began.elapsed() > limit {
                return Err(ChildError::Slow { program: self.program.clone(), limit });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The end of what it said.
    pub(crate) fn last_words(&self) -> String {
        let read = || -> io::Result<String> {
            let Some(path) = &self.said else { return Ok(String::new()) };
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(io::SeekFrom::Start(length.saturating_sub(SHOWN_BYTES_MAX)))?;
            let mut bytes = Vec::new();
            file.take(SHOWN_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<String> = text.lines().map(|line| format!("  | {}", crate::output::harmless(line))).collect();
        lines.join("\n")
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // A group that is gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(Signal::TERM);
            let began = Instant::now();
            while began.elapsed() < GRACE && self.has_ended().is_none() {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        // What it started and left behind ends too.
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Takes the settings of this process's wsguard out of a command.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WSGUARD_") {
            command.env_remove(name);
        }
    }
}
