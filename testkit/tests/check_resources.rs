//! WSA-RES checks against scripted peers: good, bad, silent, and the trap.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use testkit::scripted::{Ask, Got, Greet, Out, Script, TOKEN, verdict, verdict_with};
use wsguard_audit::Status::{self, Fail, Pass, Unknown, Warn};

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

/// Drops frames that `which` names, and goes on.
fn drops(which: fn(&Got) -> bool) -> Script {
    Script::good().on_frame(move |_, got| which(got).then(Vec::new))
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_lengths() {
    let id = "WSA-RES-01";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(drops(|got| got.announced > 1 << 20), id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    // Ten seconds of the catalogue.
    let idle = drops(|got| got.announced > 1 << 20).idle(Duration::from_millis(200));
    is("trap: waits, then gives up", &verdict(idle, id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages() {
    let id = "WSA-RES-02";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(drops(|got| !got.fin), id).await, Warn);
    is("bad, sent more", &verdict_with(drops(|got| !got.fin), id, |options| options.full = true).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: hangs", &verdict(drops(|got| !got.fin || got.opcode == 9), id).await, Unknown);
}

/// Closes with 1008 at the 257th continuation of a connection that `counts` counts.
fn counted(counts: fn(&Got) -> bool) -> Script {
    let seen: Mutex<BTreeMap<u32, u32>> = Mutex::default();
    Script::good().on_frame(move |ask, got| {
        let mut seen = seen.lock().ok()?;
        let count = seen.entry(ask.number).or_default();
        *count = count.checked_add(u32::from(got.opcode == 0 && counts(got)))?;
        (*count > 256).then(|| vec![Out::Close(1008)])
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn many_fragments() {
    let id = "WSA-RES-03";
    is("good", &verdict(counted(|_| true), id).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("bad, sent more", &verdict_with(Script::good(), id, |options| options.full = true).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: empty ones do not count", &verdict(counted(|got| !got.payload.is_empty()), id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages() {
    let id = "WSA-RES-04";
    let good = Script::good()
        .on_frame(|_, got| (!got.fin).then(|| vec![Out::Wait(Duration::from_millis(300)), Out::Close(1008)]));
    is("good", &verdict(good, id).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: closes the idle", &verdict(Script::good().idle(Duration::from_millis(300)), id).await, Pass);
}

/// Opens to whom [`Script::good`] opens, unless `fault` names a status.
fn unless(fault: impl Fn(&Ask) -> Option<Greet> + Send + Sync + 'static) -> Script {
    Script::good().on_request(move |ask| match ask.bearer() {
        Some(TOKEN) => fault(ask).unwrap_or(Greet::Open),
        _ => Greet::Refuse(401, Vec::new(), String::new()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn compression() {
    let id = "WSA-RES-05";
    let chooses = |chosen: &'static str| {
        unless(move |ask| {
            let offered = ask.value("Sec-WebSocket-Extensions")?;
            let header = ("Sec-WebSocket-Extensions".to_owned(), chosen.to_owned());
            offered.contains("deflate").then(|| Greet::OpenWith(vec![header], Vec::new()))
        })
    };
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(chooses("permessage-deflate"), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: no context", &verdict(chooses("permessage-deflate; server_no_context_takeover"), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads() {
    let id = "WSA-RES-07";
    let size = |ask: &Ask| ask.headers.iter().map(|(_, value)| value.len()).sum::<usize>();
    let refuse = |status| Greet::Refuse(status, Vec::new(), String::new());
    is("good", &verdict(unless(move |ask| (size(ask) > 32_768).then(|| refuse(431))), id).await, Pass);
    is("bad", &verdict(unless(|_| None), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: limited", &verdict(unless(move |ask| (size(ask) > 32_768).then(|| refuse(429))), id).await, Unknown);
}
