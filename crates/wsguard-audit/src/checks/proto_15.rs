//! Other ways to write the path.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::entry::Entry;
use crate::probe::link::Unreached;
use crate::probe::request::Request;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-15",
    title: "Request target read strictly",
    category: Category::Protocol,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[918, 436], asvs: &["4.2.1"], url: "https://www.rfc-editor.org/rfc/rfc9112#section-3.2" },
    what: "Repeats the good handshake with the absolute form of another host, `http://wsguard-audit.invalid`, with a doubled \
           slash, with dot segments and with an encoded letter in the path; what is let in, again without the credential.",
    why: "A proxy that connects to the host that a request names reaches what only it can reach; and rules that compare \
          paths are passed by where the server behind them reads a path otherwise.",
    remedy: "Take the path as it is written and compare it exactly; answer 400 to another host in the target.",
    traps: "The absolute form is legal for a host of one's own, and forms that lead to the same place open nothing by \
            themselves: `warn`. An error counts where a path that does not exist brings none. The name exists nowhere \
            (RFC 6761); addresses of metadata services are never asked.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// What a form of the target brought.
#[derive(Debug, PartialEq)]
enum Form {
    In,
    Refused(String),
    /// 5xx, or no answer: something behind it failed.
    Failed(String),
}

impl Form {
    fn shown(&self) -> String {
        match self {
            Self::In => "101".into(),
            Self::Refused(how) | Self::Failed(how) => how.clone(),
        }
    }
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let good = probe.request();
    let path = good.target.clone();
    let nowhere = Request { target: format!("/{}", crate::probe::marker()), ..probe.request() };
    let control = form(probe, &nowhere).await?;
    let fails_anyway = matches!(control, Form::Failed(_));
    let mut seen = vec![format!("a path that does not exist: {}", control.shown())];
    let (mut failed, mut lenient, mut straight) = (Vec::new(), Vec::new(), None);
    for (name, target, is_outward) in forms(&path) {
        let request = Request { target: target.clone(), ..probe.request() };
        let got = form(probe, &request).await.map_err(|outcome| outcome.and(name).and_all(seen.clone()))?;
        let line = format!("{name}: {}", got.shown());
        match got {
            Form::Failed(_) if fails_anyway => seen.push(line),
            Form::Failed(_) if is_outward => failed.push(format!("{line}, as of a server that it tried to reach")),
            Form::Failed(_) | Form::In => lenient.push(line),
            Form::Refused(_) => seen.push(line),
        }
        let is_in = lenient.last().is_some_and(|line| line.ends_with(": 101"));
        if is_in && let Some(how) = unknown_peer(probe, &path, &target, &mut straight).await? {
            return Ok(Outcome::fail(format!("{name}, without a credential: {how}")).and_all(lenient).and_all(seen));
        }
    }
    let status = (failed.is_empty(), lenient.is_empty());
    let mut lines = failed.into_iter().chain(lenient).chain(seen.into_iter().rev());
    let first = lines.next().unwrap_or_default();
    Ok(match status {
        (false, _) => Outcome::fail(first).probable(),
        (true, false) => Outcome::warn(first).at(Severity::Low),
        (true, true) => Outcome::pass(first),
    }
    .and_all(lines))
}

/// The forms: what they are called, the target, and whether they name another host.
fn forms(path: &str) -> Vec<(&'static str, String, bool)> {
    let mut forms = vec![
        ("the absolute form of another host", format!("http://wsguard-audit.invalid{path}"), true),
        ("a doubled slash", format!("/{path}"), false),
        ("dot segments", format!("/wsguard-audit/..{path}"), false),
    ];
    // The first letter of the path, where it has one.
    let letter = path
        .char_indices()
        .find(|(_, letter)| letter.is_ascii_alphabetic())
        .filter(|(at, _)| path.find('?').is_none_or(|query| *at < query));
    if let Some((at, letter)) = letter
        && let (Some(before), Some(after)) = (path.get(..at), path.get(at.saturating_add(1)..))
    {
        forms.push(("an encoded letter", format!("{before}%{:02x}{after}", u32::from(letter)), false));
    }
    forms
}

async fn form(probe: &Probe, request: &Request) -> Result<Form, Outcome> {
    Ok(match probe.handshake(&request.anew()).await {
        Handshake::Opened(socket) => {
            socket.close().await;
            Form::In
        }
        Handshake::Refused(response) if response.status >= 500 => Form::Failed(response.to_string()),
        Handshake::Refused(response) => Form::Refused(response.to_string()),
        Handshake::Dropped(end) => Form::Refused(end.to_string()),
        Handshake::Unreached(why @ (Unreached::Gateway(_) | Unreached::Silent)) => Form::Failed(why.to_string()),
        Handshake::Limited(response) => {
            return Err(
                Outcome::unknown(format!("the target limits the audit: {response}")).settled_by("another run, later")
            );
        }
        Handshake::Unreached(why) => return Err(Outcome::unknown(why.to_string())),
    })
}

/// Whether a peer without a credential gets further by this form than by the path itself, which is asked once; how, if
/// so.
async fn unknown_peer(
    probe: &Probe,
    path: &str,
    target: &str,
    straight: &mut Option<Entry>,
) -> Result<Option<String>, Outcome> {
    let anonymous = probe.request_as(None);
    // A credential in the query is a part of the path: without it the forms are others.
    if anonymous.target != path || !probe.way().asks_credential {
        return Ok(None);
    }
    let straight = match straight {
        Some(entry) => entry,
        None => straight.insert(probe.enter(&anonymous, None).await),
    };
    let other = probe.enter(&Request { target: target.to_owned(), ..anonymous }, None).await;
    if let Some(outcome) = straight.undecided().or_else(|| other.undecided()) {
        return Err(outcome);
    }
    Ok(other.is_beyond(straight).then(|| format!("{}; by the path itself: {}", other.shown(), straight.shown())))
}

#[cfg(test)]
mod tests {
    use super::forms;

    #[test]
    fn forms_of_a_path() {
        let targets = |path: &str| forms(path).into_iter().map(|(_, target, _)| target).collect::<Vec<_>>();
        assert_eq!(
            targets("/ws?a=1"),
            ["http://wsguard-audit.invalid/ws?a=1", "//ws?a=1", "/wsguard-audit/../ws?a=1", "/%77s?a=1"]
        );
        assert_eq!(targets("/?a=1").len(), 3, "no letter before the query");
    }
}
