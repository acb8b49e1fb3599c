//! The guard of an application: built once, shared by all connections.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, broadcast};
use wsguard_core::control::authorization::{Access, RoomRule};
use wsguard_core::control::delivery::ResumeRequest;
use wsguard_core::control::host::HostPattern;
use wsguard_core::control::origin::Origin;
use wsguard_core::control::session::SessionId;
use wsguard_core::effect::Record;
use wsguard_core::fault::{self, Fault};
use wsguard_core::handshake::{StoreUnavailable, TicketGrant};
use wsguard_core::in_force::InForce;
use wsguard_core::policy::{Context, MessageType, MessageTypeError, Policy, Random, Secrets};
use wsguard_core::time::{Millis, UnixMs};
use wsguard_core::token::{self, Key, KeyRing};
use wsguard_core::verdict::ControlId;
use wsguard_protocol::CloseCode;

use crate::clock;
use crate::detached::Detached;
use crate::ledger::{Ledger, MemoryLedger};
use crate::mailbox::{Command, QueueLimits, Watched};
use crate::registry::{Registry, SessionInfo};
use crate::revoke::Kept;
use crate::stats::Stats;
use crate::store::{MemoryStore, Store};
use crate::waiting::Waiting;

/// Life of a ticket: the time between asking for it and the handshake that follows at once.
const TICKET_LIFE: Millis = Millis(30_000);

/// Longest of the delays that clients are told when the server drains: spreads the reconnects.
const DRAIN_SPREAD_MS: u64 = 5_000;

/// Takes what the operator learns: one record an event, with the time in milliseconds since 1970.
pub trait Journal: Send + Sync + 'static {
    /// Takes one record. Called on the message path: must neither block nor fail.
    fn record(&self, at: UnixMs, record: Record);
}

/// Writes records as `tracing` events of the target `wsguard`.
#[derive(Debug, Default)]
struct TracingJournal;

impl Journal for TracingJournal {
    fn record(&self, _: UnixMs, record: Record) {
        let Record {
            action,
            control,
            refusal,
            reference,
            client,
            session,
            subject,
            message_type,
            bytes,
            close_code,
            message_id: _,
            request,
            note,
        } = record;
        let control = refusal.as_ref().map(|refusal| refusal.control).or(control).map(ControlId::as_str);
        let said = refusal.as_ref().map(|refusal| &refusal.reason).or(note.as_ref());
        let reason = said.map(|reason| reason.word);
        let detail = said.and_then(|reason| reason.detail.as_deref());
        let reference = reference.map(|reference| reference.to_string());
        if refusal.is_some() {
            let (status, path, origin) = match request {
                Some(request) => (Some(request.status), request.path, request.origin),
                None => (None, None, None),
            };
            // What a peer wrote is formatted with `?`, which escapes it.
            tracing::warn!(target: "wsguard", action, control, reason, detail, reference, ?client, session, ?subject, ?message_type, bytes, close_code, status, ?path, ?origin);
        } else {
            tracing::debug!(target: "wsguard", action, control, reason, detail, ?client, session, ?subject, ?message_type, close_code);
        }
    }
}

#[cfg(wsguard_simulation)]
use crate::simulation::WorldRandom as Randomness;
#[cfg(not(wsguard_simulation))]
use SystemRandom as Randomness;

#[cfg(not(wsguard_simulation))]
struct SystemRandom;

#[cfg(not(wsguard_simulation))]
impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            // Without randomness no id is safe: ending the process is the closed door.
            tracing::error!(target: "wsguard", "the system has no randomness");
            std::process::abort();
        }
    }
}

/// What all connections of a guard share.
pub(crate) struct Shared {
    pub(crate) cx: Arc<Context>,
    pub(crate) stats: Stats,
    pub(crate) journal: Box<dyn Journal>,
    pub(crate) store: Box<dyn Store>,
    pub(crate) queue: QueueLimits,
    pub(crate) connections_max: u64,
    pub(crate) draining: AtomicBool,
    pub(crate) waiting: Waiting,
    pub(crate) sessions: Registry,
    pub(crate) detached: Detached,
    pub(crate) kept: Kept,
    /// A ban began or ended: the ledger is to hear of it.
    pub(crate) bans_changed: Notify,
    reloading: Mutex<()>,
}

/// A guard: every handshake and every message of an endpoint passes it. Cheap to clone.
///
/// ```
/// use wsguard::Guard;
///
/// let guard = Guard::builder()
///     .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
///     .hosts(["localhost"])
///     .origins(["http://localhost:3000"])
///     .message("greet", r#"{"type": "object", "required": ["name"]}"#)
///     .build()?;
/// assert_eq!(guard.handle().stats().connections_open(), 0);
/// # Ok::<(), wsguard::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Guard(pub(crate) Arc<Shared>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("stats", &self.0.stats).finish_non_exhaustive()
    }
}

/// Collects what a guard needs. There is no `build` before an authentication is chosen:
///
/// ```compile_fail
/// wsguard::Guard::builder().hosts(["localhost"]).build();
/// ```
#[must_use]
pub struct Builder<Authentication = NotChosen> {
    parts: Parts,
    authentication: PhantomData<Authentication>,
}

struct Parts {
    hosts: Vec<String>,
    origins: Vec<String>,
    keys: Vec<Key>,
    ring: Option<KeyRing>,
    messages: Vec<MessageType>,
    rooms: Vec<RoomRule>,
    faults: Vec<String>,
    /// A key, a message type that cannot be used is among the faults: that there is none is no fault of its own.
    has_bad_key: bool,
    has_bad_message: bool,
    tune: Vec<Change>,
    journal: Option<Box<dyn Journal>>,
    store: Option<Box<dyn Store>>,
    ledger: Option<Arc<dyn Ledger>>,
    queue: QueueLimits,
    connections_max: u64,
    late_keys: bool,
}

/// A change to the policy, made last.
type Change = Box<dyn FnOnce(&mut Policy)>;

/// No authentication is chosen yet.
#[derive(Debug)]
pub struct NotChosen;

/// Tokens are verified with the given keys.
#[derive(Debug)]
pub struct Tokens;

/// Everything that is wrong with a guard's settings, at once.
#[derive(Debug, thiserror::Error)]
#[error("could not build the guard:\n  {}", .0.join("\n  "))]
pub struct BuildError(Vec<String>);

impl Guard {
    /// A builder without hosts, origins, keys or message types: nothing passes until they are given.
    pub fn builder() -> Builder {
        let parts = Parts {
            hosts: Vec::new(),
            origins: Vec::new(),
            keys: Vec::new(),
            ring: None,
            messages: Vec::new(),
            rooms: Vec::new(),
            faults: Vec::new(),
            has_bad_key: false,
            has_bad_message: false,
            tune: Vec::new(),
            journal: None,
            store: None,
            ledger: None,
            queue: QueueLimits::default(),
            // One file descriptor each, within the usual limit of 20,000 a process.
            connections_max: 16_384,
            late_keys: false,
        };
        Builder { parts, authentication: PhantomData }
    }

    /// What operates the guard from outside.
    pub fn handle(&self) -> GuardHandle {
        GuardHandle(self.clone())
    }

    /// The policy of the moment: the next call may give another one.
    pub fn policy(&self) -> Arc<InForce> {
        self.0.cx.policy()
    }

    /// The core's shared state, for those who drive the core themselves.
    pub fn context(&self) -> &Arc<Context> {
        &self.0.cx
    }

    /// A ticket for `token`, which stands for it in one handshake of a page of `origin` within 30 s; `resume` is what the
    /// client says about resuming in that handshake.
    ///
    /// # Errors
    /// [`TicketError::Token`] when the token is not good, [`TicketError::Store`] when the ticket cannot be kept.
    pub async fn issue_ticket(
        &self,
        token: &str,
        origin: Option<&str>,
        resume: Option<ResumeRequest>,
    ) -> Result<String, TicketError> {
        use base64::Engine as _;
        let now = clock::now();
        self.0.cx.identify(now, token).map_err(|error| TicketError::Token(error.as_str()))?;
        let mut secret = [0; 32];
        let (left, right) = secret.split_at_mut(16);
        left.copy_from_slice(&self.0.cx.random_id());
        right.copy_from_slice(&self.0.cx.random_id());
        let ticket = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
        let grant = TicketGrant { token: token.to_owned(), origin: origin.map(str::to_owned), resume };
        let ends_at = now.unix.after(TICKET_LIFE);
        self.0
            .store
            .put_ticket(token::fingerprint(&ticket), grant, ends_at, now.unix)
            .await
            .map_err(TicketError::Store)?;
        Ok(ticket)
    }

    /// The proof of the same origin for a page that has the cookie `token` (`POST /ws/session`); `None` when the token
    /// is not good. The caller has checked the Origin.
    pub fn session_proof(&self, token: &str) -> Option<String> {
        let now = clock::now();
        self.0.cx.identify(now, token).ok()?;
        Some(self.0.cx.pre_session_proof(now, &token::fingerprint(token)).as_str().to_owned())
    }
}

/// No ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// The token is not good; the word is for the operator.
    #[error("could not issue a ticket: {0}")]
    Token(&'static str),
    /// The ticket cannot be kept.
    #[error("could not issue a ticket: {0}")]
    Store(StoreUnavailable),
}

impl<A> Builder<A> {
    /// Names under which the server is reached: `app.example`, `localhost:3000`.
    pub fn hosts<T: AsRef<str>>(mut self, hosts: impl IntoIterator<Item = T>) -> Self {
        self.parts.hosts.extend(hosts.into_iter().map(|host| host.as_ref().to_owned()));
        self
    }

    /// Pages that may open a socket: `https://app.example`.
    pub fn origins<T: AsRef<str>>(mut self, origins: impl IntoIterator<Item = T>) -> Self {
        self.parts.origins.extend(origins.into_iter().map(|origin| origin.as_ref().to_owned()));
        self
    }

    /// A key that verifies tokens: PEM, or a `wsguard-hs256:` secret. `name` stands in errors.
    pub fn key(mut self, name: &str, bytes: &[u8]) -> Builder<Tokens> {
        match Key::parse(name, bytes) {
            Ok(key) => self.parts.keys.push(key),
            Err(error) => {
                self.parts.faults.push(error.to_string());
                self.parts.has_bad_key = true;
            }
        }
        self.chosen()
    }

    /// Keys that were loaded elsewhere.
    pub fn keys(mut self, ring: KeyRing) -> Builder<Tokens> {
        self.parts.ring = Some(ring);
        self.chosen()
    }

    fn chosen(self) -> Builder<Tokens> {
        Builder { parts: self.parts, authentication: PhantomData }
    }

    /// A message type that everybody who is authenticated may send; `schema` is JSON Schema 2020-12 of its payload.
    pub fn message(self, name: &str, schema: &str) -> Self {
        self.message_for(name, schema, Access::Authenticated)
    }

    /// A message type with who may send it.
    pub fn message_for(mut self, name: &str, schema: &str, access: Access) -> Self {
        match MessageType::new(name, schema) {
            Ok(message) => self.parts.messages.push(message.access(access)),
            Err(error) => {
                self.parts.faults.push(error.to_string());
                self.parts.has_bad_message = true;
            }
        }
        self
    }

    /// Message types that were compiled elsewhere.
    pub fn messages(mut self, messages: impl IntoIterator<Item = MessageType>) -> Self {
        self.parts.messages.extend(messages);
        self
    }

    /// Rooms by role and scope; the first rule that covers a name decides, and a room without a rule is closed.
    pub fn rooms(mut self, rules: impl IntoIterator<Item = RoomRule>) -> Self {
        self.parts.rooms.extend(rules);
        self
    }

    /// Changes the rest of the policy: rates, sessions, heartbeat, methods.
    pub fn tune(mut self, change: impl FnOnce(&mut Policy) + 'static) -> Self {
        self.parts.tune.push(Box::new(change));
        self
    }

    /// Where records go; by default they are `tracing` events.
    pub fn journal(mut self, journal: impl Journal) -> Self {
        self.parts.journal = Some(Box::new(journal));
        self
    }

    /// Where tickets are kept; by default in memory.
    pub fn store(mut self, store: impl Store) -> Self {
        self.parts.store = Some(Box::new(store));
        self
    }

    /// Where revocations are kept; by default in memory, so that a restart forgets them.
    pub fn ledger(mut self, ledger: impl Ledger) -> Self {
        self.parts.ledger = Some(Arc::new(ledger));
        self
    }

    /// Limits of each connection's send queue.
    pub fn send_queue(mut self, limits: QueueLimits) -> Self {
        self.parts.queue = limits;
        self
    }

    /// Connections at once; further handshakes get 503. 16,384 unless changed.
    pub fn connections_max(mut self, connections: u64) -> Self {
        self.parts.connections_max = connections;
        self
    }
}

impl Parts {
    /// Takes the policy out, or everything that is wrong with it.
    fn take_policy(&mut self) -> Result<Policy, BuildError> {
        let mut faults = std::mem::take(&mut self.faults);
        let ring = match self.ring.take() {
            Some(ring) => ring,
            None => KeyRing::new(std::mem::take(&mut self.keys)).unwrap_or_else(|error| {
                faults.push(error.to_string());
                KeyRing::default()
            }),
        };
        let mut policy = Policy::new(ring);
        policy.rooms = std::mem::take(&mut self.rooms);
        for host in &self.hosts {
            match HostPattern::parse(host) {
                Ok(pattern) => policy.hosts.push(pattern),
                Err(error) => faults.push(format!("host {host:?}: {error}")),
            }
        }
        for origin in &self.origins {
            match Origin::parse(origin) {
                Ok(origin) => policy.origins.push(origin),
                Err(error) => faults.push(format!("origin {origin:?}: {error}")),
            }
        }
        for message in self.messages.drain(..) {
            if let Err(error) = policy.declare(message) {
                faults.push(error.to_string());
            }
        }
        for change in self.tune.drain(..) {
            change(&mut policy);
        }
        if self.hosts.is_empty() && policy.hosts.is_empty() {
            faults.push(
                "no host: name the hosts under which the server is reached, as in .hosts([\"app.example\"])".into(),
            );
        }
        if policy.messages().is_empty() && !self.has_bad_message {
            faults.push(
                "no message type: what has no schema is refused, so nothing could be said; name them, as in \
                 .message(\"echo\", r#\"{\"type\": \"object\"}\"#)"
                    .into(),
            );
        }
        let has_keys = !policy.keys.keys().is_empty() || policy.static_token.is_some() || self.late_keys;
        if !has_keys && !self.has_bad_key {
            faults.push("no key: tokens cannot be verified; give one with .key(…), or say .late_keys()".into());
        }
        if faults.is_empty() { Ok(policy) } else { Err(BuildError(faults)) }
    }
}

impl Builder<Tokens> {
    /// The policy alone, for [`GuardHandle::reload`]; what concerns no decision (journal, store, queues) is left out.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn policy(mut self) -> Result<Policy, BuildError> {
        self.parts.take_policy()
    }

    /// The guard may begin without a key: they come at run time, through [`GuardHandle::replace_keys`]. Until then every
    /// token is refused.
    pub fn late_keys(mut self) -> Self {
        self.parts.late_keys = true;
        self
    }

    /// The guard.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn build(mut self) -> Result<Guard, BuildError> {
        let policy = self.parts.take_policy()?;
        let Parts { journal, store, ledger, queue, connections_max, .. } = self.parts;
        let random = Randomness;
        let mut secrets = Secrets { csrf: [0; 32], prints: [0; 16] };
        random.fill(&mut secrets.csrf);
        random.fill(&mut secrets.prints);
        let cx = Arc::new(Context::new(policy, &secrets, Box::new(random)));
        let ledger = ledger.unwrap_or_else(|| Arc::new(MemoryLedger::default()));
        let kept = Kept::load(ledger, &cx, clock::now()).map_err(|error| BuildError(vec![error.to_string()]))?;
        Ok(Guard(Arc::new(Shared {
            stats: Stats::new(),
            cx,
            kept,
            bans_changed: Notify::new(),
            journal: journal.unwrap_or_else(|| Box::new(TracingJournal)),
            store: store.unwrap_or_else(|| Box::new(MemoryStore::default())),
            queue,
            connections_max,
            draining: AtomicBool::new(false),
            waiting: Waiting::default(),
            sessions: Registry::default(),
            detached: Detached::default(),
            reloading: Mutex::default(),
        })))
    }
}

impl Shared {
    /// Wakes every session to look at what has changed. To be called after the epoch moved: a session that was opened in
    /// between has seen the new one.
    pub(crate) fn reconsider_all(&self) {
        self.sessions.for_each(|_, session| session.outbox.reconsider());
    }

    pub(crate) fn record(&self, at: UnixMs, record: Record) {
        if fault::is_on(Fault::RecordLost) && record.reference.is_some() && record.bytes.is_none() {
            return;
        }
        if fault::is_on(Fault::RecordTwice) {
            self.journal.record(at, record.clone());
        }
        if let Some(refusal) = &record.refusal {
            self.stats.refused(refusal.control);
        }
        self.journal.record(at, record);
    }
}

/// Operates a guard from outside: disconnects, drains, counts, watches.
#[derive(Clone, Debug)]
pub struct GuardHandle(pub(crate) Guard);

impl GuardHandle {
    pub(crate) fn shared(&self) -> &Shared {
        &self.0.0
    }

    /// Counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.0.0.stats
    }

    /// Puts `ring` in force in place of the keys before, in one step, and forgets every verified token. Open sessions
    /// whose key left are closed with 4401.
    pub fn replace_keys(&self, ring: &KeyRing) {
        self.0.0.cx.replace_keys(ring);
        self.0.0.reconsider_all();
    }

    /// Sessions without a connection that wait for their clients.
    pub fn detached(&self) -> usize {
        self.0.0.detached.count()
    }

    /// Bytes that are kept to be replayed.
    pub fn replay_bytes(&self) -> usize {
        self.0.0.cx.replays().bytes()
    }

    /// Closes a session with 4403; one that waits for its client is dropped. `false` when there is none of that id.
    pub fn disconnect(&self, session: SessionId) -> bool {
        self.0.0.sessions.with(session, |open| open.outbox.close(CloseCode::Forbidden).is_ok()).unwrap_or(false)
    }

    /// Closes every session of `subject` with 4403 and says how many there were.
    pub fn disconnect_subject(&self, subject: &str) -> usize {
        let mut closed = 0_usize;
        self.0.0.sessions.for_each(|_, session| {
            if *session.identity.claims.subject == *subject && session.outbox.close(CloseCode::Forbidden).is_ok() {
                closed = closed.saturating_add(1);
            }
        });
        closed
    }

    /// Up to `count` open sessions in the order of their ids, those after `after`. Cost: one look at every session.
    pub fn sessions(&self, after: Option<SessionId>, count: usize) -> Vec<SessionInfo> {
        self.0.0.sessions.page(after, count, None, |id, session| session.info(id))
    }

    /// Puts `policy` in force: for handshakes at once, for each open connection before its next message and within
    /// moments where it is silent. Connections that it still allows go on; lost rights are taken away, and what it does not
    /// allow is closed with 4401 or 4403. Returns the policy before.
    ///
    /// The sizes of tables ([`wsguard_core::control::rate::RatePolicy::table_keys`]) stay as they are.
    ///
    /// # Errors
    /// [`MessageTypeError::TooMany`] when the message types since the start are more than a policy may have.
    pub fn reload(&self, mut policy: Policy) -> Result<Arc<InForce>, MessageTypeError> {
        let shared = &self.0.0;
        // Two at once would number the same new types differently.
        let _one_at_a_time = shared.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        policy.keep_numbers_of(&shared.cx.policy())?;
        let old = shared.cx.replace_policy(InForce::new(policy));
        shared.stats.reloads.fetch_add(1, Ordering::Relaxed);
        shared.reconsider_all();
        Ok(old)
    }

    /// Makes every open session look again at what may have changed. For whoever published a change of their own after
    /// [`Context::advance_epoch`]; what this handle changes itself needs no further call.
    pub fn reconsider(&self) {
        self.0.0.reconsider_all();
    }

    /// Refuses new handshakes with 503 and tells every session to come back later, each after a time of its own.
    ///
    /// A connection that has not authenticated yet is closed with 1001 at once: it has nothing to finish.
    pub fn drain(&self) {
        // Before the tables are walked: whoever enters one afterwards sees it (`Guarded::wait`).
        self.0.0.draining.store(true, Ordering::SeqCst);
        self.0.0.waiting.close_all(CloseCode::GoingAway);
        self.0.0.sessions.for_each(|id, session| {
            let [a, b, ..] = id.0;
            let delay = u64::from(u16::from_be_bytes([a, b])).saturating_mul(DRAIN_SPREAD_MS) / 65_536;
            let _ = session.outbox.command(Command::Drain(Millis(delay)));
        });
    }

    /// Whether [`GuardHandle::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.0.0.draining.load(Ordering::Relaxed)
    }

    /// Closes every connection with `code`.
    pub fn close_all(&self, code: CloseCode) {
        self.0.0.waiting.close_all(code);
        self.0.0.sessions.for_each(|_, session| {
            let _ = session.outbox.close(code);
        });
    }

    /// What the guard does with the messages of one session: the control that answered, the verdict, the nanoseconds
    /// that each control took. While somebody watches, that connection is timed.
    pub fn watch(&self, session: SessionId) -> Option<broadcast::Receiver<Watched>> {
        self.0.0.sessions.with(session, |open| open.outbox.watch())
    }

    /// Asks a session for its state; those who watch it get a [`Watched::State`].
    pub fn ask_state(&self, session: SessionId) {
        self.0.0.sessions.with(session, |open| {
            let _ = open.outbox.command(Command::State);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told_at_once_and_none_twice() {
        let good = || {
            Guard::builder()
                .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
                .hosts(["localhost"])
                .message("echo", "{}")
        };
        let wrong = Guard::builder()
            .key("app.key", b"secret")
            .hosts(["http://localhost"])
            .origins(["localhost:3000/"])
            .message("echo", r#"{"type": "objekt"}"#);
        for (name, builder, want) in [
            ("nothing wrong", good(), &[][..]),
            ("all of it", wrong, &["app.key", "echo", "host \"http://localhost\"", "origin \"localhost:3000/\""]),
            ("nothing given", Guard::builder().keys(KeyRing::default()), &["no host", "no message type", "no key"]),
            ("keys come later", good().keys(KeyRing::default()).late_keys(), &[]),
            ("a type twice", good().message("echo", "{}"), &["echo"]),
            ("a type of the protocol", good().message("ping", "{}"), &["ping"]),
        ] {
            let told = builder.build().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(want.is_empty() == told.is_empty(), "{name}: {told}");
            let lines: Vec<&str> = told.lines().skip(1).collect();
            assert_eq!(lines.len(), want.len(), "{name}: {told}");
            for (line, want) in lines.iter().zip(want) {
                assert!(line.contains(want), "{name}: {told}");
            }
        }
    }
}
