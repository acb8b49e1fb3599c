//! Ten thousand handshakes that bring no credential.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::attack::Field;
use crate::link::{Ended, Link, Way};
use crate::scenario::{Bound, By, Newcomers, Scenario, Told, over};
use crate::server::Setting;

const HANDSHAKES: u32 = 10_000;
const PER_SECOND: u32 = 1_000;
/// Every fifth comes from one and the same address, the others each from one of its own, a hundred in a /24.
const OF_ONE_ADDRESS: u32 = 5;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "handshakes",
    title: "handshakes without a credential",
    what: "10,000 upgrade requests without a credential in 10 s: 2,000 from one address, 8,000 from as many addresses in 80 networks; who is let in says nothing",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 2,
    longest: Duration::from_mins(1),
    attack: |field| Box::pin(attack(field)),
    act: over,
    bound: Bound::Limits {
        connections: 6_000,
        kib_each: 8,
        why: "5 s of handshakes that may still send their first message",
    },
    newcomers: Newcomers::Served,
    told: &[
        // By the quota, and where that was not enough by the ladder.
        Told { by: By::Log("handshake_refused", ""), least: |known| known.seen("refused with 429") },
        Told {
            by: By::Log("connection_closed", "first_message_missing"),
            least: |known| known.seen("closed with 4408"),
        },
        Told { by: By::Log("log_flood", "handshakes_of_prefix"), least: |known| known.each(1) },
        Told {
            by: By::Metric("wsguard_handshakes_total{status=\"429\"}"),
            least: |known| known.seen("refused with 429"),
        },
        Told {
            by: By::Peers("refused with 429"),
            least: |known| known.scaled(HANDSHAKES / OF_ONE_ADDRESS).saturating_sub(known.each(LET_IN_MAX)),
        },
        Told {
            by: By::Peers("closed with 4408"),
            least: |known| known.scaled(HANDSHAKES - HANDSHAKES / OF_ONE_ADDRESS),
        },
    ],
};

/// Of one address: three times the quota of ten seconds, 30, which it has at the beginning and again while they last.
const LET_IN_MAX: u32 = 90;

fn address(index: u32) -> IpAddr {
    if index.is_multiple_of(OF_ONE_ADDRESS) {
        return IpAddr::V4(Ipv4Addr::new(60, 0, 0, 1));
    }
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(61, 0, 0, 1)) + index / 125 * 256 + index % 125))
}

async fn attack(field: Arc<Field>) {
    let mut running = JoinSet::new();
    let began = Instant::now();
    for index in 0..field.scaled(HANDSHAKES) {
        sleep_until(began + Duration::from_secs(1) * index / PER_SECOND).await;
        let field = Arc::clone(&field);
        running.spawn(async move {
            let ended = match Link::upgrade(Way::new(field.server, address(index)), None).await {
                Ok(mut link) => timeout(Duration::from_secs(20), link.end()).await.unwrap_or(Ended::Silent),
                Err(ended) => ended,
            };
            field.ended(&ended);
        });
        while running.try_join_next().is_some() {}
    }
    field.most("ms to send them", u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    while running.join_next().await.is_some() {}
}
