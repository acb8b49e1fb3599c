//! WSA-PROTO checks against scripted peers: good, bad, silent, and the trap. 05 is in `check_models.rs`.

use testkit::scripted::{Ask, Got, Greet, Out, Script, TOKEN, answer, frame, verdict, verdict_with};
use testkit::scripted_tls::Tls;
use wsguard_audit::Options;
use wsguard_audit::Status::{self, Fail, Pass, Skipped, Unknown, Warn};

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

fn intrusive(options: &mut Options) {
    options.intrusive = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let id = "WSA-PROTO-12";
    let refuses = strict().on_request(|ask| match fault(ask) {
        None if ask.value("Content-Length").is_none() && ask.value("Transfer-Encoding").is_none() => Greet::Open,
        fault => refuse(fault.unwrap_or(400)),
    });
    is("good", &verdict_with(refuses, id, intrusive).await, Pass);
    is("bad: read as frames", &verdict(strict(), id).await, Warn);
    // Behind the 101, what the parser of HTTP makes of the body.
    let answered = strict().on_frame(|ask, _| {
        ask.value("Content-Length")
            .is_some()
            .then(|| vec![Out::Raw(b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()), Out::Drop])
    });
    is("bad: answered as a request", &verdict(answered, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: read as a body", &verdict(strict().reads_bodies(), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_the_server_is_reported_with_what_it_was() {
    // Dies of bytes that are no frame, before anybody handles the error.
    let dies = || {
        strict().on_frame(|ask, got| {
            let has_body = ask.value("Content-Length").is_some() || ask.value("Transfer-Encoding").is_some();
            (has_body && !got.masked).then(|| vec![Out::Die])
        })
    };
    is("sent without --intrusive", &verdict(dies(), "WSA-PROTO-12").await, Warn);
    let found = verdict_with(dies(), "WSA-PROTO-12", intrusive).await;
    is("sent with it", &found, Fail);
    assert!(found.1.contains("a chunked body; then a good connection: no connection"), "{}", found.1);
    assert!(found.1.contains("the target stopped answering"), "{}", found.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_on_a_refusal() {
    let id = "WSA-PROTO-13";
    let kept = |fresh: u16, behind: u16, server: &'static str| {
        let text = |status: u16, server: &str| {
            format!("HTTP/1.1 {status} No\r\nServer: {server}\r\nContent-Length: 0\r\n\r\n")
        };
        strict().on_request(move |ask| match (fault(ask), ask.value("Upgrade")) {
            (None, _) => Greet::Open,
            // Both answers at once: what comes on the connection behind the refusal.
            (Some(_), Some(_)) if ask.value("Sec-WebSocket-Version") == Some("99") => {
                Greet::Raw(format!("{}{}", text(426, "front"), text(behind, server)).into_bytes())
            }
            (Some(_), None) => Greet::Raw(text(fresh, "front").into_bytes()),
            (Some(status), Some(_)) => refuse(status),
        })
    };
    is("good: ends with the refusal", &verdict(strict(), id).await, Pass);
    is("bad: another status", &verdict(kept(403, 200, "front"), id).await, Fail);
    is("bad: another server", &verdict(kept(404, 404, "back"), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: keep-alive", &verdict(kept(404, 404, "front"), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_door_in_http2() {
    let id = "WSA-PROTO-14";
    let judged = |ask: &Ask| {
        if ask.bearer() != Some(TOKEN) {
            401
        } else if ask.is_own_origin() {
            200
        } else {
            403
        }
    };
    // Six handshakes, each with TLS, take their time.
    let over = |tls: Tls| verdict_with(Script::good().tls(tls), id, |options| options.full = true);
    is("good", &over(Tls::good().http2(judged)).await, Pass);
    is("bad", &over(Tls::good().http2(|_| 200)).await, Fail);
    let any_page = |ask: &Ask| if ask.bearer() == Some(TOKEN) { 200 } else { 401 };
    is("bad: the Origin alone", &over(Tls::good().http2(any_page)).await, Fail);
    is("silent", &verdict(Script::silent().tls(Tls::good()), id).await, Unknown);
    is("trap: no HTTP/2", &over(Tls::good()).await, Skipped);
    is("trap: HTTP/2 for pages alone", &over(Tls::good().http2(judged).without_connect()).await, Skipped);
    is("trap: nobody gets in", &over(Tls::good().http2(|_| 403)).await, Unknown);
    let no_page = |options: &mut Options| options.public = true;
    let everybody = Script::good().on_request(|_| Greet::Open).tls(Tls::good().http2(|_| 200));
    is("trap: open in both", &verdict_with(everybody, id, no_page).await, Pass);
}

/// As [`strict`], but for the target, which `takes` judges.
fn routed(takes: impl Fn(&Ask, &str) -> Greet + Send + Sync + 'static) -> Script {
    Script::good().on_request(move |ask| {
        let target = ask.line.split(' ').nth(1).unwrap_or_default().to_owned();
        match target.as_str() {
            "/chat" => match fault(ask) {
                Some(status) => refuse(status),
                None => Greet::Open,
            },
            target => takes(ask, target),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_the_target() {
    let id = "WSA-PROTO-15";
    let at = |options: &mut Options| options.url.push_str("chat");
    is("good", &verdict_with(routed(|_, _| refuse(404)), id, at).await, Pass);
    let connects =
        routed(|_, target| if target.starts_with("http://wsguard-audit.invalid") { refuse(502) } else { refuse(404) });
    is("bad: tries to reach the host", &verdict_with(connects, id, at).await, Fail);
    // The rule that asks for the credential knows one way to write the path.
    let bypassed = routed(|_, target| if target == "//chat" { Greet::Open } else { refuse(404) });
    is("bad: no credential by a doubled slash", &verdict_with(bypassed, id, at).await, Fail);
    let lenient = routed(|ask, target| match fault(ask) {
        None if target == "//chat" => Greet::Open,
        fault => refuse(fault.unwrap_or(404)),
    });
    is("let in by another form", &verdict_with(lenient, id, at).await, Warn);
    is("silent", &verdict_with(Script::silent(), id, at).await, Unknown);
    is("trap: every unknown path is an error", &verdict_with(routed(|_, _| refuse(500)), id, at).await, Pass);
}
