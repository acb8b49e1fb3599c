//! What an operator's change does to what is open: revocations, restarts, reloads, the cap of sessions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::items_after_statements,
    reason = "tests"
)]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::peer::{Peer, Request, Response};
use testkit::world::{PATIENCE, Scratch, World, run};

const ADMIN_KEY: &str = "0123456789abcdef0123456789abcdef";
/// What a revocation may take to reach a silent socket.
const REACH: Duration = Duration::from_secs(1);

/// A scratch directory with a key for tokens and one for the admin listener.
fn prepared() -> Scratch {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("admin.key"), format!("{ADMIN_KEY}\n")).unwrap();
    let keygen = run(scratch.path(), &["keygen", "--out", "app.key"], &[]);
    assert_eq!(keygen.status.code(), Some(0), "{}", String::from_utf8_lossy(&keygen.stderr));
    scratch
}

const SETTINGS: [(&str, &str); 5] = [
    ("WSGUARD_ADMIN__KEY_FILE", "admin.key"),
    ("WSGUARD_AUTH__KEYS", "app.key.pub"),
    ("WSGUARD_STORE__PATH", "kept.redb"),
    ("WSGUARD_RATE__HANDSHAKES", "100000"),
    ("WSGUARD_RATE__MODE", "shadow"),
];

fn world(scratch: Scratch, settings: &[(&str, &str)]) -> World {
    World::start(scratch, &["--dev"], &[&SETTINGS[..], settings].concat())
}

fn token(world: &World, subject: &str) -> String {
    let minted = run(world.path(), &["token", "--key", "app.key", "--sub", subject], &[]);
    assert_eq!(minted.status.code(), Some(0), "{}", String::from_utf8_lossy(&minted.stderr));
    String::from_utf8(minted.stdout).unwrap().trim().to_owned()
}

fn join(world: &World, token: &str) -> (Peer, String) {
    let mut peer = world.upgrade().bearer(token).open();
    let session = peer.welcomed()["session"].as_str().unwrap().to_owned();
    (peer, session)
}

fn admin(world: &World, method: &str, target: &str) -> Request {
    Request::new(world.admin, method, target).bearer(ADMIN_KEY)
}

fn revoke(world: &World, body: &Value) -> Response {
    admin(world, "POST", "/api/revocations").body(&body.to_string()).send()
}

/// Waits for the next second and gives its beginning in milliseconds: tokens say when they were issued in whole seconds.
fn next_second() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let next = Duration::from_secs(now().as_secs() + 1);
    thread::sleep(next.saturating_sub(now()));
    u64::try_from(next.as_millis()).unwrap()
}

/// The `jti` of a session, as the admin listener tells it.
fn jti_of(world: &World, session: &str) -> String {
    let sessions = admin(world, "GET", "/api/sessions").send().json();
    let sessions = sessions["sessions"].as_array().unwrap();
    let row = sessions.iter().find(|row| row["session"] == session).unwrap();
    row["jti"].as_str().unwrap().to_owned()
}

#[test]
fn a_revocation_reaches_silent_sockets_within_a_second() {
    let world = world(prepared(), &[]);
    let bobs = token(&world, "bob");
    let (mut bob, _) = join(&world, &bobs);
    for kind in ["subject", "session", "jti", "issuedBefore"] {
        let subject = format!("ann-{kind}");
        let anns = token(&world, &subject);
        let (mut ann, session) = join(&world, &anns);
        let (mut second, _) = join(&world, &anns);
        let body = match kind {
            "subject" => json!({"subject": subject, "reason": "left"}),
            "session" => json!({"session": session}),
            "jti" => json!({"jti": jti_of(&world, &session)}),
            _ => {
                let ahead = json!({"subject": subject, "issuedBefore": "2099-01-01T00:00:00Z"});
                assert_eq!(revoke(&world, &ahead).status, 400, "it would refuse what is not issued yet");
                json!({"subject": subject, "issuedBefore": next_second()})
            }
        };
        let asked = Instant::now();
        let answer = revoke(&world, &body);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.body);
        assert_eq!(answer.json()["sessions"], 2, "{kind}: both have the same token");
        let references = [&mut ann, &mut second].map(|peer| peer.expect_refused("forbidden", 4403));
        assert!(asked.elapsed() < REACH, "{kind}: {:?}", asked.elapsed());
        assert_eq!(world.logged(&references[0])["wsguard.close_code"], 4403, "{kind}");
        let entry = world.logged(answer.json()["ref"].as_str().unwrap());
        assert_eq!(entry["event.action"], "revocation_added", "{entry}");
        assert!(entry["message"].as_str().unwrap().starts_with("by admin: "), "{entry}");

        let again = world.upgrade().bearer(&anns).send();
        assert_eq!((again.status, again.refusal().0.as_str()), (401, "unauthenticated"), "{kind}");
        let fresh = world.upgrade().bearer(&token(&world, &subject)).send().status;
        let lasts = kind == "subject";
        assert_eq!(fresh, if lasts { 401 } else { 101 }, "{kind}: a token that was issued afterwards");
        if kind == "subject" {
            let mut waiting = world.upgrade().open();
            waiting.send(&json!({"type": "auth", "payload": {"token": anns}}));
            let _ = waiting.expect_refused("forbidden", 4403);
            let (mut refreshing, _) = join(&world, &bobs);
            refreshing.send(&json!({"type": "auth.refresh", "payload": {"token": anns}}));
            let _ = refreshing.expect_refused("forbidden", 4403);
        }
    }
    bob.say("echo", 1, &json!("still here"));
    assert_eq!(bob.expect("echo"), json!("still here"), "who is not concerned is not touched");
    assert!(!world.log().contains(&bobs));
}

#[test]
fn nothing_is_handled_after_a_revocation() {
    const BURST: u32 = 16;
    let world = world(prepared(), &[]);
    let anns = token(&world, "ann");
    let (is_revoked, handled) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut peers: Vec<Peer> = (0..6).map(|_| join(&world, &anns).0).collect();
    thread::scope(|scope| {
        let pumps: Vec<_> = peers
            .drain(..)
            .map(|mut peer| {
                let (is_revoked, handled) = (&is_revoked, &handled);
                scope.spawn(move || {
                    for round in 0.. {
                        // Looked at before the first byte is sent: what is sent afterwards is sent after the answer.
                        let after = is_revoked.load(Ordering::SeqCst);
                        for number in 0..BURST {
                            peer.say("echo", round * BURST + number, &json!("x"));
                        }
                        let mut acked = 0;
                        while acked < BURST {
                            let Some(frame) = peer.read_frame() else { return };
                            if frame.opcode == 8 {
                                assert_eq!(frame.close_code(), Some(4403));
                                return;
                            }
                            let message: Value = serde_json::from_slice(&frame.payload).unwrap();
                            if message["type"] == "ack" {
                                assert!(!after, "handled after the revocation was confirmed: {message}");
                                acked += 1;
                                handled.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                })
            })
            .collect();
        // The pumps are at work.
        while handled.load(Ordering::SeqCst) <= 100 && !pumps.iter().any(ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(revoke(&world, &json!({"subject": "ann"})).status, 200);
        is_revoked.store(true, Ordering::SeqCst);
        for pump in pumps {
            pump.join().unwrap();
        }
    });
    let handled = handled.into_inner();
    assert!(handled > 100, "the pumps were at work: {handled}");
}

#[test]
fn a_ban_closes_open_sockets_and_outlives_the_server_that_made_it() {
    let first = world(prepared(), &[]);
    let (ann, bob) = (token(&first, "ann"), token(&first, "bob"));
    let (mut peer, _) = join(&first, &ann);
    let ban = |world: &World, key: &str| {
        let body = json!({"key": key, "forMs": 3_600_000}).to_string();
        admin(world, "POST", "/api/bans").header("Content-Type", "application/json").body(&body).send()
    };
    assert_eq!(ban(&first, "subject:ann").status, 200);
    assert_eq!(peer.expect_close(), 4429);
    assert_eq!(ban(&first, "subject:bob").status, 200);
    assert_eq!(admin(&first, "DELETE", "/api/bans/subject:bob").send().status, 200);

    let second = world(first.kill(), &[]);
    let refused = second.upgrade().bearer(&ann).send();
    assert_eq!(refused.status, 429);
    assert!(refused.header("Retry-After").unwrap().parse::<u32>().unwrap() > 3_000);
    assert_eq!(second.upgrade().bearer(&bob).send().status, 101);
    assert_eq!(admin(&second, "DELETE", "/api/bans/subject:ann").send().status, 200);
    assert_eq!(second.upgrade().bearer(&ann).send().status, 101, "lifted");
}

#[test]
fn what_is_revoked_stays_so_when_the_server_is_killed() {
    let first = world(prepared(), &[]);
    let tokens = ["by-subject", "by-jti", "before", "lifted", "free"].map(|subject| (subject, token(&first, subject)));
    let (_peer, session) = join(&first, &tokens[1].1);
    let jti = jti_of(&first, &session);
    let mut lifted = None;
    for body in [
        json!({"subject": "by-subject"}),
        json!({"jti": jti}),
        json!({"subject": "before", "issuedBefore": next_second()}),
        json!({"subject": "lifted", "reason": "by mistake"}),
    ] {
        let answer = revoke(&first, &body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        lifted = answer.json()["id"].as_u64();
    }
    let lifted = format!("/api/revocations/{}", lifted.unwrap());
    assert_eq!(admin(&first, "DELETE", &lifted).send().status, 200);
    assert_eq!(admin(&first, "DELETE", &lifted).send().status, 404, "once");

    let second = world(first.kill(), &[]);
    for (subject, token) in &tokens {
        let want = if matches!(*subject, "lifted" | "free") { 101 } else { 401 };
        assert_eq!(second.upgrade().bearer(token).send().status, want, "{subject}");
    }
    let found = admin(&second, "GET", "/api/revocations").send().json();
    let named: Vec<_> = found["revocations"].as_array().unwrap().iter().collect();
    assert_eq!((found["total"].as_u64(), named.len()), (Some(3), 3), "{found}");
    assert_eq!(named[0]["subject"], "by-subject", "{found}");
    assert_eq!(named[1]["jti"], jti, "{found}");

    // What cannot be read stops the start: nobody would know what was revoked.
    let scratch = second.kill();
    let kept = scratch.path().join("kept.redb");
    let good = fs::read(&kept).unwrap();
    let start = || {
        let flags = ["serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let output = run(scratch.path(), &flags, &SETTINGS);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (name, bytes) in
        [("empty", Vec::new()), ("text", b"nothing".to_vec()), ("cut", good[..good.len() / 2].to_vec())]
    {
        fs::write(&kept, bytes).unwrap();
        let (code, said) = start();
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains("store.path") && said.contains("kept.redb"), "{name}: {said}");
        assert!(!said.contains("ready"), "{name}: {said}");
    }
    fs::write(&kept, &good).unwrap();
    let third = world(scratch, &[]);
    assert_eq!(third.upgrade().bearer(&tokens[0].1).send().status, 401, "the copy that was put back");
    let flags = ["serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let output = run(third.path(), &flags, &SETTINGS);
    assert_eq!(output.status.code(), Some(1), "one server has it alone: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn changes_need_the_key_and_the_right_form() {
    let keyless = World::dev(&[]);
    let mut peer = keyless.join("ann");
    let body = json!({"subject": "ann"}).to_string();
    let answer = Request::new(keyless.admin, "POST", "/api/revocations").body(&body).send();
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!("admin_key_not_set")));
    assert_eq!(keyless.ask_admin("/api/sessions").status, 200, "reading is open on loopback");

    let world = world(prepared(), &[]);
    let (mut ann, session) = join(&world, &token(&world, "ann"));
    let post = || Request::new(world.admin, "POST", "/api/revocations");
    for (name, request, status) in [
        ("no key", post().body(&body), 401),
        ("wrong key", post().bearer("0123456789abcdef0123456789abcdeF").body(&body), 401),
        ("wrong host", post().bearer(ADMIN_KEY).set("Host", "evil.example").body(&body), 403),
        ("reading without the key", Request::new(world.admin, "GET", "/api/sessions"), 401),
        ("a form, as a page can send it", post().bearer(ADMIN_KEY).body(&body).set("Content-Type", "text/plain"), 400),
        ("no JSON", post().bearer(ADMIN_KEY).body("{"), 400),
        ("nothing named", post().bearer(ADMIN_KEY).body("{}"), 400),
        ("two named", post().bearer(ADMIN_KEY).body(r#"{"subject":"ann","jti":"j"}"#), 400),
        (
            "long reason",
            post().bearer(ADMIN_KEY).body(&json!({"subject": "a", "reason": "x".repeat(257)}).to_string()),
            400,
        ),
        ("huge", post().bearer(ADMIN_KEY).body(&json!({"subject": "a".repeat(20_000)}).to_string()), 400),
        ("unknown session", admin(&world, "DELETE", &format!("/api/sessions/{}", "0".repeat(32))), 404),
        ("no session", admin(&world, "DELETE", "/api/sessions/ann"), 400),
        ("page size", admin(&world, "GET", "/api/sessions?limit=0"), 400),
        ("page place", admin(&world, "GET", "/api/sessions?after=x"), 400),
        ("page member", admin(&world, "GET", "/api/revocations?before=1"), 400),
    ] {
        assert_eq!(request.send().status, status, "{name}");
    }
    ann.say("echo", 1, &json!(1));
    let _ = ann.expect("echo");
    peer.say("echo", 1, &json!(1));
    let _ = peer.expect("echo");
    assert_eq!(admin(&world, "DELETE", &format!("/api/sessions/{session}")).send().status, 200);
    assert_eq!(ann.expect_close(), 4403);
    assert_eq!(world.logged("session_disconnected")["wsguard.session"], session);
}

#[test]
fn sessions_are_listed_page_by_page() {
    let world = world(prepared(), &[]);
    let mut peers: Vec<_> = (0..7).map(|number| join(&world, &token(&world, &format!("s{number}")))).collect();
    let mut seen = Vec::new();
    let mut target = "/api/sessions?limit=3".to_owned();
    loop {
        let page = admin(&world, "GET", &target).send().json();
        let rows = page["sessions"].as_array().unwrap();
        assert!(rows.len() <= 3);
        for row in rows {
            assert_eq!(row["prefix"], "127.0.0.1/32");
            assert!(row["ageMs"].as_u64().unwrap() < 60_000, "{row}");
            assert!(row["subject"].as_str().unwrap().starts_with('s'), "{row}");
            seen.push(row["session"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => target = format!("/api/sessions?limit=3&after={next}"),
            None => break,
        }
    }
    let mut want: Vec<_> = peers.iter().map(|(_, session)| session.clone()).collect();
    want.sort();
    assert_eq!(seen, want);
    peers.drain(..).for_each(|(peer, _)| peer.leave());
}

#[test]
fn the_commands_say_what_became_of_it() {
    let world = world(prepared(), &[]);
    let (mut ann, session) = join(&world, &token(&world, "ann"));
    let url = format!("http://{}", world.admin);
    let at = |url: &str, arguments: &[&str]| {
        let with_admin = [arguments, &["--admin", url]].concat();
        let output = run(world.path(), &with_admin, &[]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let keyed = ["--key-file", "admin.key"];
    let (code, out, _) = at(&url, &[&["sessions", "list", "--json"][..], &keyed].concat());
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &listed["sessions"][0]["session"]), (Some(0), &json!(session)));
    let (code, out, _) = at(&url, &[&["sessions", "list"][..], &keyed].concat());
    assert!(code == Some(0) && out.contains("ann") && out.contains(&session), "{out}");

    let (code, out, error) = at(&url, &["revoke", "--session", &session]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "without the key");
    assert!(error.contains("401"), "{error}");
    let (code, out, error) =
        at(&url, &[&["revoke", "--session", &session, "--reason", "test", "--json"][..], &keyed].concat());
    assert_eq!(code, Some(0), "{error}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&answer["sessions"], &answer["tokenRevoked"]), (&json!(1), &json!(true)), "{out}");
    let _ = ann.expect_refused("forbidden", 4403);
    let (code, out, _) = at(&url, &[&["revoke", "--list"][..], &keyed].concat());
    assert!(code == Some(0) && out.contains(&session) && out.contains("test"), "{out}");
    let (code, _, _) = at(&url, &[&["revoke", "--lift", "1"][..], &keyed].concat());
    assert_eq!(code, Some(1), "there is none of that id");

    for (name, url, want) in [
        ("nothing listens", "http://127.0.0.1:9", 3),
        ("a name that is none", "http://nowhere.invalid:1", 2),
        ("plain and far", "http://192.0.2.1:3001", 2),
        ("no URL", "localhost:3001", 2),
        ("https without an authority", "https://localhost:9", 3),
    ] {
        let (code, out, _) = at(url, &["sessions", "list"]);
        assert_eq!((code, out.as_str()), (Some(want), ""), "{name}");
    }
}

/// Waits until `find` sees what it looks for in the log.
fn until_logged(world: &World, name: &str, find: impl Fn(&str) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !world.log().lines().any(&find) {
        assert!(Instant::now() < until, "{name}: {}", world.log());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_policy_is_reloaded_in_one_step_or_not_at_all() {
    let scratch = prepared();
    let file = scratch.path().join("wsguard.toml");
    let schemas = scratch.path().join("messages");
    fs::create_dir(&schemas).unwrap();
    fs::write(schemas.join("echo.json"), "true").unwrap();
    fs::write(schemas.join("chat.json"), r#"{"type":"object"}"#).unwrap();
    let config = |origin: &str, more: &str| {
        fs::write(&file, format!("[origin]\nallow = [\"{origin}\"]\n[messages]\ndir = \"messages\"\n{more}")).unwrap();
    };
    config("http://a.example", "");
    let world = world(scratch, &[]);
    let anns = token(&world, "ann");
    let (mut ann, _) = join(&world, &anns);
    let mut page = world.upgrade().bearer(&anns).header("Origin", "http://a.example").open();
    let _ = page.welcomed();
    // An id is used once in a session: one known already would be acknowledged, not handled.
    let mut id = 0;
    let mut works = |peer: &mut Peer| {
        id += 1;
        peer.say("echo", id, &json!("on"));
        assert_eq!(peer.expect("echo"), json!("on"));
        let _ = peer.expect("ack");
    };

    config("http://a.example", "[rate]\nburst = \"fast\"\n");
    world.hang_up();
    until_logged(&world, "refused", |line| line.contains("policy_refused") && line.contains("wsguard.toml:6"));
    fs::write(schemas.join("chat.json"), "{\n\"type\": \"objekt\"}").unwrap();
    config("http://a.example", "");
    world.hang_up();
    until_logged(&world, "bad schema", |line| line.contains("policy_refused") && line.contains("chat.json:2"));
    works(&mut ann);
    works(&mut page);

    // A good one: a limit, an origin more, one message type less and one more.
    fs::remove_file(schemas.join("chat.json")).unwrap();
    fs::write(schemas.join("join.json"), "true").unwrap();
    config(
        "http://a.example\", \"http://b.example",
        "[rate]\nburst = 77\n[server]\ndrain = \"5s\"\n[csrf]\nrotate_every = \"2m\"\n",
    );
    world.hang_up();
    until_logged(&world, "reloaded", |line| line.contains("policy_reloaded"));
    let said = world.logged("policy_reloaded")["message"].as_str().unwrap().to_owned();
    for part in [
        "rate.burst: 60 → 77",
        "csrf.rotate_every: 15m → 2m",
        "server.drain: 30s → 5s (counts after a restart)",
        "origin.allow: http://a.example → http://a.example, http://b.example",
        "message types added: join",
        "message types removed: chat",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    works(&mut ann);
    works(&mut page);
    ann.say("chat", "gone", &json!({"message": "hi"}));
    assert_eq!(ann.expect("error")["code"], "unknown_type");
    assert_eq!(world.upgrade().bearer(&anns).header("Origin", "http://b.example").send().status, 101);

    // No signal: the file that changed is found. The page whose origin is gone is closed, and nobody else.
    config("http://b.example", "");
    let _ = page.expect_refused("forbidden", 4403);
    works(&mut ann);
    assert_eq!(world.upgrade().bearer(&anns).header("Origin", "http://a.example").send().status, 403);

    // The key goes: its sessions are asked for a fresh token.
    let keygen = run(world.path(), &["keygen", "--out", "new.key"], &[]);
    assert_eq!(keygen.status.code(), Some(0));
    fs::rename(world.path().join("new.key.pub"), world.path().join("app.key.pub")).unwrap();
    world.hang_up();
    let _ = ann.expect_refused("session_expired", 4401);
    assert_eq!(world.upgrade().bearer(&anns).send().status, 401);
}

#[test]
fn one_session_too_many_is_refused_or_takes_the_place_of_the_oldest() {
    for (on_cap, displaces) in [("refuse", false), ("close-oldest", true)] {
        let settings = [("WSGUARD_SESSION__PER_SUBJECT", "2"), ("WSGUARD_SESSION__ON_CAP", on_cap)];
        let world = world(prepared(), &settings);
        let anns = token(&world, "ann");
        let ((mut first, _), (mut second, _)) = (join(&world, &anns), join(&world, &anns));
        if displaces {
            let (mut third, _) = join(&world, &anns);
            assert_eq!(first.expect_close(), 4409, "the oldest, although it is silent");
            // By the first message as well as by the handshake.
            let mut fourth = world.upgrade().open();
            fourth.send(&json!({"type": "auth", "payload": {"token": anns}}));
            let _ = fourth.welcomed();
            assert_eq!(second.expect_close(), 4409);
            for peer in [&mut third, &mut fourth] {
                peer.say("echo", 1, &json!(1));
                let _ = peer.expect("echo");
            }
        } else {
            assert_eq!(world.upgrade().bearer(&anns).send().status, 429);
            for peer in [&mut first, &mut second] {
                peer.say("echo", 1, &json!(1));
                let _ = peer.expect("echo");
            }
        }
    }
}

#[test]
fn a_token_ends_on_a_silent_socket() {
    let world = World::dev(&[("WSGUARD_AUTH__LEEWAY", "0ms")]);
    let mut peer = world.upgrade().bearer(&world.token("ann", "2s")).open();
    let _ = peer.welcomed();
    let _ = peer.expect("auth.expiring");
    let _ = peer.expect_refused("session_expired", 4401);
}

#[test]
fn a_session_that_waits_for_its_client_is_revoked_like_an_open_one() {
    let world = world(prepared(), &[]);
    let entry = |welcome: &Value| format!("wsguard.resume.{}.0", welcome["resumeToken"].as_str().unwrap());
    let open = |token: &str, entry: &str| {
        let protocols = format!("wsguard.v1, {entry}");
        let mut peer = world.upgrade().header("Sec-WebSocket-Protocol", &protocols).bearer(token).open();
        let welcome = peer.welcomed();
        (peer, welcome)
    };
    let (left, welcome) = open(&token(&world, "ann"), "wsguard.resume");
    let session = welcome["session"].as_str().unwrap();
    drop(left);
    world.logged_with(&["session_detached", session]);
    assert_eq!(revoke(&world, &json!({"session": session})).status, 200);
    world.logged_with(&["closed_while_detached", session]);
    let (_back, again) = open(&token(&world, "ann"), &entry(&welcome));
    assert_eq!(again["resumed"], false);
    assert_ne!(again["session"], session);
}
