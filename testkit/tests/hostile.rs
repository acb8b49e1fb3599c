//! `vectors/hostile` and `vectors/innocent` against a real server: no attack passes as it came, and no innocent message
//! is refused or changed. What becomes of hostile markup is judged in Chromium.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::peer::Peer;
use testkit::world::{PATIENCE, TOKEN, World};

/// The controls, without the quotas: hundreds of messages come at once.
fn world() -> World {
    World::dev(&[
        ("WSGUARD_RATE__MODE", "shadow"),
        ("WSGUARD_PENALTY__MODE", "shadow"),
        ("WSGUARD_ANOMALY__MODE", "shadow"),
    ])
}

fn file(name: &str) -> Value {
    let path = format!("{}/../vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("read {path}: {error}"))).unwrap()
}

/// A list of vectors, each with a name of its own and where it comes from.
fn checked(cases: &Value) -> Vec<Value> {
    let cases = cases.as_array().unwrap().clone();
    let mut names = std::collections::BTreeSet::new();
    for case in &cases {
        assert!(names.insert(case["name"].as_str().unwrap().to_owned()), "{} is there twice", case["name"]);
        assert!(
            case["from"].as_str().is_some_and(|from| from.len() > 5),
            "{} says not where it comes from",
            case["name"]
        );
    }
    cases
}

fn vectors(name: &str) -> Vec<Value> {
    checked(&file(name))
}

/// Fails with everything that went wrong, not with the first of it.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_hostile_message_reaches_the_application() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("hostile/json");
    assert!(cases.len() >= 250);
    for group in cases.chunks(50) {
        let mut peer = world.join("dev");
        for case in group {
            let text = case["text"].as_str().unwrap().replace("$CSRF", peer.csrf());
            peer.send_text(&text);
            let answer = peer.read();
            if answer["type"] != "error" || answer["payload"]["code"] != case["refused"] {
                wrong.push(format!("{}: expected {}, got {answer}", case["name"], case["refused"]));
            }
        }
        // The connection lives on, and nothing else came.
        peer.say("echo", 7, &json!("still here"));
        assert_eq!(peer.expect("echo"), json!("still here"));
    }
    none(&wrong);
}

#[test]
fn every_hostile_frame_ends_its_connection_with_its_code() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("hostile/wire");
    assert!(cases.len() >= 80);
    for case in &cases {
        let mut peer = world.join("dev");
        for part in case["parts"].as_array().unwrap() {
            let bytes = unhex(part["hex"].as_str().unwrap());
            peer.send_bytes(&bytes.repeat(usize::try_from(part["times"].as_u64().unwrap()).unwrap()));
        }
        let close = close_of(&mut peer);
        if close.map(Value::from).as_ref() != Some(&case["close"]) {
            wrong.push(format!("{}: expected {}, got {close:?}", case["name"], case["close"]));
        }
    }
    none(&wrong);
}

/// The code of the close frame; answers to pings before it are passed over.
fn close_of(peer: &mut Peer) -> Option<u16> {
    loop {
        let frame = peer.read_frame()?;
        if frame.opcode == 8 {
            return frame.close_code();
        }
    }
}

#[test]
fn every_hostile_handshake_is_refused_with_its_status() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("hostile/handshake");
    assert!(cases.len() >= 120);
    for case in &cases {
        let lines: Vec<_> = case["request"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let body = case["body"].as_str().unwrap_or_default();
        let request = format!("{}\r\n\r\n{body}", lines.join("\r\n"))
            .replace("$HOST", &format!("localhost:{}", world.endpoint.port()))
            .replace("$PORT", &world.endpoint.port().to_string())
            .replace("$TOKEN", TOKEN);
        let mut stream = TcpStream::connect(world.endpoint).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        if status.map(Value::from).as_ref() != Some(&case["status"]) {
            wrong.push(format!("{}: expected {}, got {status:?}", case["name"], case["status"]));
        } else if lines[0].starts_with("HEAD") {
            // An answer to HEAD has no body (RFC 9110 §9.3.2).
        } else if !answer.contains("\"ref\":\"") {
            wrong.push(format!("{}: no reference in {answer:?}", case["name"]));
        }
    }
    none(&wrong);
}

#[test]
fn no_innocent_text_is_refused_or_changed() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("innocent/text");
    assert!(cases.len() >= 390);
    for group in cases.chunks(50) {
        let mut peer = world.join("ann");
        for (id, case) in group.iter().enumerate() {
            peer.say("chat", id, &json!({"message": case["text"]}));
            let answer = peer.read();
            if answer["type"] != "chat" || answer["payload"]["message"] != case["text"] {
                wrong.push(format!("{} {}: got {answer}", case["name"], case["text"]));
                continue;
            }
            let _ = peer.expect("ack");
        }
    }
    none(&wrong);
}

#[test]
fn no_innocent_payload_is_refused_or_changed() {
    let world = world();
    let mut wrong = Vec::new();
    let mut peer = world.join("ann");
    let cases = vectors("innocent/payload");
    assert!(cases.len() >= 60);
    for (id, case) in cases.iter().enumerate() {
        peer.say("echo", id, &case["payload"]);
        let answer = peer.read();
        // As text: a number keeps the form it came in.
        let (sent, came_back) = (case["payload"].to_string(), answer["payload"].to_string());
        if answer["type"] != "echo" || came_back != sent {
            wrong.push(format!("{}: got {answer}", case["name"]));
            continue;
        }
        let _ = peer.expect("ack");
    }
    none(&wrong);
}

#[test]
fn no_injection_reaches_the_application() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("hostile/injection");
    assert!(cases.len() >= 200);
    for group in cases.chunks(40) {
        let mut peer = world.join("dev");
        for (id, case) in group.iter().enumerate() {
            peer.say(case["type"].as_str().unwrap(), id, &case["payload"]);
            let answer = peer.read();
            if answer["type"] != "error" || answer["payload"]["code"] != case["refused"] {
                wrong.push(format!("{}: expected {}, got {answer}", case["name"], case["refused"]));
            }
        }
        peer.say("echo", 1_000, &json!("still here"));
        assert_eq!(peer.expect("echo"), json!("still here"));
    }
    none(&wrong);
}

#[test]
fn nobody_becomes_somebody_by_what_is_no_credential() {
    // One try: also what cannot be read ends the connection.
    let world = World::dev(&[("WSGUARD_PENALTY__MODE", "shadow")]);
    let mut wrong = Vec::new();
    let cases = vectors("hostile/identity");
    assert!(cases.len() >= 110);
    for case in &cases {
        let is_open = case["open"] == true;
        let mut peer = if is_open { world.join("dev") } else { world.upgrade().open() };
        for text in case["say"].as_array().unwrap() {
            peer.send_text(text.as_str().unwrap());
        }
        if is_open {
            // It stays who it was.
            let answer = peer.read();
            if answer["type"] != "error" || answer["payload"]["code"] != case["refused"] {
                wrong.push(format!("{}: expected {}, got {answer}", case["name"], case["refused"]));
            }
            peer.say("chat", 1, &json!({"message": "who am I"}));
            assert_eq!(peer.expect("chat")["from"], "dev");
            continue;
        }
        let mut close = None;
        while let Some(frame) = peer.read_frame() {
            match frame.opcode {
                1 if !String::from_utf8_lossy(&frame.payload).starts_with(r#"{"type":"error""#) => {
                    wrong.push(format!("{}: got {}", case["name"], String::from_utf8_lossy(&frame.payload)));
                }
                8 => {
                    close = frame.close_code();
                    break;
                }
                _ => {}
            }
        }
        if close.map(Value::from).as_ref() != Some(&case["close"]) {
            wrong.push(format!("{}: expected {}, got {close:?}", case["name"], case["close"]));
        }
    }
    none(&wrong);
}

/// The server between two people: what one sends as `chat`, Chromium judges as the other receives it.
#[test]
fn no_hostile_markup_arrives_and_a_browser_finds_nothing_in_what_does() {
    let world = world();
    let (mut wrong, mut arrived) = (Vec::new(), Vec::new());
    let cases = checked(&file("markup")["hostile"]);
    assert!(cases.len() >= 140);
    for group in cases.chunks(40) {
        let mut peer = world.join("ann");
        for (id, case) in group.iter().enumerate() {
            peer.say("chat", id, &json!({"message": case["text"]}));
            let answer = peer.read();
            if answer["type"] == "error" {
                continue;
            }
            let message = &answer["payload"]["message"];
            if *message == case["text"] {
                wrong.push(format!("{}: passed as it came: {message}", case["name"]));
            }
            arrived.push(message.clone());
            let _ = peer.expect("ack");
        }
    }
    none(&wrong);
    assert!(arrived.len() >= 100, "{} of {} arrived in some form", arrived.len(), cases.len());
    judge(&arrived);
}

/// Shows each text to Chromium, assigned to `innerHTML`: nothing may run, load, navigate, style or name anything.
fn judge(texts: &[Value]) {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let modules = root.join("packages/demo/node_modules");
    assert!(modules.is_dir(), "{} is missing: run `make setup`", modules.display());
    // The script is resolved from where playwright-core is installed.
    let script = modules.join(".hostile-markup-judge.mjs");
    fs::copy(root.join("testkit/browser/markup-judge.mjs"), &script).unwrap();
    let mut node = Command::new("node").arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = texts.iter().map(|text| format!("{text}\n")).collect::<Vec<_>>().concat();
    node.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let last = said.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default();
    assert_eq!(last["summary"]["strings"], texts.len(), "it judged each of them: {said}");
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}
