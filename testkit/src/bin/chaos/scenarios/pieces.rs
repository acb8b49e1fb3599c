//! Honest messages that come one byte at a time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use testkit::wire::{MaskedFrame, opcode};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::attack::Field;
use crate::link::{Link, swallow};
use crate::scenario::{Bound, Scenario, Told, over};
use crate::server::Setting;

const PEERS: u32 = 64;
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
    bound: Bound { connections: 64, kib_each: 160, why: "an unfinished message each, 64 KiB" },
    told: &[Told::Metric("wsguard_messages_total{type=\"chat\",verdict=\"allow\"}"), Told::Peers("segments")],
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
                "1",
                &json!({"message": "a message as people write them, no more than that", "room": room}),
            );
            let frame = MaskedFrame::new(opcode::TEXT, text.as_bytes());
            let (read, mut write) = link.split();
            let reading = tokio::spawn(swallow(read));
            let mut ticks = interval(Duration::from_millis(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut sent = 0;
            'all: while Instant::now() < until {
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
