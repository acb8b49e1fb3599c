use std::fs;

use wsguard_core::token::{Algorithm, SigningKey};

use super::*;
use crate::config::{CheckpointTarget, LogFormat, LogTarget};
use crate::journal::{Entry, Journal, Options, Outcome};

/// A log in a directory of its own, and the key that signs it.
struct Case {
    directory: PathBuf,
    private: String,
}

impl Case {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("wsguard-verify-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Self { directory, private: crate::keys::generate(Algorithm::EdDsa).unwrap().private.to_string() }
    }

    fn key(&self) -> SigningKey {
        SigningKey::parse("log", self.private.as_bytes()).unwrap()
    }

    fn public(&self) -> Vec<Key> {
        vec![self.key().verifying_key().clone()]
    }

    fn log(&self) -> PathBuf {
        self.directory.join("security.jsonl")
    }

    fn shipped(&self) -> PathBuf {
        self.directory.join("checkpoints.jsonl")
    }

    /// One run of a server that logs `entries` entries, all different, and ends in good order.
    fn run(&self, entries: usize, rotate_bytes: u64) {
        let journal = Journal::open(Options {
            target: LogTarget::File(self.log()),
            format: LogFormat::Json,
            key: Some(self.key()),
            checkpoints: Some(CheckpointTarget::File(self.shipped())),
            rotate_bytes,
            keep_files: 100,
        })
        .unwrap();
        for number in 0..entries {
            journal.record(Entry {
                subject: Some(format!("subject {number}")),
                ..Entry::new(number as u64, "session_opened", Outcome::Success)
            });
            if number % 4_000 == 3_999 {
                assert!(journal.flush(std::time::Duration::from_secs(20)));
            }
        }
        assert!(journal.end(std::time::Duration::from_secs(20)));
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("security.jsonl"))
            .collect();
        // The order does not matter to the caller.
        files.reverse();
        files
    }

    fn verified(&self) -> Verified {
        verify(&self.files(), &self.public(), None).unwrap()
    }

    fn edit(&self, change: impl FnOnce(&mut Vec<String>)) {
        let mut lines: Vec<_> = fs::read_to_string(self.log()).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(self.log(), lines.join("\n") + "\n").unwrap();
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn affected(verified: &Verified) -> Option<(FaultKind, u64, Option<u64>)> {
    verified.fault.as_ref().map(|fault| (fault.kind, fault.from, fault.to))
}

#[test]
fn a_log_of_two_runs_and_many_files_is_whole() {
    let case = Case::new("whole");
    case.run(5_000, 300_000);
    case.run(10, 300_000);
    let files = case.files();
    assert!(files.len() > 3, "it was rotated: {files:?}");
    let verified = case.verified();
    assert_eq!(verified.fault, None);
    assert_eq!((verified.first, verified.last), (1, verified.lines));
    // Every run says that it began; checkpoints are lines, too.
    assert_eq!(verified.lines, 5_010 + 2 + verified.checkpoints);
    assert!(verified.checkpoints >= 7);
    assert_eq!(verified.signed_to, Some(verified.last - 1));
    let shipped = verify(&files, &case.public(), Some(&case.shipped())).unwrap();
    assert_eq!((shipped.fault, shipped.shipped), (None, verified.checkpoints));

    let later: Vec<_> = files.iter().filter(|path| !path.ends_with("security.jsonl.000000000001")).cloned().collect();
    let verified = verify(&later, &case.public(), None).unwrap();
    assert_eq!(verified.fault, None, "a log whose oldest file was removed begins later");
    assert!(verified.first > 1);
}

/// What was done to the lines of a log, and what is to be found.
type Tampering<'a> = (&'a str, fn(&mut Vec<String>), Option<(FaultKind, u64, Option<u64>)>);

#[test]
fn each_way_to_tamper_is_found_at_its_place() {
    // Line 1 opens, line 2 is its checkpoint, 3 to 1002 are entries, 1003 is a checkpoint, and so on to the last line.
    let case = Case::new("tamper");
    case.run(2_500, u64::MAX);
    let whole = fs::read_to_string(case.log()).unwrap();
    let last = whole.lines().count() as u64;
    assert_eq!(affected(&case.verified()), None);
    let cases: &[Tampering<'_>] = &[
        ("nothing", |_| {}, None),
        (
            "a name",
            |lines| lines[499] = lines[499].replace("subject 497", "subject xxx"),
            Some((FaultKind::Changed, 500, Some(500))),
        ),
        ("one line away", |lines| drop(lines.remove(499)), Some((FaultKind::Missing, 500, Some(501)))),
        ("two lines away", |lines| drop(lines.drain(499..501)), Some((FaultKind::Missing, 500, Some(502)))),
        ("a line twice", |lines| lines.insert(500, lines[499].clone()), Some((FaultKind::OutOfOrder, 500, Some(500)))),
        ("two lines swapped", |lines| lines.swap(499, 500), Some((FaultKind::Missing, 500, Some(1_002)))),
        (
            "a line of somebody else",
            |lines| lines.insert(500, "{\"event.action\":\"x\"}".to_owned()),
            Some((FaultKind::Foreign, 501, Some(1_002))),
        ),
        ("a checkpoint away", |lines| drop(lines.remove(1_002)), Some((FaultKind::Missing, 1_003, Some(1_004)))),
        ("the beginning away", |lines| drop(lines.drain(0..10)), Some((FaultKind::Missing, 1, Some(11)))),
        (
            "changes in two parts",
            |lines| {
                lines[499] = lines[499].replace("subject 497", "subject xxx");
                lines[1_499] = lines[1_499].replace("subject", "SUBJECT");
            },
            Some((FaultKind::Changed, 500, Some(500))),
        ),
        (
            "two changes in one part",
            |lines| {
                lines[499] = lines[499].replace("subject 497", "subject xxx");
                lines[599] = lines[599].replace("subject", "SUBJECT");
            },
            Some((FaultKind::Changed, 500, Some(1_002))),
        ),
    ];
    for (name, change, want) in cases {
        fs::write(case.log(), &whole).unwrap();
        case.edit(*change);
        assert_eq!(affected(&case.verified()), *want, "{name}");
        if let Some(fault) = case.verified().fault {
            assert!(fault.place.line.abs_diff(fault.from) <= 2, "{name}: {fault:?}");
        }
    }
    assert!(last > 2_500);
}

/// Whoever can write the log computes every hash anew, but has no key to sign with.
#[test]
fn a_log_written_anew_fails_at_the_next_checkpoint() {
    let case = Case::new("anew");
    case.run(1_500, u64::MAX);
    case.edit(|lines| {
        let mut chain = Chain::default();
        for line in lines {
            let link = Link::read(line).unwrap();
            let body = link.body.replace("subject 300", "nobody");
            let (before, _) = body.rsplit_once(",\"wsguard.log.seq\"").unwrap();
            let opens = before.contains("wsguard.log.prev");
            let before = before.split(",\"wsguard.log.prev\"").next().unwrap();
            let mut fresh = format!("{before}}}");
            chain.seal(&mut fresh, opens);
            *line = fresh;
        }
    });
    assert_eq!(affected(&case.verified()), Some((FaultKind::CheckpointForged, 2, None)));
    let unsigned = verify(&case.files(), &[], None).unwrap();
    assert_eq!((unsigned.fault, unsigned.signed_to), (None, None), "the chain alone has no secret");
    let foreign = Case::new("foreign-key");
    let verified = verify(&case.files(), &foreign.public(), None).unwrap();
    assert_eq!(affected(&verified), Some((FaultKind::CheckpointOfUnknownKey, 1, None)));
}

#[test]
fn a_cut_tail_shows_against_shipped_checkpoints_alone() {
    let case = Case::new("cut");
    case.run(1_500, u64::MAX);
    case.edit(|lines| lines.truncate(1_200));
    let verified = case.verified();
    assert_eq!((verified.fault, verified.signed_to, verified.last), (None, Some(1_002), 1_200));
    let verified = verify(&case.files(), &case.public(), Some(&case.shipped())).unwrap();
    assert_eq!(affected(&verified), Some((FaultKind::ShippedCheckpointDisagrees, 1_003, None)));

    let forged = case.directory.join("forged.jsonl");
    fs::write(
        &forged,
        fs::read_to_string(case.shipped())
            .unwrap()
            .replace("\"wsguard.checkpoint.seq\":1002", "\"wsguard.checkpoint.seq\":999"),
    )
    .unwrap();
    assert!(matches!(
        verify(&case.files(), &case.public(), Some(&forged)),
        Err(VerifyError::NoCheckpoint { line: 2, .. })
    ));
}

#[test]
fn checkpoints_that_are_left_out_are_missed() {
    let case = Case::new("unsigned");
    let journal = Journal::open(Options {
        target: LogTarget::File(case.log()),
        format: LogFormat::Json,
        key: None,
        checkpoints: None,
        rotate_bytes: u64::MAX,
        keep_files: 1,
    })
    .unwrap();
    for number in 0..3_000 {
        journal.record(Entry::new(number, "session_opened", Outcome::Success));
    }
    assert!(journal.end(std::time::Duration::from_secs(20)));
    assert_eq!(affected(&case.verified()), Some((FaultKind::CheckpointMissing, 1, None)));
}

/// A crash tears the last line. The next start ends it and says so: no tampering. The same bytes elsewhere are.
#[test]
fn a_torn_line_is_told_from_tampering() {
    let case = Case::new("torn");
    case.run(20, u64::MAX);
    let torn = |case: &Case| {
        let mut text = fs::read_to_string(case.log()).unwrap();
        text.push_str("{\"@timestamp\":\"2026-");
        fs::write(case.log(), text).unwrap();
    };
    torn(&case);
    let verified = case.verified();
    assert_eq!(verified.fault, None);
    assert_eq!(verified.torn.len(), 1);

    case.run(5, u64::MAX);
    let verified = case.verified();
    assert_eq!((&verified.fault, verified.torn.len()), (&None, 1));
    assert!(fs::read_to_string(case.log()).unwrap().contains("\"wsguard.log.torn_bytes\":20,"));

    // Twice in a row, with nothing between.
    torn(&case);
    case.run(0, u64::MAX);
    torn(&case);
    case.run(0, u64::MAX);
    assert_eq!((case.verified().fault, case.verified().torn.len()), (None, 3));

    case.edit(|lines| lines.insert(3, "{\"@timestamp\":\"2026-".to_owned()));
    assert_eq!(affected(&case.verified()).map(|(kind, from, _)| (kind, from)), Some((FaultKind::Foreign, 4)));
}

#[test]
fn what_is_no_log_is_an_error_and_not_a_verdict() {
    let case = Case::new("errors");
    let other = case.directory.join("other.txt");
    fs::write(&other, "hello\n").unwrap();
    for (name, path) in [("text", other), ("missing", case.directory.join("none"))] {
        assert!(verify(&[path], &case.public(), None).is_err(), "{name}");
    }
}
