//! The server of a world: the real guard, driver and upgrade behind hyper, with an application that writes everything down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio::time::sleep;
use wsguard::unread::Unread;
use wsguard::upgrade::{self, Asked, SmallResponse};
use wsguard::{
    FirstFlight, Guard, GuardHandle, Journal, Ledger, LedgerError, MemoryLedger, QueueLimits, RevokeError, Row,
};
use wsguard_core::control::authorization::Access;
use wsguard_core::control::credential;
use wsguard_core::control::penalty::BanKey;
use wsguard_core::control::rate::Quota;
use wsguard_core::control::revocation;
use wsguard_core::effect::Record;
use wsguard_core::handshake::{self, Gate, HandshakeRefusal, Header};
use wsguard_core::policy::{Context, MessageType, Policy};
use wsguard_core::time::{Millis, UnixMs};
use wsguard_core::verdict::{ControlId, Refusal};
use wsguard_protocol::{CloseCode, ErrorCode};

use crate::app::{App, Room};
use crate::desk;
use crate::heap::{inside, outside};
use crate::net::End;
use crate::scenario::{Limits, Mood};
use crate::store::SimulatedStore;
use crate::trace::{Event, Target};
use crate::world::World;

/// Messages of a subject.
pub const MESSAGES: (u32, u32) = (20, 40);
/// Messages of the type `tight` of a subject.
pub const TIGHT: (u32, u32) = (2, 4);
/// Handshakes of an address in 10 s.
pub const HANDSHAKES: u32 = 12;
/// Limits of a send queue.
pub const QUEUE: QueueLimits = QueueLimits { messages: 64, bytes: 16 * 1024 };
/// Bytes that are kept to be replayed to one session, and to all.
pub const REPLAY: (usize, usize) = (8 * 1024, 64 * 1024);
/// Sessions that wait: of a subject, of all.
pub const DETACHED: (u32, u32) = (2, 12);
/// Bytes of the messages of a session, in a second and at once.
pub const BYTES: (u32, u32) = (96 * 1024, 96 * 1024);
/// Sessions of a subject.
pub const PER_SUBJECT: u32 = 4;
/// Largest message.
pub const MESSAGE_BYTES: usize = 16 * 1024;

/// What a ticket lives.
const TICKET: Millis = Millis(30_000);

/// Time that a server gives its sessions to go when it drains.
const DRAIN: Duration = Duration::from_secs(3);

/// When a session that was revoked must be gone from the server's tables: a second to close, two for the close frame to be
/// read, and a turn of the sweep.
const GONE_AFTER: Duration = Duration::from_millis(3_200);

/// The server, or the place where it would be.
pub struct Node {
    up: Mutex<Option<Up>>,
    /// Of all servers there were.
    handles: Mutex<Vec<(GuardHandle, Arc<Context>)>>,
    wanted: Mutex<bool>,
    ledger: Arc<SimulatedLedger>,
    store: Arc<Mutex<Mood>>,
    /// Of the server that is there, or was last.
    cut_off: Mutex<u64>,
    admits: Mutex<Vec<String>>,
    links: AtomicU32,
    generations: AtomicU32,
}

/// What the servers hold together.
pub struct Held {
    /// Connections.
    pub connections: u64,
    /// Sessions that wait.
    pub detached: usize,
    /// Bytes to be replayed.
    pub replay: usize,
    /// Bans in force.
    pub bans: usize,
    /// Revocations in force.
    pub revocations: usize,
}

struct Up {
    generation: u32,
    guard: Guard,
    is_alive: Arc<AtomicBool>,
    accept: mpsc::UnboundedSender<(End, IpAddr)>,
}

/// A ledger that outlives the server, with moods.
#[derive(Default)]
struct SimulatedLedger {
    rows: MemoryLedger,
    dead: Mutex<bool>,
}

/// The ledger as one server has it: a server that crashed writes nothing any more, however slow its disk was.
struct OpenLedger {
    ledger: Arc<SimulatedLedger>,
    is_alive: Arc<AtomicBool>,
}

impl OpenLedger {
    fn is_there(&self) -> Result<(), LedgerError> {
        if *lock(&self.ledger.dead) || !self.is_alive.load(Ordering::Relaxed) {
            return Err(LedgerError("the disk is gone".to_owned()));
        }
        Ok(())
    }
}

impl Ledger for OpenLedger {
    fn load(&self) -> Result<Vec<Row>, LedgerError> {
        self.is_there()?;
        self.ledger.rows.load()
    }

    fn write(&self, change: &wsguard::Change) -> Result<(), LedgerError> {
        self.is_there()?;
        self.ledger.rows.write(change)
    }
}

/// The operator's log: the trace.
struct Log {
    world: Arc<World>,
    generation: u32,
}

impl Journal for Log {
    fn record(&self, _: UnixMs, record: Record) {
        outside(|| {
            let refusal = record.refusal.as_ref();
            let reason = refusal.map(|refusal| &refusal.reason).or(record.note.as_ref());
            if record.action == "ban_begun" {
                let (who, length) = banned(&record);
                let until = self.world.now() + length;
                self.world.tell(Event::Banned { generation: self.generation, who, until });
            }
            self.world.tell(Event::Record {
                generation: self.generation,
                action: record.action.to_owned(),
                reason: reason.map(|reason| reason.word.to_owned()),
                code: refusal.map(|refusal| refusal.code.as_str().to_owned()),
                reference: record.reference.map(|reference| reference.to_string()),
                client: record.client.map(|client| client.to_string()),
                session: record.session.clone(),
                subject: record.subject.as_deref().map(str::to_owned),
                close_code: record.close_code,
            });
        });
    }
}

/// Who is kept out, and for how many milliseconds, as the log says it: `prefix:192.0.2.7/32: 5s left, offence 1, rate`.
fn banned(record: &Record) -> (Target, u64) {
    let who = match (&record.session, &record.subject, record.client) {
        (Some(session), _, _) => Target::Session(session.clone()),
        (_, Some(subject), _) => Target::Subject(subject.to_string()),
        (_, _, Some(client)) => Target::Address(client.to_string()),
        _ => panic!("a ban of nobody"),
    };
    let detail = record.note.as_ref().and_then(|note| note.detail.as_deref());
    let left = detail.and_then(|detail| detail.split_once(" left,")?.0.rsplit(' ').next()).expect("a length");
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let length = units.iter().find_map(|(unit, ms)| Some(left.strip_suffix(unit)?.parse::<u64>().ok()? * ms));
    (who, length.expect("a length with its unit"))
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn policy_of(mut policy: Policy, limits: Limits) -> Policy {
    policy.rate.handshakes = Quota::per(HANDSHAKES, Millis(10_000), HANDSHAKES);
    policy.rate.messages = Quota::new(MESSAGES.0, MESSAGES.1);
    policy.rate.bytes = Quota::new(BYTES.0, BYTES.1);
    policy.rate.prefix_factor = limits.prefix_factor;
    policy.rate.server = Quota::new(limits.server.0, limits.server.1);
    policy.rate.table_keys = limits.table_keys;
    policy.penalty.table_keys = limits.table_keys;
    if limits.are_small() {
        policy.anomaly.table_keys = limits.table_keys;
    }
    policy.penalty.close_for = Millis(5_000);
    policy.penalty.ban_first = Millis(8_000);
    policy.sessions.resume_window = Millis(20_000);
    policy.sessions.idle = Millis(60_000);
    policy.sessions.per_subject = PER_SUBJECT;
    policy.sessions.detached_per_subject = DETACHED.0;
    policy.sessions.detached_max = DETACHED.1;
    policy.sessions.replay_bytes = REPLAY.0;
    policy.sessions.replay_bytes_total = REPLAY.1;
    policy.heartbeat.interval = Millis(5_000);
    policy.heartbeat.timeout = Millis(3_000);
    policy.heartbeat.first_message = Millis(3_000);
    policy.heartbeat.message = Millis(4_000);
    policy.heartbeat.stall = Millis(4_000);
    policy.csrf_rotate_every = Millis(15_000);
    policy.frames.message_bytes_max = MESSAGE_BYTES;
    policy
}

fn builder(world: &World, admits: &[String]) -> wsguard::Builder<wsguard::Tokens> {
    let text = r#"{"type":"object","properties":{"text":{"type":"string","maxLength":9000}},"required":["text"],"additionalProperties":false}"#;
    let limits = world.limits;
    let message = |name: &str| MessageType::new(name, text).expect("a good schema");
    let admin = match admits {
        [] => Access::Nobody,
        roles => Access::Any { roles: roles.iter().map(|role| role.as_str().into()).collect(), scopes: Vec::new() },
    };
    Guard::builder()
        .keys(world.issuer().ring())
        .hosts(["world.example"])
        .origins(["https://world.example"])
        .messages([
            message("say"),
            MessageType::new("echo", "true").expect("a good schema"),
            message("tight").quota(Quota::new(TIGHT.0, TIGHT.1)),
            message("admin").access(admin),
            message(desk::LATER),
            message(desk::NEVER),
            message("boom"),
            message("nope"),
        ])
        .tune(move |policy| *policy = policy_of(std::mem::replace(policy, Policy::new(policy.keys.clone())), limits))
}

impl Node {
    /// A place for a server.
    #[expect(clippy::new_without_default, reason = "a world has one, made on purpose")]
    pub fn new() -> Self {
        Self {
            up: Mutex::default(),
            handles: Mutex::default(),
            wanted: Mutex::new(false),
            ledger: Arc::default(),
            store: Arc::new(Mutex::new(Mood::Well)),
            cut_off: Mutex::new(0),
            admits: Mutex::new(vec!["admin".to_owned()]),
            links: AtomicU32::new(0),
            generations: AtomicU32::new(0),
        }
    }

    /// Lets go of all servers, at the end of a world. Their journals hold the world, which would hold them for ever.
    pub fn forget(&self) {
        lock(&self.up).take();
        lock(&self.handles).clear();
    }

    /// The number of the next connection.
    pub fn next_link(&self) -> u32 {
        self.links.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins a server, unless there is one. A guard that cannot read its ledger does not begin; the next try follows.
    pub fn start(&self, world: &Arc<World>) {
        *lock(&self.wanted) = true;
        let mut up = lock(&self.up);
        if up.is_some() {
            return;
        }
        inside(|| {
            let generation = self.generations.load(Ordering::Relaxed);
            let admits = lock(&self.admits).clone();
            let is_alive = Arc::new(AtomicBool::new(true));
            let ledger = OpenLedger { ledger: Arc::clone(&self.ledger), is_alive: Arc::clone(&is_alive) };
            let built = builder(world, &admits)
                .journal(Log { world: Arc::clone(world), generation })
                .store(SimulatedStore::new(Arc::clone(&self.store)))
                .ledger(ledger)
                .send_queue(QUEUE)
                .build();
            let Ok(guard) = built else {
                return;
            };
            self.generations.fetch_add(1, Ordering::Relaxed);
            outside(|| {
                world.tell(Event::Started { generation });
                world.tell(Event::Keys { in_force: world.issuer().in_force() });
                world.tell(Event::Roles { admit: admits });
            });
            let (accept, accepted) = mpsc::unbounded_channel();
            let room = Arc::new(Room::default());
            let keeper = guard.handle();
            tokio::spawn(async move { keeper.keep_bans(|_| ()).await });
            tokio::spawn(serve_all(Arc::clone(world), generation, guard.clone(), room, accepted));
            lock(&self.handles).push((guard.handle(), Arc::clone(guard.context())));
            *up = Some(Up { generation, guard, is_alive, accept });
        });
    }

    /// Begins the server where it should be and is not; what it depends on is well again.
    pub fn recover(&self, world: &Arc<World>) {
        self.set_store(Mood::Well);
        self.set_ledger(Mood::Well);
        self.start(world);
    }

    /// Tries again to begin a server that could not.
    pub fn tend(&self, world: &Arc<World>) {
        if *lock(&self.wanted) {
            self.start(world);
        }
    }

    /// Ends the server without a word.
    pub fn crash(&self, world: &World) {
        *lock(&self.wanted) = false;
        let Some(up) = lock(&self.up).take() else {
            return;
        };
        up.is_alive.store(false, Ordering::Relaxed);
        for link in world.links() {
            link.reset();
        }
        world.tell(Event::Crashed { generation: up.generation });
    }

    /// Ends the server as it should be ended, and begins the next.
    pub async fn drain(&self, world: &Arc<World>) {
        let Some((generation, handle)) = self.handle() else {
            return;
        };
        handle.drain();
        sleep(DRAIN).await;
        handle.close_all(CloseCode::GoingAway);
        sleep(Duration::from_millis(500)).await;
        if self.handle().is_some_and(|(now, _)| now == generation) {
            self.crash(world);
            sleep(Duration::from_millis(500)).await;
            self.start(world);
        }
    }

    fn handle(&self) -> Option<(u32, GuardHandle)> {
        lock(&self.up).as_ref().map(|up| (up.generation, up.guard.handle()))
    }

    /// Hands a connection to the server; `false` where there is none.
    pub fn accept(&self, stream: End, address: IpAddr) -> bool {
        lock(&self.up).as_ref().is_some_and(|up| inside(|| up.accept.send((stream, address)).is_ok()))
    }

    /// How the store of tickets is from now on.
    pub fn set_store(&self, mood: Mood) {
        *lock(&self.store) = mood;
    }

    /// How the ledger is from now on.
    pub fn set_ledger(&self, mood: Mood) {
        *lock(&self.ledger.dead) = mood == Mood::Dead;
        let takes = if mood == Mood::Slow { Duration::from_millis(1_500) } else { Duration::ZERO };
        wsguard::simulation::set_ledger_time(takes);
    }

    /// What is held; of the servers before, too.
    pub fn held(&self) -> Held {
        let mut held = Held { connections: 0, detached: 0, replay: 0, bans: 0, revocations: 0 };
        for (handle, context) in lock(&self.handles).iter() {
            held.connections += handle.stats().connections_open();
            held.detached += handle.detached();
            held.replay += handle.replay_bytes();
            held.bans += handle.bans().len();
            held.revocations += context.revocations().len();
        }
        held
    }

    /// Revokes tokens of nobody who is here.
    pub async fn log_out_strangers(&self, world: &World, series: u32, count: u64) {
        for number in 0..count {
            let Some((_, handle)) = self.handle().filter(|_| world.is_stormy()) else {
                return;
            };
            let token = revocation::Target::Token(format!("elsewhere.{series}.{number}").into());
            // Whether it is kept is nobody's concern.
            let _ = handle.revoke(token, None).await;
            self.note_cut_off(world);
        }
    }

    /// Writes down that the cut-off rose, also where it could not be kept.
    fn note_cut_off(&self, world: &World) {
        let latest = lock(&self.handles).last().map_or(0, |(_, context)| context.revocations().cut_off().0);
        if std::mem::replace(&mut *lock(&self.cut_off), latest) < latest {
            world.tell(Event::CutOff { to: latest });
        }
    }

    /// Keeps somebody out.
    pub fn ban(&self, key: BanKey, length: Duration) {
        if let Some((_, handle)) = self.handle() {
            let length = Millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
            inside(|| handle.ban(key, length, "operator"));
        }
    }

    /// Sessions of the subject that has most of them, at the server that is there.
    pub fn sessions_of_one_subject(&self) -> usize {
        let Some((_, handle)) = self.handle() else {
            return 0;
        };
        let mut of = BTreeMap::<_, usize>::new();
        for session in handle.sessions(None, usize::MAX) {
            *of.entry(session.subject).or_default() += 1;
        }
        of.into_values().max().unwrap_or(0)
    }

    /// Puts another policy in force.
    pub fn reload(&self, world: &World, admits: bool) {
        let admits = if admits { vec!["admin".to_owned()] } else { Vec::new() };
        lock(&self.admits).clone_from(&admits);
        let Some((_, handle)) = self.handle() else {
            return;
        };
        let reloaded = inside(|| builder(world, &admits).policy().map(|policy| handle.reload(policy).map(drop)));
        assert!(matches!(reloaded, Ok(Ok(()))), "a policy that was built is in force");
        world.tell(Event::Roles { admit: admits });
    }

    /// Puts the issuer's keys in force.
    pub fn replace_keys(&self, world: &World) {
        let Some((_, handle)) = self.handle() else {
            return;
        };
        inside(|| handle.replace_keys(&world.issuer().ring()));
        world.tell(Event::Keys { in_force: world.issuer().in_force() });
    }

    /// Revokes `target`, again until it is kept.
    pub async fn revoke(&self, world: &Arc<World>, target: Target) {
        let asked = match &target {
            Target::Token(number) => revocation::Target::Token(format!("t{number}").into()),
            Target::Subject(subject) => revocation::Target::Subject(subject.as_str().into()),
            Target::Session(session) => revocation::Target::Session(session.parse().expect("a session's id")),
            Target::Address(_) => unreachable!("an address is kept out, not revoked"),
        };
        loop {
            let Some((generation, handle)) = self.handle() else {
                sleep(Duration::from_millis(300)).await;
                continue;
            };
            let done = handle.revoke(asked.clone(), None).await;
            self.note_cut_off(world);
            let kept = match done {
                Ok(_) => true,
                Err(RevokeError::NotKept(_)) => false,
                Err(error) => panic!("{error}"),
            };
            world.tell(Event::Revoked { generation, target: target.clone(), kept });
            let (world, wanted) = (Arc::clone(world), asked.clone());
            tokio::spawn(crate::heap::Outside::new(async move {
                sleep(GONE_AFTER).await;
                let sessions = handle.sessions(None, usize::MAX).into_iter().filter(|open| match &wanted {
                    revocation::Target::Token(id) => open.token_id.as_ref() == Some(id),
                    revocation::Target::Subject(subject) => open.subject == *subject,
                    revocation::Target::Session(session) => open.session == *session,
                    revocation::Target::IssuedBefore { .. } => false,
                });
                let sessions: Vec<_> = sessions.map(|open| open.session.to_string()).collect();
                if !sessions.is_empty() {
                    world.tell(Event::StillOpen { generation, sessions });
                }
            }));
            if kept {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn serve_all(
    world: Arc<World>,
    generation: u32,
    guard: Guard,
    room: Arc<Room>,
    mut accepted: mpsc::UnboundedReceiver<(End, IpAddr)>,
) {
    while let Some((stream, address)) = accepted.recv().await {
        let (world, guard, room) = (Arc::clone(&world), guard.clone(), Arc::clone(&room));
        tokio::spawn(async move {
            let (stream, reached) = Unread::new(stream, guard.clone(), address);
            let service = service_fn(move |request: Request<Incoming>| {
                reached.set();
                let app = App::new(Arc::clone(&world), &guard, generation, Arc::clone(&room));
                let (world, guard) = (Arc::clone(&world), guard.clone());
                async move { Ok::<_, std::convert::Infallible>(answer(&world, &guard, request, address, app).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .max_buf_size(64 * 1024)
                .max_headers(256)
                .keep_alive(false)
                // It would be the machine's date.
                .auto_date_header(false)
                .serve_connection(TokioIo::new(FirstFlight::new(stream)), service)
                .with_upgrades();
            let _ = connection.await;
        });
    }
}

async fn answer(world: &World, guard: &Guard, request: Request<Incoming>, client: IpAddr, app: App) -> SmallResponse {
    let (mut parts, _) = request.into_parts();
    let (asked, generation, address) = (world.now(), app.generation(), client);
    let admitted = || {
        outside(|| world.tell(Event::Admitted { generation, address: address.to_string(), asked }));
    };
    match parts.uri.path() {
        "/ws" => match upgrade::handshake(guard, &mut parts, client).await {
            Ok(upgrade) => {
                admitted();
                upgrade.into_response(app)
            }
            Err(refused) => refused,
        },
        "/ws/ticket" => {
            let gate = gate(guard, &parts, client).inspect(|_| admitted()).map(drop);
            ticket(world, guard, generation, &parts, client, gate).await
        }
        "/ws/session" => {
            let gate = gate(guard, &parts, client).inspect(|_| admitted());
            proof(guard, &parts, client, gate)
        }
        _ => {
            let asked = Asked::of(client, &parts.uri, &parts.headers);
            let refusal = Refusal::new(ControlId::Upgrade, ErrorCode::InvalidMessage, "path_unknown");
            let status = StatusCode::NOT_FOUND.as_u16();
            upgrade::refuse(guard, asked, &HandshakeRefusal { status, refusal })
        }
    }
}

/// `POST /ws/ticket`, for a bearer.
async fn ticket(
    world: &World,
    guard: &Guard,
    generation: u32,
    parts: &Parts,
    client: IpAddr,
    gate: Result<(), HandshakeRefusal>,
) -> SmallResponse {
    let asked = Asked::of(client, &parts.uri, &parts.headers);
    if let Err(refused) = gate {
        return upgrade::refuse(guard, asked, &refused);
    }
    let token = header(parts, "authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let begun = wsguard::now().unix;
    match guard.issue_ticket(token, None, None).await {
        Ok(ticket) => {
            outside(|| {
                let (asked, given, ends) = (begun.0, wsguard::now().unix.0, begun.after(TICKET).0);
                world.tell(Event::Ticketed { generation, asked, given, ends });
                // Whose it is, the checkers must know.
                let number = world.tickets().get(token).copied();
                if let Some(number) = number {
                    world.tickets().insert(ticket.clone(), number);
                }
            });
            SmallResponse::new(format!(r#"{{"ticket":"{ticket}"}}"#).into())
        }
        Err(error) => {
            let (status, code) = match error {
                wsguard::TicketError::Token(_) => (401, ErrorCode::Unauthenticated),
                wsguard::TicketError::Store(_) => (503, ErrorCode::Internal),
            };
            let refusal = Refusal::new(ControlId::Credential, code, "no_ticket");
            upgrade::refuse(guard, asked, &HandshakeRefusal { status, refusal })
        }
    }
}

/// `POST /ws/session`, for a page of a listed origin.
fn proof(guard: &Guard, parts: &Parts, client: IpAddr, gate: Result<Gate, HandshakeRefusal>) -> SmallResponse {
    let asked = Asked::of(client, &parts.uri, &parts.headers);
    let refuse = |refused: &HandshakeRefusal| upgrade::refuse(guard, asked, refused);
    match gate {
        Ok(gate) if gate.origin.is_some() => {}
        Ok(_) => {
            let refusal = Refusal::new(ControlId::Origin, ErrorCode::Forbidden, "origin_missing_with_cookie");
            return refuse(&HandshakeRefusal { status: 403, refusal });
        }
        Err(refused) => return refuse(&refused),
    }
    let cookies = header(parts, "cookie").map_or(Header::Absent, Header::One);
    let token = credential::cookie(cookies, &guard.policy().cookie_name).ok().flatten().map(str::to_owned);
    let Some(proof) = token.and_then(|token| guard.session_proof(&token)) else {
        let refusal = Refusal::new(ControlId::Credential, ErrorCode::Unauthenticated, "no_proof");
        return refuse(&HandshakeRefusal { status: 401, refusal });
    };
    SmallResponse::new(format!(r#"{{"csrfToken":"{proof}"}}"#).into())
}

fn gate(guard: &Guard, parts: &Parts, client: IpAddr) -> Result<Gate, HandshakeRefusal> {
    let [host, origin] = ["host", "origin"].map(|name| header(parts, name).map_or(Header::Absent, Header::One));
    handshake::gate(guard.context(), &guard.policy(), wsguard::now(), client, host, origin)
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}
