//! A name for the session that the visitor brings along.

use super::csrf_08::is_session;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::link::Unreached;
use crate::probe::response::Response;

pub(super) const META: Meta = Meta {
    id: "WSA-SESS-07",
    title: "Session named anew at the login",
    category: Category::Session,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[384], asvs: &["7.2.4"], url: "https://cwe.mitre.org/data/definitions/384.html" },
    what: "Logs in at `--login-url` with a session cookie of the audit's own invention, looks whether the server keeps that \
           name, and opens a connection with it.",
    why: "Who can plant a cookie in a browser (from a sister domain, over plain HTTP) waits for the login, and is in the \
          same session.",
    remedy: "Give a session a new name at each login and each change of rights; take no name that you did not give.",
    traps: "The name of a connection or of a trace is none of a session: only the cookie counts, and only a connection \
            that is served with the planted name proves that it opens anything.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let options = probe.options();
    let is_cookie = options.cookie.as_ref().is_some_and(|cookie| cookie.contains("{token}"));
    let Some(url) = options.login_url.clone() else {
        return if is_cookie {
            Outcome::unknown("needs an address where one logs in").settled_by("--login-url and --login-data")
        } else {
            Outcome::skipped("the credential is no cookie")
        };
    };
    if !probe.way().asks_credential {
        return Outcome::unknown("everybody is served alike, with a session or without one");
    }
    judge(probe, &url).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe, url: &str) -> Result<Outcome, Outcome> {
    let trouble = |why: Unreached| Outcome::unknown(format!("the login: {why}"));
    let plain = log_in(probe, url, None).await.map_err(trouble)?;
    let Some((name, fresh)) = session_of(&plain) else {
        return Err(Outcome::unknown(format!("the login sets no session cookie: {plain}"))
            .settled_by("--login-url and --login-data"));
    };
    let planted = format!("wsguard-{}", crate::probe::marker());
    let login = log_in(probe, url, Some(&format!("{name}={planted}"))).await.map_err(trouble)?;
    if !(200..400).contains(&login.status) {
        return Err(Outcome::unknown(format!("the login with a planted cookie: {login}")));
    }
    let after = session_of(&login).map_or_else(|| planted.clone(), |(_, value)| value);
    let is_kept = after == planted || after.contains(&planted);
    // The control: what the login gives does open a connection.
    let control = enter(probe, &name, &fresh).await;
    let entry = enter(probe, &name, &planted).await;
    if let Some(outcome) = entry.undecided() {
        return Err(outcome);
    }
    let seen = format!("a handshake with the planted {name}: {}", entry.shown());
    Ok(match (&entry, is_kept) {
        (Entry::Served { .. }, true) => Outcome::fail(seen).and("the login kept the name that the visitor brought"),
        (Entry::Served { .. }, false) => Outcome::fail(seen).and("although the login gave another name"),
        (_, true) => Outcome::warn("the login kept the name that the visitor brought").and(seen),
        (Entry::Denied(_), false) => Outcome::pass("the login gave a name of its own").and(seen),
        _ if control.is_in() => Outcome::pass("the login gave a name of its own").and(seen).probable(),
        _ => Outcome::pass("the login gave a name of its own").and(seen),
    })
}

async fn log_in(probe: &Probe, url: &str, cookie: Option<&str>) -> Result<Response, Unreached> {
    let body = probe.options().login_data.clone();
    probe.fetch_url("POST", url, cookie.map(|cookie| ("Cookie", cookie)), body.as_deref()).await
}

/// The session cookie that an answer sets.
fn session_of(response: &Response) -> Option<(String, String)> {
    let line = response.values("Set-Cookie").find(|line| is_session(line))?;
    let (name, value) = line.split(';').next()?.split_once('=')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

/// A good handshake whose session cookie is this one.
async fn enter(probe: &Probe, name: &str, value: &str) -> Entry {
    let request = probe.request_as(None).set("Cookie", &format!("{name}={value}"));
    probe.enter(&request, None).await
}
