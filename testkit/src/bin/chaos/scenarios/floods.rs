//! Frames that cost their sender next to nothing: fragments that end no message, pings, pongs that nobody asked for.

use std::sync::Arc;
use std::time::Duration;

use testkit::wire::{MaskedFrame, opcode};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::attack::Field;
use crate::link::{Ended, Link, swallow};
use crate::scenario::{Bound, By, Newcomers, Scenario, Told, over};
use crate::server::Setting;

const PEERS: u32 = 100;
const LENGTH: Duration = Duration::from_secs(10);
/// Who was cut off comes back after so long: below the quota of handshakes.
const BACK: Duration = Duration::from_millis(400);
/// Who floods is cut off and back within so long, or the flood goes on for longer than it may.
const TURN_MAX: Duration = Duration::from_secs(1);
/// Frames of one write.
const BATCH: usize = 64;

const BASE: Scenario = Scenario {
    name: "",
    title: "",
    what: "",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 2,
    longest: Duration::from_mins(1),
    attack: |field| Box::pin(flood(field, Vec::new(), Vec::new())),
    act: over,
    bound: Bound::Limits {
        connections: 100,
        kib_each: 160,
        why: "an unfinished message each, 64 KiB, and the answers of one read",
    },
    newcomers: Newcomers::Served,
    told: &[],
};

pub(crate) const FRAGMENTS: Scenario = Scenario {
    name: "fragments",
    title: "a flood of fragments",
    what: "100 authenticated peers that begin a message and send empty fragments without end, as fast as the socket takes them, and come back 400 ms after they were cut off",
    attack: |field| {
        let begin = MaskedFrame::begun(opcode::TEXT, b"a").as_bytes().to_vec();
        Box::pin(flood(field, begin, MaskedFrame::begun(opcode::CONTINUATION, b"").as_bytes().repeat(BATCH)))
    },
    told: &[
        Told {
            by: By::Log("connection_closed", "message_too_many_fragments"),
            least: |known| known.seen("closed with 1008"),
        },
        Told {
            by: By::Metric("wsguard_refusals_total{control=\"frame\"}"),
            least: |known| known.seen("closed with 1008"),
        },
        Told { by: By::Peers("closed with 1008"), least: |known| known.turns(PEERS, LENGTH, TURN_MAX) },
    ],
    ..BASE
};

pub(crate) const PINGS: Scenario = Scenario {
    name: "pings",
    title: "a flood of pings",
    what: "100 authenticated peers that send pings of 125 bytes as fast as the socket takes them, and come back 400 ms after they were cut off",
    attack: |field| {
        Box::pin(flood(field, Vec::new(), MaskedFrame::new(opcode::PING, &[b'p'; 125]).as_bytes().repeat(BATCH)))
    },
    told: &[
        Told { by: By::Log("connection_closed", "frame_control_flood"), least: |known| known.seen("closed with 1008") },
        Told {
            by: By::Metric("wsguard_refusals_total{control=\"frame\"}"),
            least: |known| known.seen("closed with 1008"),
        },
        Told { by: By::Peers("closed with 1008"), least: |known| known.turns(PEERS, LENGTH, TURN_MAX) },
    ],
    ..BASE
};

pub(crate) const PONGS: Scenario = Scenario {
    name: "pongs",
    title: "a flood of pongs",
    what: "as above, with pongs that nobody asked for",
    attack: |field| {
        Box::pin(flood(field, Vec::new(), MaskedFrame::new(opcode::PONG, &[b'p'; 125]).as_bytes().repeat(BATCH)))
    },
    told: &[
        Told { by: By::Log("connection_closed", "frame_control_flood"), least: |known| known.seen("closed with 1008") },
        Told {
            by: By::Metric("wsguard_refusals_total{control=\"frame\"}"),
            least: |known| known.seen("closed with 1008"),
        },
        Told { by: By::Peers("closed with 1008"), least: |known| known.turns(PEERS, LENGTH, TURN_MAX) },
    ],
    ..BASE
};

async fn flood(field: Arc<Field>, begin: Vec<u8>, batch: Vec<u8>) {
    let until = Instant::now() + field.time(LENGTH);
    let (begin, batch) = (Arc::new(begin), Arc::new(batch));
    let mut running = JoinSet::new();
    for index in 0..field.scaled(PEERS) {
        let (field, begin, batch) = (Arc::clone(&field), Arc::clone(&begin), Arc::clone(&batch));
        running.spawn(async move {
            let token = field.token(index);
            while Instant::now() < until {
                let ended = once(&field, index, &token, &begin, &batch, until).await;
                field.ended(&ended);
                sleep(BACK).await;
            }
        });
        sleep(Duration::from_millis(2)).await;
    }
    while running.join_next().await.is_some() {}
}

async fn once(field: &Field, index: u32, token: &str, begin: &[u8], batch: &[u8], until: Instant) -> Ended {
    let link = match Link::open(field.way(index), token).await {
        Ok(link) => link,
        Err(ended) => return ended,
    };
    let (read, mut write) = link.split();
    let mut reading = tokio::spawn(swallow(read));
    let mut sent = 0;
    if write.write_all(begin).await.is_ok() {
        while Instant::now() < until && !reading.is_finished() {
            match timeout(Duration::from_secs(5), write.write_all(batch)).await {
                Ok(Ok(())) => sent += BATCH as u64,
                _ => break,
            }
            tokio::task::yield_now().await;
        }
    }
    field.add("frames", sent);
    if let Ok(Ok(ended)) = timeout(Duration::from_secs(5), &mut reading).await {
        return ended;
    }
    reading.abort();
    Ended::Silent
}
