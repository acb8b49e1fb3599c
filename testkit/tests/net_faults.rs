//! Faults of the machine that a server must outlive: no file descriptors, a disk that takes no more. `make chaos` has more of
//! them, and with figures.
#![expect(clippy::unwrap_used, reason = "for tests: what does not come as expected is a failed test")]

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::world::{PATIENCE, Scratch, World, run};

fn metric(world: &World, name: &str) -> u64 {
    let body = world.ask_admin("/metrics").body;
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

#[test]
fn who_asks_for_nothing_gives_way_before_the_files_run_out() {
    let world = World::with_files(256, &[]);
    let said = world.line("server.connections_max");
    assert!(said.contains("256 files") && said.contains("144 connections"), "{said}");
    let mut ann = world.join("ann");
    // More than the process may have files.
    let silent: Vec<_> = (0..400).map(|_| TcpStream::connect(world.endpoint).unwrap()).collect();
    let began = Instant::now();
    let mut bob = world.join("bob");
    assert!(began.elapsed() < Duration::from_secs(5), "a newcomer does not wait for the ten seconds of the silent");
    for peer in [&mut ann, &mut bob] {
        peer.say("echo", 1, &json!("still here"));
        while peer.read()["type"] != "ack" {}
    }
    assert_eq!(world.ask_admin("/health").status, 200);
    assert!(metric(&world, "wsguard_handshakes_unfinished_total{reason=\"displaced\"}") >= 300);
    assert_eq!(world.logged("\"displaced\"")["event.action"], "handshake_unfinished");
    assert!(!world.log().contains("accept_failed"), "{}", world.log());
    drop(silent);
}

/// `prlimit` is of util-linux: every system with a shell has it.
#[cfg(target_os = "linux")]
#[test]
fn who_is_in_goes_on_without_file_descriptors_and_the_log_tells_of_it_twice() {
    let world = World::dev(&[]);
    let mut ann = world.join("ann");
    let limit = |files: &str| {
        let pid = world.pid().to_string();
        let files = format!("--nofile={files}:");
        assert!(std::process::Command::new("prlimit").args(["--pid", &pid, &files]).status().unwrap().success());
    };
    limit("3");
    let waiting = TcpStream::connect(world.endpoint).unwrap();
    for number in 0..20 {
        ann.say("echo", number, &json!({ "n": number }));
        while ann.read()["type"] != "ack" {}
        thread::sleep(Duration::from_millis(10));
    }
    let failed = world.logged("accept_failed");
    assert!(failed["message"].as_str().unwrap().contains("files"), "{failed}");
    limit("1024");
    let mut bob = world.join("bob");
    bob.say("echo", 1, &json!("here"));
    while bob.read()["type"] != "ack" {}
    let resumed = world.logged("accept_resumed");
    assert!(resumed["message"].as_str().unwrap().contains("tries failed in"), "{resumed}");
    let tries = metric(&world, "wsguard_accept_failures_total");
    assert!((2..1_000).contains(&tries), "it tries again, and not as fast as it can: {tries}");
    assert_eq!(world.log().matches("\"accept_failed\"").count(), 1, "told once");
    drop(waiting);
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody_and_is_told() {
    let scratch = Scratch::new();
    // Not beside the log, where it would be made.
    assert!(run(scratch.path(), &["keygen", "--out", "log.key"], &[]).status.success());
    let settings = [("WSGUARD_LOG__SECURITY", "/dev/full"), ("WSGUARD_LOG__KEY_FILE", "log.key")];
    let world = World::start(scratch, &["--dev"], &settings);
    let mut ann = world.join("ann");
    for number in 0..20 {
        ann.say("echo", number, &json!({ "n": number }));
        ann.expect("echo");
        ann.expect("ack");
    }
    let began = Instant::now();
    while metric(&world, "wsguard_log_write_failures_total") == 0 {
        assert!(began.elapsed() < PATIENCE, "the writer tried");
        thread::yield_now();
    }
}
