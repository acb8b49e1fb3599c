//! Counts messages of 200 bytes of payload towards the anomaly score of their session, as often as the first argument says,
//! for counting instructions:
//!
//! ```text
//! cargo build --release -p wsguard-core --example anomaly_instructions
//! valgrind --tool=callgrind target/release/examples/anomaly_instructions 100000
//! ```
//!
//! The difference between two runs, divided by the difference of their counts, is the cost of one message; with `judge` as
//! the second argument each of them is judged as well, which a busy session is every five seconds.

use std::hint::black_box;
use std::net::IpAddr;
use std::process::ExitCode;

use wsguard_core::control::anomaly::{Anomalies, AnomalyPolicy, WINDOW};
use wsguard_core::control::rate::{Prefixes, PrintKey};
use wsguard_core::time::{Millis, Tick};

fn main() -> ExitCode {
    let count: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1);
    let step = if std::env::args().nth(2).is_some_and(|word| word == "judge") { WINDOW } else { Millis(0) };
    let (all, policy, key) = (Anomalies::new(1_024), AnomalyPolicy::default(), PrintKey::new([7; 16]));
    let prefixes = Prefixes::of(&key, IpAddr::from([192, 0, 2, 1]));
    let (subject, role) = (key.print(b's', b"ann"), key.print(b'o', b"user"));
    let mut now = Tick(1_000_000);
    let mut conduct = all.begin(now, subject, role, prefixes, 1);
    let mut payload = [b'x'; 200];
    let mut judged = 0_u32;
    for turn in 0..count {
        now = now.after(step);
        if let Some(start) = payload.first_chunk_mut() {
            *start = turn.to_le_bytes();
        }
        all.passed(black_box(now), &mut conduct, 2, 260, black_box(&payload));
        conduct.sent(300);
        judged = judged.saturating_add(u32::from(all.judge(&policy, now, subject, &mut conduct).is_some()));
    }
    if black_box(judged) > 0 || count < 8 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
