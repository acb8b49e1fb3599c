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
    /// The most that it was until then, also between two looks.
    pub(crate) peak_bytes: u64,
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
        // Otherwise what its start took would count as well, as it does where the kernel refuses this.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        let watch =
            Self { pid: Arc::new(AtomicU32::new(pid)), ending: Arc::default(), looks: Arc::default(), thread: None };
        let (pid, ending, looks) = (Arc::clone(&watch.pid), Arc::clone(&watch.ending), Arc::clone(&watch.looks));
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                note(&looks, pid.load(Ordering::Relaxed));
                thread::sleep(EVERY);
            }
        });
        Ok(Self { thread: Some(thread.map_err(|e| e.to_string())?), ..watch })
    }

    /// Another process took the place of the first.
    pub(crate) fn follow(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Looks now: the process is about to end.
    pub(crate) fn look(&self) {
        note(&self.looks, self.pid.load(Ordering::Relaxed));
    }

    pub(crate) fn end(mut self) -> Vec<Look> {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        std::mem::take(&mut self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn note(looks: &Mutex<Vec<Look>>, pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // Both are quick to read, and off by some pages at most, while `smaps_rollup` would stop the process for its length.
    let (resident, peak) = (bytes_of(&status, "VmRSS:"), bytes_of(&status, "VmHWM:"));
    if let (Some(resident_bytes), Some(peak_bytes), Ok(cpu_ns)) = (resident, peak, cost::cpu_ns(pid)) {
        let look = Look { at: Instant::now(), resident_bytes, peak_bytes, cpu_ns };
        looks.lock().unwrap_or_else(PoisonError::into_inner).push(look);
    }
}

/// A size out of /proc/PID/status.
fn bytes_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_between_two_looks_is_seen() {
        let watch = Watch::start(std::process::id()).unwrap();
        let before = watch.looks.lock().unwrap().last().map_or(0, |look| look.peak_bytes);
        let held = vec![7_u8; 256 * 1024 * 1024];
        assert_eq!(std::hint::black_box(&held).last(), Some(&7));
        drop(held);
        watch.look();
        let looks = watch.end();
        let last = looks.last().unwrap();
        assert!(last.peak_bytes > before + 200 * 1024 * 1024, "{last:?}");
        assert!(last.peak_bytes >= last.resident_bytes, "{last:?}");
        assert_eq!(bytes_of("VmHWM:\t   12 kB\nVmRSS:\t    8 kB\n", "VmRSS:"), Some(8 * 1024));
    }
}
