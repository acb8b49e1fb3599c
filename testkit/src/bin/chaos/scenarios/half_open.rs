//! Peers whose machine or network is gone without a word: nothing comes from them any more, and nobody closes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::attack::Field;
use crate::link::{Link, swallow};
use crate::scenario::{Bound, By, Newcomers, Scenario, Told, over};
use crate::server::Setting;

const PEERS: u32 = 1_000;
/// Ping interval and time-out of the heartbeat are 25 s and 10 s.
const PATIENCE: Duration = Duration::from_secs(50);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "half-open",
    title: "half-open peers",
    what: "1,000 authenticated peers that fall silent behind their welcome: no message, no pong, no close. (Their kernels still acknowledge segments, as those of a frozen machine's proxy do.)",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 1,
    longest: Duration::from_secs(90),
    attack: |field| Box::pin(attack(field)),
    act: over,
    bound: Bound::Limits { connections: 1_000, kib_each: 8, why: "an idle connection and a session" },
    newcomers: Newcomers::Served,
    told: &[
        Told { by: By::Log("connection_closed", "peer_silent"), least: |known| known.scaled(PEERS) },
        Told { by: By::Metric("wsguard_refusals_total{control=\"heartbeat\"}"), least: |known| known.scaled(PEERS) },
        Told { by: By::Peers("closed with 4408"), least: |known| known.scaled(PEERS) },
    ],
};

async fn attack(field: Arc<Field>) {
    let mut running = JoinSet::new();
    for index in 0..field.scaled(PEERS) {
        let field = Arc::clone(&field);
        running.spawn(async move {
            let link = match Link::open(field.way(index), &field.token(index)).await {
                Ok(link) => link,
                Err(ended) => return field.ended(&ended),
            };
            let began = Instant::now();
            // Reads, so that the end is seen, and answers nothing.
            let (read, _write) = link.split();
            match timeout(PATIENCE, swallow(read)).await {
                Ok(ended) => field.ended(&ended),
                Err(_) => field.count("still open"),
            }
            field.most("s until one was closed", began.elapsed().as_secs());
        });
        sleep(Duration::from_millis(1)).await;
    }
    while running.join_next().await.is_some() {}
}
