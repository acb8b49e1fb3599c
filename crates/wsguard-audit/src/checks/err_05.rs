//! The next peer after a bad one.

use super::login::{Told, told};
use super::survival::{After, after};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::{Outcome, Status};
use crate::probe::Probe;
use crate::probe::frame::{Frame, Opcode};

pub(super) const META: Meta = Meta {
    id: "WSA-ERR-05",
    title: "Survives bad messages",
    category: Category::Errors,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[755, 204], asvs: &["16.5.4"], url: "https://cwe.mitre.org/data/definitions/755.html" },
    what: "Sends an unfinished document, `null`, an empty list and bytes that are no UTF-8, each on a good connection of \
           its own, and looks after each whether a new good connection is served. The audit also looks between all its \
           checks: a target that stops answering is reported here. With `--bad-login` and `--known-user` fails to log in \
           under that name and under invented ones by turns, three times each (with `--full` 30 times, and compares how \
           long that takes).",
    why: "One message that ends the process ends the service for everybody. A login that says which names exist tells an \
          attacker whose password to guess.",
    remedy: "Catch errors where messages are handled, close the one connection, and let a supervisor restart what still \
             dies. Answer every failed login with the same words after the same work.",
    traps: "A target that refuses the auditor after his offences protects itself: that is no death, and `unknown`. \
            Refusals count as different only where each kind has the same words each time, apart from numbers and from \
            what was sent, and times only beyond three times what they scatter. `--known-user` must be an account of \
            your own: it may be locked.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let survived = judge(probe).await.unwrap_or_else(|outcome| outcome);
    if survived.status != Status::Pass {
        return survived;
    }
    match told(probe).await {
        Told::Apart(outcome) => outcome.at(Severity::Medium).and_all(survived.evidence),
        Told::Alike(seen) => survived.and(seen),
        Told::Unknown(why) => survived.and(why),
    }
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let prefix: String = probe
        .way()
        .template
        .iter()
        .flat_map(|template| template.send.chars())
        .take_while(char::is_ascii_digit)
        .collect();
    let bad: [(&str, Vec<u8>); 4] = [
        ("an unfinished document", format!("{prefix}{{\"a\":").into_bytes()),
        ("null", format!("{prefix}null").into_bytes()),
        ("an empty list", format!("{prefix}[]").into_bytes()),
        ("bytes that are no UTF-8", vec![0xff, 0xfe]),
    ];
    let mut seen = Vec::new();
    for (name, bytes) in bad {
        let mut session = probe.session().await.map_err(|outcome| outcome.and_all(seen.clone()))?;
        if let Err(spent) = session.socket.send(&Frame::new(Opcode::TEXT, bytes)).await {
            return Err(Outcome::unknown(spent.to_string()).and_all(seen));
        }
        let deadline = probe.shared().soon(0.7);
        let event = session.socket.next_until(deadline).await;
        drop(session);
        match after(probe, &format!("{name}: {event}")).await {
            After::Serves(shown) => seen.push(shown),
            After::Hurt(outcome) | After::Unclear(outcome) => return Ok(outcome.and_all(seen)),
        }
    }
    let first = seen.first().cloned().unwrap_or_default();
    Ok(Outcome::pass(first).and_all(seen.into_iter().skip(1)))
}
