//! The running process has no file descriptors left: nothing can be accepted until it may open files again.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant as Wall};

use testkit::cost;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::attack::{Field, shortened};
use crate::crowd::Excuse;
use crate::link::{Link, Way};
use crate::scenario::{Bound, By, Newcomers, Scenario, Stage, Told};
use crate::server::Setting;

/// Who tries to get in all the time.
const PEERS: u32 = 50;
const LENGTH: Duration = Duration::from_secs(15);
/// Each of them waits for so long, and comes back a little later.
const PATIENCE: Duration = Duration::from_secs(1);
const BACK: Duration = Duration::from_millis(500);
/// The limit of files while there are none: input, output and errors have the numbers below it, and none of them is ever
/// given back.
const FILES: u64 = 3;
/// It begins so long after the attack, and lasts so long.
const BEFORE: Duration = Duration::from_secs(2);
const LASTS: Duration = Duration::from_secs(8);
/// Cores that the server may take meanwhile. A loop that tries again without a pause takes a whole one; the honest who go
/// on chatting take 0.02.
const CORES_MAX: f64 = 0.2;
/// From the end of it until somebody is let in: a pause of the listener, and the handshakes of those who waited.
const SERVED_AGAIN_MAX: Duration = Duration::from_secs(1);
/// What it writes of one shortage: a line when it begins and one when it is over, and the same in the security log. A few more
/// for descriptors that come free in between.
const LINES_MAX: u64 = 8;
const WORDS: &str = "connections cannot be accepted";

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "descriptors",
    title: "file descriptors run out",
    what: "the limit of open files of the running server is lowered below what it has open, for 8 s, and raised again, while 50 peers and the newcomers try to get in",
    setting: Setting { open_files: None, small_disk: false, clock: false },
    rounds: 1,
    longest: Duration::from_mins(1),
    attack: |field| Box::pin(attack(field)),
    act,
    bound: Bound::Measured { peak_mib: 33, why: "nobody new is let in" },
    newcomers: Newcomers::Exempt("who came while no descriptor was left, since nothing can be accepted then"),
    told: &[
        Told { by: By::Log("accept_failed", ""), least: |known| known.each(1) },
        Told { by: By::Log("accept_resumed", ""), least: |known| known.each(1) },
        Told { by: By::Stderr("Too many open files"), least: |known| known.each(1) },
        // It tries again once a second at the very least.
        Told {
            by: By::Metric("wsguard_accept_failures_total"),
            least: |known| known.turns(1, LASTS, Duration::from_secs(1)),
        },
        Told { by: By::Peers("waited in vain"), least: |known| known.scaled(PEERS) },
        Told { by: By::Peers("let in"), least: |known| known.scaled(PEERS) },
    ],
};

async fn attack(field: Arc<Field>) {
    let until = Instant::now() + field.time(LENGTH);
    let mut running = JoinSet::new();
    for index in 0..field.scaled(PEERS) {
        let field = Arc::clone(&field);
        running.spawn(async move {
            let token = field.token(index);
            while Instant::now() < until {
                match timeout(PATIENCE, Link::open(field.way(index), &token)).await {
                    Ok(Ok(link)) => {
                        field.count("let in");
                        link.leave().await;
                    }
                    Ok(Err(ended)) => field.ended(&ended),
                    Err(_) => field.count("waited in vain"),
                }
                sleep(BACK).await;
            }
        });
        sleep(Duration::from_millis(5)).await;
    }
    while running.join_next().await.is_some() {}
}

fn act(stage: &mut Stage<'_>) -> Result<(), String> {
    let (before, lasts) = (shortened(stage.quick, BEFORE), shortened(stage.quick, LASTS));
    let token = stage.issuer.token("late", 24 * 60)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let server = stage.server.listen;
    let open = |last: u32, patience: Duration| {
        let way = Way::of(server, Ipv4Addr::new(90, 0, 0, 1), last);
        runtime.block_on(async { timeout(patience, Link::open(way, &token)).await })
    };
    thread::sleep(before);

    let (files, said) = (stage.server.files_max()?, stage.server.said(WORDS));
    stage.crowd.excuse(Excuse::Newcomers);
    stage.server.limit_files(FILES)?;
    let (began, cpu) = (Wall::now(), cost::cpu_ns(stage.server.pid())?);
    let held = stage.server.files_open()?;
    let refused = open(1, lasts / 2);
    thread::sleep(lasts.saturating_sub(began.elapsed()));
    let (took, spent) = (began.elapsed(), cost::cpu_ns(stage.server.pid())?.saturating_sub(cpu));
    let lines = stage.server.said(WORDS).saturating_sub(said);
    let raised = Wall::now();
    stage.server.limit_files(files)?;

    let again = open(2, SERVED_AGAIN_MAX);
    let waited = raised.elapsed();
    stage.crowd.excuse(Excuse::Nobody);
    stage.find(
        "more files are open than the process may have",
        held as u64 > FILES,
        format!("{held} open, of {FILES}, for {} ms", took.as_millis()),
    );
    let within: Vec<_> = stage.crowd.exempt().into_iter().filter(|one| one.began > began).collect();
    let early = within.iter().filter(|one| one.served && one.ended < raised).count();
    stage.find(
        "nobody is let in meanwhile",
        refused.is_err() && early == 0,
        format!("{early} of {} newcomers let in", within.len() + 1),
    );
    let cores = Duration::from_nanos(spent).as_secs_f64() / took.as_secs_f64();
    stage.find(
        &format!("the server takes less than {CORES_MAX} cores meanwhile"),
        cores < CORES_MAX,
        format!("{cores:.3} cores"),
    );
    stage.find(
        "it says so, and does not fill the disk with it",
        (1..=LINES_MAX).contains(&lines),
        format!("{lines} lines"),
    );
    let how = match &again {
        Ok(Ok(_)) => "let in",
        Ok(Err(_)) => "refused",
        Err(_) => "no answer",
    };
    stage.find(
        &format!("newcomers are let in within {} ms of the end of it", SERVED_AGAIN_MAX.as_millis()),
        matches!(again, Ok(Ok(_))),
        format!("{how} after {} ms", waited.as_millis()),
    );
    let answer = stage.server.ask("GET", "/health", "");
    stage.find(
        "the admin listener answers again",
        matches!(answer, Ok((200, _))),
        format!("{:?}", answer.map(|(status, _)| status)),
    );
    stage.over()
}
