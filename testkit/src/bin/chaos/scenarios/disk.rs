//! The disk of the security log runs full while much is refused, and has room again later.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::attack::Field;
use crate::link::{Link, Way};
use crate::scenario::{Bound, By, Newcomers, Scenario, Stage, Told};
use crate::server::Setting;

const HANDSHAKES: u32 = 8_000;
const PER_SECOND: u32 = 800;
/// Lines of 400 bytes or more: beyond what fits the free MiB of the disk and the MiB of lines that wait, 5,243 at most.
const DROPPED_MIN: u32 = HANDSHAKES - 2 * 1024 * 1024 / 400 - 1;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "disk",
    title: "the log's disk is full",
    what: "the security log lies on a file system of 4 MiB, three of them taken; 8,000 handshakes with a bad token in 10 s, each from a /24 of its own, fill it; afterwards the three are freed",
    setting: Setting { open_files: None, small_disk: true, clock: false },
    rounds: 1,
    longest: Duration::from_mins(1),
    attack: |field| Box::pin(attack(field)),
    act,
    bound: Bound::Measured { peak_mib: 34, why: "1 MiB of lines waits for the disk, and the queue" },
    newcomers: Newcomers::Served,
    told: &[
        Told { by: By::LogOrDropped("handshake_refused", ""), least: |known| known.seen("refused with 401") },
        Told { by: By::Log("journal_dropped", ""), least: |known| known.each(1) },
        Told { by: By::Metric("wsguard_log_dropped_total"), least: |known| known.each(DROPPED_MIN) },
        Told { by: By::Peers("refused with 401"), least: |known| known.each(HANDSHAKES) },
    ],
};

async fn attack(field: Arc<Field>) {
    let mut running = JoinSet::new();
    let began = Instant::now();
    // Not fewer in a quick run: the disk does not shrink with it.
    for index in 0..HANDSHAKES {
        sleep_until(began + Duration::from_secs(1) * index / PER_SECOND).await;
        let field = Arc::clone(&field);
        running.spawn(async move {
            let way = Way::of(field.server, Ipv4Addr::new(80, 0, 0, 1), index);
            match Link::upgrade(way, Some("eyJhbGciOiJFZERTQSJ9.e30.AAAA")).await {
                Ok(_) => field.count("let in"),
                Err(ended) => field.ended(&ended),
            }
        });
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

fn act(stage: &mut Stage<'_>) -> Result<(), String> {
    stage.over()?;
    let metrics = stage.server.metrics()?;
    let of = |name: &str| metrics.get(name).copied().unwrap_or_default();
    let (failures, dropped) = (of("wsguard_log_write_failures_total"), of("wsguard_log_dropped_total"));
    stage.find(
        "/metrics tells that the disk takes no more",
        failures > 0.0 && dropped > 0.0,
        format!("{failures} writes failed, {dropped} entries dropped"),
    );
    stage.server.make_room()?;
    // The writer looks again within a second, and at the next entry.
    thread::sleep(Duration::from_secs(3));
    Ok(())
}
