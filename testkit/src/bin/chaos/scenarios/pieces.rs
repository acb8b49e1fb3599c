//! Honest messages that come one byte at a time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use testkit::wire::{MaskedFrame, opcode};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::attack::Field;
use crate::link::{Link, read_on};
use crate::scenario::{Bound, By, Newcomers, Scenario, Told, over};
use crate::server::Setting;

const PEERS: u32 = 64;
/// Between two segments of a peer.
const PACE: Duration = Duration::from_millis(1);
/// Stands for the id of a message.
const NUMBER: &str = "(number)";
const LENGTH: Duration = Duration::from_secs(10);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "pieces",
    title: "frames one byte at a time",
    what: "64 peers whose chat messages come in segments of one byte, each of them 1,000 segments a second",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 2,
    longest: Duration::from_mins(1),
    attack: |field| Box::pin(attack(field)),
    act: over,
    bound: Bound::Limits { connections: 64, kib_each: 160, why: "an unfinished message each, 64 KiB" },
    newcomers: Newcomers::Served,
    told: &[
        Told {
            by: By::Metric("wsguard_messages_total{type=\"chat\",verdict=\"allow\"}"),
            least: |known| known.chats + known.seen("messages acknowledged"),
        },
        // Half of what their pace gives, and a message a second of each: one has some 300 bytes.
        Told { by: By::Peers("segments"), least: |known| known.turns(PEERS, LENGTH, PACE * 2) },
        Told {
            by: By::Peers("messages acknowledged"),
            least: |known| known.turns(PEERS, LENGTH, Duration::from_secs(1)),
        },
    ],
};

async fn attack(field: Arc<Field>) {
    let until = Instant::now() + field.time(LENGTH);
    let mut running = JoinSet::new();
    for index in 0..field.scaled(PEERS) {
        let field = Arc::clone(&field);
        running.spawn(async move {
            let mut link = match Link::open(field.way(index), &field.token(index)).await {
                Ok(link) => link,
                Err(ended) => return field.ended(&ended),
            };
            // A room of its own: what it says concerns nobody.
            let room = format!("pieces-{index}");
            if let Err(ended) = link.ask("join", "join", &json!({ "room": room })).await {
                return field.ended(&ended);
            }
            let text = link.text(
                "chat",
                NUMBER,
                &json!({"message": "a message as people write them, no more than that", "room": room}),
            );
            let (read, mut write) = link.split();
            let counting = Arc::clone(&field);
            let reading = tokio::spawn(read_on(read, move |payload| {
                if payload.starts_with(br#"{"type":"ack""#) {
                    counting.count("messages acknowledged");
                }
            }));
            let mut ticks = interval(PACE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let (mut number, mut sent) = (0_u32, 0);
            'all: while Instant::now() < until {
                // A known id would be acknowledged, and not handled again.
                number += 1;
                let turned = text.replace(NUMBER, &number.to_string());
                let frame = MaskedFrame::new(opcode::TEXT, turned.as_bytes());
                for byte in frame.as_bytes() {
                    ticks.tick().await;
                    if write.write_all(&[*byte]).await.is_err() {
                        break 'all;
                    }
                    sent += 1;
                }
            }
            field.add("segments", sent);
            drop(write);
            if let Ok(Ok(ended)) = tokio::time::timeout(Duration::from_secs(5), reading).await {
                field.ended(&ended);
            }
        });
        sleep(Duration::from_millis(2)).await;
    }
    while running.join_next().await.is_some() {}
}
