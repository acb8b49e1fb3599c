//! A token that ends while the connection is open.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::entry::Entry;
use crate::probe::jwt::Jwt;
use crate::probe::session::Answer;
use crate::probe::{Probe, shortened, tls};

pub(super) const META: Meta = Meta {
    id: "WSA-SESS-02",
    title: "End of the token ends the session",
    category: Category::Session,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Template, Need::Credential],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[613], asvs: &["7.3.2", "9.2.1"], url: "https://cwe.mitre.org/data/definitions/613.html" },
    what: "Opens a connection with a JWT that ends within 35 s (`--short-token`, or `--token`; with `--full` within 10 \
           min), sends the good message every 5 s, and looks whether it is still answered 60 s after the end.",
    why: "A handler that looks at the token when the connection opens and never again serves whoever holds it for as long \
          as he keeps the connection: a thief keeps it for weeks.",
    remedy: "Keep the time at which the token ends beside the connection, and close with 4401 then, or take a new token \
             on it.",
    traps: "A client may renew a session on another channel: the audit does not, and a server cannot know. A close before \
            the end has another cause and proves nothing. Traffic all along, so that idleness is none of the causes.",
};

/// How long after the end a connection may still be served, in seconds.
const GRACE: f64 = 60.0;

/// An end within so many seconds is the token's.
const PROMPT: f64 = 5.0;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let options = probe.options();
    let most = if options.full { 600 } else { 35 };
    let ends = |token: &String| Some((token.clone(), Jwt::parse(token)?.expires()?));
    let known = options.short_token.as_ref().and_then(ends).or_else(|| options.token.as_ref().and_then(ends));
    let Some((token, ends_at)) = known else {
        return Outcome::unknown("needs a token that says when it ends").settled_by("--short-token with a JWT");
    };
    let left = ends_at.saturating_sub(tls::now().as_secs());
    if left > most || left == 0 {
        return Outcome::unknown(format!("needs a token that ends within {most} s; this one has {left} s left"))
            .settled_by(if left > 600 || left == 0 { "--short-token" } else { "--full" });
    }
    let entry = probe.enter(&probe.request_as(Some(&token)), Some(&token)).await;
    let mut session = match entry {
        Entry::Served { session, .. } => session,
        other => return Outcome::unknown(format!("with the token that ends soon: {}", other.shown())),
    };
    let mut over_since = None;
    // Who is limited may lose the connection for that.
    let ended = |seen: String, over: Option<f64>| {
        let is_limited = probe.shared().notes().burst.is_some_and(|burst| burst.is_limited);
        match over {
            Some(over) if over > PROMPT && is_limited => {
                Outcome::unknown(seen).and("a limit was met meanwhile, which may have ended it")
            }
            _ => Outcome::pass(seen),
        }
    };
    loop {
        let now = tls::now().as_secs();
        if over_since.is_none() && now > ends_at {
            over_since = Some(session.socket.age());
        }
        let over = over_since.map(|since| session.socket.age() - since);
        let answer = session.ask().await;
        let after = match over {
            // The clocks may differ by a little.
            None if now.saturating_add(2) >= ends_at => "at its end".to_owned(),
            None => format!("{} s before its end", ends_at.saturating_sub(now)),
            Some(over) => format!("{over:.0} s after its end"),
        };
        match answer {
            Answer::Served(reply) if over.is_some_and(|over| over >= GRACE) => {
                return Outcome::fail(format!("{after} the connection is served: {}", shortened(&reply)));
            }
            Answer::Served(_) => {}
            Answer::Silent(_) if over.is_some() => {
                return ended(format!("{after} a message is not answered any more"), over).probable();
            }
            Answer::Refused(_) | Answer::Ended(_) if after.ends_with("before its end") => {
                return Outcome::unknown(format!("{after}: {}", answer.shown()));
            }
            Answer::Refused(_) | Answer::Ended(_) => return ended(format!("{after}: {}", answer.shown()), over),
            Answer::Limited(_) | Answer::Spent(_) | Answer::Silent(_) => {
                return Outcome::unknown(format!("{after}: {}", answer.shown()));
            }
        }
        let end = session.until_end(if over.is_some() { 5.0 } else { 2.0 }).await;
        if end.is_end() {
            let now = tls::now().as_secs();
            return if now.saturating_add(2) >= ends_at {
                ended(format!("{end} {} s after the token ended", now.saturating_sub(ends_at)), over)
            } else {
                Outcome::unknown(format!("{end} {} s before the token ended", ends_at.saturating_sub(now)))
            };
        }
    }
}
