//! Properties of the codec as a whole, for any messages, any fragmentation and any split into reads.

use proptest::prelude::*;

use super::{Decoder, Event, FrameError, FrameLimits, Opcode, encode_masked_header, unmask, write_masked};
use crate::time::Tick;

const GENEROUS: FrameLimits = FrameLimits {
    message_bytes_max: 1 << 20,
    fragments_max: 1_000,
    control_burst: u32::MAX,
    control_per_second: u32::MAX,
    binary: true,
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl Sent {
    fn of(event: Event<'_>) -> Option<Self> {
        Some(match event {
            Event::Incomplete => return None,
            Event::Text(text) => Self::Text(text.into_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.into_owned()),
            Event::Ping(bytes) => Self::Ping(bytes.into_owned()),
            Event::Pong(bytes) => Self::Pong(bytes.into_owned()),
            Event::Close(close) => Self::Close(close.map(|close| (close.code, close.reason.into_owned()))),
        })
    }

    /// Appends the message in fragments of the given sizes, a pong between any two of them when `pongs` is set.
    fn write(&self, out: &mut Vec<u8>, sizes: &[usize], key: [u8; 4], pongs: bool) -> usize {
        let (opcode, payload) = match self {
            Self::Text(text) => (Opcode::Text, text.as_bytes()),
            Self::Binary(bytes) => (Opcode::Binary, &bytes[..]),
            Self::Ping(bytes) => return write_masked_once(out, Opcode::Ping, bytes, key),
            Self::Pong(bytes) => return write_masked_once(out, Opcode::Pong, bytes, key),
            Self::Close(None) => return write_masked_once(out, Opcode::Close, &[], key),
            Self::Close(Some((code, reason))) => {
                let body = [&code.to_be_bytes(), reason.as_bytes()].concat();
                return write_masked_once(out, Opcode::Close, &body, key);
            }
        };
        let (mut rest, mut opcode, mut written) = (payload, opcode, 0);
        for size in sizes {
            let (part, after) = rest.split_at((*size).min(rest.len()));
            write_fragment(out, false, opcode, part, key);
            if pongs {
                write_masked(out, Opcode::Pong, b"between", key);
                written = sizes.len();
            }
            (rest, opcode) = (after, Opcode::Continuation);
        }
        write_fragment(out, true, opcode, rest, key);
        written
    }
}

fn write_masked_once(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) -> usize {
    write_masked(out, opcode, payload, key);
    1
}

fn write_fragment(out: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    out.extend_from_slice(&encode_masked_header(fin, opcode, payload.len(), key));
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], key);
}

/// Feeds `wire` in reads of the given sizes, over and over; events, and the error that ended it.
fn decode_all(
    wire: &[u8],
    reads: &[usize],
    limits: &FrameLimits,
    mut watch: impl FnMut(&Decoder, usize),
) -> (Vec<Sent>, Option<FrameError>, Decoder) {
    let (mut decoder, mut events, mut seen) = (Decoder::new(), Vec::new(), 0usize);
    for size in reads.iter().cycle() {
        let mut read = wire[seen..].iter().take(*size).copied().collect::<Vec<u8>>();
        if read.is_empty() {
            break;
        }
        seen = seen.saturating_add(read.len());
        let mut rest = read.as_mut_slice();
        while !rest.is_empty() {
            match decoder.decode(limits, Tick(0), rest) {
                Ok(found) => {
                    events.extend(Sent::of(found.event));
                    rest = found.rest;
                }
                Err(error) => return (events, Some(error), decoder),
            }
            watch(&decoder, seen);
        }
    }
    (events, None, decoder)
}

fn sent() -> impl Strategy<Value = Sent> {
    let text = prop_oneof![4 => ".{0,40}", 1 => "(\u{20AC}|x|\u{1F600}){100,400}"];
    let small = || prop::collection::vec(any::<u8>(), 0..=125);
    prop_oneof![
        4 => text.prop_map(Sent::Text),
        2 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Sent::Binary),
        1 => prop::collection::vec(any::<u8>(), 65_530..65_550).prop_map(Sent::Binary),
        1 => small().prop_map(Sent::Ping),
        1 => small().prop_map(Sent::Pong),
    ]
}

fn close() -> impl Strategy<Value = Sent> {
    let code = prop_oneof![1000u16..=1003, 1007u16..=1014, 3000u16..=4999];
    prop::option::of((code, "[a-z\u{E9}]{0,60}")).prop_map(Sent::Close)
}

fn reads() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![usize::MAX]),
        Just(vec![1]),
        prop::collection::vec(1usize..40, 1..9),
        prop::collection::vec(1usize..20_000, 1..9),
    ]
}

/// Bytes that look like frames often enough to reach the deeper states.
fn nearly_frames() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![0x81u8, 0x01, 0x80, 0x00, 0x02, 0x82, 0x88, 0x89, 0x8A])
            .prop_flat_map(|first| (Just(first), 0u8..20, any::<[u8; 4]>(), "[ -\u{FF}]{0,20}"))
            .prop_map(|(first, len, key, body)| {
                let mut bytes = vec![first, 0x80 | len];
                bytes.extend_from_slice(&key);
                let mut body = body.into_bytes();
                unmask(&mut body, key);
                body.resize(usize::from(len), b'x');
                bytes.extend_from_slice(&body);
                bytes
            }),
        prop::collection::vec(any::<u8>(), 0..6),
        Just(vec![0x81, 0xFE, 0xFF, 0xFF, 1, 2, 3, 4]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(
        messages in prop::collection::vec((sent(), prop::collection::vec(0usize..70, 0..6), any::<[u8; 4]>()), 0..8),
        last in prop::option::of(close()),
        pongs in any::<bool>(),
        reads in reads(),
    ) {
        let (mut wire, mut want) = (Vec::new(), Vec::new());
        for (message, sizes, key) in &messages {
            let controls = message.write(&mut wire, sizes, *key, pongs);
            if matches!(message, Sent::Text(_) | Sent::Binary(_)) {
                want.extend(std::iter::repeat_n(Sent::Pong(b"between".to_vec()), controls));
            }
            want.push(message.clone());
        }
        if let Some(last) = last {
            last.write(&mut wire, &[], [1, 2, 3, 4], false);
            want.push(last);
        }
        let (events, error, decoder) = decode_all(&wire, &reads, &GENEROUS, |_, _| {});
        prop_assert_eq!(error, None);
        prop_assert_eq!(events, want);
        prop_assert_eq!((decoder.in_progress(), decoder.owned_bytes()), (false, 0));
    }

    #[test]
    fn hostile_bytes_neither_panic_nor_cost_memory(
        wire in prop_oneof![nearly_frames(), prop::collection::vec(any::<u8>(), 0..200)],
        reads in reads(),
    ) {
        for limits in [FrameLimits::default(), GENEROUS] {
            let mut worst = 0;
            decode_all(&wire, &reads, &limits, |decoder, seen| {
                worst = worst.max(decoder.owned_bytes().saturating_sub(seen.saturating_mul(2)));
            });
            // One record of unfinished state and the smallest buffer.
            prop_assert!(worst <= 256, "{worst} bytes above twice what arrived");
        }
    }

    #[test]
    fn the_split_into_reads_changes_nothing(wire in nearly_frames(), reads in reads()) {
        let (events, error, _) = decode_all(&wire, &[usize::MAX], &GENEROUS, |_, _| {});
        let (split_events, split_error, _) = decode_all(&wire, &reads, &GENEROUS, |_, _| {});
        prop_assert_eq!((events, error), (split_events, split_error));
    }
}

#[test]
fn a_declared_length_allocates_nothing() {
    let mut decoder = Decoder::new();
    let mut header = encode_masked_header(true, Opcode::Text, 65_536, [0; 4]).to_vec();
    assert_eq!(decoder.decode(&FrameLimits::default(), Tick(0), &mut header).unwrap().event, Event::Incomplete);
    assert!(decoder.owned_bytes() <= 192, "{} bytes for a header alone", decoder.owned_bytes());
}
