//! Large messages from many at the same moment.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use testkit::wire::{MaskedFrame, opcode};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, timeout};

use crate::attack::{Field, scaled};
use crate::link::{Ended, Link};
use crate::scenario::{Bound, By, Newcomers, Scenario, Told, over};
use crate::server::Setting;

const PEERS: u32 = 500;
const BYTES: usize = 60 * 1024;
/// Volleys, one a second: a quarter of what the quota of bytes permits.
const VOLLEYS: u32 = 8;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "large",
    title: "60 KB messages from 500 peers at once",
    what: "500 authenticated peers send an echo of 60 KiB at the same moment, once a second, eight times: 30 MB in and 30 MB out with each volley, all within their quotas",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 2,
    longest: Duration::from_secs(90),
    attack: |field| Box::pin(attack(field)),
    act: over,
    bound: Bound::Limits {
        connections: 500,
        kib_each: 256,
        why: "an unfinished message of 64 KiB in a buffer that may have doubled, and its echo while it is written",
    },
    newcomers: Newcomers::Served,
    told: &[
        Told {
            by: By::Metric("wsguard_messages_total{type=\"echo\",verdict=\"allow\"}"),
            least: |known| known.seen("echoes"),
        },
        Told { by: By::Metric("wsguard_message_bytes_total"), least: |known| known.seen("echoes") * BYTES as u64 },
        // All of them: within the quotas nothing may be refused.
        Told { by: By::Peers("echoes"), least: |known| known.scaled(PEERS) * volleys_of(known.quick) },
    ],
};

/// Two at least in a quick run.
fn volleys_of(quick: bool) -> u64 {
    u64::from(scaled(quick, VOLLEYS).max(2))
}

async fn attack(field: Arc<Field>) {
    let peers = field.scaled(PEERS);
    let barrier = Arc::new(Barrier::new(usize::try_from(peers).unwrap_or(1)));
    let mut running = JoinSet::new();
    for index in 0..peers {
        let (field, barrier) = (Arc::clone(&field), Arc::clone(&barrier));
        running.spawn(async move {
            let opened = Link::open(field.way(index), &field.token(index)).await;
            // Also who was not let in, or the others would wait for ever.
            barrier.wait().await;
            let ended = match opened {
                Ok(link) => volleys(&field, link).await,
                Err(ended) => Err(ended),
            };
            if let Err(ended) = ended {
                field.ended(&ended);
            }
        });
        sleep(Duration::from_millis(1)).await;
    }
    while running.join_next().await.is_some() {}
}

async fn volleys(field: &Field, mut link: Link) -> Result<(), Ended> {
    let payload = json!({ "text": "large ".repeat(BYTES / 6) });
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(Instant::now() + second, second);
    for number in 0..volleys_of(field.quick) {
        // A known id would be acknowledged, and not handled again.
        let text = link.text("echo", &number.to_string(), &payload);
        let frame = MaskedFrame::new(opcode::TEXT, text.as_bytes());
        ticks.tick().await;
        link.write(frame.as_bytes()).await?;
        loop {
            let answer = timeout(Duration::from_secs(10), link.frame()).await.map_err(|_| Ended::Silent)??;
            if answer.payload.len() > BYTES {
                field.count("echoes");
                break;
            }
            if answer.payload.starts_with(br#"{"type":"error""#) {
                field.count("refused as a message");
                break;
            }
        }
    }
    link.leave().await;
    Ok(())
}
