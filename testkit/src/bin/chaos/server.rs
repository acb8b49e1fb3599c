//! The server under attack: the real binary as it is run in production, behind a proxy that ends TLS.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::link::HOST;

/// The bearer key of the admin listener.
const ADMIN_KEY: &str = "0123456789abcdef0123456789abcdef";
const START_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The disk that the log of [`Setting::small_disk`] lies on, and what takes up most of it until it is removed.
const DISK_BYTES: u32 = 4 * 1024 * 1024;
const FILLER_BYTES: u32 = 3 * 1024 * 1024;

/// What is cut off the log to see that a torn line is recognised: less than any line has.
const CUT_BYTES: usize = 40;

/// What is different from an ordinary machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setting {
    /// Files that the process may have open, in place of all that the machine permits.
    pub(crate) open_files: Option<u32>,
    /// The security log lies on a file system of its own of 4 MiB, three of them taken.
    pub(crate) small_disk: bool,
    /// The wall clock can be moved.
    pub(crate) clock: bool,
}

impl Setting {
    /// Nothing is.
    pub(crate) fn is_ordinary(self) -> bool {
        self.open_files.is_none() && !self.small_disk && !self.clock
    }
}

/// A running server; killed when dropped, and its directory removed.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    program: PathBuf,
    directory: PathBuf,
    setting: Setting,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Tasks that panicked in processes that were killed since.
    panics_before: f64,
}

impl Server {
    pub(crate) fn start(programs: &Path, setting: Setting) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wsguard-chaos-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(directory.join("log")).map_err(|e| format!("{}: {e}", directory.display()))?;
        let (program, listen, admin) = (programs.join("wsguard"), free_address()?, free_address()?);
        run(Command::new(&program).args(["keygen", "--out", "issuer.key"]).current_dir(&directory))?;
        for (name, text) in [("admin.key", format!("{ADMIN_KEY}\n")), ("wsguard.toml", configuration(listen, admin))] {
            fs::write(directory.join(name), text).map_err(|e| e.to_string())?;
        }
        if setting.clock {
            fs::write(directory.join("clock.c"), include_str!("clock.c")).map_err(|e| e.to_string())?;
            let words = ["-O2", "-shared", "-fPIC", "-o", "clock.so", "clock.c"];
            run(Command::new("cc").args(words).current_dir(&directory))?;
            fs::write(directory.join("clock"), 0_i64.to_ne_bytes()).map_err(|e| e.to_string())?;
        }
        let child = spawn(&program, &directory, setting)?;
        let mut server = Self { child, program, directory, setting, listen, admin, panics_before: 0.0 };
        server.wait_until_ready(0)?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the key of its issuer lies.
    pub(crate) fn issuer_key(&self) -> PathBuf {
        self.directory.join("issuer.key")
    }

    /// Whether the process still runs; how it ended where it does not.
    pub(crate) fn fault(&mut self) -> Option<String> {
        let status = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status,
            Err(error) => return Some(error.to_string()),
        };
        let how = status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
        Some(format!("the process ended: {how}; {}", self.last_words()))
    }

    /// What it said on standard error, and what processes before it said there.
    pub(crate) fn words(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("stderr")).unwrap_or_default()).into_owned()
    }

    /// The last lines of its standard error.
    pub(crate) fn last_words(&self) -> String {
        let said = self.words();
        let mut last: Vec<_> = said.lines().rev().take(3).collect();
        last.reverse();
        last.join(" / ")
    }

    /// Lines of its standard error that mention `text`.
    pub(crate) fn said(&self, text: &str) -> u64 {
        lines_with(&self.words(), text)
    }

    /// What panicked so far, with the processes that were killed.
    pub(crate) fn panics(&self, metrics: &BTreeMap<String, f64>) -> f64 {
        let now: f64 = metrics.iter().filter(|(name, _)| name.starts_with("wsguard_panics_total")).map(|of| of.1).sum();
        self.panics_before + now
    }

    /// SIGKILL, as by a crash. What it counted is looked at before: the next process begins at zero.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.panics_before = self.panics(&self.metrics()?);
        self.child.kill().and_then(|()| self.child.wait()).map(|_| ()).map_err(|e| e.to_string())
    }

    /// Starts again in the same directory and on the same addresses.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        let before = self.said("ready");
        self.child = spawn(&self.program, &self.directory, self.setting)?;
        self.wait_until_ready(before)
    }

    /// What stands behind the last whole line of the log of a process that is dead, in bytes. Where that is
    /// nothing, `cut` takes the end of the last line away, as a loss of power does.
    pub(crate) fn torn_bytes(&self, cut: bool) -> Result<u64, String> {
        let path = self.log_directory().join("security.jsonl");
        let text = fs::read(&path).map_err(|e| e.to_string())?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let torn = (text.len() - whole) as u64;
        if torn > 0 || !cut {
            return Ok(torn);
        }
        let left = text.len().saturating_sub(CUT_BYTES);
        let file = File::options().write(true).open(&path).map_err(|e| e.to_string())?;
        file.set_len(left as u64).map_err(|e| e.to_string())?;
        let last = text.get(..left).unwrap_or_default().iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Ok((left - last) as u64)
    }

    /// `before`: how often those before it said so.
    fn wait_until_ready(&mut self, before: u64) -> Result<(), String> {
        let began = Instant::now();
        while self.said("ready") <= before {
            if let Some(fault) = self.fault() {
                return Err(fault);
            }
            if began.elapsed() > START_MAX {
                return Err(format!("not ready: {}", self.last_words()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Moves its wall clock to `seconds` from the true time.
    pub(crate) fn set_clock(&self, seconds: i64) -> Result<(), String> {
        use std::os::unix::fs::FileExt as _;
        let nanos = seconds * 1_000_000_000;
        let file = File::options().write(true).open(self.directory.join("clock")).map_err(|e| e.to_string())?;
        file.write_all_at(&nanos.to_ne_bytes(), 0).map_err(|e| e.to_string())
    }

    /// Files that the process may have open.
    pub(crate) fn files_max(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/limits", self.pid());
        let limits = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| format!("{path}: no limit of files"))
    }

    /// Files that it has open.
    pub(crate) fn files_open(&self) -> Result<usize, String> {
        let path = format!("/proc/{}/fd", self.pid());
        fs::read_dir(&path).map(Iterator::count).map_err(|e| format!("{path}: {e}"))
    }

    /// Sets how many files the running process may have open, also below what it has.
    pub(crate) fn limit_files(&self, files: u64) -> Result<(), String> {
        let mut prlimit = Command::new("prlimit");
        run(prlimit.args(["--pid", &self.pid().to_string(), &format!("--nofile={files}:")]))?;
        match self.files_max()? {
            now if now == files => Ok(()),
            now => Err(format!("prlimit left the limit of files at {now}, not {files}")),
        }
    }

    /// Removes what takes up most of the small disk.
    pub(crate) fn make_room(&self) -> Result<(), String> {
        fs::remove_file(self.log_directory().join("filler")).map_err(|e| format!("make room on the small disk: {e}"))
    }

    /// Where the log lies; the small disk is seen by the server alone, and through /proc.
    fn log_directory(&self) -> PathBuf {
        let own = self.directory.join("log");
        if !self.setting.small_disk {
            return own;
        }
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(own.strip_prefix("/").unwrap_or(&own))
    }

    /// The files of the security log, oldest first.
    pub(crate) fn logs(&self) -> Result<Vec<PathBuf>, String> {
        let entries = fs::read_dir(self.log_directory()).map_err(|e| e.to_string())?;
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("security.jsonl")))
            .collect();
        // `security.jsonl` is the newest, the others carry the number of their first line.
        files.sort_by_key(|path| (path.extension().is_some_and(|end| end == "jsonl"), path.clone()));
        Ok(files)
    }

    /// Whether the newest file of the log holds `text`.
    pub(crate) fn log_says(&self, text: &str) -> Result<bool, String> {
        let log = fs::read(self.log_directory().join("security.jsonl")).map_err(|e| e.to_string())?;
        Ok(memchr::memmem::find(&log, text.as_bytes()).is_some())
    }

    /// The verdict of `wsguard log verify`: exit code and report.
    pub(crate) fn verify_log(&self) -> Result<(i32, Value), String> {
        let key = self.log_directory().join("security.key.pub");
        let mut command = Command::new(&self.program);
        command.args(["log", "verify", "--json", "--key"]).arg(key).args(self.logs()?);
        let output = command.output().map_err(|e| e.to_string())?;
        let report = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("wsguard log verify: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok((output.status.code().unwrap_or(-1), report))
    }

    /// The samples of /metrics by name and labels.
    pub(crate) fn metrics(&self) -> Result<BTreeMap<String, f64>, String> {
        let (status, body) = self.ask("GET", "/metrics", "")?;
        if status != 200 {
            return Err(format!("/metrics answers {status}"));
        }
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(body.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// Asks the admin listener.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> Result<(u16, String), String> {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.admin,
            body.len()
        );
        let mut answer = String::new();
        TcpStream::connect_timeout(&self.admin, ANSWER_MAX)
            .and_then(|mut stream| {
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                stream.write_all(request.as_bytes())?;
                stream.read_to_string(&mut answer)
            })
            .map_err(|e| format!("{method} {target}: {e}"))?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
        let _already_gone = fs::remove_dir_all(&self.directory);
    }
}

/// Defaults in all that limits; what a production server must be told besides.
fn configuration(listen: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "[server]\nlisten = \"{listen}\"\nadmin = \"{admin}\"\n\n[proxy]\ntrusted = [\"127.0.0.0/8\"]\n\n\
         [host]\nallow = [\"{HOST}\"]\n\n[origin]\nallow = [\"https://{HOST}\"]\n\n\
         [auth]\nkeys = [\"issuer.key.pub\"]\n\n[admin]\nkey_file = \"admin.key\"\n\n\
         [log]\nformat = \"json\"\nsecurity = \"log/security.jsonl\"\n"
    )
}

fn spawn(program: &Path, directory: &Path, setting: Setting) -> Result<Child, String> {
    // Appended: what a process said before it was killed must not be lost.
    let stderr = File::options().create(true).append(true).open(directory.join("stderr")).map_err(|e| e.to_string())?;
    let files = setting.open_files.map_or_else(|| "$(ulimit -H -n)".to_owned(), |files| files.to_string());
    let mut script = format!("ulimit -n \"{files}\"; ");
    let mut command = if setting.small_disk {
        let _ = write!(
            script,
            "mount -t tmpfs -o size={DISK_BYTES} tmpfs log && head -c {FILLER_BYTES} /dev/zero >log/filler; "
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    script.push_str("exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(program).args(["serve", "--config", "wsguard.toml"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WSGUARD_") {
            command.env_remove(name);
        }
    }
    if setting.clock {
        command.env("LD_PRELOAD", directory.join("clock.so")).env("CHAOS_CLOCK", directory.join("clock"));
    }
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    command.spawn().map_err(|e| format!("start wsguard: {e}"))
}

/// Lines that mention `what`.
pub(crate) fn lines_with(text: &str, what: &str) -> u64 {
    text.lines().filter(|line| line.contains(what)).count() as u64
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|probe| probe.local_addr()).map_err(|e| format!("no free port: {e}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_a_killed_process_said_and_counted_is_kept() {
        let programs = std::env::temp_dir().join(format!("wsguard-chaos-fake-{}", std::process::id()));
        fs::create_dir_all(&programs).unwrap();
        let fake = programs.join("wsguard");
        fs::write(&fake, "#!/bin/sh\n[ \"$1\" = serve ] || exit 0\necho panicked >&2\necho ready >&2\nexec sleep 60\n")
            .unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o700)).unwrap();
        let mut server = Server::start(&programs, Setting::default()).unwrap();
        assert_eq!((server.said("panicked"), server.fault()), (1, None));
        assert!(server.kill().is_err(), "what it counted cannot be looked at");
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        server.restart().unwrap();
        assert_eq!((server.said("panicked"), server.fault()), (2, None));
        server.panics_before = 2.0;
        let metrics = BTreeMap::from([("wsguard_panics_total{task=\"a\"}".to_owned(), 1.0), ("other".to_owned(), 9.0)]);
        assert!((server.panics(&metrics) - 3.0).abs() < f64::EPSILON);
        let files = server.files_max().unwrap();
        server.limit_files(3).unwrap();
        assert!(server.files_max() == Ok(3) && server.files_open().is_ok_and(|open| open >= 3));
        server.limit_files(files).unwrap();
        fs::remove_dir_all(&programs).unwrap();
    }
}
