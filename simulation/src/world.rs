//! A world while it runs: what all its parts share, and its course from beginning to end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use wsguard::simulation;
use wsguard_core::control::penalty::BanKey;
use wsguard_core::fault::{self, Fault};
use wsguard_core::time::UnixMs;

use crate::checker::{self, Checker, Violation};
use crate::heap::{self, Outside, outside};
use crate::issuer::{Forgery, Issuer, Token, Wish};
use crate::net::{End, Link, Weather};
use crate::node::{Held, Node};
use crate::panics;
use crate::peer::{self, Peer};
use crate::rng::Rng;
use crate::scenario::{Hardship, Kind, Limits, Scenario, Way, What};
use crate::trace::{Entry, Event, Gauge, Target};

/// The wall clock at the beginning of every world.
const BEGINNING: UnixMs = UnixMs(1_700_000_000_000);

/// Time after the last hardship in which everything that follows the protocol recovers.
const RECOVERY: Duration = Duration::from_secs(45);

/// Time between two looks at what the server holds.
const GAUGE_EVERY: Duration = Duration::from_millis(250);

/// What the parts of a world share.
pub struct World {
    seed: u64,
    began: Instant,
    ends: Instant,
    trace: Mutex<Vec<Entry>>,
    gauges: Mutex<Vec<Gauge>>,
    issuer: Mutex<Issuer>,
    links: Mutex<Vec<(IpAddr, Link)>>,
    /// Addresses that are cut off, and until when.
    partitions: Mutex<Vec<(IpAddr, Instant, Way)>>,
    loot: Mutex<Loot>,
    /// Where each well-behaved peer is: its latest session and token.
    places: Mutex<BTreeMap<u32, Place>>,
    tickets: Mutex<BTreeMap<String, u32>>,
    /// What the server allows.
    pub limits: Limits,
    /// The server.
    pub node: Node,
}

/// What thieves find.
#[derive(Clone, Debug, Default)]
pub struct Loot {
    /// Resume tokens.
    pub resume: Vec<String>,
    /// Tickets that were used.
    pub tickets: Vec<String>,
    /// Messages as they were sent, with their CSRF tokens.
    pub messages: Vec<String>,
    /// Cookies, with their proofs.
    pub cookies: Vec<Cookie>,
}

/// A cookie that was shown.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Where the browser is that has it.
    pub address: IpAddr,
    /// What stands in it.
    pub token: Token,
    /// What proves that a page may use it.
    pub proof: String,
}

/// Where a peer is.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Whom it speaks for.
    pub subject: String,
    /// The number of its latest token.
    pub token: u32,
    /// Its latest session.
    pub session: Option<String>,
    /// Whether its connection has its welcome and is not over.
    pub is_there: bool,
    /// Messages without an answer.
    pub waiting: usize,
    /// It was told not to come back.
    pub done: bool,
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Writes down that something happened.
    pub fn tell(&self, event: Event) {
        outside(|| {
            let entry = Entry { at: self.now(), event };
            lock(&self.trace).push(entry);
        });
    }

    /// Milliseconds since the world began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether things still go wrong: afterwards only those who follow the protocol go on.
    pub fn is_stormy(&self) -> bool {
        Instant::now() < self.ends
    }

    /// A stream of random numbers for a part of the world.
    pub fn rng(&self, what: &str, number: u64) -> Rng {
        Rng::of(self.seed, what, number)
    }

    /// The keys that verify tokens.
    pub fn issuer(&self) -> MutexGuard<'_, Issuer> {
        lock(&self.issuer)
    }

    /// A token of the issuer.
    pub fn issue(&self, wish: Wish<'_>) -> Token {
        let (token, key, ends) = lock(&self.issuer).issue(wsguard::now().unix, wish);
        self.tell(Event::Minted {
            token: token.number,
            subject: token.subject.clone(),
            roles: wish.roles.to_vec(),
            key,
            expires_at: ends.0,
            genuine: true,
        });
        token
    }

    /// A token that nobody issued.
    pub fn forge(&self, wish: Wish<'_>, forgery: Forgery) -> Token {
        let (token, ends) = lock(&self.issuer).forge(wsguard::now().unix, wish, forgery);
        self.tell(Event::Minted {
            token: token.number,
            subject: token.subject.clone(),
            roles: wish.roles.to_vec(),
            key: u32::MAX,
            expires_at: ends.0,
            genuine: false,
        });
        token
    }

    /// What thieves find.
    pub fn loot(&self) -> MutexGuard<'_, Loot> {
        lock(&self.loot)
    }

    /// Where well-behaved peers are.
    pub fn places(&self) -> MutexGuard<'_, BTreeMap<u32, Place>> {
        lock(&self.places)
    }

    /// Which token stands behind each ticket.
    pub fn tickets(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        lock(&self.tickets)
    }

    /// A connection to the server: its number and the client's end; `None` while there is no server.
    pub fn connect(&self, address: IpAddr, weather: Weather) -> Option<(u32, End)> {
        let mut links = lock(&self.links);
        links.retain(|(_, link)| link.is_alive());
        let number = self.node.next_link();
        let (link, client, server) = Link::new(self.rng("link", u64::from(number)), weather);
        if !self.node.accept(server, address) {
            return None;
        }
        for (_, until, way) in lock(&self.partitions).iter().filter(|(cut, ..)| *cut == address) {
            link.hold(*until, *way);
        }
        links.push((address, link));
        Some((number, client))
    }

    /// Every connection that somebody may still hear something of.
    pub fn links(&self) -> Vec<Link> {
        lock(&self.links).iter().map(|(_, link)| link.clone()).filter(Link::is_alive).collect()
    }

    /// Cuts the network between the server and some addresses, for those connections that are open and those that come.
    fn part(&self, length: Duration, way: Way, mut is_cut: impl FnMut() -> bool) {
        let until = Instant::now() + length;
        let links = lock(&self.links);
        let addresses: BTreeSet<_> = links.iter().map(|(address, _)| *address).collect();
        let cut: Vec<_> = addresses.into_iter().filter(|_| is_cut()).collect();
        for (_, link) in links.iter().filter(|(address, _)| cut.contains(address)) {
            link.hold(until, way);
        }
        let mut partitions = lock(&self.partitions);
        partitions.retain(|(_, until, _)| *until > Instant::now());
        partitions.extend(cut.into_iter().map(|address| (address, until, way)));
    }

    fn gauge(&self, base: i64, empty: i64) {
        let heap = heap::of_server() - base;
        outside(|| {
            let Held { connections, detached, replay, bans, revocations } = self.node.held();
            let knocking = self.links().len().saturating_sub(usize::try_from(connections).unwrap_or(0));
            let (at, of_subject) = (self.now(), self.node.sessions_of_one_subject());
            lock(&self.gauges).push(Gauge {
                at,
                heap,
                empty,
                connections,
                knocking,
                of_subject,
                detached,
                replay,
                bans,
                revocations,
            });
        });
    }
}

/// How a world went.
pub struct Outcome {
    /// What happened.
    pub trace: Vec<Entry>,
    /// What the server held.
    pub gauges: Vec<Gauge>,
    /// What should not have happened.
    pub violations: Vec<Violation>,
}

/// Runs a scenario with a fault, or without one, on this thread.
pub fn run(scenario: &Scenario, fault: Option<Fault>) -> Outcome {
    fault::inject(fault);
    panics::watch();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let (trace, gauges) = runtime.block_on(Outside::new(live(scenario)));
    drop(runtime);
    fault::inject(None);
    let mut violations = checker::check(scenario, &trace, &gauges);
    let at = trace.last().map_or(0, |entry| entry.at);
    violations.extend(panics::seen().into_iter().map(|what| Violation { checker: Checker::Panic, at, what }));
    Outcome { trace, gauges, violations }
}

async fn live(scenario: &Scenario) -> (Vec<Entry>, Vec<Gauge>) {
    simulation::begin(scenario.seed, BEGINNING);
    let began = Instant::now();
    let world = Arc::new(World {
        seed: scenario.seed,
        began,
        ends: began + Duration::from_millis(scenario.length),
        trace: Mutex::default(),
        gauges: Mutex::default(),
        issuer: Mutex::new(Issuer::new(scenario.seed, scenario.issuer_ahead_ms)),
        links: Mutex::default(),
        partitions: Mutex::default(),
        loot: Mutex::default(),
        places: Mutex::default(),
        tickets: Mutex::default(),
        limits: scenario.limits,
        node: Node::new(),
    });
    let before = heap::of_server();
    world.node.start(&world);
    // Until the end of a turn what it did outside counts as the server's.
    tokio::task::yield_now().await;
    let base = heap::of_server();
    let mut tasks = Vec::new();
    for plan in &scenario.peers {
        let honest_before =
            scenario.peers.iter().rev().find(|other| other.number < plan.number && other.kind == Kind::Honest);
        let peer = Peer::new(&world, *plan, honest_before.map(|other| other.number));
        tasks.push(tokio::spawn(Outside::new(peer::run(peer))));
    }
    for hardship in scenario.hardships.clone() {
        let world = Arc::clone(&world);
        tasks.push(tokio::spawn(Outside::new(async move {
            sleep_until(world.began + Duration::from_millis(hardship.at)).await;
            suffer(&world, hardship).await;
        })));
    }
    let over = world.ends + RECOVERY;
    while Instant::now() < over {
        // First of all in its turn, for the same reason.
        world.gauge(base, base - before);
        if Instant::now() >= world.ends {
            world.node.recover(&world);
        } else {
            world.node.tend(&world);
        }
        sleep(GAUGE_EVERY).await;
    }
    for plan in scenario.peers.iter().filter(|plan| plan.kind.is_honest()) {
        if let Some(place) = world.places().get(&plan.number).cloned() {
            let Place { session, is_there, waiting, done, .. } = place;
            world.tell(Event::Ended { peer: plan.number, session: session.filter(|_| is_there), waiting, done });
        }
    }
    for task in tasks {
        task.abort();
    }
    let trace = std::mem::take(&mut *lock(&world.trace));
    let gauges = std::mem::take(&mut *lock(&world.gauges));
    world.node.forget();
    (trace, gauges)
}

async fn suffer(world: &Arc<World>, hardship: Hardship) {
    let Hardship { number, lasts, what, .. } = hardship;
    let lasts = Duration::from_millis(lasts);
    let mut rng = world.rng("hardship", u64::from(number));
    world.tell(Event::Hardship { what: format!("{what:?} for {lasts:?}") });
    let each = |share: u64, rng: &mut Rng, act: &dyn Fn(&Link)| {
        for link in world.links() {
            if rng.chance(share) {
                act(&link);
            }
        }
    };
    match what {
        What::Cut(share) => each(share, &mut rng, &Link::reset),
        What::HalfOpen(share) => each(share, &mut rng, &Link::half_open),
        What::Partition(share, way) => world.part(lasts, way, || rng.chance(share)),
        What::Crash => {
            world.node.crash(world);
            sleep(lasts).await;
            world.node.start(world);
        }
        What::Drain => world.node.drain(world).await,
        What::Clock(ms) => {
            let from = wsguard::now().unix.0;
            simulation::move_wall_clock(ms);
            world.tell(Event::Clock { from, to: wsguard::now().unix.0 });
        }
        What::Store(mood) => {
            world.node.set_store(mood);
            sleep(lasts).await;
            world.node.set_store(crate::scenario::Mood::Well);
        }
        What::Ledger(mood) => {
            world.node.set_ledger(mood);
            sleep(lasts).await;
            world.node.set_ledger(crate::scenario::Mood::Well);
        }
        What::Revoke(peer, way) => {
            let Some(place) = world.places().get(&peer).cloned() else {
                return;
            };
            let target = match (way, place.session) {
                (0, _) | (_, None) => Target::Subject(place.subject),
                (1, _) => Target::Token(place.token),
                (_, Some(session)) => Target::Session(session),
            };
            world.node.revoke(world, target).await;
        }
        What::Logouts(count) => world.node.log_out_strangers(world, number, count).await,
        What::Ban(count) => {
            for _ in 0..count {
                let length = Duration::from_millis(rng.range(2_000, 40_000));
                world.node.ban(BanKey::prefix_of(peer::stranger(&mut rng)), length);
            }
        }
        What::KeepOut(peer) => {
            let subject = world.places().get(&peer).map(|place| place.subject.clone()).filter(|_| rng.chance(50));
            let key = match subject {
                Some(subject) => BanKey::Subject(subject.into()),
                None => BanKey::prefix_of(peer::address_of(peer)),
            };
            world.node.ban(key, lasts);
        }
        What::Reload => world.node.reload(world, rng.chance(50)),
        What::Keys => {
            world.issuer().turn();
            world.node.replace_keys(world);
        }
    }
}
