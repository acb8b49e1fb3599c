//! Floods and faults on the real server: `wsguard serve` as it is run in production is attacked in every way that there is a
//! scenario for, while honest clients chat. Measured is what they notice, and what the server takes.
//!
//! Quiet and attack take turns within each scenario, since single times of a shared machine mean little. Server and honest
//! clients have one half of the machine's cores, the attackers the other. A second server, which nobody chats with, is
//! attacked in the same way between: what honest messages take then is the machine's share.
//!
//! Loopback only; every attack ends by itself. Exit codes: 0 every goal met, 1 one missed or undecided, 3 something could not be measured.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    reason = "counters and figures of a measurement on the developer's own machine"
)]

mod attack;
mod crowd;
mod link;
mod outcome;
mod plot;
mod report;
mod scenario;
mod scenarios;
mod server;
mod watch;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;

use crate::attack::{Attack, Field, Tally};
use crate::crowd::{Crowd, Excuse, Phase};
use crate::link::Issuer;
use crate::outcome::{Calendar, Figures, Log, Outcome, Sources};
use crate::scenario::{Known, Newcomers, Scenario, Stage};
use crate::server::{Server, Setting};
use crate::watch::Watch;

/// Honest clients that chat all the time.
const PEOPLE: u32 = 64;
/// After the honest clients are in, and after an attack: what began or ended then wears off.
const SETTLE: Duration = Duration::from_secs(3);

/// A flood of the log is summed up when its ten seconds are over: so long after the last attack the log has all of it.
const SUMMED_UP: Duration = Duration::from_secs(12);

/// Attacks a real server while honest clients chat, and says what they noticed.
#[derive(Parser, Debug)]
#[command(name = "chaos")]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
struct Args {
    /// Only these scenarios, by name.
    scenario: Vec<String>,
    /// Seconds of quiet before, between and after attacks.
    #[arg(long, default_value_t = 8)]
    quiet: u64,
    /// At most so many attacks of a scenario.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Do not attack a second server between.
    #[arg(long)]
    no_beside: bool,
    /// A tenth of the peers and a third of the time, to see that everything runs. Writes no report.
    #[arg(long)]
    quick: bool,
    /// Use the programs that are beside this one, without building them.
    #[arg(long)]
    no_build: bool,
    /// Run nothing: write docs/resilience.md anew from what was measured last.
    #[arg(long)]
    report: bool,
    /// Write the page and its plot beside what was measured (target/chaos), and leave docs/ as it is.
    #[arg(long)]
    scratch: bool,
    /// For the process of the attackers.
    #[arg(long, hide = true, requires_all = ["server", "key"])]
    attack: Option<String>,
    #[arg(long, hide = true)]
    server: Option<SocketAddr>,
    #[arg(long, hide = true)]
    key: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match (&args.attack, args.server, &args.key) {
        (Some(name), Some(server), Some(key)) => assault(name, server, key, args.quick).map(|()| true),
        _ => chaos(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("chaos: {fault}");
            ExitCode::from(3)
        }
    }
}

fn named(name: &str) -> Result<&'static Scenario, String> {
    let known = || scenarios::ALL.map(|scenario| scenario.name).join(", ");
    let found = scenarios::ALL.into_iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("no scenario {name}; there are {}", known()))
}

/// The process of the attackers.
fn assault(name: &str, server: SocketAddr, key: &Path, quick: bool) -> Result<(), String> {
    if !server.ip().is_loopback() {
        return Err(format!("{server} is not a loopback address"));
    }
    let scenario = named(name)?;
    let field = Arc::new(Field::new(server, Issuer::load(key)?, quick));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on((scenario.attack)(Arc::clone(&field)));
    let tally = serde_json::to_string(&field.take()).map_err(|e| e.to_string())?;
    writeln!(std::io::stdout(), "{tally}").map_err(|e| e.to_string())
}

fn chaos(args: &Args) -> Result<bool, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the repository is not found")?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let programs = own.parent().ok_or("this program is not in a folder")?.to_owned();
    let kept = programs.parent().unwrap_or(&programs).join("chaos");
    fs::create_dir_all(&kept).map_err(|e| format!("{}: {e}", kept.display()))?;
    if args.report {
        return report::write(repository, &kept, args.scratch).map(|()| true);
    }
    if !args.no_build {
        build(repository)?;
    }
    let chosen = if args.scenario.is_empty() {
        scenarios::ALL.to_vec()
    } else {
        args.scenario.iter().map(|name| named(name)).collect::<Result<_, _>>()?
    };
    let theirs = share_the_cores()?;
    let mut good = true;
    let mut unmeasured = Vec::new();
    for scenario in chosen {
        eprintln!("{}: {}", scenario.name, scenario.what);
        match run(scenario, args, &programs, &theirs) {
            Ok(outcome) => {
                writeln!(std::io::stdout(), "{}", report::line(&outcome)).map_err(|e| e.to_string())?;
                good &= outcome.missed().is_empty() && outcome.is_decided();
                if !args.quick {
                    let text = serde_json::to_string(&outcome).map_err(|e| e.to_string())?;
                    fs::write(kept.join(format!("{}.json", scenario.name)), text).map_err(|e| e.to_string())?;
                }
            }
            Err(fault) => {
                eprintln!("{}: {fault}", scenario.name);
                unmeasured.push(scenario.name);
            }
        }
    }
    if !args.quick {
        report::write(repository, &kept, args.scratch)?;
    }
    if unmeasured.is_empty() { Ok(good) } else { Err(format!("not measured: {}", unmeasured.join(", "))) }
}

/// Keeps this process, and with it the servers and the honest clients, to the first half of the cores; says which are left
/// for the attackers. All share one where there are no two.
fn share_the_cores() -> Result<String, String> {
    let cores = thread::available_parallelism().map_err(|e| e.to_string())?.get();
    let half = cores / 2;
    if half == 0 {
        return Ok("0".to_owned());
    }
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", "-p", &format!("0-{}", half - 1), &std::process::id().to_string()]).stdout(Stdio::null());
    match taskset.status() {
        Ok(status) if status.success() => Ok(format!("{half}-{}", cores - 1)),
        Ok(status) => Err(format!("taskset ended with {status}")),
        Err(error) => Err(format!("taskset could not be started: {error}")),
    }
}

fn build(repository: &Path) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--workspace", "--release", "--bins"]).current_dir(repository).stdout(Stdio::null());
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo build ended with {status}")),
        Err(error) => Err(format!("cargo could not be started: {error}")),
    }
}

fn run(scenario: &Scenario, args: &Args, programs: &Path, theirs: &str) -> Result<Outcome, String> {
    let mut server = Server::start(programs, scenario.setting)?;
    let neighbour = if args.no_beside { None } else { Some(Server::start(programs, Setting::default())?) };
    let issuer = Issuer::load(&server.issuer_key())?;
    let watch = Watch::start(server.pid())?;
    let crowd = Crowd::start(server.listen, &issuer, PEOPLE)?;
    let began = crowd.began();
    let mut calendar = Calendar::default();
    let mut enter = |phase: Phase, length: Duration| {
        calendar.enter(phase);
        crowd.enter(phase);
        thread::sleep(length);
    };
    let quiet = if args.quick { Duration::from_secs(args.quiet.min(2)) } else { Duration::from_secs(args.quiet) };
    let (mut tally, mut findings) = (Tally::new(), Vec::new());
    let rounds = if args.quick { 1 } else { scenario.rounds.min(args.rounds).max(1) };
    enter(Phase::Rest, SETTLE);
    for _ in 0..rounds {
        enter(Phase::Quiet, quiet);
        if let Some(neighbour) = &neighbour
            && scenario.setting.is_ordinary()
            && scenario.rounds > 1
        {
            enter(Phase::Beside, Duration::ZERO);
            let attack = Attack::start(scenario, neighbour.listen, &neighbour.issuer_key(), theirs, args.quick)?;
            attack.wait()?;
            enter(Phase::Rest, SETTLE);
            enter(Phase::Quiet, quiet);
        }
        let key = server.issuer_key();
        enter(Phase::Attack, Duration::ZERO);
        let attack = Attack::start(scenario, server.listen, &key, theirs, args.quick)?;
        let mut stage = Stage {
            server: &mut server,
            crowd: &crowd,
            watch: &watch,
            issuer: &issuer,
            quick: args.quick,
            attack: Some(attack),
            tally: Tally::new(),
            findings: &mut findings,
        };
        (scenario.act)(&mut stage)?;
        let more = std::mem::take(&mut stage.tally);
        attack::merge(&mut tally, more);
        enter(Phase::After, SETTLE);
    }
    enter(Phase::Quiet, quiet);
    enter(Phase::Rest, SUMMED_UP.saturating_sub(quiet + SETTLE));
    crowd.excuse(Excuse::Nobody);
    let noted = crowd.end();
    let looks = watch.end();

    let mut fault = server.fault();
    let metrics = server.metrics().unwrap_or_else(|error| {
        fault.get_or_insert(error);
        std::collections::BTreeMap::new()
    });
    if server.panics(&metrics) > 0.0 || server.said("panicked") > 0 {
        fault.get_or_insert(format!("a panic: {}", server.last_words()));
    }
    let log = Log::read(&server.logs()?)?;
    if let Some(fault) = &log.fault {
        findings.push(scenario::Finding {
            claim: "every line of the log is as docs/log.md says".to_owned(),
            holds: false,
            evidence: fault.clone(),
        });
    }
    let (log_verdict, _) = server.verify_log()?;
    let settled = looks.iter().filter(|look| look.at < began + SETTLE).map(|look| look.resident_bytes).max();
    let peak = looks.iter().map(|look| look.peak_bytes).max();
    let known = Known { rounds, quick: args.quick, tally: &tally, chats: noted.chats };
    let words = server.words();
    let told = outcome::told(scenario.told, Sources { log: &log, metrics: &metrics, stderr: &words }, &known);
    let with_beside = Figures::of(&noted.messages, Phase::Beside);
    Ok(Outcome {
        name: scenario.name.to_owned(),
        rounds,
        quiet: Figures::of(&noted.messages, Phase::Quiet),
        beside: (with_beside.count > 0).then_some(with_beside),
        attack: Figures::of(&noted.messages, Phase::Attack),
        attacks: (1..=rounds).map(|round| Figures::of_round(&noted.messages, round)).collect(),
        entry_quiet: Figures::of(&noted.entries, Phase::Quiet),
        entry_attack: Figures::of(&noted.entries, Phase::Attack),
        entries_exempt: noted.exempt.len(),
        may_exempt: matches!(scenario.newcomers, Newcomers::Exempt(_)),
        suffered_quiet: outcome::counted(&noted.suffered, |phase| matches!(phase, Phase::Rest | Phase::Quiet)),
        suffered_beside: outcome::counted(&noted.suffered, |phase| phase == Phase::Beside),
        suffered_attack: outcome::counted(&noted.suffered, Phase::is_attacked),
        lost_with_the_process: noted.lost,
        crowd_first: noted.first,
        rest_mib: outcome::mib(settled.unwrap_or_default()),
        peak_mib: outcome::mib(peak.unwrap_or_default()),
        bound_mib: scenario.bound.mib(),
        cpu_quiet: calendar.cores(&looks, Phase::Quiet),
        cpu_attack: calendar.cores(&looks, Phase::Attack),
        told,
        tally,
        findings,
        log_lines: log.lines,
        log_bytes: log.bytes,
        log_verdict,
        fault,
        course: calendar.course(began, &looks, &noted),
    })
}
