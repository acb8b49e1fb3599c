//! What controls in shadow would have refused, told once a minute, and the end of bans.
//!
//! Attack: a protection left in shadow because nobody looks. The log says each minute what passed that should not, as long
//! as something does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use wsguard::Guard;

use crate::journal::{Entry, Journal, Outcome};

/// Time between two lines: one that is read, not one that scrolls past.
const EVERY: Duration = Duration::from_mins(1);

/// Counts by control and reason.
type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// Tells the log once a minute, until it is aborted.
pub(crate) async fn watch(guard: Guard, journal: Arc<Journal>) {
    let mut told = Counts::new();
    let mut minutes = tokio::time::interval(EVERY);
    loop {
        minutes.tick().await;
        tell(&guard, &journal, &mut told);
    }
}

/// What is done each minute: bans that are over end, and the log is told what passed since `told`.
fn tell(guard: &Guard, journal: &Journal, told: &mut Counts) {
    guard.handle().sweep_bans();
    let counts = counts(guard);
    if let Some(detail) = difference(told, &counts) {
        let entry =
            Entry { detail: Some(detail), ..Entry::new(wsguard::now().unix.0, "shadow_summary", Outcome::Unknown) };
        journal.record(entry);
    }
    *told = counts;
}

/// Everything that passed in shadow since the start, as JSON: `{"rate": {"messages_of_subject": 12}}`.
pub(crate) fn by_control(guard: &Guard) -> Value {
    let mut controls = Map::new();
    for ((control, reason), count) in counts(guard) {
        let reasons = controls.entry(control).or_insert_with(|| json!({}));
        if let Value::Object(reasons) = reasons {
            reasons.insert(reason.to_owned(), json!(count));
        }
    }
    Value::Object(controls)
}

fn counts(guard: &Guard) -> Counts {
    let context = guard.context();
    let controls = context.shadow().seen().map(|(control, reason, count)| ((control.as_str(), reason), count));
    let ladder = context.penalties().counts().into_iter().map(|(step, _, count)| (("penalty", step), count));
    controls.chain(ladder.filter(|(_, count)| *count > 0)).collect()
}

/// What grew from `told` to `counts`, in words; `None` where nothing did.
fn difference(told: &Counts, counts: &Counts) -> Option<String> {
    let mut detail = String::new();
    for (key, count) in counts {
        let new = count.saturating_sub(told.get(key).copied().unwrap_or(0));
        if new > 0 {
            let (control, reason) = key;
            let begin = if detail.is_empty() { "would have refused in the last minute: " } else { ", " };
            // Writing to a String does not fail.
            let _ = write!(detail, "{begin}{control} {reason} {new}");
        }
    }
    (!detail.is_empty()).then_some(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, LogTarget};
    use crate::journal::Options;
    use wsguard::core::verdict::ControlId;

    #[test]
    fn the_log_is_told_each_minute_in_which_something_passed() {
        let guard = Guard::builder()
            .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
            .hosts(["localhost"])
            .message("greet", "{}")
            .build()
            .unwrap();
        let options = Options {
            target: LogTarget::Stderr,
            format: LogFormat::Json,
            key: None,
            checkpoints: None,
            rotate_bytes: u64::MAX,
            keep_files: 1,
        };
        let journal = Journal::open(options).unwrap();
        let mut told = Counts::new();
        let mut minute = |passed: u64| {
            for _ in 0..passed {
                guard.context().shadow().count(ControlId::Schema, "schema");
            }
            tell(&guard, &journal, &mut told);
            assert!(journal.flush(Duration::from_secs(20)));
            let lines = journal.recent(10, |entry| entry.action == "shadow_summary");
            (lines.len(), lines.first().and_then(|line| line.detail.clone()))
        };
        let said = |count: u64| Some(format!("would have refused in the last minute: schema schema {count}"));
        assert_eq!(minute(0), (0, None));
        assert_eq!(minute(3), (1, said(3)));
        assert_eq!(minute(0), (1, said(3)), "nothing new, nothing said");
        assert_eq!(minute(2), (2, said(2)), "what is new, not the sum");
    }

    #[test]
    fn a_line_says_what_is_new_and_why() {
        let of = |rows: &[(&'static str, &'static str, u64)]| -> Counts {
            rows.iter().map(|(control, reason, count)| ((*control, *reason), *count)).collect()
        };
        let before = of(&[("rate", "messages_of_subject", 10), ("schema", "schema", 2)]);
        for (name, told, counts, want) in [
            ("nothing at all", Counts::new(), Counts::new(), None),
            ("nothing new", before.clone(), before.clone(), None),
            (
                "two of three",
                before,
                of(&[("penalty", "close", 1), ("rate", "messages_of_subject", 17), ("schema", "schema", 2)]),
                Some("would have refused in the last minute: penalty close 1, rate messages_of_subject 7"),
            ),
        ] {
            assert_eq!(difference(&told, &counts).as_deref(), want, "{name}");
        }
    }
}
