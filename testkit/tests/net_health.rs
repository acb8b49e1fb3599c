//! `wsguard health` against our own server, strangers' servers, and servers that are ill.

#![expect(clippy::unwrap_used, clippy::panic, reason = "for tests: what does not come as expected is a failed test")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use testkit::proxy::Proxy;
use testkit::scripted::{Ask, Got, Greet, Out, Script, TOKEN, answer, frame};
use testkit::world::{self, Scratch, World, run};
use wsguard_audit::Options;
use wsguard_audit::Status::{self, Fail, Pass, Unknown, Warn};
use wsguard_audit::health::{Beat, Health, Plan, Verdict, Watch, WatchError, health};

const PLAN: Plan = Plan { count: 5, wait: 4.0 };

async fn look(options: Options) -> Health {
    health(options, PLAN, &|_| ()).await.unwrap()
}

/// The status of a step, and what was seen.
fn step(health: &Health, id: &str) -> (Status, String) {
    let item = health.steps.iter().find(|item| item.id == id).unwrap_or_else(|| panic!("no step {id}"));
    (item.status.0, item.evidence.join("; "))
}

#[track_caller]
fn assert_steps(health: &Health, want: &[(&str, Status)]) {
    for (id, status) in want {
        let (found, evidence) = step(health, id);
        assert_eq!(found, *status, "{id}: {evidence}");
    }
}

fn assert_form(json: &Value) {
    let schema: Value = serde_json::from_str(include_str!("../../docs/health-report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(json).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A scripted server at a pace at which 30 s are 0.6 s.
async fn of(script: Script, change: impl FnOnce(&mut Options)) -> Health {
    let server = script.start().await;
    let mut options = server.options();
    change(&mut options);
    health(options, Plan { wait: 30.0, ..PLAN }, &|_| ()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_server_has_everything() {
    let world = World::dev(&[("WSGUARD_HEARTBEAT__INTERVAL", "1s"), ("WSGUARD_RATE__HANDSHAKES", "30")]);
    let url = format!("ws://localhost:{}/ws", world.endpoint.port());
    let health = look(Options::new(&url, Some(world::TOKEN))).await;
    assert_eq!(health.verdict, Verdict::Healthy);
    for item in &health.steps {
        assert_eq!(item.status.0, Pass, "{}: {:?}", item.id, item.evidence);
    }
    let connection = &health.connection;
    assert!(connection.dns_ms.is_some() && connection.tcp_ms.is_some() && connection.upgrade_ms.is_some());
    assert_eq!(connection.tls_ms, None, "without TLS there is nothing to time");
    for times in [&health.latency.ping, &health.latency.message] {
        let times = times.as_ref().unwrap();
        assert_eq!((times.count, times.lost), (5, 0));
        assert!(times.min_ms > 0.0 && times.p50_ms <= times.p95_ms && times.p95_ms <= times.max_ms);
    }
    assert!(step(&health, "resume").1.contains("which was missed, came again"));
    let json = serde_json::to_value(&health).unwrap();
    assert_form(&json);
    assert!(!json.to_string().contains(world::TOKEN), "the token is in the report");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_own_server_leaves_out_is_seen() {
    let settings = [
        ("WSGUARD_SHADOW__CONTROLS", "csrf"),
        ("WSGUARD_RATE__MODE", "shadow"),
        ("WSGUARD_SESSION__RESUME_WINDOW", "0s"),
        ("WSGUARD_HEARTBEAT__INTERVAL", "10m"),
    ];
    let world = World::dev(&settings);
    let url = format!("ws://localhost:{}/ws", world.endpoint.port());
    let health = look(Options::new(&url, Some(world::TOKEN))).await;
    assert_eq!(health.verdict, Verdict::Unhealthy);
    let want = [("csrf", Fail), ("rate-limit", Warn), ("reconnect", Pass), ("resume", Unknown), ("heartbeat", Unknown)];
    assert_steps(&health, &want);
}

#[tokio::test(flavor = "multi_thread")]
async fn production_over_tls() {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.path().join(name);
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(at("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(at("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    assert!(run(scratch.path(), &["keygen", "--out", "signing.key"], &[]).status.success());
    let signed = run(scratch.path(), &["token", "--key", "signing.key", "--sub", "ann", "--ttl", "15m"], &[]);
    let token = String::from_utf8(signed.stdout).unwrap().trim().to_owned();
    let settings = [
        ("WSGUARD_TLS__CERT", "cert.pem"),
        ("WSGUARD_TLS__KEY", "key.pem"),
        ("WSGUARD_ORIGIN__ALLOW", "https://app.example.org"),
        ("WSGUARD_HOST__ALLOW", "localhost"),
        ("WSGUARD_AUTH__KEYS", "signing.key.pub"),
        ("WSGUARD_HEARTBEAT__INTERVAL", "1s"),
    ];
    let world = World::start(scratch, &[], &settings);
    let url = format!("wss://localhost:{}/ws", world.endpoint.port());
    let good = Options {
        origin: Some("https://app.example.org".into()),
        ca_pem: Some(certified.cert.pem().into_bytes()),
        ..Options::new(&url, Some(&token))
    };
    let health = look(good.clone()).await;
    assert_eq!(health.verdict, Verdict::Healthy);
    for item in &health.steps {
        assert_eq!(item.status.0, Pass, "{}: {:?}", item.id, item.evidence);
    }
    assert!(health.connection.tls_ms.is_some());
    assert_eq!(health.connection.tls_version.as_deref(), Some("TLSv1_3"));

    let stranger = look(Options { ca_pem: None, ..good.clone() }).await;
    assert_eq!(stranger.verdict, Verdict::Unhealthy);
    assert_steps(&stranger, &[("tls", Fail), ("credential", Unknown)]);
    let lenient = look(Options { ca_pem: None, insecure: true, ..good.clone() }).await;
    assert_steps(&lenient, &[("tls", Warn), ("credential", Pass)]);
    let wrong = look(Options { token: Some("not.a.token".into()), ..good }).await;
    assert_steps(&wrong, &[("tls", Pass), ("upgrade", Pass), ("credential", Fail), ("ping", Unknown)]);
}

/// A server of a foreign package; ends when dropped.
struct Foreign(Child, String);

impl Foreign {
    fn start(program: &str, script: &str, token: Option<&str>) -> Self {
        let peers = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"));
        assert!(Command::new("sh").arg(peers.join("install.sh")).status().unwrap().success());
        let mut child = Command::new(program)
            .arg(peers.join(script))
            .args(token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = format!("ws://127.0.0.1:{}/", line.trim());
        Self(child, url)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_others() {
    let node = Foreign::start("node", "serve.mjs", Some(TOKEN));
    let python = Foreign::start("python3", "serve.py", Some(TOKEN));
    let open = Foreign::start("node", "serve.mjs", None);
    let look = |server: &Foreign| look(Options::new(&server.1, Some(TOKEN)));
    let (node, python, open) = tokio::join!(look(&node), look(&python), look(&open));
    for (name, health) in [("ws", &node), ("websockets", &python), ("ws, open", &open)] {
        assert_eq!(health.verdict, Verdict::Healthy, "{name}");
        let common = [
            ("name", Pass),
            ("tcp", Pass),
            ("upgrade", Pass),
            ("ping", Pass),
            ("message", Pass),
            ("reconnect", Pass),
            ("resume", Unknown),
            ("csrf", Unknown),
            ("rate-limit", Warn),
            ("origin", Warn),
        ];
        assert_steps(health, &common);
        assert_form(&serde_json::to_value(health).unwrap());
    }
    // ws takes 100 MiB and sends no pings; websockets takes 1 MiB and was told to ping once a second.
    assert_steps(&node, &[("credential", Pass), ("refusal", Pass), ("size-limit", Warn), ("heartbeat", Unknown)]);
    assert_steps(&python, &[("credential", Pass), ("refusal", Pass), ("size-limit", Pass), ("heartbeat", Pass)]);
    assert_steps(&open, &[("credential", Warn), ("refusal", Unknown)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_slow_and_well() {
    let late = || Out::Wait(Duration::from_millis(30));
    let script = Script::good()
        .on_frame(move |_, got| (got.opcode == 9).then(|| vec![late(), Out::Raw(frame(10, &got.payload))]))
        .on_text(move |_, text| std::iter::once(late()).chain(answer(text)).collect());
    let health = of(script, |_| ()).await;
    for times in [&health.latency.ping, &health.latency.message] {
        let times = times.as_ref().unwrap();
        assert!(times.lost == 0 && times.min_ms >= 30.0 && times.p50_ms < 500.0, "{times:?}");
    }
    assert_eq!(health.verdict, Verdict::Healthy);
}

/// What an ill server is told from.
struct Ill {
    name: &'static str,
    script: Script,
    want: &'static [(&'static str, Status)],
}

#[tokio::test(flavor = "multi_thread")]
async fn ill_servers() {
    let welcome = r#"{"type":"welcome","payload":{"session":"s","resumeToken":"r","csrfToken":"","heartbeatMs":1000,"maxMessageBytes":1000,"resumed":false}}"#;
    let pong = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        match value["type"].as_str() {
            Some("ping") => {
                vec![Out::Text(serde_json::json!({"type": "pong", "payload": value["payload"]}).to_string())]
            }
            _ => answer(text),
        }
    };
    let cases = [
        Ill {
            name: "silent: the connection is accepted and nothing follows",
            script: Script::silent(),
            want: &[("tcp", Pass), ("upgrade", Fail), ("ping", Unknown), ("heartbeat", Unknown)],
        },
        Ill {
            name: "a web server",
            script: Script::good().on_request(|_| Greet::Refuse(404, Vec::new(), String::new())),
            want: &[("upgrade", Fail), ("credential", Unknown)],
        },
        Ill {
            name: "no pongs",
            script: Script::good().on_frame(|_, got| (got.opcode == 9).then(Vec::new)),
            want: &[("ping", Fail), ("message", Pass)],
        },
        Ill {
            name: "pongs of its own",
            script: Script::good().on_frame(|_, got| (got.opcode == 9).then(|| vec![Out::Raw(frame(10, b"other"))])),
            want: &[("ping", Fail)],
        },
        Ill {
            name: "a welcome that promises what is not kept",
            script: Script::good()
                .on_request(move |_| Greet::OpenWith(Vec::new(), vec![Out::Text(welcome.to_owned())]))
                .on_text(move |_, text| pong(text)),
            want: &[
                ("message", Pass),
                ("reconnect", Pass),
                ("resume", Fail),
                ("csrf", Fail),
                ("size-limit", Fail),
                ("heartbeat", Fail),
            ],
        },
        Ill {
            name: "whatever is announced is waited for",
            script: Script::good().size(u64::MAX),
            want: &[("size-limit", Fail)],
        },
        Ill { name: "drops messages without a word", script: quota(30, Vec::new), want: &[("rate-limit", Warn)] },
        Ill {
            name: "says that it is too fast",
            script: quota(30, || vec![Out::Text(r#"{"error":"too many messages"}"#.to_owned())]),
            want: &[("rate-limit", Pass)],
        },
    ];
    for Ill { name, script, want } in cases {
        let health = of(script, |_| ()).await;
        for (id, status) in want {
            let (found, evidence) = step(&health, id);
            assert_eq!(found, *status, "{name}, {id}: {evidence}");
        }
        let has_failed = want.iter().any(|(_, status)| *status == Fail);
        assert_eq!(health.verdict == Verdict::Unhealthy, has_failed, "{name}");
        assert_form(&serde_json::to_value(&health).unwrap());
    }
}

/// Answers so many texts of a connection, then does as it is told.
fn quota(texts: usize, then: fn() -> Vec<Out>) -> Script {
    let counts = Arc::new(std::sync::Mutex::new(std::collections::HashMap::<u32, usize>::new()));
    Script::good().on_text(move |ask, text| {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(ask.number).or_default();
        *count = count.saturating_add(1);
        if *count > texts { then() } else { answer(text) }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lets_nobody_back_in() {
    let (texts, later) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seen = Arc::clone(&texts);
    let script = Script::good()
        .on_text(move |_, text| {
            seen.fetch_add(1, Ordering::SeqCst);
            answer(text)
        })
        .on_request(move |ask: &Ask| match ask.bearer() {
            Some(TOKEN) if ask.is_own_origin() => {
                // The connection after the timed messages is the one that is lost.
                let is_later = texts.load(Ordering::SeqCst) >= 40;
                if is_later && later.fetch_add(1, Ordering::SeqCst) >= 1 { Greet::Drop } else { Greet::Open }
            }
            _ => Greet::Refuse(401, Vec::new(), String::new()),
        });
    let server = script.start().await;
    let plan = Plan { count: 40, wait: 0.0 };
    let health = health(server.options(), plan, &|_| ()).await.unwrap();
    assert_steps(&health, &[("message", Pass), ("reconnect", Fail), ("resume", Unknown), ("origin", Unknown)]);
    assert_eq!(health.verdict, Verdict::Unhealthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_from_any_page_is_a_failure() {
    let by_cookie = |is_open: bool| {
        Script::good().on_request(move |ask: &Ask| {
            let is_known = ask.value("Cookie") == Some("sid=cookie-0123456789");
            let is_let_in = is_known && (is_open || ask.is_own_origin());
            if is_let_in { Greet::Open } else { Greet::Refuse(403, Vec::new(), String::new()) }
        })
    };
    for (name, is_open, want) in [("any page", true, Fail), ("its own page", false, Pass)] {
        let health = of(by_cookie(is_open), |options| {
            options.token = None;
            options.cookie = Some("sid=cookie-0123456789".into());
        })
        .await;
        let (found, evidence) = step(&health, "origin");
        assert_eq!(found, want, "{name}: {evidence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sign_of_life_is_missed() {
    for (name, got, want) in [("pings", Some(Out::Raw(frame(9, b"p"))), Pass), ("nothing", None, Unknown)] {
        let outs: Vec<Out> = got.into_iter().flat_map(|out| [Out::Wait(Duration::from_millis(40)), out]).collect();
        let script = Script::good()
            .on_request(move |ask: &Ask| match ask.bearer() {
                Some(TOKEN) => Greet::OpenWith(Vec::new(), outs.clone()),
                _ => Greet::Refuse(401, Vec::new(), String::new()),
            })
            .on_frame(|_, got: &Got| (got.opcode == 10).then(Vec::new));
        let (found, evidence) = step(&of(script, |_| ()).await, "heartbeat");
        assert_eq!(found, want, "{name}: {evidence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sees_losses_and_comes_back() {
    let world = World::dev(&[]);
    let proxy = Proxy::start(world.endpoint);
    let mut watch =
        Watch::begin(Options::new(&proxy.url(), Some(world::TOKEN)), Duration::from_millis(200)).await.unwrap();
    assert_eq!(watch.asks(), "messages");
    for _ in 0..3 {
        assert!(matches!(watch.next().await, Beat::Answered(_)));
    }
    proxy.down();
    let lost = watch.next().await;
    assert!(matches!(lost, Beat::Lost(_)), "{lost:?}");
    let away = watch.next().await;
    assert!(matches!(away, Beat::Away(_)), "{away:?}");
    proxy.restore();
    let mut back = watch.next().await;
    while matches!(back, Beat::Away(_)) {
        back = watch.next().await;
    }
    assert!(matches!(back, Beat::Back(_)), "{back:?}");
    assert!(matches!(watch.next().await, Beat::Answered(_)));
    let refused = Watch::begin(Options::new(&proxy.url(), Some("wrong")), Duration::from_secs(1)).await;
    assert!(matches!(refused, Err(WatchError::Refused { .. })), "{refused:?}");
}

#[test]
fn the_command_and_its_exit_codes() {
    let world = World::dev(&[("WSGUARD_HEARTBEAT__INTERVAL", "1s")]);
    let scratch = Scratch::new();
    let url = format!("--url=ws://localhost:{}/ws", world.endpoint.port());
    let told = |arguments: &[&str]| {
        let output = run(scratch.path(), arguments, &[]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text, _) = told(&["health", &url, "--count=3"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("\nhealthy  15 passed, 0 failed") && !text.contains('\u{1b}'), "{text}");
    let (code, text, _) = told(&["health", &url, "--count=3", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_form(&json);
    assert_eq!((code, json["verdict"].as_str()), (Some(0), Some("healthy")));
    let (code, text, _) = told(&["health", &url, "--token=wrong", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&text).unwrap()["verdict"].as_str()), (Some(1), Some("unhealthy")));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("--url=ws://{closed}/"), "--url=ws://nobody.invalid/".to_owned()] {
        let (code, text, _) = told(&["health", &url, "--json"]);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_form(&json);
        assert_eq!((code, json["verdict"].as_str()), (Some(3), Some("unreached")), "{url}");
        assert_eq!(told(&["health", &url, "--watch"]).0, Some(3), "{url}");
        assert_eq!(told(&["audit", &url, "--out=r"]).0, Some(3), "{url}");
    }
    for wrong in
        [&["--url=nonsense"][..], &["--ca=nothing.pem"], &["--count=0"], &["--count=100000"], &["--interval=5"]]
    {
        assert_eq!(told(&[&["health", &url][..], wrong].concat()).0, Some(2), "{wrong:?}");
    }
    let (code, text, _) = told(&["health", &url, "--watch", "--count=3", "--interval=0.2", "--json"]);
    let beats: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, beats.len()), (Some(0), 3), "{text}");
    assert!(beats.iter().all(|beat| beat["beat"] == "answered" && beat["ms"].as_f64().unwrap() > 0.0), "{text}");
    let (code, text, figures) = told(&["health", &url, "--watch", "--count=2", "--interval=0.2"]);
    assert_eq!((code, text.lines().count()), (Some(0), 2), "{text}");
    assert!(figures.contains("p95") && figures.contains("lost 0 of 2"), "{figures}");
}
