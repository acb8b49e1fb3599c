//! From nothing to a connection on which messages can be sent, each part timed.

use std::sync::Arc;

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{CREDENTIAL, Notes, TCP, TLS, UPGRADE, Verdict};
use crate::measure::{millis, shown};
use crate::outcome::Outcome;
use crate::probe::entry::{Denial, Entry};
use crate::probe::link::{TlsFacts, Unreached};
use crate::probe::session::Session;
use crate::probe::{Probe, Shared, tls};

/// A certificate that ends sooner is worth a warning, in days.
const DAYS_LEFT_MIN: i64 = 14;

/// Connects once and judges the certificate. `None`: nothing more can be learnt; else whether a credential may be shown.
pub(super) async fn connect(shared: &Arc<Shared>, notes: &mut Notes) -> Option<bool> {
    let probe = Probe::new(Arc::clone(shared), "health");
    let link = match probe.connect().await {
        Ok(link) => link,
        Err(Unreached::Tls(why)) => {
            notes.connection.address = Some(shared.road.address());
            notes.note(TCP, Outcome::pass(format!("{} accepted the connection", shared.road.address())));
            notes.note(TLS, Outcome::fail(why));
            return None;
        }
        Err(why) => {
            notes.note(TCP, Outcome::fail(why.to_string()));
            notes.verdict = Some(Verdict::Unreached);
            return None;
        }
    };
    notes.note(TCP, Outcome::pass(shared.road.address()));
    notes.connection.address = Some(shared.road.address());
    notes.connection.tcp_ms = Some(millis(link.timing.tcp));
    let Some(facts) = &link.tls else {
        notes.note(
            TLS,
            if shared.target.is_loopback() {
                Outcome::pass("none, and none is needed: the address is this machine")
            } else {
                Outcome::warn("none: everybody on the way reads the credential and the messages")
            },
        );
        return Some(true);
    };
    notes.connection.tls_ms = Some(millis(link.timing.tls));
    notes.connection.tls_version = facts.version.map(|version| format!("{version:?}"));
    let agreed = format!("{} with {}", version(facts), facts.suite.trim_start_matches("TLS13_"));
    let judged = shared.trust.judge(&facts.chain, &shared.target.host, tls::now());
    let is_trusted = judged.is_ok() || shared.options.insecure;
    notes.note(
        TLS,
        match judged {
            Ok(()) => lasting(facts, agreed),
            Err(error) if shared.options.insecure => {
                Outcome::warn(format!("the certificate is not trusted, and that was allowed: {error}")).and(agreed)
            }
            Err(error) => Outcome::fail(format!("the certificate is not trusted: {error}"))
                .and("the credential is not shown to this server; --ca FILE trusts an authority")
                .and(agreed),
        },
    );
    Some(is_trusted)
}

fn version(facts: &TlsFacts) -> String {
    facts.version.map_or_else(|| "TLS".to_owned(), |version| format!("{version:?}").replace("v1_", " 1."))
}

/// A certificate that is trusted, for how long.
fn lasting(facts: &TlsFacts, agreed: String) -> Outcome {
    let now = i64::try_from(tls::now().as_secs()).unwrap_or(i64::MAX);
    let ends = facts.chain.first().and_then(|leaf| {
        X509Certificate::from_der(leaf).ok().map(|(_, parsed)| parsed.validity().not_after.timestamp())
    });
    let days = ends.map(|ends| ends.saturating_sub(now).div_euclid(86_400));
    match days {
        Some(days) if days < DAYS_LEFT_MIN => Outcome::warn(format!("the certificate ends in {days} days")).and(agreed),
        Some(days) => Outcome::pass(agreed).and(format!("the certificate is trusted, and for {days} days more")),
        None => Outcome::pass(agreed).and("the certificate is trusted"),
    }
}

/// The good handshake and what it says about the credential. `None`: there is no session.
pub(super) async fn enter(probe: &Probe, notes: &mut Notes, trusted: bool) -> Option<Box<Session>> {
    let credential = probe.options().token.clone();
    let entry = probe.admit(&probe.request(), credential.as_deref()).await;
    let way = probe.way();
    let seen = entry.shown();
    match entry {
        Entry::Open { session, .. } | Entry::Served { session, .. } => {
            let timing = session.socket.link.timing;
            let took = millis(timing.answer);
            // The parts of one and the same connection, and not of the first, which waited for this program as well.
            notes.connection.tcp_ms = Some(millis(timing.tcp));
            if session.socket.link.tls.is_some() {
                notes.connection.tls_ms = Some(millis(timing.tls));
            }
            notes.connection.upgrade_ms = Some(took);
            let chosen = session.socket.subprotocol().map(|name| format!(", subprotocol {name}")).unwrap_or_default();
            notes.note(UPGRADE, Outcome::pass(format!("101 after {}{chosen}", shown(took))));
            let place = way.placement.name();
            let outcome = if way.baseline.is_none() {
                // The door is open, and behind it nobody is served.
                let told = format!("a peer without one: {}", way.anonymous);
                let outcome = match credential {
                    Some(_) => {
                        Outcome::fail(format!("accepted in no place that is known; tried first: {}", way.trouble))
                    }
                    None => Outcome::unknown("one is needed, and none was given").settled_by("--token"),
                };
                notes.note(CREDENTIAL, outcome.and(told));
                return None;
            } else if way.asks_credential {
                Outcome::pass(format!("accepted, place: {place}"))
                    .and(format!("with it: {}", way.baseline.as_deref().unwrap_or_default()))
                    .and(format!("without it: {}", way.anonymous))
            } else if probe.options().public {
                Outcome::pass("none is needed, as --public says")
            } else if !trusted {
                Outcome::unknown("not shown to a server whose certificate is not trusted")
                    .settled_by("--ca FILE, or --insecure")
            } else if credential.is_none() {
                Outcome::unknown("a peer without one is let in; none was given").settled_by("--token, or --public")
            } else if way.template.is_none() {
                Outcome::unknown("the connection opens with and without it, and no message is known that shows more")
                    .settled_by("--send and --expect, or --login")
            } else {
                Outcome::warn(format!("a peer without one gets as far: {}", way.anonymous))
            };
            notes.note(CREDENTIAL, outcome);
            Some(session)
        }
        Entry::Denied(denial) => {
            let is_behind = matches!(denial, Denial::Closed(_) | Denial::Message(..));
            let told = match denial.status() {
                Some(401 | 403) if !trusted => "no credential was shown",
                Some(401 | 403) => "the credential, or the Origin, is not accepted",
                Some(404 | 405) => "there is no WebSocket at this path",
                Some(400 | 426) => "the request is not accepted as an upgrade",
                Some(200..=399) => "this is an HTTP server at this path, no WebSocket server",
                _ => "the peer is not let in",
            };
            if is_behind {
                notes.note(UPGRADE, Outcome::pass("101"));
            } else {
                notes.note(UPGRADE, Outcome::fail(format!("{seen}: {told}")));
            }
            let is_about_credential = is_behind || matches!(denial.status(), Some(401 | 403));
            if is_about_credential && trusted {
                notes.note(
                    CREDENTIAL,
                    Outcome::fail(format!("{seen}: {told}")).and(format!("tried last: {}", way.trouble)),
                );
            }
            None
        }
        Entry::Limited(_) => {
            notes.note(UPGRADE, Outcome::unknown(seen).settled_by("another look, later"));
            None
        }
        Entry::Unreached(_) => {
            notes.note(UPGRADE, Outcome::fail(seen));
            None
        }
    }
}

/// A credential that nobody gave out.
pub(super) async fn refusal(probe: &Probe) -> Outcome {
    let Some(token) = &probe.options().token else {
        return Outcome::unknown("no credential was given, so none can be falsified").settled_by("--token");
    };
    if probe.options().public || !probe.way().asks_credential {
        return Outcome::unknown("the server was not seen to ask for a credential").settled_by("--send and --expect");
    }
    let wrong = wrong(token);
    let entry = probe.enter(&probe.request_as(Some(&wrong)), Some(&wrong)).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = entry.shown();
    match entry {
        Entry::Denied(_) => Outcome::pass(seen),
        Entry::Served { .. } => Outcome::fail(format!("a wrong credential is served: {seen}")),
        _ => Outcome::warn(format!("a wrong credential is not told that it is: {seen}")),
    }
}

/// A word of the same shape in which no letter and no digit is right.
fn wrong(token: &str) -> String {
    token
        .chars()
        .map(|letter| match letter {
            'z' => 'a',
            'Z' => 'A',
            '9' => '0',
            letter if letter.is_ascii_alphanumeric() => {
                char::from_u32(u32::from(letter).saturating_add(1)).unwrap_or(letter)
            }
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_credential_has_the_shape_of_the_right_one() {
        for (token, want) in [("test_token", "uftu_uplfo"), ("aZ9.z-", "bA0.a-"), ("", "")] {
            assert_eq!(wrong(token), want);
        }
    }
}
