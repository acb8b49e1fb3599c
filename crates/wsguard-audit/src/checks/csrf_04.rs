//! Pages whose names look like the right one.

use super::csrf_01::FOREIGN;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-04",
    title: "Look-alike origins refused",
    category: Category::Csrf,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[1385], asvs: &["4.4.2"], url: "https://www.rfc-editor.org/rfc/rfc6454#section-5" },
    what: "Repeats the good handshake with origins that pass careless comparisons: the own host as beginning, as end, as \
           user part, with its dots replaced, with a back-tick, `127.` as beginning of a foreign name, and two Origin \
           headers.",
    why: "`starts_with`, `ends_with`, `contains` and regular expressions with bare dots are how allowlists are written \
          by hand, and each lets a name in that anybody can register.",
    remedy: "Compare the whole Origin, byte for byte, with the entries of a list.",
    traps: "Where every Origin is let in, WSA-CSRF-01 says so already and this check does not apply. An address instead \
            of a name has fewer look-alikes.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some(own) = probe.way().origin.clone() else {
        return Outcome::unknown("the good handshake has no Origin").settled_by("--origin");
    };
    match probe.enter_as_self(&probe.request().origin(FOREIGN)).await {
        Entry::Denied(_) => {}
        entry @ (Entry::Limited(_) | Entry::Unreached(_)) => return Outcome::unknown(entry.shown()),
        entry => return Outcome::skipped(format!("every Origin is let in (WSA-CSRF-01): {}", entry.shown())),
    }
    let mut refused = Vec::new();
    let mut undecided = Vec::new();
    for alike in look_alikes(&own) {
        let entry = probe.enter_as_self(&probe.request().origin(&alike)).await;
        let seen = format!("Origin {alike}: {}", entry.shown());
        match entry {
            Entry::Denied(_) => refused.push(seen),
            Entry::Limited(_) | Entry::Unreached(_) => undecided.push(seen),
            _ => return found(probe, seen),
        }
    }
    // Which of two a server reads is chance: the second could be the attacker's as well as the first.
    let twice = probe.request().origin(&own).header("Origin", FOREIGN);
    let entry = probe.enter_as_self(&twice).await;
    let seen = format!("Origin {own} and Origin {FOREIGN}: {}", entry.shown());
    match entry {
        Entry::Denied(_) => refused.push(seen),
        Entry::Limited(_) | Entry::Unreached(_) => undecided.push(seen),
        // Many servers read the first alone; no browser sends two, so that this is worth a line and no more.
        _ => refused.push(format!("{seen} (no browser sends two)")),
    }
    match undecided.pop() {
        Some(seen) => Outcome::unknown(seen).and_all(undecided).and_all(refused),
        None => Outcome::pass(format!("{} look-alikes refused", refused.len())).and_all(refused),
    }
}

fn found(probe: &Probe, seen: String) -> Outcome {
    if probe.way().is_ambient(probe.options()) {
        return Outcome::fail(seen).and("the credential is a cookie, which a browser sends from any page");
    }
    // A list that is there is meant to hold.
    if probe.way().asks_credential {
        Outcome::warn(seen).and("the list of origins has a hole; the credential is one that a foreign page cannot send")
    } else {
        Outcome::fail(seen).and("the Origin is all that is asked for, and anybody can have a page of that name")
    }
}

/// Origins that careless comparisons take for `own`.
fn look_alikes(own: &str) -> Vec<String> {
    let Some((scheme, authority)) = own.split_once("://") else { return Vec::new() };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, format!(":{port}")),
        _ => (authority, String::new()),
    };
    let mut list = vec![
        format!("{scheme}://{host}.wsguard-audit.invalid{port}"),
        format!("{scheme}://wsguard-audit{host}{port}"),
        format!("{scheme}://{host}{port}@wsguard-audit.invalid"),
        format!("{scheme}://{host}`wsguard-audit.invalid{port}"),
        format!("{scheme}://wsguard-audit.invalid/{host}"),
        format!("{own}, {FOREIGN}"),
        "http://127.wsguard-audit.invalid".to_owned(),
        "http://localhost.wsguard-audit.invalid".to_owned(),
    ];
    let is_address = host.starts_with('[') || host.split('.').all(|part| part.parse::<u8>().is_ok());
    if !is_address && host.contains('.') {
        list.push(format!("{scheme}://{}{port}", host.replace('.', "x")));
        list.push(format!("{scheme}://{}{port}", host.replacen('.', "x", 1)));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_look_alike_is_the_origin_itself() {
        for own in ["https://app.example", "http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:3000"] {
            let list = look_alikes(own);
            assert!(list.len() >= 7 && list.iter().all(|alike| alike != own), "{own}: {list:?}");
        }
        assert!(
            look_alikes("https://app.example:8443").contains(&"https://app.example.wsguard-audit.invalid:8443".into())
        );
    }
}
