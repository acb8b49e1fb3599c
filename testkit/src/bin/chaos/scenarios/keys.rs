//! A million keys that nobody has seen before, for tables that must not grow with them.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::attack::Field;
use crate::link::{Link, Way};
use crate::scenario::{Bound, By, Newcomers, Scenario, Told, over};
use crate::server::Setting;

/// Each from a /48 of its own: a narrow and a wide prefix, two keys.
const HANDSHAKES: u32 = 500_000;
/// Under way at the same time.
const LANES: u32 = 24;
const LONGEST: Duration = Duration::from_mins(7);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "keys",
    title: "a table attack with a million keys",
    what: "500,000 handshakes with a token that does not verify, each from a /48 that was never seen: 1,000,000 new keys of the rate tables, 500,000 of the ladder and of the log's flood counter; 24 at a time, as fast as they are answered",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 1,
    longest: Duration::from_mins(8),
    attack: |field| Box::pin(attack(field)),
    act: over,
    bound: Bound::Measured { peak_mib: 33, why: "tables of a fixed size, all of them full" },
    newcomers: Newcomers::Served,
    told: &[
        Told { by: By::Log("handshake_refused", ""), least: |known| known.seen("refused with 401") },
        Told {
            by: By::Metric("wsguard_handshakes_total{status=\"401\"}"),
            least: |known| known.seen("refused with 401"),
        },
        Told {
            by: By::Metric("wsguard_refusals_total{control=\"credential\"}"),
            least: |known| known.seen("refused with 401"),
        },
        // All of them: who stopped early has not filled the tables.
        Told { by: By::Peers("refused with 401"), least: |known| known.scaled(HANDSHAKES) },
    ],
};

async fn attack(field: Arc<Field>) {
    let (next, count) = (Arc::new(AtomicU32::new(0)), field.scaled(HANDSHAKES));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..LANES {
        let (field, next) = (Arc::clone(&field), Arc::clone(&next));
        running.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count || began.elapsed() > LONGEST {
                    return;
                }
                let address = Ipv6Addr::from_bits((0x2000_0000_0000 + u128::from(index)) << 80 | 1);
                let way = Way::new(field.server, IpAddr::V6(address));
                match Link::upgrade(way, Some("eyJhbGciOiJFZERTQSJ9.e30.AAAA")).await {
                    Ok(_) => field.count("let in"),
                    Err(ended) => field.ended(&ended),
                }
            }
        });
    }
    while running.join_next().await.is_some() {}
    field.most("ms for all", u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
}
