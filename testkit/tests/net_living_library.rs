//! The same for a server of one's own: rights that are lost while the socket is open, and a ledger that fails.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;
use testkit::peer::{Peer, Request};
use wsguard::core::control::authorization::{Access, RoomRule};
use wsguard::core::control::revocation::Target;
use wsguard::core::effect::Message;
use wsguard::core::policy::Policy;
use wsguard::core::time::UnixMs;
use wsguard::core::token::{MintClaims, SigningKey, mint};
use wsguard::protocol::ErrorCode;
use wsguard::{
    Builder, Change, Guard, GuardedUpgrade, Handled, Handler, Ledger, LedgerError, Peer as Guarded, RevokeError, Row,
    Tokens,
};

const KEY: &[u8] = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// What the application did, in order.
type Notes = Arc<Mutex<Vec<String>>>;

/// An application that keeps one room for each peer, and what waits to be replayed from it.
struct Rooms {
    notes: Notes,
    is_in: bool,
}

impl Handler for Rooms {
    fn opened(&mut self, peer: &mut Guarded<'_>) {
        self.is_in = peer.may_enter("board");
        self.notes.lock().unwrap().push(format!("opened: {}", self.is_in));
    }

    fn message(&mut self, message: Message<'_>, peer: &mut Guarded<'_>) -> Handled {
        if !self.is_in {
            return Handled::Refused(ErrorCode::Forbidden, "not_in_the_room");
        }
        peer.send(message.kind, message.payload);
        Handled::Done
    }

    fn reconsidered(&mut self, peer: &mut Guarded<'_>) {
        let stays = peer.may_enter("board");
        self.notes.lock().unwrap().push(format!("reconsidered: {} → {stays}", self.is_in));
        self.is_in = stays;
    }
}

struct World {
    guard: Guard,
    notes: Notes,
    address: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

async fn socket(State(world): State<(Guard, Notes)>, upgrade: GuardedUpgrade) -> Response {
    upgrade.serve(Rooms { notes: world.1, is_in: false })
}

/// The state of the application holds the guard.
#[derive(Clone)]
struct Shared(Guard, Notes);

impl axum::extract::FromRef<Shared> for Guard {
    fn from_ref(shared: &Shared) -> Self {
        shared.0.clone()
    }
}

impl axum::extract::FromRef<Shared> for (Guard, Notes) {
    fn from_ref(shared: &Shared) -> Self {
        (shared.0.clone(), Arc::clone(&shared.1))
    }
}

fn board_for(access: Access) -> Builder<Tokens> {
    Guard::builder()
        .key("app.key", KEY)
        .hosts(["localhost", "127.0.0.1"])
        .rooms([RoomRule { pattern: "board".into(), access }])
        .message("say", "true")
}

fn editors() -> Access {
    Access::Any { roles: vec!["editor".into()], scopes: Vec::new() }
}

impl World {
    fn new(guard: Guard) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let notes = Notes::default();
        let app: Router = Router::new().route("/ws", get(socket)).with_state(Shared(guard.clone(), Arc::clone(&notes)));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { guard, notes, address, runtime }
    }

    fn join(&self, roles: &[&str]) -> Peer {
        let mut peer = Request::upgrade(self.address).bearer(&token(roles)).open();
        let _ = peer.welcomed();
        peer
    }

    fn reload(&self, policy: Policy) {
        let _ = self.guard.handle().reload(policy).unwrap();
    }

    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap())
    }
}

fn token(roles: &[&str]) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let end = UnixMs(u64::try_from(now.as_millis()).unwrap() + 600_000);
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let mut claims = MintClaims::new("ann", end);
    claims.roles = &roles;
    mint(&SigningKey::parse("app.key", KEY).unwrap(), &claims).unwrap()
}

/// What comes back for one more message. Its `id` is a new one: a known one would be acknowledged, not handled.
fn answered(peer: &mut Peer) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    peer.say("say", NEXT.fetch_add(1, Ordering::Relaxed), &json!("x"));
    let answer = peer.read();
    let kind = answer["type"].as_str().unwrap().to_owned();
    if kind == "say" {
        let _ = peer.expect("ack");
    }
    kind
}

#[test]
fn the_application_is_told_of_lost_rights_before_the_next_message() {
    let world = World::new(board_for(Access::Authenticated).build().unwrap());
    let mut peer = world.join(&["editor"]);
    let mut guest = world.join(&[]);
    assert_eq!((answered(&mut peer), answered(&mut guest)), ("say".to_owned(), "say".to_owned()));
    let _ = world.notes();
    world.reload(board_for(editors()).policy().unwrap());
    assert_eq!(answered(&mut peer), "say", "who may stay stays");
    assert_eq!(answered(&mut guest), "error");
    let mut notes = world.notes();
    notes.sort();
    assert_eq!(notes, ["reconsidered: true → false", "reconsidered: true → true"]);

    // The same by a token with other roles.
    peer.send(&json!({"type": "auth.refresh", "payload": {"token": token(&[])}}));
    let _ = peer.expect("auth.refreshed");
    assert_eq!(answered(&mut peer), "error");
    peer.send(&json!({"type": "auth.refresh", "payload": {"token": token(&["editor"])}}));
    let _ = peer.expect("auth.refreshed");
    assert_eq!(answered(&mut peer), "say");
    assert_eq!(world.notes(), ["reconsidered: true → false", "reconsidered: false → true"]);
    let sessions = world.guard.handle().sessions(None, 10);
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|one| &*one.subject == "ann"));
}

/// Loses what it is given when told so.
#[derive(Clone, Default)]
struct Failing(Arc<AtomicBool>);

impl Ledger for Failing {
    fn load(&self) -> Result<Vec<Row>, LedgerError> {
        if self.0.load(Ordering::SeqCst) { Err(LedgerError("unplugged".to_owned())) } else { Ok(Vec::new()) }
    }

    fn write(&self, _: &Change) -> Result<(), LedgerError> {
        if self.0.load(Ordering::SeqCst) { Err(LedgerError("unplugged".to_owned())) } else { Ok(()) }
    }
}

#[test]
fn a_ledger_that_fails_is_told_and_the_revocation_is_in_force() {
    let ledger = Failing::default();
    let world = World::new(board_for(Access::Authenticated).ledger(ledger.clone()).build().unwrap());
    let mut peer = world.join(&[]);
    ledger.0.store(true, Ordering::SeqCst);
    let handle = world.guard.handle();
    let done = world.runtime.block_on(handle.revoke(Target::Subject("ann".into()), None));
    assert!(matches!(done, Err(RevokeError::NotKept(_))), "{done:?}");
    let _ = peer.expect_refused("forbidden", 4403);
    assert!(
        board_for(Access::Authenticated).ledger(ledger).build().is_err(),
        "a guard that knows not what was revoked"
    );
}
