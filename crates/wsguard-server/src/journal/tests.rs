use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("wsguard-journal-{name}-{}.jsonl", std::process::id()))
}

fn to(path: &std::path::Path, format: LogFormat) -> Options {
    Options {
        target: LogTarget::File(path.to_owned()),
        format,
        key: None,
        checkpoints: None,
        rotate_bytes: u64::MAX,
        keep_files: 1,
    }
}

#[test]
fn entries_are_appended_to_a_file_of_ones_own() {
    let path = path("append");
    for round in 1..=2 {
        let journal = Journal::open(to(&path, LogFormat::Json)).unwrap();
        journal.record(Entry::new(0, "one", Outcome::Success));
        journal.clone().record(Entry::new(1, "two", Outcome::Failure));
        assert!(journal.flush(PATIENCE));
        assert_eq!((journal.dropped(), journal.write_failures()), (0, 0));
        let text = fs::read_to_string(&path).unwrap();
        // Each run says that it began.
        assert_eq!(text.lines().count(), round * 3);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::remove_file(&path).unwrap();
}

#[test]
fn the_tap_hears_json_also_of_a_human_log() {
    let path = path("tap");
    let journal = Journal::open(to(&path, LogFormat::Human)).unwrap();
    let mut tap = journal.subscribe();
    journal.record(Entry::new(0, "seen", Outcome::Success));
    assert!(journal.flush(PATIENCE));
    let line = tap.try_recv().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["event.action"], "seen");
    assert_eq!(fs::read_to_string(&path).unwrap(), "1970-01-01T00:00:00.000Z ok      seen\n");
    fs::remove_file(&path).unwrap();
}

/// The caller never waits: with the writer stuck, the queue fills, and what does not fit is counted.
#[test]
fn a_full_queue_drops_and_counts() {
    let (queue, commands) = sync_channel(QUEUE_ENTRIES_MAX);
    let (tap, _) = broadcast::channel(TAP_LINES_MAX);
    let counts = Arc::new(Counts::default());
    let recent = Recent::default();
    let journal = Journal { queue, counts: Arc::clone(&counts), tap: tap.clone(), recent: Arc::clone(&recent) };
    for _ in 0..QUEUE_ENTRIES_MAX + 5 {
        journal.record(Entry::new(0, "flood", Outcome::Success));
    }
    assert_eq!(journal.dropped(), 5);
    assert!(!journal.flush(Duration::ZERO));

    let path = path("flood");
    let mut writer = Writer::open(to(&path, LogFormat::Json), tap, counts, recent).unwrap();
    drop(journal);
    writer.run(&commands);
    writer.end();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\"flood\"")).count(), QUEUE_ENTRIES_MAX);
    let drops: Vec<_> = text.lines().filter(|line| line.contains("journal_dropped")).collect();
    assert_eq!(drops.len(), 1);
    assert!(drops[0].contains("5 entries were dropped, 5 since the start"));
    fs::remove_file(&path).unwrap();
}

#[test]
fn what_cannot_be_written_is_counted() {
    let full = PathBuf::from("/dev/full");
    let journal = Journal::open(to(&full, LogFormat::Json)).unwrap();
    journal.record(Entry::new(0, "lost", Outcome::Success));
    assert!(journal.flush(PATIENCE));
    assert!(journal.write_failures() > 0);
}

#[test]
fn the_last_entries_can_be_asked_for_newest_first() {
    let path = path("recent");
    let journal = Journal::open(to(&path, LogFormat::Json)).unwrap();
    for number in 0..RECENT_ENTRIES_MAX as u64 + 5 {
        journal.record(Entry::new(number, if number % 2 == 0 { "even" } else { "odd" }, Outcome::Success));
    }
    assert!(journal.flush(PATIENCE));
    let times = |limit, wanted: fn(&Entry) -> bool| -> Vec<u64> {
        journal.recent(limit, wanted).iter().map(|entry| entry.unix_ms).collect()
    };
    assert_eq!(times(3, |entry| entry.action == "even"), [1_004, 1_002, 1_000]);
    let all = times(usize::MAX, |_| true);
    assert_eq!((all.len(), all.last()), (RECENT_ENTRIES_MAX, Some(&5)));
    fs::remove_file(&path).unwrap();
}
