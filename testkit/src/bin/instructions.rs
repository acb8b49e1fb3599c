//! `instructions PART COUNT`: does one part of the message path COUNT times, to be counted by callgrind.
//!
//! `scripts/instructions.py` runs it. Nothing here is timed.

use std::hint::black_box;
use std::process::ExitCode;

use testkit::path::{Judge, Path, Scan, Validation};

/// The allocator of `wsguard`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (part, count) = (arguments.next(), arguments.next().and_then(|count| count.parse::<u32>().ok()));
    let (Some(part), Some(count)) = (part, count) else {
        eprintln!("usage: instructions PART COUNT");
        return ExitCode::from(2);
    };
    match part.as_str() {
        "scan" => {
            let mut scan = Scan::chat();
            times(count, || black_box(&mut scan).scan());
        }
        "scan_of_escapes" => {
            let mut scan = Scan::with_escapes();
            times(count, || black_box(&mut scan).scan());
        }
        "scan_and_schema_of_8_kib" => {
            let mut validation = Validation::of_8_kib();
            times(count, || black_box(&mut validation).check());
        }
        "judge" => {
            let mut judge = Judge::new();
            times(count, || black_box(&mut judge).judge());
        }
        "path_of_8_chats" => {
            let (mut path, batch, chats) = Path::warm(1, 8);
            times(count, || path.exchange_bytes(black_box(&batch), chats));
        }
        "chat_to_100_members" => {
            let (mut path, batch, chats) = Path::warm(100, 1);
            times(count, || path.exchange_bytes(black_box(&batch), chats));
        }
        _ => {
            eprintln!("instructions: there is no part {part}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn times(count: u32, mut act: impl FnMut()) {
    for _ in 0..count {
        act();
    }
}
