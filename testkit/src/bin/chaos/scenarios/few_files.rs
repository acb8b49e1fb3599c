//! A process that may open few files, and many connections that ask for nothing: they give way before the files run out.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::attack::Field;
use crate::scenario::{Bound, By, Newcomers, Scenario, Stage, Told};
use crate::server::Setting;

/// More than the process may have files.
const PEERS: u32 = 600;
const LENGTH: Duration = Duration::from_secs(14);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "few-files",
    title: "few files, many silent connections",
    what: "the process may open 256 files (server.connections_max stands at its default); 600 peers connect, say nothing, and connect again when they are cut off",
    setting: Setting { open_files: Some(256), small_disk: false, clock: false },
    rounds: 2,
    longest: Duration::from_mins(1),
    attack: |field| Box::pin(attack(field)),
    act,
    bound: Bound::Measured { peak_mib: 32, why: "no more connections than files" },
    newcomers: Newcomers::Served,
    told: &[
        Told { by: By::Log("handshake_unfinished", "displaced"), least: |known| known.seen("cut off") },
        Told {
            by: By::Metric("wsguard_handshakes_unfinished_total{reason=\"displaced\"}"),
            least: |known| known.seen("cut off"),
        },
        // Each of them at least once: there are places for a tenth of them.
        Told { by: By::Peers("cut off"), least: |known| known.each(PEERS) },
    ],
};

async fn attack(field: Arc<Field>) {
    let until = Instant::now() + field.time(LENGTH);
    let mut running = JoinSet::new();
    // Not fewer in a quick run: the limit of files does not shrink with it.
    for index in 0..PEERS {
        let field = Arc::clone(&field);
        running.spawn(async move {
            while Instant::now() < until {
                let Ok(mut stream) = field.way(index).connect().await else {
                    field.count("not connected");
                    sleep(Duration::from_millis(200)).await;
                    continue;
                };
                let left = until.saturating_duration_since(Instant::now());
                let mut byte = [0; 1];
                match timeout(left, stream.read(&mut byte)).await {
                    Ok(_) => field.count("cut off"),
                    Err(_) => field.count("gave up at the end"),
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    while running.join_next().await.is_some() {}
}

fn act(stage: &mut Stage<'_>) -> Result<(), String> {
    let half = if stage.quick { 2 } else { 6 };
    thread::sleep(Duration::from_secs(half));
    let answer = stage.server.ask("GET", "/health", "");
    let holds = matches!(answer, Ok((200, _)));
    stage.find(
        "the admin listener answers in the middle of it",
        holds,
        format!("{:?}", answer.map(|(status, _)| status)),
    );
    stage.over()
}
