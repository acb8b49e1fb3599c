//! WSA-ERR-01 to 05 against scripted peers: good, bad, silent, and the trap.

use serde_json::json;
use testkit::scripted::{Greet, Out, Script, TOKEN, answer, frame, verdict};
use wsguard_audit::Status::{self, Fail, Pass, Unknown, Warn};

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

/// Says `told` in place of every error.
fn errors(told: &'static str) -> Script {
    Script::good().on_text(move |_, text| match answer(text).into_iter().next() {
        Some(Out::Text(reply)) if reply.contains("\"error\"") => vec![Out::Text(json!({"error": told}).to_string())],
        Some(out) => vec![out],
        None => Vec::new(),
    })
}

/// Refuses a wrong handshake with this header and body.
fn refuses(header: &'static str, body: &'static str) -> Script {
    Script::good().on_request(move |ask| {
        let is_good = ask.bearer() == Some(TOKEN)
            && ask.line.starts_with("GET / ")
            && ask.value("Sec-WebSocket-Version") == Some("13")
            && ask.value("Sec-WebSocket-Key") != Some("short");
        if is_good && ask.is_own_origin() {
            return Greet::Open;
        }
        Greet::Refuse(400, vec![("Server".into(), header.into())], body.into())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn internals() {
    let id = "WSA-ERR-01";
    is("good", &verdict(Script::good(), id).await, Pass);
    let trace =
        "SyntaxError: Unexpected end\n    at JSON.parse (<anonymous>)\n    at WebSocket.f (/srv/app/main.js:10:5)";
    is("bad", &verdict(errors(trace), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: the word alone", &verdict(errors("an InvalidMessageError, no exception is made"), id).await, Pass);
    let mute = Script::good().on_text(|_, text| match answer(text).into_iter().next() {
        Some(Out::Text(reply)) if reply.contains("\"error\"") => Vec::new(),
        Some(out) => vec![out],
        None => Vec::new(),
    });
    is("trap: no error was heard", &verdict(mute, id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes() {
    let id = "WSA-ERR-02";
    is("good", &verdict(refuses("web", ""), id).await, Pass);
    is("bad", &verdict(refuses("web", "Traceback (most recent call last):\n"), id).await, Fail);
    is("a banner", &verdict(refuses("web/1.18.0", ""), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: the version of HTTP", &verdict(refuses("web", "HTTP/1.1 400"), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn reasons() {
    let id = "WSA-ERR-03";
    is("good", &verdict(Script::good(), id).await, Pass);
    let close = |reason: &str| {
        let payload = [&1003_u16.to_be_bytes()[..], reason.as_bytes()].concat();
        vec![Out::Raw(frame(8, &payload)), Out::Drop]
    };
    let repeats = Script::good().on_frame(move |_, got| {
        let text = String::from_utf8_lossy(&got.payload).into_owned();
        (got.opcode == 2).then(|| close(&format!("what is {text}?")))
    });
    is("bad", &verdict(repeats, id).await, Fail);
    let library = Script::good().on_frame(move |_, got| (got.opcode == 3).then(|| close("Invalid opcode 3")));
    is("the words of a library", &verdict(library, id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let mute = Script::good().on_frame(|_, got| matches!(got.opcode, 2 | 3).then(Vec::new)).on_text(|_, text| {
        if serde_json::from_str::<serde_json::Value>(text).is_ok() { answer(text) } else { Vec::new() }
    });
    is("trap: nothing was said", &verdict(mute, id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing() {
    let id = "WSA-ERR-04";
    is("good", &verdict(Script::good(), id).await, Pass);
    let keeps = Script::good().on_frame(|_, got| (got.opcode == 8).then(Vec::new));
    is("bad", &verdict(keeps, id).await, Fail);
    let drops = Script::good().on_frame(|_, got| (got.opcode == 8).then(|| vec![Out::Drop]));
    is("without an answer", &verdict(drops, id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let other = Script::good().on_frame(|_, got| (got.opcode == 8).then(|| vec![Out::Close(1005)]));
    is("trap: another code ends it as well", &verdict(other, id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn survival() {
    let id = "WSA-ERR-05";
    is("good", &verdict(Script::good(), id).await, Pass);
    let dies = Script::good().on_text(|_, text| if text == "null" { vec![Out::Die] } else { answer(text) });
    is("bad", &verdict(dies, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    // Refuses whoever sent something bad, for good.
    let banned = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mark = std::sync::Arc::clone(&banned);
    let bans = Script::good()
        .on_request(move |ask| match ask.bearer() {
            Some(TOKEN) if ask.is_own_origin() && !banned.load(std::sync::atomic::Ordering::Relaxed) => Greet::Open,
            _ => Greet::Refuse(403, Vec::new(), String::new()),
        })
        .on_text(move |_, text| {
            mark.fetch_or(text == "null", std::sync::atomic::Ordering::Relaxed);
            answer(text)
        });
    is("trap: the auditor is banned", &verdict(bans, id).await, Unknown);
}
