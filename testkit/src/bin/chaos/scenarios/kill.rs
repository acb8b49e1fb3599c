//! The process is killed under load, and starts again.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant as Wall};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::attack::Field;
use crate::crowd::Excuse;
use crate::link::{Ended, Link, Way};
use crate::scenario::{Bound, By, Newcomers, Scenario, Stage, Told};
use crate::server::Setting;

const KILLS: u32 = 3;
const SENDERS: u32 = 100;
/// A bad token each, from many addresses: lines for the log.
const GUESSERS: u32 = 16;
/// Entries that the log's writer may not have written yet.
const QUEUE: u32 = 8_192;
const SAID_EACH: Duration = Duration::from_millis(100);
const LENGTH: Duration = Duration::from_secs(16);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "kill",
    title: "kill -9 under load",
    what: "SIGKILL three times, 4 s apart, and a new start in the same directory; meanwhile 100 peers send ten messages a second each and 16 lanes guess tokens, and all come back",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 1,
    longest: Duration::from_secs(90),
    attack: |field| Box::pin(attack(field)),
    act,
    bound: Bound::Measured { peak_mib: 34, why: "what those who come back hold" },
    newcomers: Newcomers::Exempt("who came while the process was gone"),
    told: &[
        // The first start, and one behind each kill.
        Told { by: By::Log("log_opened", ""), least: |known| known.each(KILLS) + 1 },
        Told { by: By::Log("revocation_added", ""), least: |known| known.each(1) },
        Told { by: By::Log("ban_made", ""), least: |known| known.each(1) },
        // What a kill may take with it: the queue. Twice that must have been guessed, or the log's least says little.
        Told {
            by: By::LogOrDropped("handshake_refused", ""),
            least: |known| known.seen("guesses refused with 401").saturating_sub(known.each(KILLS * QUEUE)),
        },
        Told { by: By::Peers("guesses refused with 401"), least: |known| known.scaled(KILLS * QUEUE * 2) },
        // Half of what their pace gives: they are away for a while behind each kill.
        Told { by: By::Peers("messages sent"), least: |known| known.turns(SENDERS, LENGTH, SAID_EACH * 2) },
    ],
};

async fn attack(field: Arc<Field>) {
    let until = Instant::now() + field.time(LENGTH);
    let mut running = JoinSet::new();
    for index in 0..field.scaled(SENDERS) {
        let field = Arc::clone(&field);
        running.spawn(async move {
            while Instant::now() < until {
                if let Err(ended) = send(&field, index, until).await {
                    field.count(format!("a sender was {ended}"));
                }
                sleep(Duration::from_millis(400)).await;
            }
        });
    }
    for lane in 0..GUESSERS {
        let field = Arc::clone(&field);
        running.spawn(async move {
            let mut index = lane;
            while Instant::now() < until {
                index += GUESSERS;
                let way = Way::of(field.server, Ipv4Addr::new(80, 0, 0, 1), index);
                match Link::upgrade(way, Some("eyJhbGciOiJFZERTQSJ9.e30.AAAA")).await {
                    Err(Ended::Refused(401)) => field.count("guesses refused with 401"),
                    _ => sleep(Duration::from_millis(100)).await,
                }
            }
        });
    }
    while running.join_next().await.is_some() {}
}

async fn send(field: &Field, index: u32, until: Instant) -> Result<(), Ended> {
    let mut link = Link::open(field.way(index), &field.token(index)).await?;
    let mut ticks = interval(SAID_EACH);
    let mut number = 0_u32;
    while Instant::now() < until {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                link.say("echo", &number.to_string(), &json!({ "n": number })).await?;
                field.count("messages sent");
            }
            frame = link.frame() => { frame?; }
        }
    }
    link.leave().await;
    Ok(())
}

fn act(stage: &mut Stage<'_>) -> Result<(), String> {
    let (revoked, banned) = (stage.issuer.token("revoked", 24 * 60)?, stage.issuer.token("banned", 24 * 60)?);
    let (status, answer) = stage.server.ask("POST", "/api/revocations", r#"{"subject":"revoked"}"#)?;
    stage.find("a revocation is made", status == 200, answer);
    let (status, answer) = stage.server.ask("POST", "/api/bans", r#"{"key":"subject:banned","forMs":3600000}"#)?;
    stage.find("a ban is made", status == 200, answer);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let server = stage.server.listen;
    let pause = Duration::from_millis(if stage.quick { 800 } else { 4_000 });
    for round in 1..=KILLS {
        thread::sleep(pause);
        stage.crowd.excuse(Excuse::All);
        stage.watch.look();
        stage.server.kill()?;
        let (torn, cut) = (stage.server.torn_bytes(false)?, round == KILLS);
        let left = stage.server.torn_bytes(cut)?;
        let restarting = Wall::now();
        stage.server.restart()?;
        let ready = restarting.elapsed();
        stage.watch.follow(stage.server.pid());
        let back = stage.crowd.gathered(Duration::from_secs(20))?;
        stage.crowd.excuse(Excuse::Nobody);
        let open = |token: &str, last: u32| {
            let way = Way::of(server, Ipv4Addr::new(90, 0, 0, 1), round * 8 + last);
            runtime.block_on(Link::open(way, token)).map(|_| ())
        };
        let (of_revoked, of_banned) = (open(&revoked, 1), open(&banned, 2));
        let holds = of_revoked == Err(Ended::Refused(401)) && of_banned == Err(Ended::Refused(429));
        stage.find(
            &format!("after kill {round}, revocation and ban hold"),
            holds,
            format!(
                "revoked: {}, banned: {}; ready {} ms after the start, all the honest back {} ms later",
                said(&of_revoked),
                said(&of_banned),
                ready.as_millis(),
                back.as_millis()
            ),
        );
        let how =
            if torn > 0 { "the kill tore a line" } else { "the kill tore none, and the last line was cut by hand" };
        if left > 0 {
            let recognised = stage.server.log_says(&format!("\"wsguard.log.torn_bytes\":{left}"))?;
            stage.find(
                &format!("after kill {round}, the torn line is recognised"),
                recognised,
                format!("{how}: {left} bytes of it"),
            );
        }
    }
    stage.over()
}

fn said(result: &Result<(), Ended>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |()| "let in".to_owned())
}
