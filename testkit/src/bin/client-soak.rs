//! `client-soak SECONDS [SEED]`: the Rust client against the built server over a network that keeps failing.
//!
//! Cuts, half-open connections, delays, garbage and outages at random moments, while messages flow in both directions and
//! tokens are refreshed. At the end every message must have been acknowledged, and its echo received, once and in order;
//! memory must not have grown. Prints a line each five seconds, and writes the course of the memory to
//! `target/client-soak.svg`.
//!
//! Exit codes: 0 kept, 1 broken, 2 wrong usage.

#![expect(clippy::print_stdout, reason = "a program whose output is its result")]
#![expect(
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    reason = "for tests: what cannot be set up is a failed test"
)]

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::proxy::Proxy;
use testkit::world::World;
use tokio::time::{sleep, timeout};
use wsguard_client::{Client, Event, Events, Pings, Queue, Reconnect, SendError, TokenError};

/// Messages that wait for their acknowledgement at most.
const BACKLOG: usize = 400;
/// Time between two messages.
const PACE: Duration = Duration::from_millis(4);
/// Time between two lines of output.
const REPORT: Duration = Duration::from_secs(5);
/// How much the memory of the second half may be above that of the first, in KiB: an arena more or less.
const GROWTH_KIB_MAX: u64 = 4_096;
/// Longest time for what is on its way at the end.
const PATIENCE: Duration = Duration::from_mins(1);

/// Numbers that look random and are the same for each seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(seconds)), seed) = (arguments.next(), arguments.next().unwrap_or(Ok(1))) else {
        eprintln!("usage: client-soak SECONDS [SEED]");
        return ExitCode::from(2);
    };
    let Ok(seed) = seed else {
        eprintln!("usage: client-soak SECONDS [SEED]");
        return ExitCode::from(2);
    };
    match soak(Duration::from_secs(seconds), Dice(seed)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            println!("BROKEN (seed {seed}): {what}");
            ExitCode::from(1)
        }
    }
}

async fn soak(time: Duration, mut dice: Dice) -> Result<(), String> {
    let world = Arc::new(World::dev(&[
        ("WSGUARD_RATE__MODE", "shadow"),
        ("WSGUARD_PENALTY__MODE", "shadow"),
        ("WSGUARD_ANOMALY__MODE", "shadow"),
        ("WSGUARD_CSRF__ROTATE_EVERY", "1m"),
    ]));
    let proxy = Proxy::start(world.endpoint);
    let ms = Duration::from_millis;
    let issuer = Arc::clone(&world);
    let provider = move |_| {
        let issuer = Arc::clone(&issuer);
        async move {
            let token = tokio::task::spawn_blocking(move || issuer.token("soak", "30s")).await;
            token.map_err(TokenError::from)
        }
    };
    let (client, events) = Client::builder(proxy.url())
        .token(provider)
        .reconnect(Reconnect::full_jitter(ms(10), ms(200)))
        .connect_timeout(ms(1_500))
        .pings(Pings::every(ms(500), ms(1_000)))
        .queue(Queue::bounded(BACKLOG, 1_048_576))
        .ack_timeout(PATIENCE)
        .connect()
        .await
        .map_err(|error| error.to_string())?;

    let over = Instant::now() + time;
    let sending = tokio::spawn(send_until(client.clone(), over));
    let receiving = tokio::spawn(receive(events));
    let mut course = Vec::new();
    let mut next_report = Instant::now();
    let mut restore_at = None;
    while Instant::now() < over {
        if next_report <= Instant::now() {
            next_report += REPORT;
            let status = client.status();
            // Without the server's log, which is kept here and is no part of the client.
            course.push(resident_kib().saturating_sub(world.log_bytes() as u64 / 1_024));
            println!(
                "{:>5} s  {:>6} KiB  {:>5} connections  queued {:>3}  in flight {:>2}  {:?}  rtt {:?}",
                course.len() as u64 * REPORT.as_secs(),
                course.last().copied().unwrap_or_default(),
                proxy.accepted(),
                status.queued,
                status.in_flight,
                status.state,
                status.rtt.map(|rtt| rtt.median),
            );
        }
        if restore_at.is_some_and(|at| at <= Instant::now()) {
            restore_at = None;
            proxy.restore();
        }
        match dice.roll(12) {
            0..3 => proxy.cut(),
            3..6 => proxy.cut_after(dice.roll(20_000)),
            6 => {
                proxy.half_open();
                proxy.restore();
            }
            7 => proxy.garbage(),
            8 => {
                proxy.down();
                restore_at = Some(Instant::now() + ms(dice.roll(1_500)));
            }
            9 => proxy.delay(ms(dice.roll(20))),
            _ => proxy.delay(Duration::ZERO),
        }
        sleep(ms(50 + dice.roll(1_500))).await;
    }
    proxy.delay(Duration::ZERO);
    proxy.restore();

    let sent = timeout(PATIENCE, sending).await.map_err(|_| "messages without an end")?.expect("no panic")?;
    client.flush().await;
    // The echo of a message leaves the server before its acknowledgement.
    client.close();
    let received = timeout(PATIENCE, receiving).await.map_err(|_| "no end of the events")?.expect("no panic")?;
    println!("{sent} messages acknowledged, {received} echoes, {} connections", proxy.accepted());
    if received != sent {
        return Err(format!("{sent} messages, {received} echoes"));
    }
    judge(&course)
}

/// Sends numbers from 0; gives how many, all of them acknowledged.
async fn send_until(client: Client, over: Instant) -> Result<u64, String> {
    let mut sending = tokio::task::JoinSet::new();
    let failed = |outcome: Result<Result<_, SendError>, _>| match outcome {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("not acknowledged: {error}")),
        Err(error) => Err(format!("{error}")),
    };
    let mut sent = 0;
    while Instant::now() < over {
        if sending.len() < BACKLOG {
            sending.spawn(client.send(&json!({"type": "echo", "payload": sent})));
            sent += 1;
            while let Some(outcome) = sending.try_join_next() {
                failed(outcome)?;
            }
            sleep(PACE).await;
        } else if let Some(outcome) = sending.join_next().await {
            failed(outcome)?;
        }
    }
    while let Some(outcome) = sending.join_next().await {
        failed(outcome)?;
    }
    Ok(sent)
}

/// Counts the echoes, each of which must be the next.
async fn receive(mut events: Events) -> Result<u64, String> {
    let mut next = 0;
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) => {
                let payload = message.payload::<u64>().map_err(|error| error.to_string())?;
                if payload != next {
                    return Err(format!("echo {payload} where {next} was next"));
                }
                next += 1;
            }
            Event::Opened(opened) if opened.missed => return Err("a session was lost".to_owned()),
            Event::Closed(closed) => {
                if let Some(error) = closed.error {
                    return Err(format!("closed: {error}"));
                }
            }
            _ => {}
        }
    }
    Ok(next)
}

/// Memory of this process: client, proxy and this program; the server is another one.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

/// Whether the memory stayed flat, behind a first quarter in which it may grow to its size.
fn judge(course: &[u64]) -> Result<(), String> {
    draw(course)?;
    let settled = course.get(course.len() / 4..).unwrap_or_default();
    let (first, second) = settled.split_at(settled.len() / 2);
    let median = |part: &[u64]| {
        let mut sorted = part.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    };
    let (Some(first), Some(second)) = (median(first), median(second)) else {
        println!("too short to say anything of the memory");
        return Ok(());
    };
    println!("memory: {first} KiB, then {second} KiB");
    if second > first + GROWTH_KIB_MAX {
        return Err(format!("memory grew from {first} to {second} KiB"));
    }
    Ok(())
}

fn draw(course: &[u64]) -> Result<(), String> {
    let (width, height) = (640, 160);
    let top = course.iter().copied().max().unwrap_or(1).max(1) * 5 / 4;
    let last = course.len().saturating_sub(1).max(1) as u64;
    let mut points = String::new();
    for (at, kib) in (0..).zip(course) {
        let _ = write!(points, "{},{} ", at * width / last, height - kib * height / top);
    }
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-10 -20 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <text y=\"-6\">resident memory of the client, 0 to {top} KiB, {} s</text>\n\
         <path d=\"M0,0V{height}H{width}\" fill=\"none\" stroke=\"#888\"/>\n\
         <polyline points=\"{points}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"1.5\"/>\n</svg>\n",
        width + 20,
        height + 30,
        course.len() as u64 * REPORT.as_secs(),
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/client-soak.svg");
    std::fs::write(path, svg).map_err(|error| format!("write {path}: {error}"))
}
