//! A session whose credential is ended: what becomes of its socket, and of coming back. One experiment for two checks,
//! since a credential is ended once.

use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::probe::entry::Entry;
use crate::probe::session::{Answer, Session};
use crate::probe::{Probe, shortened};

/// How long an open socket may be served after the logout, in seconds.
const SOCKET_SECONDS: f64 = 60.0;

/// The same, from which on no cache explains it.
const CACHE_SECONDS: f64 = 900.0;

/// What became of the open socket; then how the credential was ended, or what is known of coming back already.
pub(super) async fn farewell(probe: &Probe) -> (Outcome, Result<String, Outcome>) {
    probe.shared().farewell.get_or_init(|| take_leave(probe)).await.clone()
}

/// The credential that is ended.
fn token(probe: &Probe) -> String {
    let options = probe.options();
    options.logout_token.clone().or_else(|| options.token.clone()).unwrap_or_default()
}

async fn take_leave(probe: &Probe) -> (Outcome, Result<String, Outcome>) {
    let options = probe.options();
    let token = token(probe);
    let both = |outcome: Outcome| (outcome.clone(), Err(outcome));
    let mut session = match probe.enter(&probe.request_as(Some(&token)), Some(&token)).await {
        Entry::Served { session, .. } => session,
        Entry::Open { session, .. } if probe.way().template.is_none() => session,
        other => return both(Outcome::unknown(format!("before the logout: {}", other.shown()))),
    };
    let logout = match log_out(probe, &token).await {
        Ok(shown) => shown,
        Err(outcome) => return both(outcome),
    };
    let since = Instant::now();
    // Where the run has to end soon, the second question comes first.
    let is_hurried = options.logout_token.is_none() && !options.full;
    let most = match () {
        () if options.full => CACHE_SECONDS + 1.0,
        () if is_hurried => (seconds_left(probe) - 6.0).clamp(0.0, SOCKET_SECONDS + 1.0),
        () => SOCKET_SECONDS + 1.0,
    };
    if is_hurried {
        probe.wait(1.0).await;
        let again = come_back(probe, &logout).await;
        return (watch(probe, &mut session, since, most).await.and(logout), Err(again));
    }
    (watch(probe, &mut session, since, most).await.and(&logout), Ok(logout))
}

fn seconds_left(probe: &Probe) -> f64 {
    probe.in_seconds(probe.budget().ends_at().saturating_duration_since(Instant::now()))
}

/// Ends the credential: by `POST`, or by `GET` where that is not taken.
async fn log_out(probe: &Probe, token: &str) -> Result<String, Outcome> {
    let url = probe.options().logout_url.clone().unwrap_or_default();
    let (name, value) = probe.credential_header(token);
    let mut shown = String::new();
    for method in ["POST", "GET"] {
        match probe.fetch_url(method, &url, Some((name, &value)), None).await {
            Ok(response) if (200..400).contains(&response.status) => {
                return Ok(format!("{method} of the logout: {response}"));
            }
            Ok(response) => shown = format!("{method} of the logout: {response}"),
            Err(why) => return Err(Outcome::unknown(format!("{method} of the logout: {why}"))),
        }
        if !shown.contains("HTTP 404") && !shown.contains("HTTP 405") && !shown.contains("HTTP 501") {
            break;
        }
    }
    Err(Outcome::unknown(shown).settled_by("--logout-url"))
}

/// Uses the open socket until it ends, is refused, or so many seconds are over.
async fn watch(probe: &Probe, session: &mut Session, since: Instant, most: f64) -> Outcome {
    let mut served = String::new();
    loop {
        let took = probe.in_seconds(since.elapsed());
        let end = match session.message() {
            Some(message) => match session.ask_with(&message.text.clone(), &message).await {
                Answer::Served(reply) => {
                    served = reply;
                    None
                }
                Answer::Silent(_) => return pass_or_warn(took, "a message is not answered any more").probable(),
                answer @ (Answer::Limited(_) | Answer::Spent(_)) => return Outcome::unknown(answer.shown()),
                answer => Some(answer.shown()),
            },
            None => None,
        };
        if let Some(end) = end {
            return pass_or_warn(took, &end);
        }
        if took >= most {
            return still_served(probe, took, &served);
        }
        let end = session.until_end(5.0).await;
        if end.is_end() {
            return pass_or_warn(probe.in_seconds(since.elapsed()), &end.to_string());
        }
    }
}

fn pass_or_warn(took: f64, how: &str) -> Outcome {
    let seen = format!("{took:.0} s after the logout: {how}");
    if took <= SOCKET_SECONDS + 2.0 { Outcome::pass(seen) } else { Outcome::warn(seen) }
}

fn still_served(probe: &Probe, took: f64, reply: &str) -> Outcome {
    if probe.way().template.is_none() {
        return Outcome::unknown(format!(
            "{took:.0} s after the logout the connection is open; whether it is served is not known"
        ))
        .settled_by("--send and --expect");
    }
    let seen = format!("{took:.0} s after the logout a message is answered: {}", shortened(reply));
    match took {
        _ if took >= CACHE_SECONDS => Outcome::fail(seen),
        _ if took >= SOCKET_SECONDS => Outcome::fail(seen).and("a cache of minutes would look the same").probable(),
        _ => Outcome::warn(seen).and("longer was not waited").settled_by("--logout-token, or --full"),
    }
}

/// A new handshake with the credential that was ended.
/// A new handshake with the ended credential.
pub(super) async fn come_back(probe: &Probe, logout: &str) -> Outcome {
    let token = token(probe);
    let entry = probe.enter(&probe.request_as(Some(&token)), Some(&token)).await;
    let seen = format!("a new handshake with the ended credential: {}", entry.shown());
    match entry {
        Entry::Denied(_) => Outcome::pass(seen),
        Entry::Served { .. } => Outcome::fail(seen),
        Entry::Open { .. } if probe.way().template.is_none() && probe.way().placement.is_in_handshake() => {
            Outcome::fail(seen).probable()
        }
        Entry::Open { .. } => Outcome::warn(seen).and("nothing was answered, and the connection was not closed either"),
        Entry::Limited(_) | Entry::Unreached(_) => Outcome::unknown(seen),
    }
    .and(logout)
}
