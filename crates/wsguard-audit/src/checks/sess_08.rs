//! A session that is taken up again.

use serde_json::{Value, json};

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::discover::dialect::Dialect;
use crate::outcome::Outcome;
use crate::probe::entry::Entry;
use crate::probe::session::{Answer, Session};
use crate::probe::socket::Event;
use crate::probe::{Handshake, Probe, shortened};

pub(super) const META: Meta = Meta {
    id: "WSA-SESS-08",
    title: "Resume bound to its identity",
    category: Category::Session,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Credential],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[294, 639], asvs: &["7.2.1"], url: "https://cwe.mitre.org/data/definitions/639.html" },
    what: "Takes what the target calls a session when it begins (`resumeToken`, `session`, Socket.IO's `pid` …) and resumes \
           it with the credential of `--token-b`, and without any: as wsguard.v1 and Socket.IO do it, or by the message of \
           `--resume`.",
    why: "A session that anybody may take up who knows its name gives away what its owner is sent, and often its rights.",
    remedy: "Look at a resume only behind a verified credential, and compare its subject; rotate the token.",
    traps: "Taking one's own session up again is what it is for: only another identity counts. A target that offers nothing \
            to resume has no such hole: the check does not apply.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// What names a session in a greeting, the telling ones first.
const NAMES: [&str; 8] =
    ["resumeToken", "resume_token", "pid", "sessionId", "session_id", "session", "connectionId", "sid"];

/// Messages by which servers let a session be taken up again.
const RESUMES: [&str; 3] = [
    r#"{"type":"resume","session":"{session}"}"#,
    r#"{"type":"resume","token":"{session}"}"#,
    r#"{"type":"resume","payload":{"session":"{session}","token":"{session}"}}"#,
];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut own = probe.session().await?;
    if own.greeting.is_empty()
        && let Event::Text(text) = own.hear(0.7).await
    {
        own.greeting.push(text);
    }
    let Some((name, session)) = named(&own.greeting) else {
        return Err(Outcome::skipped("the target names no session when a connection begins"));
    };
    let dialect = probe.way().dialect;
    let is_known =
        matches!((dialect, name.as_str()), (Dialect::Wsguard, "resumeToken") | (Dialect::SocketIo(_), "pid"));
    if !is_known && matches!(dialect, Dialect::SocketIo(_) | Dialect::EngineIo(_)) {
        return Err(Outcome::skipped("the target offers no resume"));
    }
    // Whom the target takes the first identity for, to be found again.
    let own_face = face(&mut own).await;
    if is_known {
        // Only a connection that was lost waits for its peer.
        drop(own);
        probe.wait(0.5).await;
    }
    let mut seen = Vec::new();
    let others = [("the second identity", probe.options().token_b.clone()), ("nobody", None)];
    for (who, token) in others.iter().filter(|(who, token)| token.is_some() || *who == "nobody") {
        match take_up(probe, token.as_deref(), &session, is_known, own_face.as_deref()).await? {
            Taken::Yes(how) => {
                return Ok(
                    Outcome::fail(format!("{who} takes up the session of the first ({name}): {how}")).and_all(seen)
                );
            }
            Taken::Perhaps(how) => {
                return Ok(Outcome::warn(format!("{who} takes up the session of the first ({name}): {how}"))
                    .and("whose rights that gives is not known")
                    .probable()
                    .and_all(seen));
            }
            Taken::No(how) => seen.push(format!("{who} does not take up the session of the first ({name}): {how}")),
            Taken::Unheard => {}
        }
    }
    let Some(first) = seen.first().cloned() else {
        return Err(Outcome::skipped(format!("the target names a session ({name}), and answers to no resume"))
            .settled_by("--resume with the message that resumes it"));
    };
    let outcome = Outcome::pass(first).and_all(seen.into_iter().skip(1));
    Ok(if probe.options().token_b.is_none() {
        Outcome::unknown("nobody takes it up; whether another identity does is not known")
            .and_all(outcome.evidence)
            .settled_by("--token-b")
    } else {
        outcome
    })
}

/// The name and value of what a greeting calls the session.
fn named(greeting: &[String]) -> Option<(String, String)> {
    let values: Vec<Value> = greeting
        .iter()
        .filter_map(|text| serde_json::from_str(text.trim_start_matches(|letter: char| letter.is_ascii_digit())).ok())
        .collect();
    NAMES.iter().find_map(|name| {
        values.iter().find_map(|value| {
            let held =
                value.get(*name).or_else(|| value.get("payload")?.get(*name)).or_else(|| value.get("data")?.get(*name));
            Some(((*name).to_owned(), held?.as_str()?.to_owned()))
        })
    })
}

/// The answer to the good message, without what is another each time.
async fn face(session: &mut Session) -> Option<String> {
    let message = session.message()?;
    match session.ask_with(&message.text.clone(), &message).await {
        Answer::Served(reply) => Some(reply.replace(&message.marker, "").replace(&message.id, "")),
        _ => None,
    }
}

enum Taken {
    /// It was, with proof.
    Yes(String),
    /// The target says so.
    Perhaps(String),
    /// It was not.
    No(String),
    /// The target did not react.
    Unheard,
}

async fn take_up(
    probe: &Probe,
    token: Option<&str>,
    session: &str,
    is_known: bool,
    own_face: Option<&str>,
) -> Result<Taken, Outcome> {
    match probe.way().dialect {
        Dialect::Wsguard if is_known => wsguard(probe, token, session).await,
        Dialect::SocketIo(_) if is_known => socket_io(probe, token, session).await,
        _ => by_message(probe, token, session, own_face).await,
    }
}

async fn wsguard(probe: &Probe, token: Option<&str>, session: &str) -> Result<Taken, Outcome> {
    let request = probe.request_as(token).offer(&format!("wsguard.resume.{session}.0"));
    let entry = probe.admit(&request, token).await;
    if let Some(outcome) = entry.undecided() {
        return Err(outcome);
    }
    let shown = entry.shown();
    let (Entry::Open { session, .. } | Entry::Served { session, .. }) = entry else { return Ok(Taken::No(shown)) };
    let welcome = session.greeting.iter().find(|text| text.contains(r#""resumed""#));
    Ok(match welcome {
        Some(text) if text.replace(' ', "").contains(r#""resumed":true"#) => Taken::Yes(shortened(text)),
        Some(_) => Taken::No("a new session, with resumed: false".into()),
        None => Taken::No(shown),
    })
}

/// Socket.IO's recovery of a connection's state: `pid` and `offset` in the connect packet.
async fn socket_io(probe: &Probe, token: Option<&str>, pid: &str) -> Result<Taken, Outcome> {
    let mut socket = match probe.handshake(&probe.request_as(token)).await {
        Handshake::Opened(socket) => socket,
        Handshake::Refused(response) => return Ok(Taken::No(response.to_string())),
        Handshake::Dropped(end) => return Ok(Taken::No(end.to_string())),
        Handshake::Limited(response) => {
            return Err(Outcome::unknown(format!("the target limits the audit: {response}")));
        }
        Handshake::Unreached(why) => return Err(Outcome::unknown(why.to_string())),
    };
    let connect = match token {
        Some(token) => json!({ "pid": pid, "offset": "", "token": token }),
        None => json!({ "pid": pid, "offset": "" }),
    };
    let deadline = probe.shared().patience(3.0);
    loop {
        match socket.next_until(deadline).await {
            Event::Text(text) if text.starts_with("0{") => {
                socket.send_text(&format!("40{connect}")).await.map_err(|spent| Outcome::unknown(spent.to_string()))?;
            }
            // Who is recovered keeps the name of his session.
            Event::Text(text) if text.starts_with("40") && text.contains(pid) => {
                return Ok(Taken::Yes(shortened(&text)));
            }
            Event::Text(text) if text.starts_with("40") => return Ok(Taken::No("a new session".into())),
            Event::Text(text) if text.starts_with("44") => return Ok(Taken::No(shortened(&text))),
            Event::Quiet => return Ok(Taken::Unheard),
            end if end.is_end() => return Ok(Taken::No(end.to_string())),
            _ => {}
        }
    }
}

async fn by_message(probe: &Probe, token: Option<&str>, name: &str, own_face: Option<&str>) -> Result<Taken, Outcome> {
    let given: Vec<&str> = match &probe.options().resume {
        Some(resume) => vec![resume.as_str()],
        None => RESUMES.to_vec(),
    };
    let mut refused = None;
    for form in given {
        let entry = probe.admit(&probe.request_as(token), token).await;
        if let Some(outcome) = entry.undecided() {
            return Err(outcome);
        }
        let shown = entry.shown();
        let (Entry::Open { mut session, .. } | Entry::Served { mut session, .. }) = entry else {
            return Ok(Taken::No(shown));
        };
        // A greeting that comes late is no answer to the resume.
        while let Event::Text(text) = session.hear(0.7).await {
            session.greeting.push(text);
        }
        let before = if token.is_some() { face(&mut session).await } else { None };
        session.say(&form.replace("{session}", name)).await.map_err(|spent| Outcome::unknown(spent.to_string()))?;
        let said = loop {
            match session.hear(1.5).await {
                Event::Text(text) if !session.greeting.contains(&text) => break Some(text),
                Event::Text(_) | Event::Binary(_) | Event::Ping(_) | Event::Pong(_) => {}
                Event::Quiet => break None,
                end => break Some(end.to_string()),
            }
        };
        let Some(said) = said else { continue };
        if crate::discover::dialect::is_refusal(&said)
            || said.starts_with("close")
            || said.starts_with("the connection")
        {
            // A server that knows no resume refuses all of them; the one that knows it has a word of its own for that.
            refused = refused.or(Some(said));
            continue;
        }
        // Whose answers come now?
        let after = face(&mut session).await;
        if own_face.is_some() && after.as_deref() == own_face && before.as_deref() != own_face {
            return Ok(Taken::Yes(shortened(&said)));
        }
        if own_face.is_some() && before.is_some() && after == before {
            return Ok(Taken::No(format!("the answers stay its own: {}", shortened(&said))));
        }
        return Ok(Taken::Perhaps(shortened(&said)));
    }
    // Without a word for it by the command line a refusal may be that of an unknown message.
    Ok(match refused {
        Some(said) if probe.options().resume.is_some() => Taken::No(shortened(&said)),
        _ => Taken::Unheard,
    })
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn sessions_are_found_in_greetings() {
        for (text, want) in [
            (r#"{"type":"welcome","session":"abc"}"#, Some(("session", "abc"))),
            (r#"{"type":"welcome","payload":{"session":"a","resumeToken":"b"}}"#, Some(("resumeToken", "b"))),
            (r#"40{"sid":"x","pid":"y"}"#, Some(("pid", "y"))),
            (r#"{"type":"welcome","session":7}"#, None),
            ("hello", None),
        ] {
            let found = named(&[text.to_owned()]);
            let found = found.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
            assert_eq!(found, want, "{text}");
        }
    }
}
