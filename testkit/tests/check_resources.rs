//! WSA-RES checks against scripted peers: good, bad, silent, and the trap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use testkit::scripted::{Ask, Got, Greet, Out, Script, TOKEN, answer, verdict, verdict_with};
use wsguard_audit::Status::{self, Fail, Pass, Skipped, Unknown, Warn};
use wsguard_audit::{Options, Pace};

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
    // Says so at the first part, closes with what is in `more`, and reads on without a word otherwise.
    let limits = |more: &'static [u16]| {
        Script::good().on_frame(move |_, got| match (got.opcode, got.fin) {
            (0, _) => Some(Vec::new()),
            (_, false) => {
                let word = Out::Text(r#"{"type":"error","code":"rate_limited"}"#.into());
                Some(std::iter::once(word).chain(more.iter().map(|code| Out::Close(*code))).collect())
            }
            _ => None,
        })
    };
    is("closes with a word of a limit", &verdict(limits(&[1008]), id).await, Pass);
    is("trap: a limit, and open", &verdict(limits(&[]), id).await, Unknown);
    // Takes the first part for a message, and has no use for what follows: an end, or silence.
    let no_parts = |then: fn() -> Vec<Out>| {
        Script::good().on_frame(move |_, got| match (got.opcode, got.fin) {
            (1, false) => Some(answer(&String::from_utf8_lossy(&got.payload))),
            (0, false) => Some(then()),
            (0, true) => Some(Vec::new()),
            _ => None,
        })
    };
    is("trap: answers the first part", &verdict(no_parts(|| vec![Out::Drop]), id).await, Pass);
    let lost = Mutex::new(BTreeSet::new());
    let stuck = Script::good().on_frame(move |ask, got| {
        let mut lost = lost.lock().ok()?;
        if got.opcode == 1 && !got.fin {
            lost.insert(ask.number);
            return Some(answer(&String::from_utf8_lossy(&got.payload)));
        }
        lost.contains(&ask.number).then(Vec::new)
    });
    is("trap: an error, and nothing more", &verdict(stuck, id).await, Unknown);
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

/// Agrees on compression, takes messages of `size` bytes in clear, and answers compressed ones with `read`.
fn inflating(size: u64, read: fn(&Got) -> Vec<Out>) -> Script {
    let chosen = || vec![("Sec-WebSocket-Extensions".to_owned(), "permessage-deflate".to_owned())];
    unless(move |ask| ask.value("Sec-WebSocket-Extensions").map(|_| Greet::OpenWith(chosen(), Vec::new())))
        .size(size)
        .on_frame(move |_, got| (got.reserved == 4).then(|| read(got)))
}

/// Answers the message that a compressed one becomes, however large.
fn inflated(got: &Got) -> Vec<Out> {
    let mut inflate = flate2::Decompress::new(false);
    let mut text = Vec::with_capacity(4 << 20);
    let input = [got.payload.as_slice(), &[0, 0, 0xff, 0xff]].concat();
    if inflate.decompress_vec(&input, &mut text, flate2::FlushDecompress::Sync).is_err() {
        return vec![Out::Close(1007)];
    }
    answer(&String::from_utf8_lossy(&text))
}

#[tokio::test(flavor = "multi_thread")]
async fn inflated_sizes() {
    let id = "WSA-RES-06";
    // Megabytes take their time.
    let patient = |options: &mut Options| options.full = true;
    is("good", &verdict(inflating(65_536, |_| vec![Out::Close(1009)]), id).await, Pass);
    is("bad", &verdict_with(inflating(65_536, inflated), id, patient).await, Fail);
    is("bad, above a mebibyte", &verdict_with(inflating(2 << 20, inflated), id, patient).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: no limit in clear", &verdict_with(inflating(4 << 20, inflated), id, patient).await, Unknown);
    is("trap: no compression", &verdict(Script::good(), id).await, Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_peers() {
    let id = "WSA-RES-08";
    // Ten seconds of the catalogue, whatever comes in them.
    is("good", &verdict(Script::good().deadline(Duration::from_millis(200)), id).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("bad, watched for long", &verdict_with(Script::good(), id, |options| options.full = true).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    // A byte comes before each such time is over.
    is("trap: closes the idle alone", &verdict(Script::good().idle(Duration::from_millis(400)), id).await, Warn);
    // Who is kept out is given up after a second and a half at least.
    let slower = |options: &mut Options| options.pace = Pace::shortened(Duration::from_millis(100));
    let (found, told) = verdict_with(Script::good().one_by_one(), id, slower).await;
    is("bad, one handshake after the other", &(found, told.clone()), Fail);
    assert!(told.contains("seen twice"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_answers() {
    let id = "WSA-RES-09";
    let full = |options: &mut Options| options.full = true;
    // The scripted server writes before it reads on: it waits for a peer that does not read.
    is("good", &verdict_with(Script::good(), id, full).await, Pass);
    is("bad", &verdict_with(Script::good().hoards(), id, full).await, Warn);
    is("silent", &verdict_with(Script::silent(), id, full).await, Unknown);
    let short = Script::good().on_text(|_, text| match answer(text).first() {
        Some(Out::Text(reply)) if reply.len() > 1_000 => vec![Out::Text(reply.chars().take(300).collect())],
        _ => answer(text),
    });
    is("trap: answers do not grow", &verdict_with(short, id, full).await, Unknown);
    is("trap: buffers alone would take it", &verdict(Script::good().hoards(), id).await, Unknown);
    // Answers the first `most` of a connection, and says of the others that they are too many.
    let limited = |most: u32| {
        let seen: Mutex<BTreeMap<u32, u32>> = Mutex::default();
        Script::good().hoards().on_text(move |ask, text| {
            let mut seen = seen.lock().unwrap();
            let count = seen.entry(ask.number).or_default();
            *count = count.saturating_add(1);
            let limit = Out::Text(r#"{"type":"error","code":"rate_limited"}"#.into());
            if *count <= most { answer(text) } else { vec![limit] }
        })
    };
    is("trap: refusals are no answers", &verdict_with(limited(60), id, full).await, Pass);
    is("trap: a high limit", &verdict_with(limited(400), id, full).await, Unknown);
}

fn intrusive(options: &mut Options) {
    options.intrusive = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_handshakes() {
    let id = "WSA-RES-10";
    is("good", &verdict_with(Script::good(), id, intrusive).await, Pass);
    let dies = || {
        unless(|ask| {
            let fatal = ask.value("Sec-WebSocket-Extensions") == Some("constructor");
            fatal.then(|| Greet::OpenWith(Vec::new(), vec![Out::Die]))
        })
    };
    let found = verdict_with(dies(), id, intrusive).await;
    is("bad", &found, Fail);
    assert!(found.1.contains("Sec-WebSocket-Extensions: constructor"), "{}", found.1);
    is("not asked for", &verdict(dies(), id).await, Skipped);
    is("silent", &verdict_with(Script::silent(), id, intrusive).await, Unknown);
    // From its first offence on the auditor is refused, which is no death.
    let offended = std::sync::atomic::AtomicBool::new(false);
    let bans = unless(move |ask| {
        use std::sync::atomic::Ordering::Relaxed;
        if ask.value("Sec-WebSocket-Protocol").is_some_and(|offer| offer.contains(';')) {
            offended.store(true, Relaxed);
        }
        offended.load(Relaxed).then(|| Greet::Refuse(403, Vec::new(), String::new()))
    });
    is("trap: refused from then on", &verdict_with(bans, id, intrusive).await, Unknown);
}
