//! Messages of one read are charged together and judged as if each had come alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the helpers of a test fail it where something is not as it should be"
)]

mod peer;

use proptest::collection::vec;
use proptest::prelude::*;
use wsguard_core::control::rate::Quota;
use wsguard_core::frame::{Decoder, FrameLimits, Opcode, encode_masked_header};
use wsguard_core::policy::Policy;
use wsguard_core::time::Tick;
use wsguard_core::verdict::Verdict;

use peer::{Peer, at, context, token};

/// One read: who sent it, when, and what.
#[derive(Clone, Debug)]
struct Read {
    peer: usize,
    gap_ms: u64,
    messages: Vec<String>,
}

fn messages() -> impl Strategy<Value = String> {
    let chat = |text: String| format!(r#"{{"type":"chat","csrfToken":"CSRF","payload":{{"message":"{text}"}}}}"#);
    prop_oneof![
        6 => Just(chat("hi".to_owned())),
        2 => (0_usize..900).prop_map(move |length| chat("x".repeat(length))),
        1 => Just(r#"{"type":"ping","csrfToken":"CSRF"}"#.to_owned()),
        1 => Just(r#"{"type":"nothing","csrfToken":"CSRF"}"#.to_owned()),
        1 => Just(r#"{"type":"chat"}"#.to_owned()),
        1 => Just("no JSON".to_owned()),
    ]
}

fn reads() -> impl Strategy<Value = Vec<Read>> {
    let gap = prop_oneof![3 => Just(0_u64), 3 => 0_u64..300, 1 => 0_u64..5_000];
    let read = (0..3_usize, gap, vec(messages(), 1..14));
    vec(read.prop_map(|(peer, gap_ms, messages)| Read { peer, gap_ms, messages }), 1..30)
}

/// Each of the quotas is the first to refuse in some of the cases.
fn quotas() -> impl Strategy<Value = (u32, u32, u32, u32)> {
    (prop_oneof![Just(6_u32), Just(1_000)], prop_oneof![Just(1_500_u32), Just(100_000)], 1_u32..4, 6_u32..60)
}

/// What every peer and the operator learn, up to the first connection that ends.
fn told(reads: &[Read], (burst, bytes, factor, server): (u32, u32, u32, u32), ahead: bool) -> Vec<String> {
    let cx = context(|policy: &mut Policy| {
        policy.rate.messages = Quota::new(4, burst);
        policy.rate.bytes = Quota::new(bytes / 2, bytes);
        policy.rate.prefix_factor = factor;
        policy.rate.server = Quota::new(20, server);
    });
    // Two of one subject, all of one address.
    let mut peers: Vec<Peer> =
        ["ann", "ann", "bob"].iter().map(|name| Peer::with_token(&cx, &token(name, 600_000))).collect();
    let mut ms = 0;
    let mut told = Vec::new();
    for read in reads {
        ms += read.gap_ms;
        let peer = &mut peers[read.peer];
        let texts: Vec<String> = read.messages.iter().map(|text| text.replace("CSRF", &peer.csrf)).collect();
        if ahead && texts.len() > 1 {
            let together: usize = texts.iter().map(String::len).sum();
            let count = u8::try_from(texts.len()).unwrap();
            peer.connection.on_messages_ahead(at(ms), count, u32::try_from(together).unwrap());
        }
        for text in texts {
            let verdict = peer.say(at(ms), &text);
            let (frames, pause) = (peer.frames(), peer.effects.pause.take());
            let records: Vec<&str> = peer.effects.records.iter().map(|record| record.action).collect();
            told.push(format!("{verdict:?} {frames:?} {pause:?} {records:?}"));
            peer.effects.records.clear();
            if matches!(verdict, Verdict::Close(_)) {
                return told;
            }
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_charged_together_is_judged_as_if_it_came_alone(reads in reads(), quotas in quotas()) {
        prop_assert_eq!(told(&reads, quotas, true), told(&reads, quotas, false));
    }
}

#[test]
fn what_was_not_counted_ahead_is_charged_by_itself() {
    let cx = context(|policy| policy.rate.messages = Quota::new(1, 4));
    let mut ann = Peer::with_token(&cx, &token("ann", 600_000));
    let chat = r#"{"type":"chat","csrfToken":"CSRF","payload":{"message":"hi"}}"#;
    let length = u32::try_from(chat.replace("CSRF", &ann.csrf).len()).unwrap();
    ann.connection.on_messages_ahead(at(0), 2, 2 * length);
    let passed = (0..10).filter(|_| ann.say(at(0), chat) == Verdict::Allow).count();
    assert_eq!(passed, 4, "two ahead, two by themselves");

    // A longer one than was counted.
    ann.connection.on_messages_ahead(at(100_000), 2, 2);
    let passed = (0..10).filter(|_| ann.say(at(100_000), chat) == Verdict::Allow).count();
    assert_eq!(passed, 2, "what was counted is charged even so");
}

#[test]
fn whole_text_frames_are_counted_and_nothing_else() {
    let limits = FrameLimits::default();
    let frame = |opcode: Opcode, fin: bool, length: usize| {
        let mut bytes = encode_masked_header(fin, opcode, length, [0; 4]).to_vec();
        bytes.resize(bytes.len() + length, b'x');
        bytes
    };
    let text = |length: usize| frame(Opcode::Text, true, length);
    let cut = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    for (name, input, want) in [
        ("nothing", vec![], (0, 0)),
        ("one", text(20), (1, 20)),
        ("three", [text(20), text(300), text(125)].concat(), (3, 445)),
        ("the last is cut", [text(20), cut(text(30))].concat(), (1, 20)),
        ("up to a ping", [text(20), frame(Opcode::Ping, true, 4), text(20)].concat(), (1, 20)),
        ("up to a fragment", [text(20), frame(Opcode::Text, false, 9), text(20)].concat(), (1, 20)),
        ("up to binary", [text(20), frame(Opcode::Binary, true, 9)].concat(), (1, 20)),
        ("up to one too large", [text(20), frame(Opcode::Text, true, limits.message_bytes_max + 1)].concat(), (1, 20)),
        ("as many as asked for", (0..9).flat_map(|_| text(8)).collect(), (5, 40)),
    ] {
        assert_eq!(Decoder::new().ahead(&limits, &input, 5), want, "{name}");
    }
    let mut busy = Decoder::new();
    let _ = busy.decode(&limits, Tick(0), &mut frame(Opcode::Text, false, 9)).unwrap();
    assert_eq!(busy.ahead(&limits, &text(20), 5), (0, 0), "a message is under way");
}
