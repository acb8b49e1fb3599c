//! Delivery on real sockets: sessions that survive a cut, by every way to bring a credential; what ends them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use serde_json::{Value, json};
use testkit::peer::{Peer, Request};
use testkit::world::{TOKEN, World};

/// What a client knows of its session.
struct Client {
    peer: Peer,
    welcome: Value,
    last_seq: u64,
}

impl Client {
    /// Behind an upgrade that announced a resume or asked for one.
    fn welcomed(mut peer: Peer) -> Self {
        let welcome = peer.welcomed();
        Self { peer, welcome, last_seq: 0 }
    }

    fn announced(world: &World) -> Self {
        Self::welcomed(offering(world.upgrade(), "wsguard.resume").bearer(TOKEN).open())
    }

    fn entry(&self) -> String {
        format!("wsguard.resume.{}.{}", self.token(), self.last_seq)
    }

    fn token(&self) -> &str {
        self.welcome["resumeToken"].as_str().unwrap()
    }

    fn session(&self) -> &str {
        self.welcome["session"].as_str().unwrap()
    }

    /// Sends `echo` and reads its answer and its acknowledgement.
    fn echo(&mut self, id: u64) {
        self.peer.say("echo", id, &json!(id));
        assert_eq!(self.frame()["payload"], id);
        assert_eq!(self.peer.read()["type"], "ack");
    }

    /// The next application frame, which must be the next in number.
    fn frame(&mut self) -> Value {
        let frame = self.peer.read();
        self.last_seq += 1;
        assert_eq!(frame["seq"], self.last_seq, "{frame}");
        frame
    }
}

fn offering(request: Request, entry: &str) -> Request {
    request.set("Sec-WebSocket-Protocol", &format!("wsguard.v1, {entry}"))
}

/// The value of a metric.
fn metric(world: &World, name: &str) -> u64 {
    let body = world.ask_admin("/metrics").body;
    let line = body.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {body}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Comes back with one kind of credential; the string is the origin of the server's own page.
type Back = fn(&World, &Client, &str) -> Peer;

#[test]
fn a_cut_socket_is_resumed_with_every_credential() {
    let world = World::dev(&[]);
    let origin = world.origin();
    let ways: [(&str, Back); 5] = [
        ("header and subprotocol", |world, client, _| offering(world.upgrade(), &client.entry()).bearer(TOKEN).open()),
        ("subprotocol", |world, client, origin| {
            let entries = format!("wsguard.bearer.{TOKEN}, {}", client.entry());
            offering(world.upgrade(), &entries).header("Origin", origin).open()
        }),
        ("ticket", |world, client, _| {
            let body = json!({"resumeToken": client.token(), "lastSeq": client.last_seq}).to_string();
            let response = world.request("POST", "/ws/ticket").bearer(TOKEN).body(&body).send();
            assert_eq!(response.status, 200, "{}", response.body);
            let ticket = response.json()["ticket"].as_str().unwrap().to_owned();
            world.upgrade().target(&format!("/ws?ticket={ticket}")).open()
        }),
        ("first message", |world, client, _| {
            let mut peer = world.upgrade().open();
            let payload = json!({"token": TOKEN, "resumeToken": client.token(), "lastSeq": client.last_seq});
            peer.send(&json!({"type": "auth", "payload": payload}));
            peer
        }),
        ("cookie", |world, client, origin| {
            let cookie = format!("wsguard={TOKEN}");
            let proof = world.request("POST", "/ws/session").header("Origin", origin).header("Cookie", &cookie).send();
            let proof = proof.json()["csrfToken"].clone();
            let mut peer = world.upgrade().header("Origin", origin).header("Cookie", &cookie).open();
            let payload = json!({"resumeToken": client.token(), "lastSeq": client.last_seq});
            peer.send(&json!({"type": "auth", "csrfToken": proof, "payload": payload}));
            peer
        }),
    ];
    let mut client = Client::announced(&world);
    client.echo(1);
    for (round, (name, back)) in ways.into_iter().enumerate() {
        let first = 10 * (round as u64 + 1);
        // Two answers are under way when the socket is cut; the messages may be handled or not.
        for id in first..first + 2 {
            client.peer.say("echo", id, &json!(id));
        }
        assert_eq!(client.frame()["payload"], first, "{name}");
        let peer = back(&world, &client, &origin);
        let (session, last_seq) = (client.session().to_owned(), client.last_seq);
        client = Client { last_seq, ..Client::welcomed(peer) };
        assert_eq!((&client.welcome["resumed"], client.session()), (&json!(true), &*session), "{name}");
        // What has no answer is sent again: it is answered once, whichever connection handled it.
        for id in first..first + 2 {
            client.peer.say("echo", id, &json!(id));
        }
        let (mut echoes, mut acks) = (vec![first], Vec::new());
        while acks.len() < 2 {
            let frame = client.peer.read();
            if frame["type"] == "ack" {
                acks.push(frame["id"].as_u64().unwrap());
            } else {
                client.last_seq += 1;
                assert_eq!(frame["seq"], client.last_seq, "{name}");
                echoes.push(frame["payload"].as_u64().unwrap());
            }
        }
        assert_eq!((echoes, acks), (vec![first, first + 1], vec![first, first + 1]), "{name}");
    }
    assert_eq!(metric(&world, "wsguard_resumes_total{outcome=\"resumed\"}"), 5);
    client.peer.leave();
}

#[test]
fn a_reset_that_is_found_by_a_write_loses_no_session() {
    let world = World::dev(&[]);
    for round in 0..8 {
        let mut client = Client::announced(&world);
        client.echo(1);
        let (session, entry) = (client.session().to_owned(), client.entry());
        // The server reads the message, and meets the reset when it answers.
        client.peer.say("echo", 2, &json!(2));
        client.peer.reset();
        let mut back = Client::welcomed(offering(world.upgrade(), &entry).bearer(TOKEN).open());
        assert_eq!((&back.welcome["resumed"], back.session()), (&json!(true), &*session), "round {round}");
        back.last_seq = 1;
        back.peer.say("echo", 2, &json!(2));
        assert_eq!(back.frame()["payload"], 2, "handled once, and answered again");
        assert_eq!(back.peer.read()["type"], "ack");
        back.peer.leave();
    }
}

#[test]
fn what_a_room_says_meanwhile_comes_after_the_resume() {
    let world = World::dev(&[]);
    let mut ann = Client::announced(&world);
    let (session, entry) = (ann.session().to_owned(), ann.entry());
    let mut bob = world.join("bob");
    drop(ann.peer);
    let detached = world.logged("session_detached");
    assert_eq!(detached["wsguard.session"], session);
    assert_eq!(metric(&world, "wsguard_sessions_detached"), 1);
    for n in 1..=3 {
        bob.say("chat", n, &json!({"message": format!("line {n}")}));
        assert_eq!(bob.expect("chat")["message"], format!("line {n}"));
        assert_eq!(bob.read()["type"], "ack");
    }
    ann = Client::welcomed(offering(world.upgrade(), &entry).bearer(TOKEN).open());
    assert_eq!(ann.welcome["resumed"], true);
    for n in 1..=3 {
        assert_eq!(ann.frame()["payload"]["message"], format!("line {n}"));
    }
    assert_eq!(metric(&world, "wsguard_sessions_detached"), 0);
    bob.say("chat", 4, &json!({"message": "live"}));
    assert_eq!(ann.frame()["payload"]["message"], "live", "still in its room");
    ann.peer.say("chat", 1, &json!({"message": "back"}));
    assert_eq!(ann.frame()["payload"]["message"], "back");
    assert_eq!(bob.expect("chat")["message"], "live");
    bob.read();
    assert_eq!(bob.expect("chat")["message"], "back");
    assert_eq!(world.logged("session_resumed")["wsguard.session"], session);
    assert_eq!(metric(&world, "wsguard_replayed_frames_total"), 3);
}

#[test]
fn the_older_socket_is_closed_4409_and_nothing_it_sends_is_handled() {
    let world = World::dev(&[("WSGUARD_SESSION__PER_SUBJECT", "1")]);
    let mut old = Client::announced(&world);
    old.echo(1);
    let mut new = Client::welcomed(offering(world.upgrade(), &old.entry()).bearer(TOKEN).open());
    assert_eq!(new.welcome["resumed"], true, "although the subject's one seat is taken: it is its own");
    old.peer.say("echo", 2, &json!("late"));
    old.peer.expect_refused("session_expired", 4409);
    new.last_seq = old.last_seq;
    new.echo(2);
}

#[test]
fn a_lost_welcome_does_not_lose_the_session() {
    let world = World::dev(&[]);
    let mut client = Client::announced(&world);
    client.echo(1);
    let (entry, session, last_seq) = (client.entry(), client.session().to_owned(), client.last_seq);
    drop(client);
    for _ in 0..3 {
        // Cut before anything is read.
        drop(offering(world.upgrade(), &entry).bearer(TOKEN).open());
    }
    client = Client::welcomed(offering(world.upgrade(), &entry).bearer(TOKEN).open());
    client.last_seq = last_seq;
    assert_eq!((&client.welcome["resumed"], client.session()), (&json!(true), &*session));
    client.echo(2);
    let stale = Client::welcomed(offering(world.upgrade(), &entry).bearer(TOKEN).open());
    assert_eq!(stale.welcome["resumed"], false, "a message came behind the welcome");
    client.echo(3);
}

#[test]
fn what_cannot_be_resumed_begins_anew() {
    let world = World::dev(&[("WSGUARD_SESSION__RESUME_WINDOW", "300ms"), ("WSGUARD_SESSION__REPLAY_BYTES", "1KiB")]);
    let resumed = |entry: &str| {
        let client = Client::welcomed(offering(world.upgrade(), entry).bearer(TOKEN).open());
        let resumed = client.welcome["resumed"] == true;
        client.peer.leave();
        resumed
    };
    assert!(!resumed(&format!("wsguard.resume.{}.0", "A".repeat(48))), "a token of nobody");

    let client = Client::announced(&world);
    let (entry, session) = (client.entry(), client.session().to_owned());
    drop(client.peer);
    let dropped = world.logged("resume_window_over");
    assert_eq!(dropped["wsguard.session"], session);
    assert!(!resumed(&entry), "the window passed");

    let client = Client::announced(&world);
    let entry = client.entry();
    client.peer.leave();
    assert!(!resumed(&entry), "the client left in order");

    // Twenty answers of a hundred bytes are more than 1 KiB, and the client has none of them.
    let mut client = Client::announced(&world);
    let (entry, session) = (client.entry(), client.session().to_owned());
    for id in 1..=20 {
        client.peer.say("echo", id, &json!("x".repeat(100)));
        client.frame();
        client.peer.read();
    }
    assert!(!resumed(&entry), "the buffer no longer reaches back");
    assert_eq!(metric(&world, "wsguard_resumes_total{outcome=\"out_of_reach\"}"), 1);
    assert_eq!(world.logged("not_resumed")["wsguard.session"], session, "the log says what became of it");

    let refused = offering(world.upgrade(), "wsguard.resume.AAAA").bearer(TOKEN).send();
    assert_eq!(refused.status, 400);
    let refused = world.request("POST", "/ws/ticket").bearer(TOKEN).body(r#"{"lastSeq":-1}"#).send();
    assert_eq!(refused.status, 400);
}

#[test]
fn too_much_said_to_a_session_that_waits_ends_it() {
    let world = World::dev(&[("WSGUARD_SESSION__REPLAY_BYTES", "1KiB")]);
    let client = Client::announced(&world);
    let (entry, session) = (client.entry(), client.session().to_owned());
    let mut bob = world.join("bob");
    drop(client.peer);
    world.logged("session_detached");
    for n in 1..=20 {
        bob.say("chat", n, &json!({"message": "x".repeat(100)}));
        bob.read();
        bob.read();
    }
    assert_eq!(world.logged("closed_while_detached")["wsguard.session"], session);
    let client = Client::welcomed(offering(world.upgrade(), &entry).bearer(TOKEN).open());
    assert_eq!(client.welcome["resumed"], false);
    assert_eq!(metric(&world, "wsguard_replay_bytes"), 0);
}

#[test]
fn a_fifth_detached_session_ends_the_oldest_of_its_subject() {
    let world = World::dev(&[]);
    let mut entries = Vec::new();
    let other = Client::welcomed(offering(world.upgrade(), "wsguard.resume").bearer(&world.token("bob", "15m")).open());
    let bobs = other.entry();
    let bob = other.session().to_owned();
    drop(other);
    world.logged_with(&["session_detached", &bob]);
    for _ in 0..5 {
        let client = Client::announced(&world);
        entries.push((client.entry(), client.session().to_owned()));
        let session = client.session().to_owned();
        drop(client.peer);
        // Parked before the next one is.
        world.logged_with(&["session_detached", &session]);
    }
    assert_eq!(world.logged("too_many_detached")["wsguard.session"], entries[0].1);
    let resumed = |entry: &str, token: &str| {
        let client = Client::welcomed(offering(world.upgrade(), entry).bearer(token).open());
        let resumed = client.welcome["resumed"] == true;
        client.peer.leave();
        resumed
    };
    let answers: Vec<bool> = entries.iter().map(|(entry, _)| resumed(entry, TOKEN)).collect();
    assert_eq!(answers, [false, true, true, true, true]);
    assert!(resumed(&bobs, &world.token("bob", "15m")), "another subject is not concerned");
}

#[test]
fn a_session_that_waits_ends_with_its_token_and_is_nobody_elses() {
    let world = World::dev(&[("WSGUARD_AUTH__LEEWAY", "0s")]);
    let token = world.token("ann", "2s");
    let client = Client::welcomed(offering(world.upgrade(), "wsguard.resume").bearer(&token).open());
    let (entry, session) = (client.entry(), client.session().to_owned());
    drop(client.peer);
    world.logged("session_detached");
    let eve = Client::welcomed(offering(world.upgrade(), &entry).bearer(&world.token("eve", "15m")).open());
    assert_eq!(eve.welcome["resumed"], false, "a token of another subject is none");
    assert_eq!(world.logged("resume_window_over")["wsguard.session"], session);
    let fresh = world.token("ann", "15m");
    let client = Client::welcomed(offering(world.upgrade(), &entry).bearer(&fresh).open());
    assert_eq!(client.welcome["resumed"], false, "its token ended while it waited");
}
