//! The checks that stand as models for others, against four scripted peers each: good, bad, silent, and the trap.

use std::time::Duration;

use testkit::scripted::{Greet, Out, Script, TOKEN, answer, verdict, verdict_with};
use wsguard_audit::Status::{self, Fail, Pass, Skipped, Unknown, Warn};

fn anybody() -> Script {
    Script::good().on_request(|_| Greet::Open)
}

/// Any Origin, with a bearer token.
fn any_page() -> Script {
    Script::good().on_request(|ask| match ask.bearer() {
        Some(TOKEN) => Greet::Open,
        _ => Greet::Refuse(401, Vec::new(), String::new()),
    })
}

/// Any Origin, with a cookie.
fn any_page_with_cookie() -> Script {
    Script::good().on_request(|ask| match ask.value("Cookie") {
        Some(cookie) if cookie.contains(TOKEN) => Greet::Open,
        _ => Greet::Refuse(401, Vec::new(), String::new()),
    })
}

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_origins() {
    for id in ["WSA-CSRF-01", "WSA-CSRF-02"] {
        is("good", &verdict(Script::good(), id).await, Pass);
        let bad = verdict_with(any_page_with_cookie(), id, |options| {
            options.token = None;
            options.cookie = Some(format!("sid={TOKEN}"));
        });
        is("bad", &bad.await, Fail);
        is("silent", &verdict(Script::silent(), id).await, Unknown);
        is("trap: a token that only script sends", &verdict(any_page(), id).await, Warn);
        let public = verdict_with(anybody(), id, |options| options.public = true);
        is("trap: meant for everybody", &public.await, Skipped);
    }
    is("nothing but the network protects it", &verdict(anybody(), "WSA-CSRF-01").await, Fail);
    let late = Script::good()
        .on_request(|ask| if ask.bearer() == Some(TOKEN) { Greet::Open } else { Greet::Drop })
        .on_text(|ask, text| if ask.is_own_origin() { answer(text) } else { vec![Out::Close(4403)] });
    is("looks at the Origin after the upgrade", &verdict(late, "WSA-CSRF-01").await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_use() {
    let id = "WSA-AUTH-01";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(anybody(), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let first_message =
        anybody().on_text(|_, _| vec![Out::Text(r#"{"type":"error","code":"unauthenticated"}"#.into())]);
    let found = verdict_with(first_message, id, |options| {
        options.send = Some(r#"{"type":"echo","payload":"{marker}"}"#.into());
    });
    is("trap: a 101 that is of no use", &found.await, Status::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_tokens() {
    let id = "WSA-AUTH-03";
    is("good", &verdict(Script::good(), id).await, Pass);
    let any_token = Script::good().on_request(|ask| match ask.bearer() {
        Some(_) => Greet::Open,
        None => Greet::Refuse(401, Vec::new(), String::new()),
    });
    is("bad", &verdict(any_token, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: tokens are of no matter", &verdict(anybody(), id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_before_the_credential() {
    let id = "WSA-AUTH-09";
    // Lets everybody open a connection, and closes with 4401 who speaks without having logged in.
    let first_message = || {
        anybody().on_text(|ask, text| if ask.bearer() == Some(TOKEN) { answer(text) } else { vec![Out::Close(4401)] })
    };
    is("good", &verdict(first_message().idle(Duration::from_millis(200)), id).await, Pass);
    is("bad", &verdict(first_message(), id).await, Warn);
    is("bad, watched for long", &verdict_with(first_message(), id, |options| options.full = true).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: asked for in the handshake", &verdict(Script::good(), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_without_a_mask() {
    let id = "WSA-PROTO-05";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(Script::good().lax(), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let drops = Script::good().on_frame(|_, got| (!got.masked).then(Vec::new));
    is("trap: dropped, and not handled", &verdict(drops, id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_json() {
    let id = "WSA-IN-01";
    is("good", &verdict(Script::good(), id).await, Pass);
    let dies = Script::good().on_text(|_, text| match answer(text) {
        outs if matches!(outs.first(), Some(Out::Text(text)) if text.contains("invalid_json")) => vec![Out::Die],
        outs => outs,
    });
    is("bad", &verdict(dies, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let echo = Script::good().on_text(|_, text| vec![Out::Text(text.to_owned())]);
    is("trap: not a JSON server", &verdict(echo, id).await, Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_handshakes() {
    let id = "WSA-RATE-02";
    let limits = |from: u32| {
        Script::good().on_request(move |ask| match (ask.bearer(), ask.number) {
            (Some(TOKEN), number) if number < from || number > from + 3 => Greet::Open,
            (Some(TOKEN), _) => Greet::Refuse(429, vec![("Retry-After".into(), "1".into())], String::new()),
            _ => Greet::Refuse(401, Vec::new(), String::new()),
        })
    };
    is("good", &verdict(limits(30), id).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_text() {
    let id = "WSA-TLS-01";
    // On loopback nobody listens: worth a word, not a failure.
    is("trap: loopback", &verdict(Script::good(), id).await, Warn);
}
