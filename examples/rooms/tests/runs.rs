//! Two people and a moderator in the example's rooms.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use testkit::peer::{Peer, Request};
use testkit::program::Program;
use testkit::world::{Scratch, run};

fn ask(peer: &mut Peer, kind: &str, id: u64, payload: &Value) -> Value {
    peer.say(kind, id, payload);
    loop {
        let frame = peer.read();
        if frame["id"] == id {
            return if frame["type"] == "ack" { json!("ack") } else { frame["payload"]["code"].clone() };
        }
    }
}

#[test]
fn rooms_are_for_their_members_and_announcements_for_moderators() {
    let scratch = Scratch::new();
    assert!(run(scratch.path(), &["keygen", "--out", "issuer.key"], &[]).status.success());
    let program = Program::start(env!("CARGO_BIN_EXE_wsguard-example-rooms"), scratch.path());
    let enter = |subject: &str, role: &[&str]| {
        let arguments = [&["token", "--key", "issuer.key", "--sub", subject], role].concat();
        let token = String::from_utf8(run(scratch.path(), &arguments, &[]).stdout).unwrap();
        let mut peer = Request::upgrade(program.address).bearer(token.trim()).open();
        assert_eq!(peer.welcomed()["subject"], subject);
        peer
    };
    let (mut ann, mut bob, mut mo) = (enter("ann", &[]), enter("bob", &[]), enter("mo", &["--role", "moderator"]));

    assert_eq!(ask(&mut ann, "join", 1, &json!({"room": "tea"})), "ack");
    assert_eq!(ask(&mut bob, "say", 1, &json!({"room": "tea", "text": "am I in?"})), "forbidden");
    assert_eq!(ask(&mut bob, "join", 2, &json!({"room": "tea"})), "ack");
    assert_eq!(ask(&mut bob, "join", 3, &json!({"room": "staff"})), "forbidden");
    assert_eq!(ask(&mut bob, "announce", 4, &json!({"text": "free tea"})), "forbidden");
    assert_eq!(ask(&mut bob, "say", 5, &json!({"room": "tea"})), "invalid_message");
    assert_eq!(ask(&mut mo, "join", 1, &json!({"room": "staff"})), "ack");

    bob.say("say", 6, &json!({"room": "tea", "text": "<img src=x onerror=alert(1)> hello"}));
    assert_eq!(
        ann.expect("said"),
        json!({"room": "tea", "from": "bob", "text": "&lt;img src=x onerror=alert(1)> hello"})
    );

    mo.say("announce", 2, &json!({"text": "closing soon"}));
    for peer in [&mut ann, &mut bob, &mut mo] {
        let frame = loop {
            let frame = peer.read();
            // The room `tea` is not for the moderator, who is not in it.
            if frame["type"] == "announced" {
                break frame;
            }
            assert_ne!(frame["payload"]["from"], "mo");
        };
        assert_eq!(frame["payload"], json!({"from": "mo", "text": "closing soon"}));
    }

    assert_eq!(ask(&mut bob, "leave", 7, &json!({"room": "tea"})), "ack");
    assert_eq!(ask(&mut bob, "say", 8, &json!({"room": "tea", "text": "still there?"})), "forbidden");
}

#[test]
fn a_ticket_stands_for_its_token_once_and_for_its_page() {
    let scratch = Scratch::new();
    assert!(run(scratch.path(), &["keygen", "--out", "issuer.key"], &[]).status.success());
    let program = Program::start(env!("CARGO_BIN_EXE_wsguard-example-rooms"), scratch.path());
    let token = String::from_utf8(run(scratch.path(), &["token", "--key", "issuer.key", "--sub", "ann"], &[]).stdout);
    let token = token.unwrap().trim().to_owned();
    let page = "http://localhost:8080";
    let ask = || Request::new(program.address, "POST", "/ws/ticket").kept();
    let ticket = || {
        let answer = ask().bearer(&token).header("Origin", page).send();
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
        answer.json()["ticket"].as_str().unwrap().to_owned()
    };
    let enter = |ticket: &str| Request::upgrade(program.address).target(&format!("/ws?ticket={ticket}")).kept();

    let first = ticket();
    let mut ann = enter(&first).header("Origin", page).open();
    assert_eq!(ann.welcomed()["subject"], "ann");
    assert_eq!(enter(&first).header("Origin", page).send().status, 401, "used");
    assert_eq!(enter(&ticket()).send().status, 401, "of another page");

    assert_eq!(ask().send().status, 401);
    assert_eq!(ask().bearer("forged").send().status, 401);
    assert_eq!(ask().bearer(&token).header("Origin", "https://evil.example").send().status, 403);
    assert_eq!(ask().bearer(&token).set("Host", "evil.example").send().status, 403);
}
