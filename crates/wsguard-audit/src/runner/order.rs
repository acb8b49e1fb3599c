//! Which check comes when, and beside which.

use std::cmp::Reverse;
use std::collections::VecDeque;

use tokio::task::AbortHandle;

use crate::check::{Check, Severity, Turn};

/// Checks that run beside each other, those that wait not counted.
pub(super) const BESIDE_EACH_OTHER: usize = 6;

/// Checks that open many connections: the last but for those that provoke limits.
pub(super) const DEAR: [&str; 7] =
    ["WSA-AUTH-13", "WSA-CSRF-04", "WSA-DISC-04", "WSA-ERR-05", "WSA-IN-11", "WSA-PROTO-10", "WSA-PROTO-11"];

/// Checks that show credentials which are not good, or none. Many targets count those, some until the next good one: they
/// come behind the others, as long as there is time for that, one at a time and with a look at the target's health after
/// it.
const GUESSING: [&str; 10] = [
    "WSA-AUTH-01",
    "WSA-AUTH-03",
    "WSA-AUTH-04",
    "WSA-AUTH-05",
    "WSA-AUTH-06",
    "WSA-AUTH-07",
    "WSA-AUTH-08",
    "WSA-AUTH-14",
    "WSA-DISC-05",
    "WSA-PROTO-15",
];

/// Shows the credential that another check has ended.
pub(super) const COMES_BACK: &str = "WSA-SESS-04";

/// Checks whose messages end programs that expect no such thing: the last, as long as there is time for that, and the
/// likeliest last of all, so that a death leaves little open.
const DEADLY: [&str; 6] = ["WSA-IN-05", "WSA-IN-07", "WSA-IN-11", "WSA-ERR-03", "WSA-IN-01", "WSA-ERR-05"];

/// How likely a check ends a program, if at all.
pub(super) fn deadliness(check: &Check) -> Option<usize> {
    DEADLY.iter().position(|id| *id == check.meta.id)
}

/// Checks that wait on servers that do nothing, and seldom otherwise.
pub(super) const SHORT: [&str; 4] = ["WSA-AUTH-09", "WSA-ERR-04", "WSA-PROTO-09", "WSA-RES-01"];

/// Checks whose wait is one of the shorter ones.
pub(super) const BRIEF: [&str; 5] = ["WSA-AUTH-09", "WSA-ERR-04", "WSA-PROTO-09", "WSA-RES-01", "WSA-RES-08"];

/// Checks that wait on the same idle connection.
const IDLE: [&str; 2] = ["WSA-MON-01", "WSA-SESS-01"];

/// Checks that provoke limits and touch nobody's open connection.
pub(super) const AT_THE_DOOR: [&str; 4] = ["WSA-RATE-02", "WSA-RATE-04", "WSA-RATE-05", "WSA-RATE-08"];

/// Places that must be left for the checks that do not wait.
pub(super) const ROOM_MIN: u32 = 2;

/// A target that locks out who guesses locks out the audit; a credential that was ended is as bad as one that is invented.
pub(super) fn locks(check: &Check) -> bool {
    check.meta.turn == Turn::Provoking && check.meta.id.starts_with("WSA-AUTH") || check.meta.id == COMES_BACK
}

/// It shows a bad credential.
pub(super) fn guesses(check: &Check) -> bool {
    GUESSING.contains(&check.meta.id)
}

/// How many connections checks may hold that wait, where the target allows so many at a time.
pub(super) fn waiting_max(cap: u32) -> u32 {
    cap.saturating_sub(ROOM_MIN).max(1)
}

/// How many connections a check holds that waits where they are few, beside those that wait already: two look at an idle
/// one, and share it.
pub(super) fn places(check: &Check, beside: &[(&'static Check, AbortHandle)]) -> u32 {
    let holds_idle = beside.iter().any(|(other, handle)| IDLE.contains(&other.meta.id) && !handle.is_finished());
    match check.meta.id {
        "WSA-MON-01" if !holds_idle => 2,
        "WSA-SESS-01" if holds_idle => 0,
        _ => 1,
    }
}

/// What comes first among checks of one turn: what is grave and cheap.
pub(super) fn rank(check: &Check) -> impl Ord + use<> {
    let id = check.meta.id;
    // What is for information only provokes a limit last.
    let informs = check.meta.turn == Turn::Provoking && check.meta.severity == Severity::Info;
    let by_severity = match check.meta.turn {
        Turn::Waiting | Turn::Quiet => Some(Reverse(check.meta.severity.max(Severity::Medium))),
        _ => None,
    };
    // Where there is no place for all that wait, those that wait longest could not begin later.
    let is_brief = check.meta.turn == Turn::Waiting && BRIEF.contains(&id);
    let is_short = check.meta.turn == Turn::Waiting && SHORT.contains(&id);
    (informs, locks(check), DEAR.contains(&id), is_brief, is_short, by_severity, id)
}

/// Those that fit, and the others.
pub(super) fn parted(
    checks: Vec<&'static Check>,
    fits: impl Fn(&Check) -> bool,
) -> (Vec<&'static Check>, Vec<&'static Check>) {
    checks.into_iter().partition(|check| fits(check))
}

/// Groups of checks that run beside each other, in their order.
pub(super) fn batches(checks: &[&'static Check]) -> impl Iterator<Item = Vec<&'static Check>> {
    checks.chunks(BESIDE_EACH_OTHER).map(<[_]>::to_vec)
}

/// Checks that run beside each other, cost few handshakes and show good credentials.
pub(super) fn is_light(batch: &[&Check]) -> bool {
    batch.iter().all(|check| check.meta.turn == Turn::Quiet && !DEAR.contains(&check.meta.id) && !guesses(check))
}

/// A batch for a target that limits the audit: larger, for fewer looks at its health; and one check alone of those that
/// open many connections, so that the time is kept.
pub(super) fn spread(batch: &mut Vec<&'static Check>, queue: &mut VecDeque<Vec<&'static Check>>) {
    if batch.len() > 1 && batch.iter().all(|check| DEAR.contains(&check.meta.id)) {
        for check in batch.drain(1..).rev() {
            queue.push_front(vec![check]);
        }
    } else if is_light(batch)
        && let Some(next) = queue.pop_front_if(|next| is_light(next))
    {
        batch.extend(next);
    }
}
