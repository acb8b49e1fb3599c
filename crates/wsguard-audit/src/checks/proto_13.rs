//! What goes through behind a refusal.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Handshake;
use crate::probe::Probe;
use crate::probe::frame::Frame;
use crate::probe::link::{HeadMissing, Link, Unreached};
use crate::probe::request::Request;
use crate::probe::response::Response;
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-13",
    title: "No tunnel behind a refused upgrade",
    category: Category::Protocol,
    severity: Severity::Critical,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[444], asvs: &["4.2.1"], url: "https://www.rfc-editor.org/rfc/rfc9110#section-7.8" },
    what: "Sends a handshake with a wrong version, and on the same connection a `GET` of a path that does not exist and of \
           pages that proxies keep from strangers; the same in one segment with the handshake; and each on a connection of \
           its own to compare with. Also a ping in the segment of a good handshake.",
    why: "A proxy that takes an `Upgrade` for an upgrade before the server behind it agreed carries everything that \
          follows unseen: every rule of the proxy is passed by.",
    remedy: "Tunnel only after a 101 of the server with the right headers; answer a refusal and close. Pass no byte of the \
             client on before.",
    traps: "Keep-alive is right: what is answered behind the refusal counts only where the same request on a connection of \
            its own is answered otherwise, by status or by the names of the servers on the way.",
};

/// Pages that a proxy in front of an application often refuses.
const KEPT: [&str; 2] = ["/metrics", "/admin"];

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let nowhere = format!("/{}", crate::probe::marker());
    let mut seen = Vec::new();
    let mut carried = false;
    for path in [nowhere.as_str()].into_iter().chain(KEPT) {
        // In one segment with the handshake once: what carries one path so carries others.
        let ways: &[bool] = if path == nowhere { &[false, true] } else { &[false] };
        for &at_once in ways {
            let (refusal, behind) = tunnelled(probe, path, at_once).await?;
            let how = if at_once { "in one segment with it" } else { "behind it" };
            let Some(behind) = behind else {
                seen.push(format!("refused with {refusal}; GET {path} {how}: not answered"));
                continue;
            };
            carried = true;
            let fresh = probe.fetch(&kept_alive(probe, path)).await.map_err(|why| Outcome::unknown(why.to_string()))?;
            if behind.is_limit() || fresh.is_limit() {
                return Err(
                    Outcome::unknown(format!("the target limits the audit: {fresh}")).settled_by("another run, later")
                );
            }
            let line =
                format!("refused with {refusal}; GET {path} {how}: {behind}; on a connection of its own: {fresh}");
            if behind.status != fresh.status {
                return Ok(Outcome::fail(line).and_all(seen));
            }
            let (named, control) = (names(&behind), names(&fresh));
            if named != control {
                return Ok(Outcome::fail(format!("{line}; answered by {named:?}, not by {control:?}"))
                    .probable()
                    .and_all(seen));
            }
            seen.push(line);
        }
        // A connection that carries nothing more carries no other path either.
        if !carried {
            break;
        }
    }
    seen.push(early_ping(probe).await);
    let first = seen.first().cloned().unwrap_or_default();
    Ok(Outcome::pass(first).and_all(seen.into_iter().skip(1)))
}

fn kept_alive(probe: &Probe, path: &str) -> Request {
    probe.get(path).without("Connection")
}

/// The refusal, and what the connection carried behind it.
async fn tunnelled(probe: &Probe, path: &str, at_once: bool) -> Result<(String, Option<Response>), Outcome> {
    let unknown = |why: String| Outcome::unknown(format!("a handshake with version 99: {why}"));
    let mut link = probe.connect().await.map_err(|why| unknown(why.to_string()))?;
    let mut bad = probe.request().set("Sec-WebSocket-Version", "99");
    let page = kept_alive(probe, path);
    if at_once {
        bad.tail = page.encode();
    }
    send(probe, &mut link, &bad).await.map_err(|why| unknown(why.to_string()))?;
    let mut refusal = match link.head(probe.shared().patience(10.0)).await {
        Ok(head) if head.status == 101 => return Err(unknown("101 (WSA-PROTO-02 says so)".into())),
        Ok(head) if head.is_limit() => {
            probe.budget().limited(&head.to_string(), None);
            return Err(unknown(head.to_string()).settled_by("another run, later"));
        }
        Ok(head) => head,
        Err(HeadMissing::Ended(end)) => return Ok((end.to_string(), None)),
        Err(HeadMissing::Silent) => return Err(unknown("no answer in time".into())),
        Err(HeadMissing::NotHttp) => return Err(unknown("the answer is not HTTP".into())),
    };
    // With the length that it names; where it names none, only the end tells, and nothing follows.
    let delimited = refusal.value("Content-Length").is_some() || refusal.value("Transfer-Encoding").is_some();
    if delimited || refusal.status == 304 {
        link.body(&mut refusal, probe.shared().soon(0.5)).await;
    }
    if !at_once && send(probe, &mut link, &page).await.is_err() {
        return Ok((refusal.to_string(), None));
    }
    match link.head(probe.shared().soon(1.5)).await {
        Ok(mut behind) => {
            link.body(&mut behind, probe.shared().soon(0.3)).await;
            Ok((refusal.to_string(), Some(behind)))
        }
        Err(_) => Ok((refusal.to_string(), None)),
    }
}

async fn send(probe: &Probe, link: &mut Link, request: &Request) -> Result<(), Unreached> {
    let bytes = request.encode();
    probe.budget().send(0, 0, bytes.len() as u64).map_err(|spent| Unreached::Spent(spent.to_string()))?;
    link.write(&bytes, probe.shared().patience(10.0)).await.map_err(|end| Unreached::Connect(end.to_string()))
}

/// Who answered, and who passed it on.
fn names(response: &Response) -> Vec<String> {
    let mut names: Vec<String> = response
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter_map(|(name, value)| match name.as_str() {
            "server" | "x-powered-by" => Some(format!("{name}: {value}")),
            // Their values number the requests.
            "via" | "x-varnish" | "x-cache" | "cf-ray" | "x-served-by" => Some(name),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// A ping that comes with the handshake: worth a line.
async fn early_ping(probe: &Probe) -> String {
    let mut request = probe.request();
    request.tail = Frame::ping("wsg-early").encode();
    let shown = match probe.handshake(&request).await {
        Handshake::Opened(mut socket) => loop {
            match socket.next_until(probe.shared().soon(1.0)).await {
                Event::Pong(payload) if payload == b"wsg-early" => break "101, and a pong".into(),
                Event::Quiet => break "101, and no pong".into(),
                end if end.is_end() => break format!("101, then {end}"),
                _ => {}
            }
        },
        Handshake::Refused(response) | Handshake::Limited(response) => response.to_string(),
        Handshake::Dropped(end) => end.to_string(),
        Handshake::Unreached(why) => why.to_string(),
    };
    format!("a ping in the segment of a good handshake: {shown}")
}
