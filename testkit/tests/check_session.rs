//! WSA-SESS checks against scripted peers: good, bad, silent, and the trap.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "for tests: what does not come as expected is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testkit::scripted::{Ask, Greet, Out, Script, TOKEN, answer, verdict, verdict_with};
use wsguard_audit::Status::{self, Fail, Pass, Skipped, Unknown, Warn};
use wsguard_audit::{Options, Pace, Report};

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

fn refuse(status: u16) -> Greet {
    Greet::Refuse(status, Vec::new(), String::new())
}

fn page(status: u16, headers: Vec<(String, String)>, body: &str) -> Greet {
    Greet::Refuse(status, headers, body.to_owned())
}

fn is_upgrade(ask: &Ask) -> bool {
    ask.value("Upgrade").is_some()
}

/// A verdict with options that need the address of the server.
async fn at(script: Script, id: &str, change: impl FnOnce(&mut Options, &str)) -> (Status, String) {
    let server = script.start().await;
    let base = format!("http://{}", server.address);
    let report: Report = server.audit(&[id], |options| change(options, &base)).await;
    let item = report.checks.iter().find(|item| item.id == id).unwrap();
    (item.status.0, format!("{} | baseline {:?}", item.evidence.join("; "), report.spoken.baseline))
}

#[tokio::test(flavor = "multi_thread")]
async fn idleness() {
    let id = "WSA-SESS-01";
    is("good", &verdict(Script::good().idle(Duration::from_millis(600)), id).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    // All connections end at one moment, whatever they did until then.
    let since = Mutex::new(None);
    let restarts = Script::good().on_request(move |ask| {
        if ask.bearer() != Some(TOKEN) {
            return refuse(401);
        }
        // The first are those that find out how it is spoken to.
        if ask.number < 5 {
            return Greet::Open;
        }
        let first = *since.lock().unwrap().get_or_insert_with(std::time::Instant::now);
        let left = Duration::from_millis(500).saturating_sub(first.elapsed());
        Greet::OpenWith(Vec::new(), vec![Out::Wait(left), Out::Close(1001)])
    });
    is("trap: a restart", &verdict(restarts, id).await, Unknown);
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token that nobody signed and that ends in so many seconds.
fn ending(seconds: u64) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "HS256"})), part(&json!({"sub": "ann", "exp": unix() + seconds})))
}

/// A server that takes TOKEN and tokens that have not ended; `looks` says whether it looks at the end again with each
/// message.
fn expiring(looks: bool) -> Script {
    let ends = |ask: &Ask| -> Option<u64> {
        let claims = ask.bearer()?.split('.').nth(1)?.to_owned();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        claims["exp"].as_u64()
    };
    Script::good()
        .on_request(move |ask| match (ask.bearer(), ends(ask)) {
            (Some(TOKEN), _) => Greet::Open,
            (_, Some(at)) if at > unix() => Greet::Open,
            _ => refuse(401),
        })
        .on_text(
            move |ask, text| {
                if looks && ends(ask).is_some_and(|at| at <= unix()) { vec![Out::Close(4401)] } else { answer(text) }
            },
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_token() {
    let id = "WSA-SESS-02";
    let short = |options: &mut Options| {
        options.short_token = Some(ending(2));
        options.full = true;
    };
    let later = |options: &mut Options| {
        options.short_token = Some(ending(300));
        options.full = true;
    };
    is("good", &verdict_with(expiring(true), id, short).await, Pass);
    is("bad", &verdict_with(expiring(false), id, short).await, Fail);
    is("silent", &verdict_with(Script::silent(), id, short).await, Unknown);
    is("no such token", &verdict(expiring(false), id).await, Unknown);
    let closes = expiring(false).on_frame({
        let seen: Mutex<BTreeMap<u32, u32>> = Mutex::default();
        move |ask, _| {
            let mut seen = seen.lock().unwrap();
            let count = seen.entry(ask.number).or_default();
            *count += 1;
            (*count > 3).then(|| vec![Out::Close(1001)])
        }
    });
    is("trap: closed before the end", &verdict_with(closes, id, later).await, Unknown);
}

/// A server with a logout; what it does about open connections, and about the token afterwards.
fn with_logout(closes: bool, forgets: bool) -> Script {
    let ended: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let known = Arc::clone(&ended);
    Script::good()
        .on_request(move |ask| {
            let Some(token) = ask.bearer().filter(|token| [TOKEN, "other-token-0123456789"].contains(token)) else {
                return refuse(401);
            };
            if is_upgrade(ask) {
                let is_ended = ended.lock().unwrap().contains(token);
                return if is_ended && forgets { refuse(401) } else { Greet::Open };
            }
            if ask.line.starts_with("POST /logout ") {
                ended.lock().unwrap().insert(token.to_owned());
                return page(204, Vec::new(), "");
            }
            refuse(404)
        })
        .on_text(move |ask, text| {
            let is_ended = ask.bearer().is_some_and(|token| known.lock().unwrap().contains(token));
            if is_ended && closes { vec![Out::Close(4401)] } else { answer(text) }
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_logout() {
    let own = |options: &mut Options, base: &str| options.logout_url = Some(format!("{base}/logout"));
    let other = |options: &mut Options, base: &str| {
        options.logout_url = Some(format!("{base}/logout"));
        options.logout_token = Some("other-token-0123456789".into());
    };
    let id = "WSA-SESS-03";
    is("good", &at(with_logout(true, true), id, other).await, Pass);
    is("bad", &at(with_logout(false, true), id, other).await, Fail);
    is("silent", &at(Script::silent(), id, other).await, Unknown);
    is("with the token of all others", &at(with_logout(true, true), id, own).await, Pass);
    is("trap: the logout is not taken", &at(Script::good(), id, other).await, Unknown);
    let id = "WSA-SESS-04";
    is("good", &at(with_logout(false, true), id, other).await, Pass);
    is("bad", &at(with_logout(false, false), id, other).await, Fail);
    is("bad, with the token of all others", &at(with_logout(false, false), id, own).await, Fail);
    is("silent", &at(Script::silent(), id, other).await, Unknown);
    is("trap: the logout is not taken", &at(Script::good(), id, own).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logout_comes_last() {
    let server = with_logout(true, true).start().await;
    let base = format!("http://{}", server.address);
    let report = server
        .audit(&["WSA-SESS-03", "WSA-SESS-04", "WSA-AUTH-03", "WSA-RATE-03"], |options| {
            options.logout_url = Some(format!("{base}/logout"));
        })
        .await;
    let asked = report.checks.iter().filter(|item| item.status.0 != Skipped);
    let found: BTreeMap<_, _> = asked.map(|item| (item.id.as_str(), item.status.0)).collect();
    let want = [("WSA-AUTH-03", Pass), ("WSA-RATE-03", Warn), ("WSA-SESS-03", Pass), ("WSA-SESS-04", Pass)];
    assert_eq!(found, want.into());
}

/// A server that sets a session cookie on its page.
fn naming(name: impl Fn(u32) -> String + Send + Sync + 'static) -> Script {
    let count = AtomicU32::new(0);
    Script::good().on_request(move |ask| match ask.bearer() {
        Some(TOKEN) => Greet::Open,
        _ if is_upgrade(ask) => refuse(401),
        _ => {
            let value = name(count.fetch_add(1, Ordering::Relaxed));
            page(200, vec![("Set-Cookie".into(), format!("sid={value}; Path=/; HttpOnly"))], "")
        }
    })
}

fn random_name() -> String {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_sessions() {
    let id = "WSA-SESS-05";
    is("good", &verdict(naming(|_| random_name()), id).await, Pass);
    is("bad", &verdict(naming(|number| format!("s-{number:06}")), id).await, Fail);
    is("too short", &verdict(naming(|_| random_name()[..8].to_owned()), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is(
        "trap: the time comes first",
        &verdict(naming(|number| format!("0190{number:04}-{}", random_name())), id).await,
        Pass,
    );
    is("trap: one name for all", &verdict(naming(|_| "the-same-name-each-time".into()), id).await, Unknown);
}

/// A server with tickets; `uses` is how often one opens, `life` how long it lives.
fn with_tickets(uses: u32, life: Duration, again_within: Duration) -> Script {
    struct Ticket {
        made: std::time::Instant,
        first: Option<std::time::Instant>,
        used: u32,
    }
    let tickets: Mutex<BTreeMap<String, Ticket>> = Mutex::default();
    Script::good().on_request(move |ask| {
        let mut tickets = tickets.lock().unwrap();
        if ask.line.starts_with("POST /ticket ") && ask.bearer() == Some(TOKEN) {
            let name = random_name();
            tickets.insert(name.clone(), Ticket { made: std::time::Instant::now(), first: None, used: 0 });
            return page(200, Vec::new(), &json!({"ticket": name}).to_string());
        }
        let given = ask.line.split("ticket=").nth(1).and_then(|rest| rest.split(' ').next());
        if let Some(ticket) = given.and_then(|given| tickets.get_mut(given)) {
            ticket.used += 1;
            let first = *ticket.first.get_or_insert_with(std::time::Instant::now);
            let is_good = ticket.made.elapsed() < life && (ticket.used <= uses || first.elapsed() < again_within);
            return if is_good { Greet::Open } else { refuse(401) };
        }
        if is_upgrade(ask) && ask.bearer() == Some(TOKEN) { Greet::Open } else { refuse(401) }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets() {
    let id = "WSA-SESS-06";
    let given = |options: &mut Options, base: &str| options.ticket_url = Some(format!("{base}/ticket"));
    let (short, long, never) = (Duration::from_millis(600), Duration::from_mins(1), Duration::ZERO);
    is("good", &at(with_tickets(1, short, never), id, given).await, Pass);
    is("bad", &at(with_tickets(9, short, never), id, given).await, Fail);
    is("an unused one lives long", &at(with_tickets(1, long, never), id, given).await, Warn);
    is("silent", &at(Script::silent(), id, given).await, Unknown);
    is("trap: once more at once", &at(with_tickets(1, short, Duration::from_millis(30)), id, given).await, Warn);
    is("trap: tickets open nothing", &at(with_tickets(0, short, never), id, given).await, Unknown);
}

/// A server with a login by cookie that keeps the name which the visitor brings, or none.
fn with_login(keeps: bool, serves_all: bool) -> Script {
    let known: Mutex<BTreeSet<String>> = Mutex::new([TOKEN.to_owned()].into());
    Script::good().on_request(move |ask| {
        let sid = ask.value("Cookie").and_then(|cookie| Some(cookie.split("sid=").nth(1)?.to_owned()));
        let mut known = known.lock().unwrap();
        if ask.line.starts_with("POST /login ") {
            let name = sid.filter(|_| keeps).unwrap_or_else(random_name);
            known.insert(name.clone());
            return page(200, vec![("Set-Cookie".into(), format!("sid={name}; Path=/"))], "{}");
        }
        let is_known = sid.is_some_and(|sid| known.contains(&sid));
        if is_upgrade(ask) && (is_known || serves_all) { Greet::Open } else { refuse(401) }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn fixation() {
    let id = "WSA-SESS-07";
    let given = |options: &mut Options, base: &str| {
        options.token = None;
        options.cookie = Some(format!("sid={TOKEN}"));
        options.login_url = Some(format!("{base}/login"));
        options.login_data = Some(r#"{"user":"ann"}"#.into());
    };
    is("good", &at(with_login(false, false), id, given).await, Pass);
    is("bad", &at(with_login(true, false), id, given).await, Fail);
    is("silent", &at(Script::silent(), id, given).await, Unknown);
    is("trap: any cookie is served", &at(with_login(false, true), id, given).await, Unknown);
    is("no cookie", &verdict(Script::good(), id).await, Skipped);
}

const BOB: &str = "bobs-token-0123456789";

/// A server that names its sessions and lets them be taken up again.
fn resuming(binds: bool) -> Script {
    let taken: Mutex<BTreeMap<u32, String>> = Mutex::default();
    let user = |ask: &Ask| if ask.bearer() == Some(BOB) { "bob" } else { "ann" }.to_owned();
    let names: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let held = Arc::clone(&names);
    Script::good()
        .on_request(move |ask| {
            if !ask.bearer().is_some_and(|token| [TOKEN, BOB].contains(&token)) {
                return refuse(401);
            }
            let name = random_name();
            names.lock().unwrap().insert(name.clone(), user(ask));
            Greet::OpenWith(Vec::new(), vec![Out::Text(json!({"type": "welcome", "session": name}).to_string())])
        })
        .on_text(move |ask, text| {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            let mut taken = taken.lock().unwrap();
            let own = taken.get(&ask.number).cloned().unwrap_or_else(|| user(ask));
            if value["type"] == "resume" {
                let owner = held.lock().unwrap().get(value["session"].as_str().unwrap_or_default()).cloned();
                return match owner {
                    Some(owner) if !binds || owner == own => {
                        taken.insert(ask.number, owner.clone());
                        vec![Out::Text(json!({"type": "resumed", "user": owner}).to_string())]
                    }
                    _ => vec![Out::Text(json!({"type": "error", "code": "no_session"}).to_string())],
                };
            }
            match answer(text).remove(0) {
                Out::Text(reply) if reply.contains("\"echo\"") => {
                    let mut reply: Value = serde_json::from_str(&reply).unwrap();
                    reply["user"] = json!(own);
                    vec![Out::Text(reply.to_string())]
                }
                other => vec![other],
            }
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn resumes() {
    let id = "WSA-SESS-08";
    let two = |options: &mut Options| {
        options.token_b = Some(BOB.into());
        options.resume = Some(r#"{"type":"resume","session":"{session}"}"#.into());
        options.pace = Pace::shortened(Duration::from_millis(50));
    };
    is("good", &verdict_with(resuming(true), id, two).await, Pass);
    is("bad", &verdict_with(resuming(false), id, two).await, Fail);
    is(
        "bad, and found without being told",
        &verdict_with(resuming(false), id, |options| {
            options.token_b = Some(BOB.into());
        })
        .await,
        Fail,
    );
    is("silent", &verdict_with(Script::silent(), id, two).await, Unknown);
    let alone = verdict_with(resuming(true), id, |options| {
        options.resume = Some(r#"{"type":"resume","session":"{session}"}"#.into());
    });
    is("one identity alone", &alone.await, Unknown);
    // Everybody is greeted, a moment late, and nobody is served before the login.
    let late = Script::good()
        .on_request(|_| {
            let greeting = json!({"type": "welcome", "session": random_name()}).to_string();
            Greet::OpenWith(Vec::new(), vec![Out::Wait(Duration::from_millis(10)), Out::Text(greeting)])
        })
        .on_text(|ask, text| match ask.bearer() {
            Some(TOKEN | BOB) if text.contains("resume") => {
                vec![Out::Text(json!({"type": "error", "code": "no_session"}).to_string())]
            }
            Some(TOKEN | BOB) => answer(text),
            _ => vec![Out::Close(4401)],
        });
    is("trap: a greeting that comes late", &verdict_with(late, id, two).await, Pass);
    is("trap: nothing to take up", &verdict_with(Script::good(), id, two).await, Skipped);
}
