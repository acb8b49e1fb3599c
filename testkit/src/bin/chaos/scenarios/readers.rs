//! Members of rooms who stop reading while others go on talking to them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::attack::Field;
use crate::crowd::room_of;
use crate::link::{Ended, Link, Way, swallow};
use crate::scenario::{Bound, By, Newcomers, Scenario, Told, over};
use crate::server::Setting;

/// Who stops reading; every fourth of them in a room of the honest.
const READERS: u32 = 200;
/// Of those, who are in the loud room: a queue fills there long before the end.
const LOUD: u32 = READERS - READERS / 4;
const SPEAKERS: u32 = 8;
/// Rooms of honest people that they join.
const ROOMS: u32 = 8;
const LENGTH: Duration = Duration::from_secs(14);
/// Between two messages of a speaker: within its quota of 20 a second.
const PACE: Duration = Duration::from_millis(60);
/// Messages of each, at half that pace.
const SAID_MIN: u32 = 14_000 / 60 / 2;
/// Within the quota of 256 KiB a second, and within the 4,000 characters of a chat.
const SPOKEN: usize = 3_900;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "readers",
    title: "readers that stop reading",
    what: "200 peers with the smallest receive buffer that stop reading: 50 in the rooms of the honest, 150 in a room where 8 others say 16 times 11 KiB a second each",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 2,
    longest: Duration::from_secs(90),
    attack: |field| Box::pin(attack(field)),
    act: over,
    bound: Bound::Limits {
        connections: 208,
        kib_each: 512,
        why: "a full send queue, 256 KiB, and what was taken out of it to be written",
    },
    newcomers: Newcomers::Served,
    told: &[
        Told { by: By::Log("connection_closed", "peer_does_not_read"), least: |known| known.scaled(LOUD) },
        Told { by: By::Metric("wsguard_queue_drops_total"), least: |known| known.scaled(LOUD) },
        // Half of what their pace gives.
        Told { by: By::Peers("messages said"), least: |known| known.each(SPEAKERS * SAID_MIN) },
    ],
};

async fn attack(field: Arc<Field>) {
    // Not less in a quick run: a queue takes its time to fill, and more in it.
    let until = Instant::now() + LENGTH;
    let mut running = JoinSet::new();
    for index in 0..field.scaled(READERS) {
        let room = if index.is_multiple_of(4) { room_of(index / 4 % ROOMS) } else { "loud".to_owned() };
        let field = Arc::clone(&field);
        running.spawn(async move { read_nothing(&field, index, &room, until).await });
        sleep(Duration::from_millis(3)).await;
    }
    for index in 0..SPEAKERS {
        let field = Arc::clone(&field);
        running.spawn(async move {
            if let Err(ended) = speak(&field, READERS + index, until).await {
                field.count(format!("a speaker was {ended}"));
            }
        });
    }
    while running.join_next().await.is_some() {}
}

async fn read_nothing(field: &Field, index: u32, room: &str, until: Instant) {
    let way = Way { buffer: Some(4_096), ..field.way(index) };
    let mut link = match Link::open(way, &field.token(index)).await {
        Ok(link) => link,
        Err(ended) => return field.ended(&ended),
    };
    if let Err(ended) = link.ask("join", "join", &json!({ "room": room })).await {
        return field.ended(&ended);
    }
    sleep_until(until).await;
    // Now it reads: what the kernels held, and then how it ended.
    let (read, _write) = link.split();
    match timeout(Duration::from_millis(500), swallow(read)).await {
        Ok(ended) => field.ended(&ended),
        Err(_) => field.count("still open"),
    }
}

async fn speak(field: &Field, index: u32, until: Instant) -> Result<(), Ended> {
    let mut link = Link::open(field.way(index), &field.token(index)).await?;
    link.ask("join", "join", &json!({ "room": "loud" })).await?;
    let text = "\u{2019}".repeat(SPOKEN);
    let mut ticks = interval(PACE);
    let mut number = 0_u32;
    while Instant::now() < until {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                let turned = format!("{number} {text}");
                link.say("chat", &number.to_string(), &json!({"message": turned, "room": "loud"})).await?;
                field.count("messages said");
            }
            frame = link.frame() => { frame?; }
        }
    }
    link.leave().await;
    Ok(())
}
