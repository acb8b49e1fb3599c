//! Messages that are built like earlier ones get the verdicts that they would get alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the helpers of a test fail it where something is not as it should be"
)]

mod peer;

use std::sync::Arc;

use wsguard_core::effect::Effects;
use wsguard_core::in_force::InForce;
use wsguard_core::policy::{Context, MessageType, Policy};

use peer::{Peer, at, context, policy, token};

/// What peer, application and operator learn of one message; references are left out.
fn told(peer: &mut Peer, ms: u64, text: &str) -> String {
    let refused = peer.refusal(at(ms), text);
    let message = match refused {
        None => {
            let message = peer.message();
            let root = message.value.id().index();
            let members: Vec<String> =
                message.value.subtree().map(|value| format!("{}:{}", value.id().index() - root, value.raw())).collect();
            format!("{} {:?} {} {members:?}", message.kind, message.id, message.payload)
        }
        Some(code) => code,
    };
    peer.effects.records.clear();
    message
}

fn no_limits(policy: &mut Policy) {
    policy.rate.mode = wsguard_core::control::rate::Mode::Shadow;
    policy.penalty.mode = wsguard_core::control::rate::Mode::Shadow;
    policy.declare(MessageType::new("short", r#"{"properties":{"message":{"maxLength":2}}}"#).unwrap()).unwrap();
    policy.declare(MessageType::new("word", r#"{"properties":{"message":{"pattern":"^[a-z]+$"}}}"#).unwrap()).unwrap();
    policy.declare(MessageType::new("small", r#"{"properties":{"id":{"maximum":9}}}"#).unwrap()).unwrap();
}

fn ann(cx: &Arc<Context>) -> Peer {
    Peer::with_token(cx, &token("ann", 600_000))
}

const CHAT: &str = r#"{"type":"KIND","id":"ID","csrfToken":"CSRF","payload":{"message":"MESSAGE","room":"ROOM"}}"#;
const FREE: &str = r#"{"type":"KIND","id":ID,"csrfToken":"CSRF","payload":{"message":"MESSAGE","id":ROOM}}"#;

#[test]
fn what_is_like_the_last_message_is_judged_as_if_it_were_the_first() {
    let long = "x".repeat(5_000);
    let (id, longest) = ("é".repeat(65), "é".repeat(64));
    let strings = ["", "a", "hi", "é", "lobby", "ABC", "a\\nb", "\\u0061", "<b>", "\u{202e}", &id, &longest, &long];
    let numbers = ["0", "7", "10", "12345678901234567", "-1", "1.5", "null", "\"7\""];
    for (shape, ids, rooms) in [(CHAT, &strings[..], &strings[..]), (FREE, &numbers, &numbers)] {
        for first in ["chat", "echo", "short", "word", "small"] {
            let cx = context(no_limits);
            let (mut knowing, mut fresh) = (ann(&cx), ann(&cx));
            let mut number = 0;
            let mut compare = |kind: &str, id: &str, message: &str, room: &str| {
                number += 1;
                let text = [("KIND", kind), ("ID", id), ("MESSAGE", message), ("ROOM", room)]
                    .into_iter()
                    .fold(shape.to_owned(), |text, (from, to)| text.replace(from, to));
                let text = text.replace("NUMBER", &number.to_string());
                fresh.effects = Effects::default();
                assert_eq!(told(&mut knowing, number, &text), told(&mut fresh, number, &text), "after {first}: {text}");
            };
            let (good_id, good_room) = if shape == CHAT { ("NUMBER", "lobby") } else { ("NUMBER", "3") };
            // Known, planned for, and used.
            for _ in 0..4 {
                compare(first, good_id, "hi", good_room);
            }
            for kind in ["chat", "echo", "short", "word", "small", "ping", "nothing", "", "ch\\u0061t"] {
                for message in strings {
                    compare(kind, good_id, message, good_room);
                    compare(first, good_id, "hi", good_room);
                }
                for id in ids {
                    compare(kind, id, "hi", good_room);
                }
                for room in rooms {
                    compare(kind, good_id, "hi", room);
                }
            }
        }
    }
}

#[test]
fn a_plan_ends_with_its_policy() {
    let with = |longest: u32| {
        policy(|policy| {
            no_limits(policy);
            let schema = format!(r#"{{"properties":{{"message":{{"maxLength":{longest}}}}}}}"#);
            policy.declare(MessageType::new("note", &schema).unwrap()).unwrap();
        })
    };
    let reload = |cx: &Context, mut policy: Policy| {
        policy.keep_numbers_of(&cx.policy()).unwrap();
        let _ = cx.replace_policy(InForce::new(policy));
    };
    let cx = context(no_limits);
    reload(&cx, with(8));
    let mut peer = ann(&cx);
    let note = CHAT.replace("KIND", "note").replace("\"id\":\"ID\",", "").replace("MESSAGE", "five!");
    for ms in 1..6 {
        assert_eq!(peer.refusal(at(ms), &note), None);
    }
    reload(&cx, with(4));
    for ms in 6..11 {
        assert_eq!(peer.refusal(at(ms), &note).as_deref(), Some("invalid_message"));
    }
    reload(&cx, with(8));
    for ms in 11..16 {
        assert_eq!(peer.refusal(at(ms), &note), None);
    }
    reload(&cx, policy(no_limits));
    assert_eq!(peer.refusal(at(16), &note).as_deref(), Some("unknown_type"));
}
