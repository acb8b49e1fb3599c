//! The decoder against single frames and small sequences, by name; `properties.rs` holds the general laws.

use super::*;

const _: () = assert!(size_of::<Decoder>() <= 32, "paid for by every idle connection");

/// What one decoder makes of `reads`, each with its own time: the events in words, and the error that ended it.
fn run(limits: &FrameLimits, reads: &[(u64, Vec<u8>)]) -> (Vec<String>, Option<FrameError>) {
    let (mut decoder, mut events) = (Decoder::new(), Vec::new());
    for (tick, read) in reads {
        let mut read = read.clone();
        let mut rest = read.as_mut_slice();
        loop {
            match decoder.decode(limits, Tick(*tick), rest) {
                Ok(Decoded { event: Event::Incomplete, .. }) => break,
                Ok(Decoded { event, rest: after }) => {
                    events.push(format!("{event:?}"));
                    rest = after;
                }
                Err(error) => {
                    assert_eq!(decoder.decode(limits, Tick(*tick), &mut [0x81]), Err(error), "it forgot the error");
                    assert_eq!((decoder.owned_bytes(), decoder.in_progress()), (0, false), "{error:?}");
                    return (events, Some(error));
                }
            }
        }
    }
    (events, None)
}

/// The same bytes, each in a read of its own.
fn drip(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    bytes.iter().map(|byte| (0, vec![*byte])).collect()
}

/// A frame under the mask key 00 00 00 00.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => bytes.push(0x80 | short),
        _ => {
            bytes.push(0xFE);
            bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// An unfinished text message, then `next`.
fn inside_text(next: &[u8]) -> Vec<u8> {
    [&frame(0x01, b"A"), next].concat()
}

fn assert_refused(name: &str, bytes: &[u8], want: FrameError) {
    assert_eq!(run(&FrameLimits::default(), &[(0, bytes.to_vec())]).1, Some(want), "{name}");
    assert_eq!(run(&FrameLimits::default(), &drip(bytes)).1, Some(want), "{name}, byte by byte");
}

#[test]
fn faults_of_the_header_are_refused_at_the_header() {
    use FrameError as E;
    for (name, bytes, want) in [
        ("unmasked text", &[0x81, 0x02, 0x48, 0x69][..], E::Unmasked),
        ("unmasked ping", &[0x89, 0x00], E::Unmasked),
        ("RSV1 without deflate", &[0xC1, 0x82], E::ReservedBits),
        ("RSV2", &[0xA1, 0x82], E::ReservedBits),
        ("RSV3", &[0x91, 0x82], E::ReservedBits),
        ("RSV1, first byte alone", &[0xC1], E::ReservedBits),
        ("opcode 3", &[0x83, 0x80, 0, 0, 0, 0], E::ReservedOpcode),
        ("opcode 7", &[0x87, 0x80, 0, 0, 0, 0], E::ReservedOpcode),
        ("opcode B", &[0x8B, 0x80, 0, 0, 0, 0], E::ReservedOpcode),
        ("opcode F, first byte alone", &[0x8F], E::ReservedOpcode),
        ("fragmented ping", &[0x09, 0x80, 0, 0, 0, 0], E::ControlFragmented),
        ("fragmented close, first byte alone", &[0x08], E::ControlFragmented),
        ("ping of 126 bytes", &[0x89, 0xFE, 0x00, 0x7E], E::ControlTooLong),
        ("ping with a length of eight bytes", &[0x89, 0xFF], E::ControlTooLong),
        ("continuation first", &[0x80, 0x80], E::ContinuationWithoutStart),
        ("unfinished continuation first", &[0x00], E::ContinuationWithoutStart),
        ("text inside text", &inside_text(&[0x81, 0x81]), E::DataInsideMessage),
        ("binary inside text", &inside_text(&[0x82]), E::DataInsideMessage),
        ("5 in two bytes", &[0x81, 0xFE, 0x00, 0x05], E::LengthNotMinimal),
        ("125 in two bytes", &[0x81, 0xFE, 0x00, 0x7D], E::LengthNotMinimal),
        ("5 in eight bytes", &[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5], E::LengthNotMinimal),
        ("65,535 in eight bytes", &[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], E::LengthNotMinimal),
        ("length top bit", &[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], E::LengthTopBit),
        ("2^63-1", &[0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], E::TooBig),
        ("2^32", &[0x81, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0], E::TooBig),
        ("one above the limit", &[0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1], E::TooBig),
        ("sum one above", &inside_text(&[0x80, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]), E::TooBig),
        ("sum near 2^63", &inside_text(&[[0x80].as_slice(), &[0xFF, 0x7F], &[0xFF; 7]].concat()), E::TooBig),
        ("binary, first byte alone", &[0x82], E::BinaryRefused),
        ("binary in fragments", &[0x02, 0x81], E::BinaryRefused),
    ] {
        assert_refused(name, bytes, want);
    }
}

#[test]
fn faults_of_payload_and_number_are_refused() {
    use FrameError as E;
    let ping = frame(0x89, b"");
    for (name, bytes, want) in [
        ("empty-fragment flood", [frame(0x01, b""), frame(0x00, b"").repeat(256)].concat(), E::TooManyFragments),
        ("tiny-fragment flood", inside_text(&frame(0x00, b"A").repeat(256)), E::TooManyFragments),
        ("surrogate", frame(0x81, b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80e"), E::InvalidUtf8),
        ("overlong", frame(0x81, b"\xC0\xAF"), E::InvalidUtf8),
        ("above U+10FFFF", frame(0x81, b"\xF4\x90\x80\x80"), E::InvalidUtf8),
        ("the same, split", [frame(0x01, b"\xF4"), frame(0x80, b"\x90\x80\x80")].concat(), E::InvalidUtf8),
        ("wrong byte of an unfinished frame", vec![0x81, 0x85, 0, 0, 0, 0, 0xC0], E::InvalidUtf8),
        ("wrong byte of an unfinished message", frame(0x01, b"ok\xED\xA0"), E::InvalidUtf8),
        ("ends inside a character", frame(0x81, b"\xE2\x82"), E::InvalidUtf8),
        ("last fragment ends inside one", [frame(0x01, b"\xE2"), frame(0x80, b"\x82")].concat(), E::InvalidUtf8),
        ("ping flood", ping.repeat(21), E::ControlFlood),
        ("pong flood", frame(0x8A, &[7; 125]).repeat(21), E::ControlFlood),
        ("ping flood inside a message", inside_text(&ping.repeat(21)), E::ControlFlood),
        ("flood, before the payload", [ping.repeat(20), vec![0x89, 0x85, 0, 0, 0, 0]].concat(), E::ControlFlood),
        ("close body of one byte", frame(0x88, &[0x03]), E::CloseBodyOneByte),
        ("close reason not UTF-8", frame(0x88, b"\x03\xE8\xC0\xAF"), E::CloseReasonInvalid),
        ("close reason cut inside a character", frame(0x88, b"\x03\xE8\xE2\x82"), E::CloseReasonInvalid),
    ] {
        assert_refused(name, &bytes, want);
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_refused(&format!("close code {code}"), &frame(0x88, &code.to_be_bytes()), E::CloseCodeInvalid);
    }
}

#[test]
fn good_frames_become_events() {
    let limits = FrameLimits { binary: true, ..FrameLimits::default() };
    let hello = vec![0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
    let close = r#"Close(Some(Close { code: 4400, reason: "bye" }))"#;
    for (name, frames, want) in [
        ("text", vec![frame(0x81, b"Hi")], vec![r#"Text("Hi")"#]),
        ("RFC 6455 section 5.7", vec![hello], vec![r#"Text("Hello")"#]),
        ("empty text", vec![frame(0x81, b"")], vec![r#"Text("")"#]),
        ("empty binary", vec![frame(0x82, b"")], vec!["Binary([])"]),
        ("two in one read", vec![frame(0x81, b"a"), frame(0x82, b"b")], vec![r#"Text("a")"#, "Binary([98])"]),
        ("an empty fragment", vec![frame(0x01, b"a"), frame(0x00, b""), frame(0x80, b"b")], vec![r#"Text("ab")"#]),
        ("split character", vec![frame(0x01, b"\xE2\x82"), frame(0x80, b"\xAC")], vec!["Text(\"\u{20AC}\")"]),
        (
            "ping inside a message",
            vec![frame(0x01, b"a"), frame(0x89, b"!"), frame(0x80, b"b")],
            vec!["Ping([33])", r#"Text("ab")"#],
        ),
        ("pong", vec![frame(0x8A, &[1, 2])], vec!["Pong([1, 2])"]),
        ("close without a code", vec![frame(0x88, b"")], vec!["Close(None)"]),
        ("close inside a message", vec![frame(0x01, b"a"), frame(0x88, b"\x11\x30bye")], vec![close]),
        ("ignored behind a close", vec![frame(0x88, b""), frame(0x81, b"late"), vec![0xFF; 9]], vec!["Close(None)"]),
    ] {
        let bytes = frames.concat();
        let want: Vec<String> = want.into_iter().map(str::to_owned).collect();
        assert_eq!(run(&limits, &[(0, bytes.clone())]), (want.clone(), None), "{name}");
        assert_eq!(run(&limits, &drip(&bytes)), (want, None), "{name}, byte by byte");
    }
}

#[test]
fn limits_hold_exactly() {
    let part = |first: u8, len: usize| frame(first, &vec![b'x'; len]);
    let small = FrameLimits { message_bytes_max: 300, fragments_max: 3, ..FrameLimits::default() };
    for (name, frames, want) in [
        ("message at the limit", vec![part(0x81, 300)], None),
        ("message above", vec![part(0x81, 301)], Some(FrameError::TooBig)),
        ("sum at the limit", vec![part(0x01, 100), part(0x80, 200)], None),
        ("sum above", vec![part(0x01, 100), part(0x80, 201)], Some(FrameError::TooBig)),
        ("three fragments", vec![part(0x01, 0), part(0x00, 0), part(0x80, 0)], None),
        (
            "a fourth",
            vec![part(0x01, 0), part(0x00, 0), part(0x00, 0), part(0x80, 0)],
            Some(FrameError::TooManyFragments),
        ),
        ("the count starts anew", vec![[part(0x01, 0), part(0x80, 0)].concat().repeat(9)], None),
        ("controls do not count", vec![part(0x01, 0), part(0x89, 9).repeat(9), part(0x80, 0)], None),
    ] {
        assert_eq!(run(&small, &[(0, frames.concat())]).1, want, "{name}");
    }
}

#[test]
fn control_rate_refills_with_time() {
    let ping = |count: usize| frame(0x89, b"").repeat(count);
    for (name, reads, good) in [
        ("the burst", vec![(0, ping(20))], 20),
        ("one more", vec![(0, ping(21))], 20),
        ("a fifth of a second buys one", vec![(0, ping(20)), (200, ping(1))], 21),
        ("not a millisecond less", vec![(0, ping(20)), (199, ping(1))], 20),
        ("a pause fills it to the burst and no further", vec![(0, ping(20)), (3_600_000, ping(30))], 40),
        ("steady heartbeat", (0..100).map(|second| (second * 1_000, ping(1))).collect(), 100),
    ] {
        assert_eq!(run(&FrameLimits::default(), &reads).0.len(), good, "{name}");
    }
    let none = FrameLimits { control_burst: 0, ..FrameLimits::default() };
    assert_eq!(run(&none, &[(0, ping(1))]).1, Some(FrameError::ControlFlood));
    assert_eq!(run(&none, &[(0, frame(0x88, b""))]).1, None, "a close frame needs no rate");
    let generous = FrameLimits { control_burst: u32::MAX, control_per_second: u32::MAX, ..FrameLimits::default() };
    assert_eq!(run(&generous, &[(u64::MAX, ping(10_000))]).1, None);
}

#[test]
fn whole_frames_are_lent_and_idle_connections_own_nothing() {
    let limits = FrameLimits::default();
    let mut decoder = Decoder::new();
    let mut read = frame(0x81, b"whole");
    let event = decoder.decode(&limits, Tick(5), &mut read).unwrap().event;
    assert!(matches!(event, Event::Text(Cow::Borrowed("whole"))));
    assert_eq!((decoder.in_progress_since(), decoder.owned_bytes()), (None, 0));

    let mut bytes = frame(0x81, b"in two reads");
    let (left, right) = bytes.split_at_mut(3);
    for (tick, part, since) in [(10, left, Some(Tick(10))), (20, right, None)] {
        drop(decoder.decode(&limits, Tick(tick), part).unwrap().event);
        assert_eq!(decoder.in_progress_since(), since, "tick {tick}");
        assert_eq!(decoder.owned_bytes() == 0, since.is_none(), "tick {tick}");
    }
    assert_eq!(decoder.decode(&limits, Tick(30), &mut []).unwrap().event, Event::Incomplete);
    assert!(!decoder.in_progress(), "an empty read begins nothing");
}

#[test]
fn only_the_message_under_way_is_excused() {
    let limits = FrameLimits::default();
    let mut decoder = Decoder::new();
    decoder.excuse(Millis(500));
    let (mut first, mut second) = (frame(0x81, b"first"), frame(0x81, b"second"));
    let end = first.split_off(4);
    let mut end = [end, second.drain(..5).collect()].concat();
    drop(decoder.decode(&limits, Tick(1_000), &mut first).unwrap().event);
    decoder.excuse(Millis(2_000));
    assert_eq!(decoder.in_progress_since(), Some(Tick(3_000)));
    // A read that ends the one message and begins the other.
    let Decoded { event, rest } = decoder.decode(&limits, Tick(3_000), &mut end).unwrap();
    assert!(matches!(event, Event::Text(_)));
    let rest = rest.len();
    let mut begun = end.split_off(end.len() - rest);
    drop(decoder.decode(&limits, Tick(3_000), &mut begun).unwrap().event);
    assert_eq!(decoder.in_progress_since(), Some(Tick(3_000)), "what was excused was the other's");
}

#[test]
fn controls_and_fragments_do_not_move_the_start_of_a_message() {
    let limits = FrameLimits::default();
    let mut decoder = Decoder::new();
    for (tick, mut read) in [(1, frame(0x01, b"a")), (2_000, frame(0x8A, b"")), (4_000, frame(0x00, b""))] {
        drop(decoder.decode(&limits, Tick(tick), &mut read).unwrap().event);
        assert_eq!(decoder.in_progress_since(), Some(Tick(1)), "tick {tick}");
    }
}

#[test]
fn debug_shows_no_payload() {
    let mut decoder = Decoder::new();
    let mut read = frame(0x01, b"secret-token");
    drop(decoder.decode(&FrameLimits::default(), Tick(0), &mut read).unwrap().event);
    let shown = format!("{decoder:?}");
    assert!(shown.contains("in progress") && !shown.contains("secret") && !shown.contains("115"), "{shown}");
}
