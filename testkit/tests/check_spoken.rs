//! How the audit finds out how a target is spoken to, against scripted peers.

use serde_json::{Value, json};
use testkit::scripted::{Ask, Greet, Out, Script, TOKEN, answer, frame};
use wsguard_audit::{Options, Report};

fn refuse(status: u16) -> Greet {
    Greet::Refuse(status, Vec::new(), String::new())
}

/// Dialect and baseline, as a run of the cheapest check reports them.
async fn spoken(script: Script, change: impl FnOnce(&mut Options)) -> (String, String) {
    let server = script.start().await;
    let report: Report = server.audit(&["WSA-AUTH-01"], change).await;
    (report.spoken.dialect, report.spoken.baseline.unwrap_or_default())
}

/// A server that wants this header line, and nothing else.
fn wants(name: &'static str, value: &'static str) -> Script {
    Script::good().on_request(move |ask: &Ask| if ask.value(name) == Some(value) { Greet::Open } else { refuse(401) })
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_sent_without_a_token() {
    for cookie in
        ["sid=good-session-name", "a=1; sid=good-session-name; lang=en", "bare-cookie", "a=1", "host=127.0.0.1"]
    {
        let script = wants("Cookie", cookie);
        let (dialect, baseline) = spoken(script, |options| {
            options.token = None;
            options.cookie = Some(cookie.into());
        })
        .await;
        assert!(dialect == "JSON" && baseline.contains("echo"), "{cookie}: {dialect}, {baseline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_beside_the_token_is_part_of_the_way() {
    // As a load balancer wants it: without the cookie nobody gets anywhere, with it alone nobody is let in.
    let script = Script::good().on_request(|ask| match (ask.value("Cookie"), ask.bearer()) {
        (Some("lb=3"), Some(TOKEN)) => Greet::Open,
        (Some("lb=3"), _) => refuse(401),
        _ => refuse(502),
    });
    let (_, baseline) = spoken(script, |options| options.cookie = Some("lb=3".into())).await;
    assert!(baseline.contains("echo"), "{baseline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_io_is_told_from_socket_io() {
    let open = r#"0{"sid":"abcdefgh","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;
    let greets = move |ask: &Ask| match ask.bearer() {
        Some(TOKEN) => Greet::OpenWith(Vec::new(), vec![Out::Text(open.into())]),
        _ => refuse(401),
    };
    let bare = Script::good().on_request(greets).on_text(|_, text| match text.strip_prefix('4') {
        Some(document) if document.starts_with('{') => match answer(document).pop() {
            Some(Out::Text(reply)) => vec![Out::Text(format!("4{reply}"))],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    });
    let (dialect, baseline) = spoken(bare, |_| ()).await;
    assert!(dialect == "Engine.IO 4" && baseline.contains("echo"), "{dialect}, {baseline}");
    let above = Script::good().on_request(greets).on_text(|_, text| match text {
        "40" => vec![Out::Text(r#"40{"sid":"x"}"#.into())],
        text if text.starts_with("42") => vec![Out::Text(text.to_owned())],
        _ => Vec::new(),
    });
    let (dialect, baseline) = spoken(above, |_| ()).await;
    assert!(dialect == "Socket.IO (Engine.IO 4)" && baseline.contains("42"), "{dialect}, {baseline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_is_spoken() {
    let script = Script::good().on_frame(|_, got| {
        let reply = |value: &Value| vec![Out::Raw(frame(2, &rmp_serde::to_vec(value).unwrap_or_default()))];
        (got.opcode == 2).then(|| match rmp_serde::from_slice::<Value>(&got.payload) {
            Ok(value) if value.get("type") == Some(&json!("echo")) => reply(&value),
            Ok(_) => reply(&json!({"type": "error", "code": "unknown_type"})),
            Err(_) => vec![Out::Close(1007)],
        })
    });
    let script = script.on_text(|_, _| vec![Out::Close(1003)]);
    let (dialect, baseline) = spoken(script, |_| ()).await;
    assert!(dialect == "MessagePack" && baseline.contains("echo"), "{dialect}, {baseline}");
    let bytes = Script::good()
        .on_frame(|_, got| (got.opcode == 2).then(|| vec![Out::Raw(frame(2, &got.payload))]))
        .on_text(|_, _| vec![Out::Close(1003)]);
    let given = |options: &mut Options| options.send = Some("{marker}".into());
    let (dialect, baseline) = spoken(bytes, given).await;
    assert!(dialect == "binary" || dialect == "MessagePack", "{dialect}, {baseline}");
    assert!(baseline.contains("wsg"), "{dialect}, {baseline}");
}
