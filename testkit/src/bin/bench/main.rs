//! Measures what the guard costs: `wsguard serve --dev` against the raw echo of the same driver and against the Node
//! stack in `benches/node-stack`, in one run, alternating, as ratios.
//!
//! Times of a shared machine mean little by themselves; the ratio of two servers that took turns does. It never fails
//! on a time. It fails when something could not be measured, and says what.
#![expect(clippy::arithmetic_side_effects, reason = "counters of a benchmark; an overflow stops it, which is right")]

mod counted;
mod growth;
mod report;
mod server;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use serde_json::Value;

use crate::growth::Growth;
use crate::report::Report;
use crate::server::{Algorithm, Kind, SUBJECTS, Server, TLS_CONNECTIONS_MAX};

/// Measures wsguard against the raw echo of its driver and against the Node stack, and prints ratios.
#[derive(Parser, Debug)]
#[command(name = "bench")]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
struct Args {
    /// How often the servers take turns; the medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Connections that send messages. With one alone, server and client wait for each other in turn, and what is
    /// measured is how fast the kernel wakes them.
    #[arg(long, default_value_t = 8)]
    connections: u32,
    /// Length of a message in its frame.
    #[arg(long, default_value_t = 200)]
    payload_bytes: u32,
    /// Connections that are held to weigh an idle one.
    #[arg(long, default_value_t = 10_000)]
    idle: u32,
    /// Handshakes of each of three turns.
    #[arg(long, default_value_t = 2_000)]
    handshakes: u32,
    /// Leave out the instruction counts, which run the server under valgrind.
    #[arg(long)]
    no_instructions: bool,
    /// Leave out how cost grows with connections, rooms, types and keys.
    #[arg(long)]
    no_growth: bool,
    /// A tenth of the work, to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// Measure only these servers.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Bare, Kind::Raw, Kind::Wsguard, Kind::Node])]
    servers: Vec<Kind>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Use the programs that are beside this one, without building them.
    #[arg(long)]
    no_build: bool,
}

/// One kind of load. Both cases without an id are compared with the raw echo, which sends one frame per message too;
/// with an id the guarded servers send two, the reply and the acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    in_flight: u32,
    with_id: bool,
}

/// What the counted messages are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    /// All of one length.
    Alike,
    /// Each of another length than the one before.
    Varied,
    /// All of one length, with an id.
    Acknowledged,
}

impl Counted {
    fn case(self) -> Case {
        Case { in_flight: 8, with_id: self == Self::Acknowledged }
    }
}

const CASES: [Case; 4] = [
    Case { in_flight: 8, with_id: false },
    Case { in_flight: 1, with_id: false },
    Case { in_flight: 8, with_id: true },
    Case { in_flight: 1, with_id: true },
];

/// What is counted under callgrind, with eight messages in flight.
const COUNTED: [Counted; 3] = [Counted::Alike, Counted::Varied, Counted::Acknowledged];

/// Messages per connection of the two runs under callgrind. What start, handshake and end cost is in both and falls
/// out of the difference.
const CALLGRIND_MESSAGES: (u32, u32) = (250, 4_000);

fn main() -> ExitCode {
    let args = Args::parse();
    let mut report = Report::default();
    let mut growth = Growth::default();
    let run = Bench::new(&args).and_then(|bench| {
        bench.run(&mut report)?;
        if !args.no_growth && args.servers.contains(&Kind::Wsguard) {
            growth = Growth::measure(&bench);
        }
        Ok(())
    });
    let text = if args.json {
        let mut json = report.to_json();
        if let Some(json) = json.as_object_mut() {
            json.insert("growth".to_owned(), growth.to_json());
        }
        json.to_string()
    } else {
        format!("{}\n{}", report.to_tables(), growth.to_tables())
    };
    let written = writeln!(std::io::stdout(), "{text}");
    match run {
        Ok(()) if written.is_ok() && report.failures().is_empty() && growth.failures.is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::from(3)
        }
    }
}

struct Bench<'a> {
    args: &'a Args,
    repository: PathBuf,
    programs: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(args: &'a Args) -> Result<Self, String> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the repository is not found")?;
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let programs = own.parent().ok_or("this program is not in a folder")?.to_owned();
        let bench = Self { args, repository: repository.to_owned(), programs };
        if !args.no_build {
            bench.build()?;
        }
        Ok(bench)
    }

    fn repository(&self) -> &Path {
        &self.repository
    }

    fn build(&self) -> Result<(), String> {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--package", "wsguard-cli", "--package", "testkit", "--bins"]);
        finish(cargo.current_dir(&self.repository))?;
        let stack = self.repository.join("benches/node-stack");
        if self.args.servers.contains(&Kind::Node) && !stack.join("node_modules").exists() {
            eprintln!("installing the packages of benches/node-stack");
            let mut npm = Command::new("npm");
            finish(npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(stack).stdout(Stdio::null()))?;
        }
        Ok(())
    }

    fn run(&self, report: &mut Report) -> Result<(), String> {
        let mut servers = Vec::new();
        for kind in &self.args.servers {
            servers.push(self.start(*kind)?);
        }
        for round in 1..=self.args.rounds.max(1) {
            eprintln!("messages: round {round} of {}", self.args.rounds);
            for case in CASES {
                for server in &servers {
                    if case.with_id && !server.kind().is_guarded() {
                        continue;
                    }
                    let count = self.count(server.kind(), case);
                    let outcome = self.messages(server, case, count, count / 10);
                    report.messages(server.kind(), case, outcome);
                }
            }
        }
        for _ in 0..3 {
            eprintln!("handshakes");
            for server in servers.iter().filter(|server| server.kind().is_guarded()) {
                let count = self.scaled(self.args.handshakes).to_string();
                report.handshakes(server.kind(), self.load(server, &["--handshakes", &count, "--connections", "16"]));
            }
        }
        drop(servers);
        if self.args.servers.contains(&Kind::Wsguard) {
            self.signed_handshakes(report)?;
        }
        for kind in self.args.servers.iter().filter(|kind| **kind != Kind::Bare) {
            eprintln!("idle connections: {}", kind.name());
            // A fresh process: memory that a loaded one has kept would be handed to the new connections.
            let mut server = self.start(*kind)?;
            let count = self.scaled(self.args.idle);
            server.admit(count)?;
            let count = count.to_string();
            report.idle(*kind, self.load(&server, &["--idle", &count]));
        }
        if self.args.servers.contains(&Kind::Wsguard) {
            eprintln!("idle connections: wsguard with TLS");
            let server = Server::start_tls(&self.programs, &self.repository)?;
            // The first 200 that `load` opens and closes may still count for a moment.
            let count = self.scaled(self.args.idle).min(TLS_CONNECTIONS_MAX - 256).to_string();
            report.idle_tls(self.load(&server, &["--idle", &count]));
        }
        if !self.args.no_instructions {
            for kind in self.args.servers.iter().filter(|kind| matches!(kind, Kind::Raw | Kind::Wsguard)) {
                eprintln!("instructions: {}", kind.name());
                // How many messages a read brings, which its cost is shared by, differs from run to run.
                for counted in COUNTED.into_iter().filter(|counted| kind.is_guarded() || *counted == Counted::Alike) {
                    for _ in 0..self.args.rounds.max(1) {
                        report.instructions(*kind, counted, self.instructions(*kind, counted));
                    }
                }
            }
        }
        Ok(())
    }

    /// Handshakes whose tokens were never seen before (HS256), and whose tokens were verified before (EdDSA).
    fn signed_handshakes(&self, report: &mut Report) -> Result<(), String> {
        let mut servers = Vec::new();
        for algorithm in [Algorithm::Hs256, Algorithm::EdDsa] {
            servers.push((algorithm, Server::start_with_key(&self.programs, &self.repository, algorithm)?));
        }
        let count = self.scaled(self.args.handshakes);
        // The first turn warms both up.
        for turn in 0..4 {
            for (algorithm, server) in &mut servers {
                eprintln!("handshakes with {}", algorithm.name());
                if turn == 0 || *algorithm == Algorithm::Hs256 {
                    server.sign(if *algorithm == Algorithm::Hs256 { count } else { SUBJECTS })?;
                }
                let words = ["--handshakes", &count.to_string(), "--connections", "16", "--warm-up", "0"];
                let outcome = self.load(server, &words);
                if turn > 0 {
                    report.signed_handshakes(*algorithm, outcome);
                }
            }
        }
        Ok(())
    }

    fn start(&self, kind: Kind) -> Result<Server, String> {
        Server::start(kind, &self.programs, &self.repository, false)
    }

    /// Messages per connection that together take about a second, by what a message costs each server.
    fn count(&self, kind: Kind, case: Case) -> u32 {
        let of_a_second = match (kind, case.in_flight) {
            (Kind::Node, _) => 50_000,
            (_, 1) => 150_000,
            (_, _) => 500_000,
        };
        (self.scaled(of_a_second) / self.args.connections.max(1)).max(1)
    }

    fn scaled(&self, count: u32) -> u32 {
        if self.args.quick { count / 10 } else { count }
    }

    fn messages(&self, server: &Server, case: Case, count: u32, warm_up: u32) -> Result<Value, String> {
        self.messages_with(server, case, count, warm_up, false)
    }

    fn messages_with(
        &self,
        server: &Server,
        case: Case,
        count: u32,
        warm_up: u32,
        varied: bool,
    ) -> Result<Value, String> {
        let (in_flight, count, warm_up) = (case.in_flight.to_string(), count.to_string(), warm_up.to_string());
        let (connections, payload_bytes) = (self.args.connections.to_string(), self.args.payload_bytes.to_string());
        let mode = if server.kind().is_guarded() { "chat" } else { "raw" };
        let mut words = vec!["--mode", mode, "--in-flight", &in_flight, "--messages", &count];
        words.extend(["--connections", &connections, "--warm-up", &warm_up, "--payload-bytes", &payload_bytes]);
        if !case.with_id {
            words.push("--no-id");
        }
        if varied {
            words.push("--varied");
        }
        self.load(server, &words)
    }

    fn load(&self, server: &Server, words: &[&str]) -> Result<Value, String> {
        let mut load = Command::new(self.programs.join("load"));
        load.args(["--url", server.url(), "--pid", &server.pid().to_string()]).args(words);
        if !server.kind().is_guarded() && !words.contains(&"--mode") {
            load.args(["--mode", "raw"]);
        }
        if let Some(certificate) = server.certificate() {
            load.arg("--ca").arg(certificate);
        }
        for token in server.tokens() {
            load.args(["--token", token]);
        }
        let output = load.output().map_err(|e| format!("load could not be started: {e}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|e| format!("load printed no JSON: {e}"))
    }

    /// User-space instructions of one message.
    fn instructions(&self, kind: Kind, counted: Counted) -> Result<f64, String> {
        let of_run = |count: u32| -> Result<u64, String> {
            let server = Server::start(kind, &self.programs, &self.repository, true)?;
            self.messages_with(&server, counted.case(), count, 0, counted == Counted::Varied)?;
            server.stop_and_count()
        };
        let (few, many) = CALLGRIND_MESSAGES;
        let extra = of_run(many)?.saturating_sub(of_run(few)?);
        let extra_messages = f64::from(many - few) * f64::from(self.args.connections);
        Ok(f64::from(u32::try_from(extra).map_err(|_| "more instructions than fit")?) / extra_messages)
    }
}

fn finish(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("{program} could not be started: {error}")),
    }
}
