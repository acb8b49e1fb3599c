//! The server as its operator sees it: drain, admin listener, slow readers, TLS, start without what it needs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::items_after_statements,
    reason = "tests"
)]

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use testkit::peer::{Request, masked};
use testkit::world::{PATIENCE, Scratch, TOKEN, World, run};

/// Asks again until `good` says yes: for what the server counts without telling anybody.
fn stats_until(world: &World, good: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let stats = world.ask_admin("/api/stats").json();
        if good(&stats) {
            return stats;
        }
        assert!(Instant::now() < until, "{stats}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sigterm_drains_and_ends_when_the_last_peer_left() {
    let mut world = World::dev(&[]);
    let (mut ann, mut bob) = (world.join("ann"), world.join("bob"));
    assert_eq!(world.ask_admin("/ready").status, 200);
    world.terminate();
    for peer in [&mut ann, &mut bob] {
        let after = peer.expect("draining")["reconnectAfterMs"].as_u64().unwrap();
        assert!(after <= 5_000, "{after}");
    }
    let response = world.upgrade().bearer(TOKEN).send();
    assert_eq!(response.status, 503);
    assert_eq!(response.refusal().0, "upstream_unavailable");
    assert!(response.header("Retry-After").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(world.ask_admin("/ready").status, 503);
    assert_eq!(world.ask_admin("/health").status, 200, "alive all the same");
    // What is open goes on until its peer leaves.
    ann.say("echo", 1, &json!("still here"));
    assert_eq!(ann.expect("echo"), json!("still here"));
    let _ = ann.expect("ack");
    ann.leave();
    bob.leave();
    assert_eq!(world.exit().code(), Some(0));
}

#[test]
fn who_never_spoke_does_not_hold_the_end_up() {
    let mut world = World::dev(&[("WSGUARD_SERVER__DRAIN", "1h"), ("WSGUARD_AUTH__FIRST_MESSAGE_TIMEOUT", "1m")]);
    let (mut silent, mut cookie) = (world.upgrade().open(), {
        let page = world.upgrade().header("Origin", &world.origin());
        page.header("Cookie", "wsguard=test_token").open()
    });
    for peer in [&mut silent, &mut cookie] {
        // The answer says that the server has come to wait for the first message.
        peer.send_bytes(&masked(0x89, b""));
        assert_eq!(peer.read_frame().map(|frame| frame.opcode), Some(10));
    }
    world.terminate();
    assert_eq!(silent.expect_close(), 1001);
    assert_eq!(cookie.expect_close(), 1001);
    assert_eq!(world.exit().code(), Some(0));
}

#[test]
fn the_drain_has_an_end_and_a_second_signal_does_not_wait_for_it() {
    for (name, drain, signals, close) in [("time is up", "1s", 1, Some(1001)), ("second signal", "1h", 2, None)] {
        let mut world = World::dev(&[("WSGUARD_SERVER__DRAIN", drain)]);
        let mut peer = world.join("ann");
        world.terminate();
        let _ = peer.expect("draining");
        for _ in 1..signals {
            world.terminate();
        }
        if let Some(code) = close {
            assert_eq!(peer.expect_close(), code, "{name}");
        }
        assert_eq!(world.exit().code(), Some(0), "{name}");
    }
}

#[test]
fn the_admin_listener_answers_its_own_host_only() {
    let world = World::dev(&[]);
    let mut peer = world.join("ann");
    peer.say("echo", 1, &json!(1));
    let _ = peer.expect("echo");
    peer.say("nothing", 1, &json!(1));
    let _ = peer.expect("ack");
    let _ = peer.expect("error");
    assert_eq!(world.upgrade().bearer("bad").send().status, 401);

    assert_eq!(world.ask_admin("/health").json()["status"], "ok");
    assert_eq!(world.ask_admin("/ready").json()["status"], "ready");
    let stats = stats_until(&world, |stats| stats["messages"]["echo"]["allow"] == 1);
    assert_eq!(stats["connections"]["open"], 1, "{stats}");
    assert_eq!(
        (&stats["handshakes"]["admitted"], &stats["handshakes"]["refused"]["401"]),
        (&json!(1), &json!(1)),
        "{stats}"
    );
    let metrics = world.ask_admin("/metrics");
    assert!(metrics.header("Content-Type").unwrap().starts_with("application/openmetrics-text"));
    let samples: Vec<&str> = metrics.body.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(!samples.is_empty() && samples.iter().all(|line| line.starts_with("wsguard_")), "{}", metrics.body);
    assert!(metrics.body.ends_with("# EOF\n"));
    assert!(!metrics.body.contains("ann"), "no label holds a subject");

    let ask = |target: &str| Request::new(world.admin, "GET", target);
    for target in ["/health", "/ready", "/metrics", "/api/stats"] {
        for host in ["evil.example", "localhost", "127.0.0.1", "localhost:1"] {
            assert_eq!(ask(target).set("Host", host).send().status, 403, "{target} of {host}");
        }
        assert_eq!(ask(target).without("Host").send().status, 403, "{target} without a Host");
        assert_eq!(ask(target).set("Host", &world.admin.to_string()).send().status, 200, "{target}");
        let response = ask(target).header("Origin", "http://evil.example").send();
        assert_eq!(response.header("Access-Control-Allow-Origin"), None, "{target}");
        // Nothing of it is on the public listener, whose health is a status and no more.
        let public = world.request("GET", target).send();
        assert_eq!(public.status, if target == "/health" { 200 } else { 404 }, "{target}");
    }
}

#[test]
fn a_reader_that_stops_is_closed_and_holds_nobody_up() {
    let world = World::dev(&[("WSGUARD_RATE__MODE", "shadow")]);
    let token = world.token("slow", "15m");
    let mut slow = world.upgrade().receive_buffer(4_096).bearer(&token).open();
    let _ = slow.welcomed();
    let mut ann = world.join("ann");
    let text = "a".repeat(4_000);
    let (mut longest, mut said) = (Duration::ZERO, 0);
    while world.ask_admin("/api/stats").json()["queueDrops"] == 0 && said < 10 << 20 {
        for _ in 0..8 {
            let sent = Instant::now();
            ann.say("chat", said, &json!({"message": text}));
            let _ = ann.expect("chat");
            let _ = ann.expect("ack");
            longest = longest.max(sent.elapsed());
            said += text.len();
        }
    }
    if cfg!(target_os = "linux") {
        assert!(said < 1 << 20, "beside its queue, {said} bytes waited in the kernel for a slow reader");
    }
    let stats = stats_until(&world, |stats| stats["queueDrops"] == 1);
    assert_eq!(stats["panics"], 0);
    assert!(longest < Duration::from_secs(2), "a slow reader held up the room for {longest:?}");
    assert_eq!(slow.expect_close(), 1013, "reading again, the slow one finds why");
}

#[test]
fn production_serves_over_tls_with_keys_and_lists() {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.path().join(name);
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(at("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(at("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let keygen = run(scratch.path(), &["keygen", "--out", "app.key"], &[]);
    assert_eq!(keygen.status.code(), Some(0), "{}", String::from_utf8_lossy(&keygen.stderr));
    let minted = run(scratch.path(), &["token", "--key", "app.key", "--sub", "ann", "--ttl", "15m"], &[]);
    assert_eq!(minted.status.code(), Some(0), "{}", String::from_utf8_lossy(&minted.stderr));
    let token = String::from_utf8(minted.stdout).unwrap().trim().to_owned();

    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let config = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let settings = [
        ("WSGUARD_TLS__CERT", "cert.pem"),
        ("WSGUARD_TLS__KEY", "key.pem"),
        ("WSGUARD_AUTH__KEYS", "app.key.pub"),
        ("WSGUARD_ORIGIN__ALLOW", "https://app.example"),
        ("WSGUARD_HOST__ALLOW", "localhost"),
    ];
    let world = World::start(scratch, &[], &settings);
    let upgrade = || world.upgrade().tls(Arc::clone(&config));

    let mut peer = upgrade().bearer(&token).header("Origin", "https://app.example").open();
    assert_eq!(peer.welcomed()["subject"], "ann");
    // Larger than a TLS record, both ways.
    let large = "x".repeat(50_000);
    peer.say("echo", 1, &json!(large));
    assert_eq!(peer.expect("echo"), json!(large));
    let _ = peer.expect("ack");
    peer.leave();
    for (name, request, status) in [
        ("the development token", upgrade().bearer(TOKEN), 401),
        ("the development cookie", upgrade().header("Cookie", "wsguard=a").header("Origin", &world.origin()), 403),
        ("an origin that is not listed", upgrade().bearer(&token).header("Origin", "https://localhost"), 403),
        ("a host that is not listed", upgrade().bearer(&token).set("Host", "app.example"), 403),
        ("the demo page", Request::new(world.endpoint, "GET", "/").tls(Arc::clone(&config)), 404),
        ("the development route", Request::new(world.endpoint, "POST", "/dev/token").tls(Arc::clone(&config)), 404),
    ] {
        assert_eq!(request.send().status, status, "{name}");
    }
    // The cookie has its production name.
    let cookie = format!("__Host-wsguard={token}");
    let response = Request::new(world.endpoint, "POST", "/ws/session")
        .tls(Arc::clone(&config))
        .header("Origin", "https://app.example")
        .header("Cookie", &cookie)
        .send();
    assert_eq!(response.status, 200, "{}", response.body);
    assert!(!world.log().contains(&token));
}

#[test]
fn what_cannot_be_served_safely_is_not_served() {
    let scratch = Scratch::new();
    let keygen = run(scratch.path(), &["keygen", "--out", "app.key"], &[]);
    assert_eq!(keygen.status.code(), Some(0));
    let lists = [("WSGUARD_ORIGIN__ALLOW", "https://app.example"), ("WSGUARD_HOST__ALLOW", "app.example")];
    let keys = [("WSGUARD_AUTH__KEYS", "app.key.pub")];
    let proxy = [("WSGUARD_PROXY__TRUSTED", "192.0.2.0/24")];
    let all = |parts: &[&[(&'static str, &'static str)]]| parts.concat();
    let cases = [
        ("nothing set", vec![], &["serve"][..], "origin.allow"),
        ("no TLS and no proxy", all(&[&lists, &keys]), &["serve"], "tls.cert"),
        ("no lists", all(&[&keys, &proxy]), &["serve"], "host.allow"),
        ("no keys", all(&[&lists, &proxy]), &["serve"], "auth.keys"),
        ("development for others", vec![], &["serve", "--dev", "--listen", "0.0.0.0:0"], "server.listen"),
        ("unknown key", vec![("WSGUARD_RATE__BRUST", "1")], &["serve", "--dev"], "rate.brust"),
        (
            "certificate missing",
            all(&[&lists, &keys, &[("WSGUARD_TLS__CERT", "no.pem"), ("WSGUARD_TLS__KEY", "no.pem")]]),
            &["serve"],
            "no.pem",
        ),
    ];
    for (name, settings, arguments, mentioned) in cases {
        let arguments = [arguments, &["--admin", "127.0.0.1:0"]].concat();
        let output = run(scratch.path(), &arguments, &settings);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.to_lowercase().contains(mentioned), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}");
    }
}
