//! The example as its README says: a key, a token, the program, and peers who may and may not talk to it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::json;
use testkit::peer::Request;
use testkit::program::Program;
use testkit::world::{Scratch, run};

#[test]
fn the_guard_stands_before_the_application() {
    let scratch = Scratch::new();
    let keygen = run(scratch.path(), &["keygen", "--out", "issuer.key"], &[]);
    assert!(keygen.status.success());
    let token = run(scratch.path(), &["token", "--key", "issuer.key", "--sub", "ann"], &[]);
    let token = String::from_utf8(token.stdout).unwrap();
    let program = Program::start(env!("CARGO_BIN_EXE_wsguard-example-axum"), scratch.path());

    let mut ann = Request::upgrade(program.address).bearer(token.trim()).open();
    assert_eq!(ann.welcomed()["subject"], "ann");
    ann.say("echo", 1, &json!({"text": "hello"}));
    assert_eq!(ann.expect("echo"), json!({"text": "hello"}));
    assert_eq!(ann.read()["id"], 1, "the acknowledgement");
    ann.say("shout", 2, &json!({}));
    assert_eq!(ann.expect("error")["code"], "unknown_type");
    ann.say("echo", 3, &json!(["not an object"]));
    assert_eq!(ann.expect("error")["code"], "invalid_message");

    assert_eq!(Request::upgrade(program.address).bearer("bad").kept().send().status, 401);
    let foreign = Request::upgrade(program.address).bearer(token.trim()).header("Origin", "https://evil.example");
    assert_eq!(foreign.kept().send().status, 403);
}
