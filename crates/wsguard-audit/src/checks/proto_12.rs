//! A handshake with something behind its head.

use super::survival::{After, after};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::frame::Frame;
use crate::probe::link::Fill;
use crate::probe::request::Request;
use crate::probe::socket::{Event, Socket};
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-12",
    title: "Upgrade with a body refused",
    category: Category::Protocol,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Perilous,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[444], asvs: &["4.2.1"], url: "https://www.rfc-editor.org/rfc/rfc9112#section-6.3" },
    what: "Repeats the good handshake with `Content-Length` and a body that is, to the byte, a masked ping, and looks \
           whether the body is refused, read as a body, or answered as a frame. With `--intrusive` also a chunked body, \
           and a body that is a request for a page that does not exist, after each of which a new good connection must \
           be served.",
    why: "Where a proxy takes bytes for a body and the server behind it takes them for a request or for frames, one peer \
          speaks past what the proxy checks, or into the answer of another peer.",
    remedy: "Answer 400 or 413 to a handshake with `Content-Length` above 0 or with `Transfer-Encoding`; at least read \
             the body before frames.",
    traps: "A body that is read as one, and a connection that works afterwards, is right. A body that is read as frames \
            is the peer's own and a `warn`; answered as a request it is a failure. Bytes that are no frame end some \
            servers (engine.io 5.2): they are sent with `--intrusive` alone.",
};

/// What became of a body.
enum Body {
    Refused(String),
    /// Read as a body: the connection works.
    Consumed(String),
    /// Read as frames.
    Framed(String),
    /// Answered as a request.
    Asked(String),
    Nothing(Outcome),
}

pub(super) async fn run(probe: &Probe) -> Outcome {
    let ping = Frame::ping("wsg-body").encode();
    let mut bodies = vec![("a body that is a ping", with_body(probe, &ping))];
    if probe.options().intrusive {
        let chunked = [format!("{:x}\r\n", ping.len()).as_bytes(), &ping, b"\r\n0\r\n\r\n"].concat();
        let mut request = probe.request().header("Transfer-Encoding", "chunked");
        request.tail = chunked;
        bodies.push(("a chunked body", request));
        bodies.push((
            "a body that is a request",
            with_body(probe, &probe.get(&format!("/{}", crate::probe::marker())).encode()),
        ));
    }
    let (mut asked, mut framed, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for (name, request) in bodies {
        match body(probe, &request).await {
            Body::Refused(how) | Body::Consumed(how) => seen.push(format!("{name}: {how}")),
            Body::Framed(how) => framed.push(format!("{name}: {how}")),
            Body::Asked(how) => asked.push(format!("{name}: {how}")),
            Body::Nothing(outcome) => {
                return outcome.and(format!("with {name}")).and_all(asked).and_all(framed).and_all(seen);
            }
        }
        if probe.options().intrusive {
            match after(probe, name).await {
                After::Serves(_) => {}
                After::Hurt(outcome) | After::Unclear(outcome) => {
                    return outcome.and_all(asked).and_all(framed).and_all(seen);
                }
            }
        }
    }
    let (is_asked, is_framed) = (!asked.is_empty(), !framed.is_empty());
    let mut lines = asked.into_iter().chain(framed).chain(seen);
    let first = lines.next().unwrap_or_default();
    match (is_asked, is_framed) {
        (true, _) => Outcome::fail(first),
        (false, true) => Outcome::warn(first),
        (false, false) => Outcome::pass(first),
    }
    .and_all(lines)
}

fn with_body(probe: &Probe, bytes: &[u8]) -> Request {
    let mut request = probe.request().header("Content-Length", &bytes.len().to_string());
    request.tail = bytes.to_vec();
    request
}

async fn body(probe: &Probe, request: &Request) -> Body {
    match probe.handshake(&request.anew()).await {
        Handshake::Opened(socket) => behind(probe, socket).await,
        Handshake::Refused(response) => Body::Refused(response.to_string()),
        Handshake::Dropped(end) => Body::Refused(end.to_string()),
        // Some wait for ever for a body that they do not read: nothing was opened.
        Handshake::Unreached(crate::probe::link::Unreached::Silent) => Body::Refused("no answer".into()),
        Handshake::Limited(response) => {
            Body::Nothing(Outcome::unknown(format!("the target limits the audit: {response}")))
        }
        Handshake::Unreached(why) => Body::Nothing(Outcome::unknown(why.to_string())),
    }
}

/// The 101 came: what of the body comes back?
async fn behind(probe: &Probe, mut socket: Socket) -> Body {
    let deadline = probe.shared().soon(1.0);
    while !socket.link.buffer.starts_with(b"HTTP/") && matches!(socket.link.fill(deadline).await, Fill::Bytes(_)) {}
    if socket.link.buffer.starts_with(b"HTTP/") {
        let line = String::from_utf8_lossy(&socket.link.buffer).lines().next().unwrap_or_default().to_owned();
        return Body::Asked(format!("101, and an answer of HTTP behind it: {line}"));
    }
    loop {
        match socket.next_until(probe.shared().soon(0.3)).await {
            Event::Pong(payload) if payload == b"wsg-body" => return Body::Framed("101, and a pong answers it".into()),
            Event::Quiet => break,
            end if end.is_end() => return Body::Framed(format!("101, then {end}")),
            _ => {}
        }
    }
    if let Err(spent) = socket.send(&Frame::ping("wsg-after")).await {
        return Body::Nothing(Outcome::unknown(spent.to_string()));
    }
    loop {
        match socket.next(3.0).await {
            Event::Pong(payload) if payload == b"wsg-after" => {
                return Body::Consumed("101, and the body is read as one".into());
            }
            Event::Quiet => return Body::Nothing(Outcome::unknown("101, and a ping behind it is not answered")),
            end if end.is_end() => return Body::Framed(format!("101, then {end}")),
            _ => {}
        }
    }
}
