//! WSA-DISC and WSA-MON checks against scripted peers: good, bad, silent, and the trap.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::scripted::{Greet, Out, Script, TOKEN, frame, verdict, verdict_with};
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
