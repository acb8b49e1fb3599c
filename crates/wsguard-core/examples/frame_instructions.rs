//! Decodes a masked text frame of 214 bytes (206 of payload) as often as the first argument says, for counting instructions:
//!
//! ```text
//! cargo build --release -p wsguard-core --example frame_instructions
//! valgrind --tool=callgrind target/release/examples/frame_instructions 100000
//! ```
//!
//! The difference between two runs, divided by the difference of their counts, is the cost of one frame.

use std::hint::black_box;
use std::process::ExitCode;

use wsguard_core::frame::{Decoder, Event, FrameLimits, Opcode, write_masked};
use wsguard_core::time::Tick;

const PAYLOAD_BYTES: usize = 206;

fn main() -> ExitCode {
    let count: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1);
    let mut wire = Vec::new();
    // Under the key 0 decoding in place leaves the frame as it was, so that it can be decoded again.
    write_masked(&mut wire, Opcode::Text, &[b'x'; PAYLOAD_BYTES], [0; 4]);
    let (limits, mut decoder, mut bytes) = (FrameLimits::default(), Decoder::new(), 0usize);
    for _ in 0..count {
        if let Ok(decoded) = decoder.decode(black_box(&limits), Tick(0), black_box(&mut wire))
            && let Event::Text(text) = decoded.event
        {
            bytes = bytes.wrapping_add(black_box(&*text).len());
        }
    }
    let want = PAYLOAD_BYTES.wrapping_mul(usize::try_from(count).unwrap_or(0));
    if bytes == want { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
