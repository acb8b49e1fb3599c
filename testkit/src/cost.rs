//! What a process cost so far, as Linux tells it under /proc.

#![expect(clippy::arithmetic_side_effects, reason = "sums of what the kernel counts")]

use std::fs;

/// Length of a clock tick in /proc/PID/stat. `USER_HZ` is 100 on every architecture that Linux offers to programs.
const TICK_NS: u64 = 10_000_000;

/// User and system time of all threads of `pid` together, in nanoseconds.
///
/// Read per thread from `schedstat`, exact to the last switch; where the kernel has none, from `stat` in steps of 10 ms.
///
/// # Errors
/// When there is no such process or /proc cannot be read.
pub fn cpu_ns(pid: u32) -> Result<u64, String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|e| unreadable(pid, &e))?;
    let mut sum = 0_u64;
    for task in tasks.flatten() {
        // A thread can end between the listing and the reading.
        if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
            sum += first_number(&text).unwrap_or(0);
        }
    }
    if sum > 0 {
        return Ok(sum);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| unreadable(pid, &e))?;
    ticks_of_stat(&stat).map(|ticks| ticks * TICK_NS).ok_or_else(|| unreadable(pid, &"stat has another form"))
}

/// Resident memory of `pid` in bytes, exact (`smaps_rollup`), not the estimate of `statm`.
///
/// # Errors
/// When there is no such process or /proc cannot be read.
pub fn resident_bytes(pid: u32) -> Result<u64, String> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).map_err(|e| unreadable(pid, &e))?;
    resident_kib(&rollup).map(|kib| kib * 1024).ok_or_else(|| unreadable(pid, &"smaps_rollup has no Rss"))
}

fn unreadable(pid: u32, cause: &dyn std::fmt::Display) -> String {
    format!("/proc/{pid}: {cause}")
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// `utime` and `stime` (fields 14 and 15 of proc(5)). The name in field 2 may hold spaces and parentheses.
fn ticks_of_stat(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_kib(rollup: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix("Rss:")).and_then(first_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_proc_are_read() {
        let stat = "42 (a (strange) name) S 1 42 42 0 -1 4194304 100 0 0 0 120 34 0 0 20 0 4 0 77 1 2";
        assert_eq!(ticks_of_stat(stat), Some(154));
        assert_eq!(ticks_of_stat("42 (cut"), None);
        assert_eq!(resident_kib("55 [rollup]\nRss:                4321 kB\nPss: 1 kB\n"), Some(4321));
        assert_eq!(resident_kib("Pss: 1 kB\n"), None);
        assert_eq!(first_number("123456 789 12\n"), Some(123_456));
    }

    #[test]
    fn this_process_has_a_cost() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        let before = cpu_ns(pid).unwrap();
        let mut spun = 0_u64;
        while cpu_ns(pid).unwrap() == before {
            spun += 1;
            assert!(spun < 10_000_000, "the clock of this process stands still");
        }
    }
}
