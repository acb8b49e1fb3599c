//! How cost grows: with connections, members of a room, message types and rate keys; and a large message against Node.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::path::{EIGHT_KIB_SCHEMA, Judge, Validation, eight_kib, rate_keys};

use crate::Bench;
use crate::server::Kind;

/// Points of the curves. 15,000 connections: what the tests' limit of open files leaves room for.
const CONNECTIONS: [u32; 4] = [10, 1_000, 5_000, 15_000];
const MEMBERS: [u32; 4] = [1, 10, 100, 1_000];
const TYPES: [usize; 3] = [1, 10, 100];
const RATE_KEYS: [u32; 4] = [1, 1_000, 100_000, 1_000_000];
/// Frames that are delivered at each point of a room's curve.
const DELIVERED: u32 = 100_000;
/// How often something in this process is timed; the quickest counts, since noise only ever adds.
const TURNS: u32 = 7;

/// One curve: what is varied, what is measured, and the points.
#[derive(Debug)]
struct Curve {
    title: &'static str,
    points: Vec<(u32, f64)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    curves: Vec<Curve>,
    /// Microseconds of CPU of one `send` of a chat frame, alone: always to one socket, and to [`SOCKETS`] in turn.
    send_us: Option<(f64, f64)>,
    /// Nanoseconds for 8 KiB: here, and `JSON.parse` with compiled ajv.
    large: Option<(f64, f64)>,
    pub(crate) failures: Vec<String>,
}

impl Growth {
    pub(crate) fn measure(bench: &Bench<'_>) -> Self {
        let mut growth = Self::default();
        eprintln!("growth: message types, rate keys, a large message");
        growth.add(
            "ns / judged message, by message types",
            TYPES.map(|count| (number(count), judged_ns(count))).to_vec(),
        );
        growth.add("ns / charged message, by rate keys", RATE_KEYS.map(|count| (count, charged_ns(count))).to_vec());
        match ajv_ns(bench) {
            Ok(node) => growth.large = Some((validated_ns(), node)),
            Err(failure) => growth.failures.push(failure),
        }
        match send_us(1).and_then(|one| Ok((one, send_us(SOCKETS)?))) {
            Ok(both) => growth.send_us = Some(both),
            Err(error) => growth.failures.push(format!("send: {error}")),
        }
        growth.over("CPU us / message, by connections open", &CONNECTIONS, |count| beside(bench, count));
        growth.over("CPU us / delivered message, by members of the room", &MEMBERS, |count| room(bench, count));
        growth
    }

    fn add(&mut self, title: &'static str, points: Vec<(u32, f64)>) {
        self.curves.push(Curve { title, points });
    }

    fn over(&mut self, title: &'static str, at: &[u32], measure: impl Fn(u32) -> Result<f64, String>) {
        let mut points = Vec::new();
        for count in at {
            eprintln!("growth: {title}: {count}");
            match measure(*count) {
                Ok(value) => points.push((*count, value)),
                Err(failure) => self.failures.push(format!("{title}, {count}: {failure}")),
            }
        }
        self.add(title, points);
    }

    /// The curves as Markdown: each point, and its ratio to the first.
    pub(crate) fn to_tables(&self) -> String {
        let mut text = String::new();
        for Curve { title, points } in &self.curves {
            let first = points.first().map_or(1.0, |(_, value)| *value);
            let _infallible = write!(text, "\n| {title} |");
            for (count, _) in points {
                let _infallible = write!(text, " {count} |");
            }
            let _infallible = write!(text, "\n|---|{}\n| |", "--:|".repeat(points.len()));
            for (_, value) in points {
                let _infallible = write!(text, " {value:.2} ({:.2}x) |", value / first);
            }
            text.push('\n');
        }
        if let Some((ours, node)) = self.large {
            let _infallible = writeln!(
                text,
                "\n8 KiB, scan and validation: {ours:.0} ns; JSON.parse and compiled ajv: {node:.0} ns: {:.2}x as fast.",
                node / ours
            );
        }
        let largest = self.curves.last().and_then(|curve| curve.points.last());
        if let (Some((send, in_turn)), Some((members, delivered))) = (self.send_us, largest) {
            let _infallible = writeln!(
                text,
                "\nOne `send` of such a frame alone: {send:.2} us of CPU, {in_turn:.2} to {SOCKETS} sockets in turn; a message \
                 delivered to a room of {members}: {:.2}x and {:.2}x.",
                delivered / send,
                delivered / in_turn
            );
        }
        for failure in &self.failures {
            let _infallible = writeln!(text, "not measured: {failure}");
        }
        text
    }

    pub(crate) fn to_json(&self) -> Value {
        let curves: Vec<Value> =
            self.curves.iter().map(|curve| json!({ "title": curve.title, "points": curve.points })).collect();
        let large = self.large.map(|(ours, node)| json!({ "wsguardNs": ours, "nodeNs": node, "ratio": node / ours }));
        json!({ "curves": curves, "sendUs": self.send_us.map(|(one, _)| one), "sendInTurnUs": self.send_us.map(|(_, many)| many), "eightKib": large, "failures": self.failures })
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The quickest of some turns of `count` calls, in nanoseconds a call.
fn quickest_ns(count: u32, mut act: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..TURNS {
        let started = Instant::now();
        for _ in 0..count {
            act();
        }
        best = best.min(started.elapsed());
    }
    best.as_secs_f64() * 1e9 / f64::from(count)
}

fn judged_ns(types: usize) -> f64 {
    let mut judge = Judge::with_types(types);
    quickest_ns(20_000, || black_box(&mut judge).judge())
}

fn charged_ns(keys: u32) -> f64 {
    quickest_ns(100_000, rate_keys(keys))
}

fn validated_ns() -> f64 {
    let mut validation = Validation::of_8_kib();
    quickest_ns(2_000, || black_box(&mut validation).check())
}

fn ajv_ns(bench: &Bench<'_>) -> Result<f64, String> {
    let script = bench.repository().join("benches/node-stack/large.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(eight_kib()).arg(EIGHT_KIB_SCHEMA);
    let output = node.output().map_err(|e| format!("node: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("ajv: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Sockets that are sent to in turn: enough that none is in the processor's caches, and few enough for any limit of files.
const SOCKETS: u32 = 300;

/// CPU of this thread for one `send` of a frame as the room delivers them, to one of `sockets` after the other; another
/// thread reads.
fn send_us(sockets: u32) -> std::io::Result<f64> {
    const SENDS: u32 = 60_000;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..sockets {
        let sender = TcpStream::connect(listener.local_addr()?)?;
        sender.set_nodelay(true)?;
        senders.push(sender);
        receivers.push(listener.accept()?.0);
    }
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while receivers.iter_mut().all(|receiver| receiver.read(&mut buffer).is_ok_and(|read| read > 0)) {}
    });
    let frame = [b'x'; 240];
    let before = thread_cpu_ns()?;
    for _ in 0..SENDS / sockets {
        for sender in &mut senders {
            sender.write_all(&frame)?;
        }
    }
    let spent = thread_cpu_ns()?.saturating_sub(before);
    drop(senders);
    let _ = reader.join();
    Ok(Duration::from_nanos(spent).as_secs_f64() * 1e6 / f64::from(SENDS / sockets * sockets))
}

fn thread_cpu_ns() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0))
}

/// CPU of the server for a message while `count` other connections are open.
fn beside(bench: &Bench<'_>, count: u32) -> Result<f64, String> {
    let mut server = bench.start(Kind::Wsguard)?;
    server.admit(count + 64)?;
    let (beside, messages) = (count.to_string(), bench.scaled(20_000).to_string());
    let words = [
        "--mode",
        "chat",
        "--connections",
        "8",
        "--in-flight",
        "8",
        "--no-id",
        "--beside",
        &beside,
        "--messages",
        &messages,
    ];
    figure(&bench.load(&server, &words)?, "serverCpuUsPerMessage")
}

/// CPU of the server for each frame that a room of `members` gets.
fn room(bench: &Bench<'_>, members: u32) -> Result<f64, String> {
    let mut server = bench.start(Kind::Wsguard)?;
    server.admit(members + 64)?;
    let (connections, messages) = (members.to_string(), (bench.scaled(DELIVERED) / members).max(20).to_string());
    let words = ["--one-room", "--connections", &connections, "--in-flight", "1", "--messages", &messages];
    figure(&bench.load(&server, &words)?, "serverCpuUsPerDelivered")
}

fn figure(report: &Value, key: &str) -> Result<f64, String> {
    report.get(key).and_then(Value::as_f64).ok_or_else(|| format!("load reported no {key}"))
}
