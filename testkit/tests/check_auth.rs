//! WSA-AUTH-02 to 14 against scripted peers: good, bad, silent, and the trap. 01, 03 and 09 are in `check_models.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "for tests: what does not come as expected is a failed test"
)]

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testkit::scripted::{Ask, Greet, Out, Script, TOKEN, answer, verdict, verdict_with};
use wsguard_audit::Options;
use wsguard_audit::Status::{self, Fail, Pass, Skipped, Unknown, Warn};

const SECRET: &str = "q7Zk0vXw1pQe9sTb2mNc4rYd6uFg8hJk";

fn refuse(status: u16) -> Greet {
    Greet::Refuse(status, Vec::new(), String::new())
}

fn unauthenticated() -> Vec<Out> {
    vec![Out::Text(json!({"type": "error", "code": "unauthenticated"}).to_string())]
}

/// A server that takes the bearer tokens that `takes` takes.
fn bearer(takes: impl Fn(&str) -> bool + Send + Sync + 'static) -> Script {
    Script::good().on_request(move |ask| if ask.bearer().is_some_and(&takes) { Greet::Open } else { refuse(401) })
}

fn jwt(claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A verifier as it should be, without `exp`.
fn verified(token: &str, secret: &str) -> bool {
    let Some((signed, signature)) = token.rsplit_once('.') else { return false };
    let header = signed.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok()).unwrap_or_default();
    let is_hs256 = serde_json::from_slice::<Value>(&header).is_ok_and(|header| header["alg"] == "HS256");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    is_hs256 && hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
}

fn with(token: String) -> impl FnOnce(&mut Options) {
    move |options| options.token = Some(token)
}

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

/// A server whose login is a message. A hasty one handles what comes before it.
fn first_message(is_hasty: bool) -> Script {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    let known: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
    Script::good().on_request(|_| Greet::Open).on_text(move |ask, text| {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let mut known = known.lock().unwrap();
        if value["type"] == "login" && value["token"] == TOKEN {
            known.insert(ask.number);
            return vec![Out::Text(json!({"type": "ready"}).to_string())];
        }
        if known.contains(&ask.number) || is_hasty { answer(text) } else { vec![Out::Close(4401)] }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_login() {
    let id = "WSA-AUTH-02";
    is("trap: asked for in the handshake", &verdict(Script::good(), id).await, Skipped);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let anybody = Script::good().on_request(|_| Greet::Open);
    is("everybody is served", &verdict(anybody, id).await, Unknown);
    let by_message = |options: &mut Options| {
        options.login = Some(r#"{"type":"login","token":"{token}"}"#.into());
        options.send = Some(r#"{"type":"echo","id":"{id}","payload":"{marker}"}"#.into());
    };
    is("good", &verdict_with(first_message(false), id, by_message).await, Pass);
    // Handles the very first message whatever it is, and only afterwards remembers to ask.
    is("everybody is served by message", &verdict_with(first_message(true), "WSA-AUTH-01", by_message).await, Fail);
    let graphql = |options: &mut Options| options.subprotocols = vec!["graphql-transport-ws".into()];
    is("good: GraphQL", &verdict_with(subscriptions(false), id, graphql).await, Pass);
    is("bad: GraphQL", &verdict_with(subscriptions(true), id, graphql).await, Fail);
}

/// A server of graphql-transport-ws that refuses an init without the token. A hasty one serves who sends none at all.
fn subscriptions(is_hasty: bool) -> Script {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    let known: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
    let chosen = || vec![("Sec-WebSocket-Protocol".to_owned(), "graphql-transport-ws".to_owned())];
    Script::good().on_request(move |_| Greet::OpenWith(chosen(), Vec::new())).on_text(move |ask, text| {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let mut known = known.lock().unwrap();
        match value["type"].as_str() {
            Some("connection_init") if value["payload"]["token"] == TOKEN => {
                known.insert(ask.number);
                vec![Out::Text(json!({"type": "connection_ack"}).to_string())]
            }
            Some("subscribe") if is_hasty || known.contains(&ask.number) => {
                let data = json!({"data": {"__typename": "Query"}});
                vec![Out::Text(json!({"type": "next", "id": value["id"], "payload": data}).to_string())]
            }
            Some("connection_init") => vec![Out::Close(4403)],
            _ => vec![Out::Close(4401)],
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_tokens() {
    let id = "WSA-AUTH-04";
    let token = || with(jwt(&json!({"sub": "ann"}), SECRET));
    is("good", &verdict_with(bearer(|token| verified(token, SECRET)), id, token()).await, Pass);
    let unverified = |token: &str| token.split('.').count() == 3;
    is("bad: no signature", &verdict_with(bearer(unverified), id, token()).await, Fail);
    let none = |token: &str| {
        let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
        verified(token, SECRET) || String::from_utf8_lossy(&header).contains("none")
    };
    is("bad: alg none", &verdict_with(bearer(none), id, token()).await, Fail);
    is(
        "bad: empty secret",
        &verdict_with(bearer(|token| verified(token, SECRET) || verified(token, "")), id, token()).await,
        Fail,
    );
    is("silent", &verdict_with(Script::silent(), id, token()).await, Unknown);
    is("trap: no JWT", &verdict(Script::good(), id).await, Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_and_foreign_tokens() {
    let old = "old-token-0123456789";
    for (id, option) in [("WSA-AUTH-05", true), ("WSA-AUTH-06", false)] {
        let give = move |options: &mut Options| {
            let place = if option { &mut options.expired_token } else { &mut options.foreign_token };
            *place = Some(old.into());
        };
        is("good", &verdict_with(Script::good(), id, give).await, Pass);
        is("bad", &verdict_with(bearer(move |token| token == TOKEN || token == old), id, give).await, Fail);
        is("silent", &verdict_with(Script::silent(), id, give).await, Unknown);
        is("none was given", &verdict(Script::good(), id).await, Unknown);
    }
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() - 10;
    let just = jwt(&json!({"sub": "ann", "exp": soon}), SECRET);
    let trap = verdict_with(bearer(|_| true), "WSA-AUTH-05", move |options| options.expired_token = Some(just));
    is("trap: ended a moment ago", &trap.await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_the_url() {
    let id = "WSA-AUTH-07";
    let in_query = |ask: &Ask| ask.line.contains(&format!("token={TOKEN}"));
    is("good", &verdict(Script::good(), id).await, Pass);
    let only = Script::good().on_request(move |ask| if in_query(ask) { Greet::Open } else { refuse(401) });
    is("bad: the only way", &verdict(only, id).await, Fail);
    let too = Script::good()
        .on_request(move |ask| if in_query(ask) || ask.bearer() == Some(TOKEN) { Greet::Open } else { refuse(401) });
    is("bad: another way too", &verdict(too, id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let short = jwt(&json!({"sub": "ann", "iat": 1_000, "exp": 1_060}), SECRET);
    let held = short.clone();
    let short_lived =
        Script::good().on_request(move |ask| if ask.line.contains(&held) { Greet::Open } else { refuse(401) });
    is("trap: a token of a minute", &verdict_with(short_lived, id, with(short)).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn echoed_tokens() {
    let id = "WSA-AUTH-08";
    let chooses = |choose: fn(&str) -> Option<String>| {
        Script::good().on_request(move |ask| {
            if ask.bearer() != Some(TOKEN) {
                return refuse(401);
            }
            let chosen = ask.value("Sec-WebSocket-Protocol").and_then(choose);
            Greet::OpenWith(
                chosen.into_iter().map(|name| ("Sec-WebSocket-Protocol".to_owned(), name)).collect(),
                Vec::new(),
            )
        })
    };
    is("good", &verdict(chooses(|_| None), id).await, Pass);
    is("bad", &verdict(chooses(|list| list.split(", ").next().map(str::to_owned)), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let known = verdict_with(chooses(|list| list.contains("chat").then(|| "chat".to_owned())), id, |options| {
        options.subprotocols = vec!["chat".into()];
    });
    is("trap: a name that both know", &known.await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing() {
    let id = "WSA-AUTH-10";
    let limited = Script::good().on_request(|ask| match (ask.bearer(), ask.number) {
        (Some(TOKEN), _) => Greet::Open,
        (_, 30..) => refuse(429),
        _ => refuse(401),
    });
    is("good", &verdict(limited, id).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: no login", &verdict(Script::good().on_request(|_| Greet::Open), id).await, Unknown);
    let recent: std::sync::Mutex<Vec<std::time::Instant>> = std::sync::Mutex::default();
    let for_all = Script::good().on_request(move |ask| {
        let (mut recent, window) = (recent.lock().unwrap(), std::time::Duration::from_millis(200));
        recent.retain(|at| at.elapsed() < window);
        if recent.len() >= 12 {
            return refuse(429);
        }
        recent.push(std::time::Instant::now());
        if ask.bearer() == Some(TOKEN) { Greet::Open } else { refuse(401) }
    });
    is("trap: a limit of handshakes of any kind", &verdict(for_all, id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_somebody_else() {
    let id = "WSA-AUTH-11";
    let second = "token-b-0123456789";
    let give = move |options: &mut Options| {
        options.token_b = Some(second.into());
        options.send = Some(r#"{"type":"echo","id":"{id}","payload":"for ann alone"}"#.into());
        options.expect = Some("for ann alone".into());
    };
    let both = move || bearer(move |token| token == TOKEN || token == second);
    let authorises =
        both().on_text(|ask, text| if ask.bearer() == Some(TOKEN) { answer(text) } else { unauthenticated() });
    is("good", &verdict_with(authorises, id, give).await, Pass);
    is("bad", &verdict_with(both(), id, give).await, Fail);
    is("silent", &verdict_with(Script::silent(), id, give).await, Unknown);
    let echo = move |options: &mut Options| {
        give(options);
        options.send = Some(r#"{"type":"echo","id":"{id}","payload":"{marker}"}"#.into());
        options.expect = Some("{marker}".into());
    };
    is("trap: an echo is everybody's", &verdict_with(both(), id, echo).await, Unknown);
    is("trap: the second does not get in", &verdict_with(Script::good(), id, give).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn side_doors() {
    let id = "WSA-AUTH-12";
    is("trap: there is none", &verdict(Script::good(), id).await, Skipped);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let socket_io = |options: &mut Options| options.url.push_str("socket.io/");
    is("good: Socket.IO", &verdict_with(polled(r#"44{"message":"no"}"#), id, socket_io).await, Pass);
    is("bad: Socket.IO", &verdict_with(polled(r#"40{"sid":"b"}"#), id, socket_io).await, Fail);
    is("trap: no long-polling", &verdict_with(polled(""), id, socket_io).await, Pass);
    let sockjs = |options: &mut Options| options.url.push_str("sockjs/000/audit/websocket");
    is("good: SockJS", &verdict_with(sent_by_xhr(401), id, sockjs).await, Pass);
    is("bad: SockJS", &verdict_with(sent_by_xhr(200), id, sockjs).await, Fail);
    is("trap: no xhr", &verdict_with(sent_by_xhr(404), id, sockjs).await, Pass);
}

/// A server of Socket.IO that asks for the token in the connect packet of a WebSocket, and answers that of long-polling
/// with `connected`; where that is empty there is no long-polling.
fn polled(connected: &'static str) -> Script {
    let page = |status, body: &str| Greet::Refuse(status, Vec::new(), body.to_owned());
    let opened = r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;
    Script::good()
        .on_request(move |ask| match (ask.value("Upgrade"), ask.line.contains("transport=polling")) {
            (Some(_), _) => Greet::OpenWith(Vec::new(), vec![Out::Text(opened.into())]),
            (None, true) if connected.is_empty() => page(400, r#"{"code":0,"message":"Transport unknown"}"#),
            (None, true) if ask.line.starts_with("POST ") => page(200, "ok"),
            (None, true) if ask.line.contains("&sid=") => page(200, connected),
            (None, true) => page(200, opened),
            (None, false) => page(404, ""),
        })
        .on_text(|_, text| match text {
            text if text.starts_with("40") && text.contains(TOKEN) => vec![Out::Text(r#"40{"sid":"c"}"#.into())],
            text if text.starts_with("40") => vec![Out::Text(r#"44{"message":"no"}"#.into())],
            text => vec![Out::Text(text.to_owned())],
        })
}

/// A server of SockJS that asks for the token in the handshake, and answers `xhr` without one with this status.
fn sent_by_xhr(status: u16) -> Script {
    Script::good()
        .on_request(move |ask| match (ask.value("Upgrade"), ask.line.contains("/xhr ")) {
            (Some(_), _) if ask.bearer() == Some(TOKEN) => Greet::OpenWith(Vec::new(), vec![Out::Text("o".into())]),
            (None, true) => Greet::Refuse(status, Vec::new(), if status == 200 { "o\n" } else { "" }.into()),
            _ => refuse(401),
        })
        .on_text(|_, text| {
            let list: Vec<String> = serde_json::from_str(text).unwrap_or_default();
            vec![Out::Text(format!("a{}", json!(list)))]
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn well_known_tokens() {
    let id = "WSA-AUTH-13";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(bearer(|token| token == TOKEN || token == "changeme"), id).await, Fail);
    let own = verdict_with(bearer(|token| token == "test_token"), id, with("test_token".into()));
    is("bad: the one that was given", &own.await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: any token is taken", &verdict(bearer(|_| true), id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn dictionary() {
    let id = "WSA-AUTH-14";
    let by = |secret: &'static str| {
        (bearer(move |token| verified(token, secret)), with(jwt(&json!({"sub": "ann"}), secret)))
    };
    let (good, token) = by(SECRET);
    is("good", &verdict_with(good, id, token).await, Pass);
    let (bad, token) = by("your-256-bit-secret");
    let found = verdict_with(bad, id, token).await;
    is("bad", &found, Fail);
    assert!(found.1.contains("a token for another subject, signed with it: taken"), "{}", found.1);
    is("trap: no JWT", &verdict(Script::good(), id).await, Skipped);
}
