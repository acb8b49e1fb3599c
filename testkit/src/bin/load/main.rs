//! A load generator for `wsguard serve --dev`, `conformance-echo` and the Node stack in `benches/`.
//!
//! One thread keeps a fixed number of messages in flight, checks that every reply is the right one, and prints one
//! JSON object. With `--pid` it reports what the run cost the server, which repeats well where wall time does not:
//! processor time per message, processor time per handshake, resident bytes per idle connection.
//!
//! It talks to loopback addresses only.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "counters of a benchmark on the developer's own machine; an overflow stops it, which is right"
)]

mod message;
mod peer;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use testkit::cost;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::message::{Script, Shape};
use crate::peer::{Failure, Peer, Target};

/// What the messages are and which replies they must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// `chat` into a room of the connection's own: a `chat` frame and, with an id, an `ack`.
    Chat,
    /// `echo`: an `echo` frame and, with an id, an `ack`.
    Echo,
    /// Text that comes back as it was sent, without handshake credential and welcome.
    Raw,
}

/// Keeps messages in flight to a WebSocket server, checks the replies and prints what they cost.
#[derive(Parser, Debug)]
#[command(name = "load")]
struct Args {
    /// Where to connect, for example `ws://127.0.0.1:3000/ws`; loopback addresses only.
    #[arg(long)]
    url: String,
    /// Bearer token of the handshake; given several times, the connections take them in turn.
    #[arg(long)]
    token: Vec<String>,
    /// Connections, all served by one thread; with `--handshakes` how many are being opened at once.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Messages that each connection has under way.
    #[arg(long, default_value_t = 8)]
    in_flight: u32,
    /// Messages that each connection sends while it is measured.
    #[arg(long, default_value_t = 10_000)]
    messages: u32,
    /// Messages that each connection sends before; a tenth of `--messages` if absent.
    #[arg(long)]
    warm_up: Option<u32>,
    /// Kind of message.
    #[arg(long, value_enum, default_value_t = Mode::Chat)]
    mode: Mode,
    /// Length of a whole message as it travels in its frame. The text in it is as long as the rest leaves room for.
    #[arg(long, default_value_t = 200)]
    payload_bytes: usize,
    /// Each message is longer or shorter than the one before, `--payload-bytes` long on average.
    #[arg(long)]
    varied: bool,
    /// Send messages without an id, which asks for no acknowledgement.
    #[arg(long)]
    no_id: bool,
    /// Connections that are held open beside those that send, and say nothing.
    #[arg(long, default_value_t = 0, value_name = "N")]
    beside: u32,
    /// All connections are members of one room: the first one sends, the others read what it says. Instead of the load of
    /// each connection for itself.
    #[arg(long, conflicts_with_all = ["handshakes", "idle"])]
    one_room: bool,
    /// Process of the server, on this machine: what the run cost it is read from /proc.
    #[arg(long)]
    pid: Option<u32>,
    /// Instead of messages: open and close this many connections.
    #[arg(long, value_name = "N", conflicts_with = "idle")]
    handshakes: Option<u32>,
    /// Instead of messages: hold this many connections open and weigh the server.
    #[arg(long, value_name = "N", requires = "pid")]
    idle: Option<u32>,
    /// PEM file with the certificate that a `wss` server must have
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Milliseconds between the last handshake of `--idle` and the weighing.
    #[arg(long, default_value_t = 2_000)]
    settle_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let target = match Target::parse(&args.url, args.ca.as_deref(), &args.token, args.mode != Mode::Raw) {
        Ok(target) => Arc::new(target),
        Err(failure) => {
            eprintln!("load: {failure}");
            return ExitCode::from(2);
        }
    };
    let outcome = match (args.handshakes, args.idle) {
        (Some(count), _) => handshakes(&args, &target, count).await,
        (_, Some(count)) => idle(&args, &target, count).await,
        _ if args.one_room => room(&args, &target).await,
        _ => messages(&args, &target).await,
    };
    match outcome {
        Ok(report) => {
            let written = writeln!(std::io::stdout(), "{report}");
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            eprintln!("load: {failure}");
            if matches!(failure, Failure::Unreached(_)) { ExitCode::from(3) } else { ExitCode::FAILURE }
        }
    }
}

/// Sends messages over all connections at once and reports rate, latency and cost.
async fn messages(args: &Args, target: &Arc<Target>) -> Result<Value, Failure> {
    let shape = Shape {
        mode: args.mode,
        with_id: !args.no_id && args.mode != Mode::Raw,
        message_bytes: args.payload_bytes,
        varied: args.varied,
    };
    let in_flight = args.in_flight.max(1);
    let warm_up = args.warm_up.unwrap_or(args.messages / 10);
    let total = args.messages;
    let barrier = Arc::new(Barrier::new(usize::try_from(args.connections).unwrap_or(usize::MAX) + 1));

    let mut beside = Vec::new();
    for index in 0..args.beside {
        beside.push(Peer::open(target, args.connections + index).await?);
    }
    let mut running = JoinSet::new();
    for index in 0..args.connections {
        let (target, barrier) = (Arc::clone(target), Arc::clone(&barrier));
        running.spawn(async move {
            let prepared = prepare(&target, index, shape, warm_up, in_flight).await;
            // Also a connection that failed has to arrive at both, or the others would wait for it for ever.
            barrier.wait().await;
            barrier.wait().await;
            let (mut peer, mut script) = prepared?;
            let mut latencies = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
            peer.exchange(&mut script, total, in_flight, &mut latencies).await?;
            let finished = Instant::now();
            peer.close().await?;
            Ok::<_, Failure>((latencies, finished, script.message_bytes()))
        });
    }
    barrier.wait().await;
    let server_before = args.pid.map(cpu_ns).transpose()?;
    let own_before = cpu_ns(std::process::id())?;
    let started = Instant::now();
    barrier.wait().await;

    let mut latencies = Vec::new();
    let mut seconds = 0.0_f64;
    let mut message_bytes = 0;
    while let Some(joined) = running.join_next().await {
        let (mut of_one, finished, bytes) = joined.map_err(|e| Failure::Misbehaved(e.to_string()))??;
        latencies.append(&mut of_one);
        seconds = seconds.max(finished.duration_since(started).as_secs_f64());
        message_bytes = bytes;
    }
    let own_after = cpu_ns(std::process::id())?;
    let server_after = args.pid.map(cpu_ns).transpose()?;
    latencies.sort_unstable();
    let count = f64::from(total) * f64::from(args.connections);
    let cpu_ns = server_before.zip(server_after).map(|(before, after)| after.saturating_sub(before));
    Ok(json!({
        "mode": format!("{:?}", args.mode).to_lowercase(),
        "withId": shape.with_id,
        "connections": args.connections,
        "inFlight": in_flight,
        "messages": u64::from(total) * u64::from(args.connections),
        "messageBytes": message_bytes,
        "seconds": seconds,
        "messagesPerSecond": count / seconds,
        "latencyUs": { "p50": percentile_us(&latencies, 50), "p99": percentile_us(&latencies, 99) },
        "serverCpuUsPerMessage": cpu_ns.map(|ns| us_each(ns, count)),
        "loadCpuUsPerMessage": us_each(own_after.saturating_sub(own_before), count),
    }))
}

/// One member of a room of `--connections` talks, all hear it. Reports what each delivered message cost the server.
async fn room(args: &Args, target: &Arc<Target>) -> Result<Value, Failure> {
    let shape = Shape { mode: Mode::Chat, with_id: false, message_bytes: args.payload_bytes, varied: args.varied };
    let warm_up = args.warm_up.unwrap_or(args.messages / 10);
    let (total, in_flight) = (args.messages, args.in_flight.max(1));
    let name = format!("load-{}", std::process::id());
    let mut speaker = join(target, 0, &name).await?;
    let mut hearers = JoinSet::new();
    let barrier = Arc::new(Barrier::new(usize::try_from(args.connections).unwrap_or(usize::MAX)));
    for index in 1..args.connections {
        let (mut peer, barrier) = (join(target, index, &name).await?, Arc::clone(&barrier));
        hearers.spawn(async move {
            peer.hear(warm_up).await?;
            barrier.wait().await;
            peer.hear(total).await?;
            barrier.wait().await;
            peer.close().await
        });
    }
    let mut script = Script::new(shape, &name, speaker.csrf_token());
    speaker.exchange(&mut script, warm_up, in_flight, &mut Vec::new()).await?;
    barrier.wait().await;
    let before = args.pid.map(cpu_ns).transpose()?;
    let started = Instant::now();
    speaker.exchange(&mut script, total, in_flight, &mut Vec::new()).await?;
    barrier.wait().await;
    let seconds = started.elapsed().as_secs_f64();
    let after = args.pid.map(cpu_ns).transpose()?;
    while let Some(joined) = hearers.join_next().await {
        joined.map_err(|e| Failure::Misbehaved(e.to_string()))??;
    }
    speaker.close().await?;
    let delivered = f64::from(total) * f64::from(args.connections);
    Ok(json!({
        "mode": "room",
        "members": args.connections,
        "messages": total,
        "messageBytes": script.message_bytes(),
        "deliveredPerSecond": delivered / seconds,
        "serverCpuUsPerDelivered": before.zip(after).map(|(before, after)| us_each(after.saturating_sub(before), delivered)),
    }))
}

async fn join(target: &Target, index: u32, room: &str) -> Result<Peer, Failure> {
    let mut peer = Peer::open(target, index).await?;
    peer.request("join", &json!({ "room": room })).await?;
    peer.request("leave", &json!({ "room": "lobby" })).await?;
    Ok(peer)
}

fn cpu_ns(pid: u32) -> Result<u64, Failure> {
    cost::cpu_ns(pid).map_err(Failure::Unreached)
}

fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    cost::resident_bytes(pid).map_err(Failure::Unreached)
}

/// Opens a connection, gives it its room and sends the messages that are not measured.
async fn prepare(
    target: &Target,
    index: u32,
    shape: Shape,
    warm_up: u32,
    in_flight: u32,
) -> Result<(Peer, Script), Failure> {
    // The name holds the process, so that two runs against one server never share a room.
    let room = format!("load-{}-{index}", std::process::id());
    let mut peer =
        if shape.mode == Mode::Chat { join(target, index, &room).await? } else { Peer::open(target, index).await? };
    let mut script = Script::new(shape, &room, peer.csrf_token());
    peer.exchange(&mut script, warm_up, in_flight, &mut Vec::new()).await?;
    Ok((peer, script))
}

/// Opens and closes `count` connections, `--connections` at a time.
async fn handshakes(args: &Args, target: &Arc<Target>, count: u32) -> Result<Value, Failure> {
    let lanes = args.connections.max(1);
    open_and_close(target, lanes, args.warm_up.unwrap_or(count / 10)).await?;
    let server_before = args.pid.map(cpu_ns).transpose()?;
    let started = Instant::now();
    open_and_close(target, lanes, count).await?;
    let seconds = started.elapsed().as_secs_f64();
    let server_after = args.pid.map(cpu_ns).transpose()?;
    let cpu_ns = server_before.zip(server_after).map(|(before, after)| after.saturating_sub(before));
    Ok(json!({
        "mode": "handshakes",
        "connections": lanes,
        "handshakes": count,
        "seconds": seconds,
        "handshakesPerSecond": f64::from(count) / seconds,
        "serverCpuUsPerHandshake": cpu_ns.map(|ns| us_each(ns, f64::from(count))),
    }))
}

async fn open_and_close(target: &Arc<Target>, lanes: u32, count: u32) -> Result<(), Failure> {
    let mut running = JoinSet::new();
    for lane in 0..lanes {
        let target = Arc::clone(target);
        running.spawn(async move {
            for index in (lane..count).step_by(usize::try_from(lanes).unwrap_or(1)) {
                Peer::open(&target, index).await?.close().await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(joined) = running.join_next().await {
        joined.map_err(|e| Failure::Misbehaved(e.to_string()))??;
    }
    Ok(())
}

/// Holds `count` connections and reports the resident bytes that each added to the server.
async fn idle(args: &Args, target: &Arc<Target>, count: u32) -> Result<Value, Failure> {
    let pid = args.pid.unwrap_or_default();
    // The first connections make the server touch memory that is not theirs: code, tables, arenas of its allocator.
    open_and_close(target, 1, 200).await?;
    let settle = Duration::from_millis(args.settle_ms);
    tokio::time::sleep(settle).await;
    let before = resident_bytes(pid)?;
    let mut held = Vec::new();
    for index in 0..count {
        held.push(Peer::open(target, index).await?);
    }
    tokio::time::sleep(settle).await;
    let after = resident_bytes(pid)?;
    for peer in held {
        peer.close().await?;
    }
    Ok(json!({
        "mode": "idle",
        "connections": count,
        "residentBytesBefore": before,
        "residentBytesAfter": after,
        "residentBytesPerConnection": f64::from(u32::try_from(after.saturating_sub(before) / 1024).unwrap_or(u32::MAX))
            * 1024.0 / f64::from(count.max(1)),
    }))
}

/// The source address of connection `index`: 200 of them for each of 200 networks, so that no address runs out of
/// ports and no limit per address prefix sees more than its share.
fn source_of(index: u32, target: SocketAddr) -> Option<SocketAddr> {
    let low = |n: u32| u8::try_from(n % 200 + 1).unwrap_or(1);
    match target.ip() {
        IpAddr::V4(_) => Some(SocketAddr::from((Ipv4Addr::new(127, 1, low(index / 200), low(index)), 0))),
        IpAddr::V6(_) => None,
    }
}

/// The percentile of sorted nanoseconds, in microseconds; absent without samples.
fn percentile_us(sorted_ns: &[u32], percent: usize) -> Option<f64> {
    let last = sorted_ns.len().checked_sub(1)?;
    sorted_ns.get(last * percent / 100).map(|ns| f64::from(*ns) / 1000.0)
}

/// Nanoseconds of `count` things as microseconds of one.
fn us_each(ns: u64, count: f64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1e6 / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_take_the_sample_at_their_rank() {
        let sorted: Vec<u32> = (1..=101).map(|n| n * 1000).collect();
        for (name, samples, percent, want) in [
            ("median", &sorted[..], 50, Some(51.0)),
            ("tail", &sorted[..], 99, Some(100.0)),
            ("one sample", &sorted[..1], 99, Some(1.0)),
            ("none", &[], 50, None),
        ] {
            assert_eq!(percentile_us(samples, percent), want, "{name}");
        }
    }

    #[test]
    fn sources_are_loopback_and_spread() {
        let target = SocketAddr::from(([127, 0, 0, 1], 80));
        let sources: std::collections::HashSet<_> = (0..10_000).filter_map(|i| source_of(i, target)).collect();
        assert_eq!(sources.len(), 10_000);
        assert!(sources.iter().all(|source| source.ip().is_loopback()));
    }
}
