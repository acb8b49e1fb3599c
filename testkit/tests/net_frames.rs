//! Frames on real sockets: what breaks the protocol is closed with its code, what only looks odd passes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::items_after_statements,
    reason = "tests"
)]

use serde_json::json;
use testkit::peer::{MASK, masked};
use testkit::world::World;
use wsguard_core::frame::{Opcode, write_frame};

/// A masked header that declares `length` bytes in eight bytes; no payload follows.
fn declares(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes(), &MASK].concat()
}

#[test]
fn every_breach_has_its_close_code() {
    let world = World::dev(&[]);
    let mut unmasked = Vec::new();
    write_frame(&mut unmasked, Opcode::Text, b"Hi");
    let long_form = [&[0x81, 0xfe, 0x00, 0x02][..], &MASK, &[b'H' ^ MASK[0], b'i' ^ MASK[1]]].concat();
    let empty_fragments = [masked(0x01, b""), masked(0x00, b"").repeat(256)].concat();
    let two_halves = [masked(0x01, &vec![b'a'; 40_000]), masked(0x00, &vec![b'a'; 40_000])].concat();
    // The message lives at its limit: one byte more is too much, and not one byte of it was sent.
    let cases: [(&str, Vec<u8>, u16); 22] = [
        ("unmasked", unmasked, 1002),
        ("RSV1", masked(0xc1, b"Hi"), 1002),
        ("RSV2", masked(0xa1, b"Hi"), 1002),
        ("RSV3", masked(0x91, b"Hi"), 1002),
        ("opcode 3", masked(0x83, b"Hi"), 1002),
        ("opcode 11", masked(0x8b, b"Hi"), 1002),
        ("fragmented ping", masked(0x09, b""), 1002),
        ("fragmented close", masked(0x08, b""), 1002),
        ("ping of 126 bytes", masked(0x89, &[0; 126]), 1002),
        ("length not minimal", long_form, 1002),
        ("length with its top bit", declares(0x81, 1 << 63), 1002),
        ("continuation of nothing", masked(0x80, b"Hi"), 1002),
        ("message inside a message", [masked(0x01, b"a"), masked(0x81, b"b")].concat(), 1002),
        ("close of one byte", masked(0x88, b"a"), 1002),
        ("close code 1005", masked(0x88, &1005_u16.to_be_bytes()), 1002),
        ("binary", masked(0x82, b"Hi"), 1003),
        ("not UTF-8", masked(0x81, b"\xc0\xaf"), 1007),
        ("surrogate", masked(0x81, b"\xed\xa0\x80"), 1007),
        ("declared above the limit", declares(0x81, 65_537), 1009),
        ("declared 1 GiB", declares(0x81, 1 << 30), 1009),
        ("fragments above the limit", two_halves, 1009),
        ("257 empty fragments", empty_fragments, 1008),
    ];
    for (name, bytes, close) in cases {
        let mut peer = world.join("dev");
        peer.send_bytes(&bytes);
        assert_eq!(peer.expect_close(), close, "{name}");
        // Whoever has not authenticated learns nothing but the code.
        let mut stranger = world.upgrade().open();
        stranger.send_bytes(&bytes);
        let frame = stranger.read_frame().unwrap();
        assert_eq!((frame.opcode, frame.close_code()), (8, Some(close)), "{name}: before authentication");
    }
}

#[test]
fn a_message_may_come_in_any_pieces() {
    let world = World::dev(&[]);
    let mut peer = world.join("dev");
    let text = json!({"type": "echo", "csrfToken": peer.csrf(), "payload": "grüße 🦀"}).to_string();
    let (left, right) = text.as_bytes().split_at(text.len() - 5);
    let with_ping = [masked(0x01, left), masked(0x89, b"between"), masked(0x80, right)].concat();
    for (name, bytes, pongs) in [
        ("whole", masked(0x81, text.as_bytes()), 0),
        ("split inside a character, a ping between", with_ping, 1),
        ("an empty start", [masked(0x01, b""), masked(0x80, text.as_bytes())].concat(), 0),
    ] {
        for piece in [1, 7, bytes.len()] {
            for part in bytes.chunks(piece) {
                peer.send_bytes(part);
            }
            for _ in 0..pongs {
                let frame = peer.read_frame().unwrap();
                assert_eq!((frame.opcode, &*frame.payload), (10, &b"between"[..]), "{name}");
            }
            assert_eq!(peer.expect("echo"), json!("grüße 🦀"), "{name} in pieces of {piece}");
        }
    }
    peer.leave();
}

#[test]
fn pings_are_answered_and_a_close_is_echoed() {
    let world = World::dev(&[]);
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        let mut peer = world.join("dev");
        peer.send_bytes(&masked(0x89, payload));
        let frame = peer.read_frame().unwrap();
        assert_eq!((frame.opcode, &*frame.payload), (10, payload));
        // A pong that nobody asked for is a sign of life.
        peer.send_bytes(&masked(0x8a, payload));
        peer.leave();
    }
    for (name, payload, echoed) in [
        ("without a code", Vec::new(), 1000_u16),
        ("normal", 1000_u16.to_be_bytes().to_vec(), 1000),
        ("going away with a reason", [&1001_u16.to_be_bytes()[..], b"bye"].concat(), 1001),
        ("the application's", 4999_u16.to_be_bytes().to_vec(), 4999),
    ] {
        let mut peer = world.join("dev");
        peer.send_bytes(&masked(0x88, &payload));
        assert_eq!(peer.expect_close(), echoed, "{name}");
    }
}

#[test]
fn a_message_of_the_largest_size_passes() {
    let world = World::dev(&[]);
    let mut peer = world.join("dev");
    let frame =
        |fill: usize| json!({"type": "echo", "csrfToken": peer.csrf(), "payload": "a".repeat(fill)}).to_string();
    let room = 65_536 - frame(0).len();
    let (largest, larger) = (frame(room), frame(room + 1));
    assert_eq!(largest.len(), 65_536);
    peer.send_text(&largest);
    assert_eq!(peer.expect("echo").as_str().map(str::len), Some(room));
    peer.send_text(&larger);
    let reference = peer.expect_refused("too_large", 1009);
    assert_eq!(world.logged(&reference)["wsguard.close_code"], 1009);
}

#[test]
fn who_goes_on_sending_after_the_close_is_not_listened_to_for_long() {
    let world = World::dev(&[]);
    let mut ann = world.join("ann");
    ann.send_bytes(&masked(0xc1, b"RSV1"));
    let more = masked(0x82, &vec![0; 60_000]);
    let most = 64 << 20;
    let taken = (0..most / more.len()).take_while(|_| ann.try_send_bytes(&more).is_ok()).count() * more.len();
    // 256 KiB of them are read; the rest lies in the buffers of both kernels.
    assert!(taken < most / 2, "{taken} bytes were taken of who was closed");
    let mut bob = world.join("bob");
    bob.send_bytes(&masked(0xc1, b"RSV1"));
    bob.send_bytes(&more);
    assert_eq!(bob.expect_close(), 1002, "what was under way does not hide the close");
}
