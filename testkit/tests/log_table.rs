//! The table of events in `docs/log.md` names what the sources write, no more and no less.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use testkit::log_table::{events, fault_of};

/// What stands before the name of an action in the sources.
const MARKS: [&str; 8] = [
    "Record::new(\"",
    "about(\"",
    "self.record(\"",
    "tell(\"",
    "ACTION: &str = \"",
    "changed(&admin, \"",
    "log(&admin, \"",
    "Entry::new(",
];

/// Adds the actions that the sources below `directory` name; what follows the tests of a file is left out.
fn collect(directory: &Path, actions: &mut BTreeSet<String>) {
    for file in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_dir() {
            collect(&file, actions);
        } else if file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("tests.rs") {
            let source = fs::read_to_string(&file).unwrap();
            let source = source.split("#[cfg(test)]").next().unwrap();
            for mark in MARKS {
                for rest in source.split(mark).skip(1) {
                    // The time stands before the action of an entry; a call whose action is a variable names none.
                    let (before, rest) =
                        if mark.ends_with('"') { ("", rest) } else { rest.split_once('"').unwrap_or((";", "")) };
                    if before.contains([';', '\n']) || before.contains("Outcome") {
                        continue;
                    }
                    actions.extend(rest.split_once('"').map(|(action, _)| action.to_owned()));
                }
            }
        }
    }
}

#[test]
fn every_event_that_is_written_is_documented_and_the_other_way_round() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut written = BTreeSet::new();
    for name in ["wsguard-core", "wsguard", "wsguard-server"] {
        collect(&crates.join(name).join("src"), &mut written);
    }
    // Two actions that stand behind an `if`, and three of one match.
    for (file, actions) in [
        (
            "wsguard-core/src/guard/penalty.rs",
            &["penalty_step", "penalty_in_shadow", "rate_exceeded_in_shadow", "refused_in_shadow"][..],
        ),
        ("wsguard-core/src/guard/anomaly.rs", &["anomaly_detected", "anomaly_in_shadow"]),
        ("wsguard/src/bans.rs", &["ban_begun", "ban_lifted", "ban_ended"]),
    ] {
        let source = fs::read_to_string(crates.join(file)).unwrap();
        for action in actions {
            assert!(source.contains(&format!("\"{action}\"")), "{file} no longer names {action}");
            written.insert((*action).to_owned());
        }
    }
    let documented: BTreeSet<String> = events().into_keys().collect();
    assert_eq!(written, documented);
}

#[test]
fn a_line_is_held_against_its_row() {
    let events = events();
    let line = |rest: &str| {
        format!(
            r#"{{"@timestamp":"t","ecs.version":"v","event.kind":"k","event.category":[],"event.type":[],"event.outcome":"o",{rest}}}"#
        )
    };
    for (name, rest, good) in [
        ("as documented", r#""event.action":"token_refreshed","source.ip":"::1","user.name":"ann""#, true),
        ("a field too few", r#""event.action":"token_refreshed","user.name":"ann""#, false),
        ("a field too many", r#""event.action":"token_refreshed","source.ip":"::1","token":"x""#, false),
        ("no such event", r#""event.action":"sang","source.ip":"::1""#, false),
        ("many of a kind", r#""event.action":"log_checkpoint","wsguard.checkpoint.seq":1,"wsguard.log.seq":2"#, true),
    ] {
        assert_eq!(fault_of(&events, &line(rest)).is_none(), good, "{name}: {:?}", fault_of(&events, &line(rest)));
    }
    assert!(fault_of(&events, "ready").is_none(), "not everything on standard error is an entry");
}
