//! WSA-PROTO checks against scripted peers: good, bad, silent, and the trap. 05 is in `check_models.rs`.

use testkit::scripted::{Ask, Got, Greet, Out, Script, TOKEN, answer, frame, verdict};
use wsguard_audit::Status::{self, Fail, Pass, Unknown, Warn};

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

fn refuse(status: u16) -> Greet {
    Greet::Refuse(status, Vec::new(), String::new())
}

fn count(ask: &Ask, name: &str) -> usize {
    ask.headers.iter().filter(|(held, _)| held.eq_ignore_ascii_case(name)).count()
}

/// What a server does that reads the handshake as RFC 6455 asks; `None`: it is one.
fn fault(ask: &Ask) -> Option<u16> {
    let key = ask.value("Sec-WebSocket-Key").unwrap_or_default();
    if ask.line.ends_with("HTTP/1.0") {
        Some(505)
    } else if !ask.line.starts_with("GET ") {
        Some(405)
    } else if ask.bearer() != Some(TOKEN) {
        Some(401)
    } else if ask.value("Upgrade") != Some("websocket") || ask.value("Connection") != Some("Upgrade") {
        Some(400)
    } else if ask.value("Sec-WebSocket-Version") != Some("13") || count(ask, "Sec-WebSocket-Version") != 1 {
        Some(426)
    } else if key.len() != 24 || count(ask, "Sec-WebSocket-Key") != 1 {
        Some(400)
    } else {
        None
    }
}

/// Refuses what RFC 6455 wants refused, but for what `lets` lets pass.
fn strict_but(lets: impl Fn(&Ask) -> bool + Send + Sync + 'static) -> Script {
    Script::good().on_request(move |ask| match fault(ask) {
        Some(401) => refuse(401),
        Some(status) if !lets(ask) => refuse(status),
        _ => Greet::Open,
    })
}

fn strict() -> Script {
    strict_but(|_| false)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accept_value() {
    let id = "WSA-PROTO-01";
    is("good", &verdict(strict(), id).await, Pass);
    let echo = Script::good().on_request(|ask| {
        let key = ask.value("Sec-WebSocket-Key").unwrap_or_default();
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        Greet::Raw(format!("{head}Sec-WebSocket-Accept: {key}\r\n\r\n").into_bytes())
    });
    is("bad", &verdict(echo, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: refuses everybody", &verdict(Script::good().on_request(|_| refuse(403)), id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions() {
    let id = "WSA-PROTO-02";
    is("good", &verdict(strict(), id).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let forbids = Script::good().on_request(|ask| match fault(ask) {
        Some(401) => refuse(401),
        Some(_) => refuse(403),
        None => Greet::Open,
    });
    is("trap: refused with another status", &verdict(forbids, id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts() {
    let id = "WSA-PROTO-03";
    is("good", &verdict(strict(), id).await, Pass);
    let eight = strict_but(|ask| ask.value("Sec-WebSocket-Version") == Some("8"));
    is("bad", &verdict(eight, id).await, Fail);
    let hixie = strict_but(|ask| ask.value("Sec-WebSocket-Key1").is_some());
    is("bad, before the drafts", &verdict(hixie, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    // Limits from the second handshake on: a refusal that is evidence of a limit alone.
    let limits = Script::good().on_request(|ask| match fault(ask) {
        Some(401) => refuse(401),
        Some(_) => refuse(429),
        None => Greet::Open,
    });
    is("trap: limited", &verdict(limits, id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests() {
    let id = "WSA-PROTO-04";
    is("good", &verdict(strict(), id).await, Pass);
    for (name, post) in [("POST", "POST "), ("HTTP/1.0", "GET / HTTP/1.0")] {
        is(name, &verdict(strict_but(move |ask| ask.line.starts_with(post)), id).await, Fail);
    }
    is("two keys", &verdict(strict_but(|ask| count(ask, "Sec-WebSocket-Key") == 2), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: a short key", &verdict(strict_but(|ask| count(ask, "Sec-WebSocket-Key") == 0), id).await, Warn);
}

fn with(name: &str, value: String) -> Greet {
    Greet::OpenWith(vec![(name.to_owned(), value)], Vec::new())
}

/// Answers offers of `header` with what `choose` chooses.
fn chooses(header: &'static str, choose: fn(&str) -> Option<String>) -> Script {
    Script::good().on_request(move |ask| match (fault(ask), choose(ask.value(header).unwrap_or_default())) {
        (Some(status), _) => refuse(status),
        (None, Some(chosen)) => with(header, chosen),
        (None, None) => Greet::Open,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn subprotocols() {
    let id = "WSA-PROTO-10";
    is("good", &verdict(strict(), id).await, Pass);
    is("bad", &verdict(chooses("Sec-WebSocket-Protocol", |_| Some("lab.v1".into())), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let first = chooses("Sec-WebSocket-Protocol", |offered| {
        Some(offered.split(',').next()?.to_owned()).filter(|name| !name.is_empty())
    });
    is("trap: takes the first offered", &verdict(first, id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions() {
    let id = "WSA-PROTO-11";
    is("good", &verdict(strict(), id).await, Pass);
    let unasked = chooses("Sec-WebSocket-Extensions", |offered| {
        Some("permessage-deflate".into()).filter(|_| offered.is_empty() || offered.starts_with("wsg"))
    });
    is("bad", &verdict(unasked, id).await, Fail);
    let odd = chooses("Sec-WebSocket-Extensions", |offered| {
        Some("permessage-deflate".into()).filter(|_| offered.starts_with("permessage-deflate"))
    });
    is("odd parameters", &verdict(odd, id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let refuses = Script::good().on_request(|ask| match (fault(ask), ask.value("Sec-WebSocket-Extensions")) {
        (None, None) => Greet::Open,
        (fault, _) => refuse(fault.unwrap_or(400)),
    });
    is("trap: refuses the handshake", &verdict(refuses, id).await, Pass);
}

/// Drops frames that `which` names, and goes on.
fn drops(which: fn(&Got) -> bool) -> Script {
    Script::good().on_frame(move |_, got| which(got).then(Vec::new))
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_bits() {
    let id = "WSA-PROTO-06";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(Script::good().lax(), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: dropped, and not handled", &verdict(drops(|got| got.reserved != 0), id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn opcodes_and_control_frames() {
    let id = "WSA-PROTO-07";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(drops(|got| matches!(got.opcode, 3 | 11)), id).await, Fail);
    let pongs = Script::good().on_frame(|_, got| (got.opcode == 9).then(|| vec![Out::Raw(frame(10, &got.payload))]));
    is("answers a ping of any size", &verdict(pongs, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    // From the first opcode that means nothing on it hangs: neither refused nor taken.
    let hangs =
        Script::good().on_request(|ask| if fault(ask).is_none() { Greet::Open } else { refuse(401) }).on_frame({
            let hung = std::sync::Mutex::new(std::collections::BTreeSet::new());
            move |ask, got| {
                let mut hung = hung.lock().unwrap();
                if matches!(got.opcode, 3 | 11) || !got.fin || got.announced > 125 {
                    hung.insert(ask.number);
                }
                hung.contains(&ask.number).then(Vec::new)
            }
        });
    is("trap: hangs", &verdict(hangs, id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_and_text() {
    let id = "WSA-PROTO-08";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(drops(|got| got.opcode == 0 && got.payload == b"x"), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let tolerant = Script::good().on_frame(|_, got| {
        let is_odd = std::str::from_utf8(&got.payload).is_err() || got.payload == b"A\"";
        is_odd.then(|| answer("not JSON"))
    });
    is("trap: takes any bytes", &verdict(tolerant, id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_and_close_codes() {
    let id = "WSA-PROTO-09";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(drops(|got| got.announced > 1 << 20), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: takes a long form", &verdict(Script::good().lax(), id).await, Warn);
}
