//! What the server's process takes over time, read from /proc ten times a second.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testkit::cost;

const EVERY: Duration = Duration::from_millis(100);

/// One look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) at: Instant,
    pub(crate) resident_bytes: u64,
    /// Processor time of the process so far.
    pub(crate) cpu_ns: u64,
}

#[derive(Debug)]
pub(crate) struct Watch {
    pid: Arc<AtomicU32>,
    ending: Arc<AtomicBool>,
    looks: Arc<Mutex<Vec<Look>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(pid: u32) -> Result<Self, String> {
        let watch =
            Self { pid: Arc::new(AtomicU32::new(pid)), ending: Arc::default(), looks: Arc::default(), thread: None };
        let (pid, ending, looks) = (Arc::clone(&watch.pid), Arc::clone(&watch.ending), Arc::clone(&watch.looks));
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                let pid = pid.load(Ordering::Relaxed);
                if let (Some(resident_bytes), Ok(cpu_ns)) = (resident_bytes(pid), cost::cpu_ns(pid)) {
                    let look = Look { at: Instant::now(), resident_bytes, cpu_ns };
                    looks.lock().unwrap_or_else(PoisonError::into_inner).push(look);
                }
                thread::sleep(EVERY);
            }
        });
        Ok(Self { thread: Some(thread.map_err(|e| e.to_string())?), ..watch })
    }

    /// Another process took the place of the first.
    pub(crate) fn follow(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    pub(crate) fn end(mut self) -> Vec<Look> {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        std::mem::take(&mut self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `VmRSS`: quick to read, and off by some pages at most, while `smaps_rollup` would stop the process for its length.
fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
