//! WSA-RATE checks against scripted peers: good, bad, silent, and the trap. 02 is in `check_models.rs`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testkit::scripted::{Greet, Out, Script, TOKEN, answer, verdict, verdict_with};
use wsguard_audit::Status::{self, Pass, Unknown, Warn};
use wsguard_audit::{Options, Pace};

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

/// Answers so many messages of a connection, then does `then`.
fn allows(count: u32, then: fn() -> Vec<Out>) -> Script {
    let seen: Mutex<BTreeMap<u32, u32>> = Mutex::default();
    Script::good().on_text(move |ask, text| {
        let Ok(mut seen) = seen.lock() else { return Vec::new() };
        let number = seen.entry(ask.number).or_default();
        *number = number.saturating_add(1);
        if *number > count { then() } else { answer(text) }
    })
}

/// Time enough for a busy machine to answer 120 messages within ten seconds of the catalogue.
fn slower(options: &mut Options) {
    options.pace = Pace::shortened(Duration::from_millis(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages() {
    let id = "WSA-RATE-01";
    let error = || vec![Out::Text(r#"{"type":"error","code":"rate_limited"}"#.into())];
    is("good", &verdict_with(allows(60, error), id, slower).await, Pass);
    is("good, by closing", &verdict_with(allows(60, || vec![Out::Close(1008)]), id, slower).await, Pass);
    is("bad", &verdict_with(Script::good(), id, slower).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: drops without a word", &verdict_with(allows(60, Vec::new), id, slower).await, Pass);
    let all = AtomicU32::new(0);
    let hangs = Script::good()
        .on_text(move |_, text| if all.fetch_add(1, Ordering::Relaxed) > 60 { Vec::new() } else { answer(text) });
    is("trap: answers nobody any more", &verdict_with(hangs, id, slower).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn pings() {
    let id = "WSA-RATE-08";
    let closes = || {
        let seen: Mutex<BTreeMap<u32, u32>> = Mutex::default();
        Script::good().on_frame(move |ask, got| {
            let mut seen = seen.lock().ok()?;
            let count = seen.entry(ask.number).or_default();
            *count = count.checked_add(u32::from(got.opcode & 8 != 0))?;
            (*count > 30).then(|| vec![Out::Close(1008)])
        })
    };
    is("good", &verdict(closes(), id).await, Pass);
    is("bad, as RFC 6455 asks", &verdict(Script::good(), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let mute = Script::good().on_frame(|_, got| (got.opcode == 9).then(Vec::new));
    is("trap: answers no ping at all", &verdict(mute, id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    let id = "WSA-RATE-03";
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let refuses = |from: u32, to: u32| {
        let count = AtomicU32::new(0);
        Script::good().on_request(move |ask| match ask.bearer() {
            Some(TOKEN) if (from..to).contains(&count.fetch_add(1, Ordering::Relaxed)) => {
                Greet::Refuse(429, Vec::new(), String::new())
            }
            Some(TOKEN) => Greet::Open,
            _ => Greet::Refuse(401, Vec::new(), String::new()),
        })
    };
    // Which handshakes of a run are those of the check shows the number of those before it: some three.
    is("good", &verdict(refuses(6, 7), id).await, Pass);
    is("trap: a limit of handshakes", &verdict(refuses(6, 60), id).await, Unknown);
}
