//! WSA-RATE checks against scripted peers: good, bad, silent, and the trap. 02 is in `check_models.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "for tests: what does not come as expected is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use testkit::scripted::{Ask, Greet, Out, Script, TOKEN, answer, verdict, verdict_with};
use wsguard_audit::Status::{self, Fail, Pass, Unknown, Warn};
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
    is("good", &verdict(refuses(6, 8), id).await, Pass);
    is("trap: a limit of handshakes", &verdict(refuses(6, 60), id).await, Unknown);
    is("trap: one that is over soon", &verdict(refuses(6, 7), id).await, Warn);
    is("a cap", &verdict(Script::good().at_a_time(5), id).await, Pass);
    // The handshakes of a run that come before those of the check are some three.
    let closes = |which: fn(u32) -> bool| {
        let count = AtomicU32::new(0);
        Script::good().on_request(move |ask| match ask.bearer() {
            Some(TOKEN) if which(count.fetch_add(1, Ordering::Relaxed)) => {
                Greet::OpenWith(Vec::new(), vec![Out::Close(1008)])
            }
            Some(TOKEN) => Greet::Open,
            _ => Greet::Refuse(401, Vec::new(), String::new()),
        })
    };
    is("closes the oldest", &verdict(closes(|number| (2..7).contains(&number)), id).await, Pass);
    is("trap: closes all of them", &verdict(closes(|number| number > 1), id).await, Unknown);
}

/// A limit of handshakes: after so many by the same name the door is shut for `shut`, each time so much longer.
#[derive(Clone, Copy)]
struct Door {
    most: u32,
    shut: Duration,
    grows: bool,
    retry: bool,
}

const DOOR: Door = Door { most: 20, shut: Duration::from_millis(300), grows: false, retry: true };

/// A server with that door; `name` says who is counted.
fn guarded(door: Door, name: impl Fn(&Ask) -> String + Send + Sync + 'static) -> Script {
    #[derive(Default)]
    struct Counted {
        count: u32,
        offences: u32,
        shut_until: Option<Instant>,
    }
    let all: Mutex<BTreeMap<String, Counted>> = Mutex::default();
    Script::good().on_request(move |ask| {
        if ask.bearer() != Some(TOKEN) {
            return Greet::Refuse(401, Vec::new(), String::new());
        }
        let mut all = all.lock().unwrap();
        let counted = all.entry(name(ask)).or_default();
        let now = Instant::now();
        if counted.shut_until.is_some_and(|until| now >= until) {
            (counted.count, counted.shut_until) = (0, None);
        }
        if counted.shut_until.is_none() {
            counted.count += 1;
            if counted.count <= door.most {
                return Greet::Open;
            }
            counted.offences += 1;
            let times = if door.grows { counted.offences * 2 - 1 } else { 1 };
            counted.shut_until = Some(now + door.shut * times);
        }
        let headers = if door.retry { vec![("Retry-After".into(), "1".into())] } else { Vec::new() };
        Greet::Refuse(429, headers, String::new())
    })
}

fn address(ask: &Ask) -> String {
    ask.peer.ip().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_addresses() {
    let id = "WSA-RATE-04";
    is("good", &verdict(guarded(DOOR, address), id).await, Pass);
    for header in ["X-Forwarded-For", "CF-Connecting-IP"] {
        let believes = guarded(DOOR, move |ask| ask.value(header).map_or_else(|| address(ask), str::to_owned));
        is("bad", &verdict(believes, id).await, Fail);
    }
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("without a limit", &verdict(Script::good(), id).await, Unknown);
    // Every second knock is let in, whoever it names.
    let count = AtomicU32::new(0);
    let unsteady = Script::good().on_request(move |ask| match ask.bearer() {
        Some(TOKEN) => match count.fetch_add(1, Ordering::Relaxed) {
            number if number < 25 || number % 2 == 1 => Greet::Open,
            _ => Greet::Refuse(429, Vec::new(), String::new()),
        },
        _ => Greet::Refuse(401, Vec::new(), String::new()),
    });
    let (status, told) = verdict(unsteady, id).await;
    assert_ne!(status, Fail, "trap: the limit ends by itself: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_one_network() {
    let id = "WSA-RATE-05";
    // Loopback has no second address of IPv6, and a whole network of IPv4.
    let second = |options: &mut Options| options.source_b = Some([127, 0, 0, 2].into());
    is("good", &verdict_with(guarded(DOOR, |_| String::new()), id, second).await, Pass);
    is("bad", &verdict_with(guarded(DOOR, address), id, second).await, Fail);
    is("silent", &verdict_with(Script::silent(), id, second).await, Unknown);
    is("one address alone", &verdict(guarded(DOOR, address), id).await, Unknown);
    let quick = Door { shut: Duration::ZERO, ..DOOR };
    is("trap: the limit was over", &verdict_with(guarded(quick, |_| String::new()), id, second).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_limit_says() {
    let id = "WSA-RATE-06";
    let error = || vec![Out::Text(r#"{"type":"error","code":"rate_limited"}"#.into())];
    is("good", &verdict_with(allows(60, error), id, slower).await, Pass);
    is("good, a status with a time", &verdict(guarded(DOOR, address), id).await, Pass);
    is("bad", &verdict_with(allows(60, Vec::new), id, slower).await, Warn);
    is("bad, a status alone", &verdict(guarded(Door { retry: false, ..DOOR }, address), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: no limit at all", &verdict_with(Script::good(), id, slower).await, Unknown);
}

/// Time enough for a door that opens again to be seen opening.
fn unhurried(options: &mut Options) {
    options.pace = Pace::shortened(Duration::from_millis(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_offence() {
    let id = "WSA-RATE-07";
    is("good", &verdict_with(guarded(Door { grows: true, ..DOOR }, address), id, unhurried).await, Pass);
    is("bad", &verdict_with(guarded(DOOR, address), id, unhurried).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: no limit at all", &verdict(Script::good(), id).await, Unknown);
    let forever = Door { shut: Duration::from_mins(1), ..DOOR };
    is("trap: shut for good", &verdict(guarded(forever, address), id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_several_meets_the_limit_twice() {
    let server = guarded(DOOR, address).start().await;
    let report = server.audit(&["WSA-RATE-02", "WSA-RATE-04", "WSA-RATE-06", "WSA-RATE-07"], unhurried).await;
    let asked = report.checks.iter().filter(|item| item.status.0 != Status::Skipped);
    let found: Vec<_> = asked.map(|item| (item.id.as_str(), item.status.0)).collect();
    let want = [("WSA-RATE-02", Pass), ("WSA-RATE-04", Pass), ("WSA-RATE-06", Pass), ("WSA-RATE-07", Warn)];
    assert_eq!(found, want);
    assert!(report.budget.handshakes[0] < 100, "{:?}", report.budget.handshakes);
}

/// A cap of connections is found by the first refusals that it causes, whatever else explains those, and costs neither
/// pauses nor the checks that wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_cap_leaves_nothing_open() {
    let ids = [
        "WSA-MON-01",
        "WSA-RES-04",
        "WSA-SESS-01",
        "WSA-RES-08",
        "WSA-AUTH-03",
        "WSA-CSRF-01",
        "WSA-CSRF-02",
        "WSA-IN-02",
        "WSA-IN-03",
        "WSA-IN-04",
        "WSA-PROTO-03",
        "WSA-PROTO-04",
        "WSA-PROTO-05",
        "WSA-PROTO-06",
        "WSA-PROTO-07",
        "WSA-PROTO-08",
    ];
    let server = Script::good().at_a_time(5).start().await;
    let pace = Pace::shortened(Duration::from_millis(150));
    let report = server.audit(&ids, |options| options.pace = pace).await;
    let open: Vec<String> = report
        .checks
        .iter()
        .filter(|item| ids.contains(&item.id.as_str()) && !matches!(item.status.0, Pass | Warn | Fail))
        .map(|item| format!("{}: {}", item.id, item.evidence.join("; ")))
        .collect();
    assert!(open.is_empty(), "{open:#?}");
    assert!(report.budget.limited <= 2, "{:?}", report.budget);
}
