//! Two thousand peers that never finish their handshake (slow loris).

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::attack::Field;
use crate::scenario::{Bound, By, Newcomers, Scenario, Told, over};
use crate::server::Setting;

const PEERS: u32 = 2_000;
/// Between two bytes of a head.
const PACE: Duration = Duration::from_millis(500);
/// Each peer begins again when it was cut off, until then.
const LENGTH: Duration = Duration::from_secs(14);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "slow",
    title: "slow handshakes",
    what: "2,000 peers that send a byte of their request each 500 ms, and begin again when they are cut off",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 2,
    longest: Duration::from_mins(1),
    attack: |field| Box::pin(attack(field)),
    act: over,
    bound: Bound::Limits {
        connections: 4_096,
        kib_each: 16,
        why: "connections before their upgrade, and what is read of a head at once",
    },
    newcomers: Newcomers::Served,
    told: &[
        Told { by: By::Log("handshake_unfinished", "head_too_slow"), least: |known| known.seen("cut off within 11 s") },
        Told {
            by: By::Metric("wsguard_handshakes_unfinished_total{reason=\"head_too_slow\"}"),
            least: |known| known.seen("cut off within 11 s"),
        },
        Told { by: By::Peers("cut off within 11 s"), least: |known| known.scaled(PEERS) },
    ],
};

async fn attack(field: Arc<Field>) {
    // Not less in a quick run: the deadline of a head does not shrink with it.
    let until = Instant::now() + LENGTH;
    let mut running = JoinSet::new();
    for index in 0..field.scaled(PEERS) {
        let field = Arc::clone(&field);
        running.spawn(async move {
            while Instant::now() < until {
                dribble(&field, index, until).await;
            }
        });
        if index.is_multiple_of(20) {
            sleep(Duration::from_millis(10)).await;
        }
    }
    while running.join_next().await.is_some() {}
}

async fn dribble(field: &Field, index: u32, until: Instant) {
    let way = field.way(index);
    let Ok(mut stream) = way.connect().await else {
        field.count("not connected");
        sleep(PACE).await;
        return;
    };
    let began = Instant::now();
    let mut answer = Vec::new();
    for byte in way.request(None).into_bytes() {
        if Instant::now() >= until {
            field.count("gave up at the end");
            return;
        }
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        // What the server has to say ends it; else the next byte follows.
        let mut chunk = [0; 512];
        match timeout(PACE, stream.read(&mut chunk)).await {
            Err(_) => {}
            Ok(Ok(count @ 1..)) => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Ok(_) => break,
        }
    }
    let took = began.elapsed();
    field.most("ms until one was cut off", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    field.count(if took < Duration::from_secs(11) { "cut off within 11 s" } else { "cut off later" });
    if let Some(status) = answer.get(9..12) {
        field.count(format!("told {}", String::from_utf8_lossy(status)));
    }
}
