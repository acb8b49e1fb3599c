//! The wall clock jumps: an hour forward, and an hour back.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::attack::Field;
use crate::link::{Ended, Link, Way};
use crate::scenario::{Bound, By, Newcomers, Scenario, Stage, Told};
use crate::server::Setting;

/// Who sends at 1.4 times the quota, which slows down but never closes.
const PEERS: u32 = 20;
const PACE: Duration = Duration::from_micros(35_700);
const LENGTH: Duration = Duration::from_secs(12);
/// The quota of a subject: so many at once, so many a second.
const BURST: f64 = 60.0;
const PER_SECOND: f64 = 20.0;
/// In 12 s, without the burst.
const HANDLED_MIN: u32 = 12 * 20;
const HOUR: i64 = 3_600;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "clock",
    title: "the clock jumps",
    what: "the wall clock of the process jumps an hour forward, an hour back behind the true time, and home, 3 s each (CLOCK_REALTIME alone is moved, by a preloaded library; the monotonic clock goes on, as in the kernel), while 20 peers send at 1.4 times their quota",
    setting: Setting { open_files: None, small_disk: false, clock: true },
    rounds: 2,
    longest: Duration::from_mins(1),
    attack: |field| Box::pin(attack(field)),
    act,
    bound: Bound::Measured { peak_mib: 32, why: "nothing grows with time" },
    newcomers: Newcomers::Served,
    told: &[
        Told { by: By::Log("message_refused", "messages_of_subject"), least: |known| known.seen("messages refused") },
        Told { by: By::Log("", "token_ended"), least: |known| known.each(1) },
        Told {
            by: By::Metric("wsguard_refusals_total{control=\"rate\"}"),
            least: |known| known.seen("messages refused"),
        },
        // Nobody gets less than the quota gives, the burst aside, and everybody more than it permits to ask for.
        Told { by: By::Peers("messages handled"), least: |known| known.each(PEERS * HANDLED_MIN) },
        Told { by: By::Peers("messages refused"), least: |known| known.each(PEERS) },
    ],
};

async fn attack(field: Arc<Field>) {
    // Not less in a quick run: a quota does not shrink with it.
    let until = Instant::now() + LENGTH;
    let mut running = JoinSet::new();
    for index in 0..PEERS {
        let field = Arc::clone(&field);
        running.spawn(async move {
            match press(&field, index, until).await {
                Ok(()) => field.count("still open at the end"),
                Err(ended) => field.ended(&ended),
            }
        });
    }
    while running.join_next().await.is_some() {}
}

/// Sends above the quota, and counts what was handled: never more than the quota gives in that time.
async fn press(field: &Field, index: u32, until: Instant) -> Result<(), Ended> {
    // Another subject in each round, since the ladder remembers.
    let subject = format!("presser-{index}-{}", std::process::id());
    let token = field.issuer.token(&subject, 24 * 60).unwrap_or_default();
    let mut link = Link::open(field.way(1_000 + index), &token).await?;
    let began = Instant::now();
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut number, mut handled, mut refused) = (0_u32, 0_u32, 0_u32);
    while Instant::now() < until {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                link.say("echo", &number.to_string(), &json!({ "n": number })).await?;
            }
            frame = link.frame() => {
                match serde_json::from_slice::<Value>(&frame?.payload).ok().as_ref().and_then(|frame| frame.get("type")?.as_str()) {
                    Some("ack") => handled += 1,
                    Some("error") => refused += 1,
                    _ => {}
                }
            }
        }
    }
    let permitted = BURST + PER_SECOND * began.elapsed().as_secs_f64();
    field.add("messages handled", u64::from(handled));
    field.add("messages refused", u64::from(refused));
    field.count(if f64::from(handled) <= permitted + 1.0 { "within the quota" } else { "above the quota" });
    link.leave().await;
    Ok(())
}

fn act(stage: &mut Stage<'_>) -> Result<(), String> {
    let pause = Duration::from_secs(if stage.quick { 1 } else { 3 });
    let short = stage.issuer.token("short", 30)?;
    let banned = stage.issuer.token("banned", 24 * 60)?;
    let (status, answer) = stage.server.ask("POST", "/api/bans", r#"{"key":"subject:banned","forMs":600000}"#)?;
    stage.find("a ban of ten minutes is made", status == 200, answer);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let server = stage.server.listen;
    let open =
        |token: &str, last: u32| runtime.block_on(Link::open(Way::of(server, Ipv4Addr::new(90, 0, 0, 1), last), token));
    let mut silent = open(&short, 1).map_err(|ended| format!("the token of 30 minutes: {ended}"))?;
    thread::sleep(pause);

    stage.server.set_clock(HOUR)?;
    let ended = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(5), async {
            // A silent socket is looked at when its deadline comes, or at its next message.
            sleep(Duration::from_millis(500)).await;
            let _ = silent.say("echo", "1", &json!({})).await;
            silent.end().await
        })
        .await
        .unwrap_or(Ended::Silent)
    });
    stage.find("an hour ahead, a token of 30 minutes has ended", ended == Ended::Closed(Some(4401)), ended.to_string());
    let again = open(&short, 2).map(|_| ());
    stage.find("and opens nothing", again == Err(Ended::Refused(401)), said(&again));
    let kept = open(&banned, 3).map(|_| ());
    stage.find("an hour ahead, the ban of ten minutes holds", kept == Err(Ended::Refused(429)), said(&kept));
    thread::sleep(pause);

    stage.server.set_clock(-HOUR)?;
    let kept = open(&banned, 4).map(|_| ());
    stage.find("an hour behind, it holds", kept == Err(Ended::Refused(429)), said(&kept));
    thread::sleep(pause);

    stage.server.set_clock(0)?;
    stage.over()?;
    let (within, above) = (stage.tally.get("within the quota").copied(), stage.tally.get("above the quota").copied());
    stage.find(
        "no jump gives anybody more than the quota",
        above.is_none() && within.is_some(),
        format!("{} of {PEERS} peers within it", within.unwrap_or_default()),
    );
    Ok(())
}

fn said(result: &Result<(), Ended>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |()| "let in".to_owned())
}
