//! WSA-DISC and WSA-MON checks against scripted peers: good, bad, silent, and the trap.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::scripted::{Ask, Greet, Out, Script, TOKEN, frame, verdict, verdict_with};
use wsguard_audit::Status::{self, Fail, Pass, Unknown, Warn};
use wsguard_audit::{Options, Pace};

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

/// Answers plain requests for `path` with `body`, others with 404.
fn page(path: &'static str, body: &'static str) -> Script {
    Script::good().on_request(move |ask| match ask.bearer() {
        Some(TOKEN) if ask.value("Upgrade").is_some() && ask.is_own_origin() => Greet::Open,
        Some(_) => Greet::Refuse(403, Vec::new(), String::new()),
        None if path.is_empty() || ask.line.starts_with(&format!("GET {path} ")) => {
            Greet::Refuse(200, Vec::new(), body.into())
        }
        None => Greet::Refuse(404, Vec::new(), String::new()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn banners() {
    let id = "WSA-DISC-01";
    is("good", &verdict(Script::good(), id).await, Pass);
    let names = Script::good().on_request(|_| Greet::OpenWith(vec![("Server".into(), "web/1.2".into())], Vec::new()));
    is("bad", &verdict(names, id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let empty = Script::good().on_request(|_| Greet::OpenWith(vec![("Server".into(), String::new())], Vec::new()));
    is("trap: the header without a name", &verdict(empty, id).await, Pass);
    let limits = |headers: Vec<(String, String)>| {
        Script::good().on_request(move |ask| match ask.number {
            ..5 => Greet::Open,
            _ => Greet::Refuse(429, headers.clone(), String::new()),
        })
    };
    is("a limit with a name", &verdict(limits(vec![("Server".into(), "web/1.2".into())]), id).await, Warn);
    is("trap: a limit without", &verdict(limits(Vec::new()), id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn pongs() {
    let id = "WSA-MON-02";
    is("good", &verdict(Script::good(), id).await, Pass);
    let mute = Script::good().on_frame(|_, got| (got.opcode == 9).then(Vec::new));
    is("bad", &verdict(mute, id).await, Fail);
    let other = Script::good().on_frame(|_, got| (got.opcode == 9).then(|| vec![Out::Raw(frame(10, b"x"))]));
    is("another payload", &verdict(other, id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let chatty = Script::good().on_frame(|_, got| {
        (got.opcode == 9).then(|| vec![Out::Text("news".into()), Out::Raw(frame(10, &got.payload))])
    });
    is("trap: something else comes first", &verdict(chatty, id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn health() {
    let id = "WSA-MON-03";
    is("good", &verdict(page("/health", r#"{"status":"ok"}"#), id).await, Pass);
    is("bad", &verdict(page("/healthz", r#"{"status":"ok","version":"1.2.3"}"#), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: one page for all", &verdict(page("", r#"<html>{"version":1}"#), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics() {
    let id = "WSA-MON-04";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(page("/metrics", "# HELP a b\n# TYPE a counter\na 1\n"), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: one page for all", &verdict(page("", "<html>"), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn development_tools() {
    let id = "WSA-DISC-04";
    is("good", &verdict(Script::good(), id).await, Pass);
    let console = Script::good().on_request(|ask| match ask.bearer() {
        Some(TOKEN) => Greet::Open,
        _ if ask.line.starts_with("GET /exec ") => Greet::Open,
        _ => Greet::Refuse(404, Vec::new(), String::new()),
    });
    is("bad", &verdict(console, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: every path opens", &verdict(Script::good().on_request(|_| Greet::Open), id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats() {
    let id = "WSA-MON-01";
    let long = |options: &mut Options| {
        options.full = true;
        options.pace = Pace::shortened(Duration::from_millis(5));
    };
    let often = Duration::from_millis(200);
    is("good", &verdict(Script::good().heartbeat(often, true), id).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("bad, watched for long", &verdict_with(Script::good(), id, long).await, Fail);
    is("dead peers are kept", &verdict(Script::good().heartbeat(often, false), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let limits = Script::good().on_request(|ask| match ask.bearer() {
        Some(TOKEN) if ask.number > 2 => {
            Greet::OpenWith(Vec::new(), vec![Out::Wait(Duration::from_millis(100)), Out::Close(4429)])
        }
        Some(TOKEN) => Greet::Open,
        _ => Greet::Refuse(401, Vec::new(), String::new()),
    });
    is("trap: closed by a limit", &verdict(limits, id).await, Unknown);
}

/// A server whose answers carry these header lines.
fn dated(lines: Vec<(String, String)>) -> Script {
    Script::good().on_request(move |ask| match ask.bearer() {
        Some(TOKEN) => Greet::Open,
        _ => Greet::Refuse(404, lines.clone(), String::new()),
    })
}

fn date(seconds_off: i64) -> (String, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let by = Duration::from_secs(seconds_off.unsigned_abs());
    let then = if seconds_off < 0 { now.saturating_sub(by) } else { now.saturating_add(by) };
    ("Date".into(), httpdate::fmt_http_date(UNIX_EPOCH.checked_add(then).unwrap_or(UNIX_EPOCH)))
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks() {
    let id = "WSA-MON-05";
    is("good", &verdict(dated(vec![date(0)]), id).await, Pass);
    is("bad", &verdict(dated(vec![date(-900)]), id).await, Warn);
    is("bad, ahead", &verdict(dated(vec![date(900)]), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("without a Date", &verdict(dated(Vec::new()), id).await, Unknown);
    is("trap: an old page of a cache", &verdict(dated(vec![date(-900), ("Age".into(), "899".into())]), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn fingerprints() {
    let id = "WSA-DISC-02";
    let signed = |server: &'static str| {
        Script::good().on_request(move |ask| match ask.bearer() {
            Some(TOKEN) if ask.value("Sec-WebSocket-Version") == Some("13") => Greet::Open,
            Some(_) => Greet::Refuse(400, vec![("Server".into(), server.into())], String::new()),
            None => Greet::Refuse(401, Vec::new(), String::new()),
        })
    };
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(signed("Python/3.11 aiohttp/3.8.6"), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: mended", &verdict(signed("Python/3.11 aiohttp/3.14.2"), id).await, Pass);
    is("trap: a name without a version", &verdict(signed("Python websockets"), id).await, Pass);
    let sentence = Script::good().on_request(|ask| match ask.value("Sec-WebSocket-Version") {
        Some("13") if ask.bearer() == Some(TOKEN) => Greet::Open,
        Some("13") => Greet::Refuse(401, Vec::new(), String::new()),
        _ => Greet::Refuse(400, Vec::new(), "Failed to open a WebSocket connection: no".into()),
    });
    is("a library without a version", &verdict(sentence, id).await, Unknown);
}

/// Greets whom `who` takes with `text`.
fn greets(who: fn(&Ask) -> bool, text: &'static str) -> Script {
    Script::good().on_request(move |ask| {
        if who(ask) {
            Greet::OpenWith(Vec::new(), vec![Out::Text(text.to_owned())])
        } else {
            Greet::Refuse(401, Vec::new(), String::new())
        }
    })
}

fn known(ask: &Ask) -> bool {
    ask.bearer() == Some(TOKEN)
}

#[tokio::test(flavor = "multi_thread")]
async fn openings() {
    let id = "WSA-DISC-03";
    is("good", &verdict(greets(known, r#"{"type":"welcome","heartbeat":25}"#), id).await, Pass);
    is("bad", &verdict(greets(known, r#"{"type":"welcome","node":"ws-3.eu.internal"}"#), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let own = r#"{"type":"welcome","session":"10f2","user":"ann","maxPayload":65536}"#;
    is("trap: what clients need", &verdict(greets(known, own), id).await, Pass);
    is("trap: nothing comes", &verdict(Script::good(), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_login() {
    let id = "WSA-DISC-05";
    let by_message = |options: &mut Options| {
        options.login = Some(r#"{"type":"login","token":"{token}"}"#.into());
        options.send = Some(r#"{"type":"echo","id":"{id}","payload":"{marker}"}"#.into());
    };
    let told = |text| verdict_with(greets(|_| true, text), id, by_message);
    is("good: refused", &verdict(Script::good(), id).await, Pass);
    is("good: a greeting", &told(r#"{"type":"hello"}"#).await, Pass);
    is("bad", &told(r#"{"type":"hello","last":"4111 1111 1111 1111"}"#).await, Fail);
    is("an address", &told(r#"{"type":"hello","from":"ann@example.com"}"#).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let pixels = r#"{"type":"hello","image":"aaAKIAIOSFODNN7EXAMPLEbb+/4111111111111111aa=="}"#;
    is("trap: base64", &told(pixels).await, Pass);
}

/// Answers plain requests with this `Access-Control-Allow-Origin`; `{}` stands for the Origin that asks.
fn shares(origin: &'static str, credentials: bool) -> Script {
    Script::good().on_request(move |ask| match (ask.value("Upgrade"), ask.bearer()) {
        (Some(_), Some(TOKEN)) => Greet::Open,
        (Some(_), _) => Greet::Refuse(401, Vec::new(), String::new()),
        (None, _) => {
            let allowed = origin.replace("{}", ask.value("Origin").unwrap_or_default());
            let mut headers = vec![("Access-Control-Allow-Origin".to_owned(), allowed)];
            if credentials {
                headers.push(("Access-Control-Allow-Credentials".into(), "true".into()));
            }
            Greet::Refuse(200, headers, "{}".into())
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read() {
    let id = "WSA-DISC-06";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(shares("{}", true), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: everybody, without credentials", &verdict(shares("*", false), id).await, Pass);
    is("trap: one's own page", &verdict(shares("https://app.example", true), id).await, Pass);
    let schema = |reply: &'static str| {
        let chosen = || vec![("Sec-WebSocket-Protocol".to_owned(), "graphql-transport-ws".to_owned())];
        let script = Script::good().on_request(move |ask| match ask.bearer() {
            Some(TOKEN) => Greet::OpenWith(chosen(), Vec::new()),
            _ => Greet::Refuse(401, Vec::new(), String::new()),
        });
        let script = script.on_text(move |_, text| match text {
            text if text.contains("connection_init") => vec![Out::Text(r#"{"type":"connection_ack"}"#.into())],
            text if text.contains("__schema") => vec![Out::Text(reply.into())],
            _ => vec![Out::Text(r#"{"type":"next","payload":{"data":{"__typename":"Query"}}}"#.into())],
        });
        verdict_with(script, id, |options| options.subprotocols = vec!["graphql-transport-ws".into()])
    };
    let told = r#"{"type":"next","payload":{"data":{"__schema":{"queryType":{"name":"Query"}}}}}"#;
    is("the schema", &schema(told).await, Warn);
    is("no schema", &schema(r#"{"type":"error","payload":[{"message":"introspection is off"}]}"#).await, Pass);
}
