//! Delivery, as a client sees it: known ids are acknowledged and not handled, a session goes on behind a lost socket, the
//! older socket is fenced. At the end a model walks through interleavings of sends, acknowledgements, losses and
//! reconnects in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the helpers of a test fail it where something is not as it should be"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};
use wsguard_core::control::authorization::{Access, RoomRule};
use wsguard_core::control::delivery::Encoded;
use wsguard_core::control::host::HostPattern;
use wsguard_core::control::rate::Mode;
use wsguard_core::effect::Effects;
use wsguard_core::frame::FrameError;
use wsguard_core::guard::{Connection, Resumption, Suspended};
use wsguard_core::handshake::{Admission, HandshakeRequest, Header, Step, admit};
use wsguard_core::policy::{Context, Policy, Random, Secrets, StaticToken, built_in_messages};
use wsguard_core::probe::NoProbe;
use wsguard_core::time::{Millis, Now, Tick, UnixMs};
use wsguard_core::token::{Key, KeyRing, MintClaims, SigningKey, mint};
use wsguard_core::verdict::{ControlId, Refusal, Verdict};
use wsguard_protocol::{CloseCode, ErrorCode};

const SECRET: &[u8] = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const UNIX: u64 = 1_700_000_000_000;

#[derive(Default)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

fn at(ms: u64) -> Now {
    Now { tick: Tick(10_000_000 + ms), unix: UnixMs(UNIX + ms) }
}

fn context(change: impl FnOnce(&mut Policy)) -> Arc<Context> {
    let mut policy = Policy::new(KeyRing::new(vec![Key::parse("test", SECRET).unwrap()]).unwrap());
    policy.hosts = vec![HostPattern::parse("localhost").unwrap()];
    policy.static_token = Some(StaticToken { token: "test_token".into(), subject: "dev".into() });
    policy.rate.mode = Mode::Shadow;
    for message in built_in_messages().unwrap() {
        policy.declare(message).unwrap();
    }
    change(&mut policy);
    Arc::new(Context::new(policy, &Secrets { csrf: [1; 32], prints: [2; 16] }, Box::<Counting>::default()))
}

fn token(subject: &str, role: Option<&str>) -> String {
    let mut claims = MintClaims::new(subject, UnixMs(UNIX + 900_000));
    let roles: Vec<String> = role.into_iter().map(Into::into).collect();
    claims.roles = &roles;
    mint(&SigningKey::parse("test", SECRET).unwrap(), &claims).unwrap()
}

fn step(cx: &Context, now: Now, token: &str, resume: &str) -> Step {
    let protocols = format!("wsguard.v1, wsguard.bearer.{token}{resume}");
    let mut request = HandshakeRequest::new("192.0.2.1".parse().unwrap());
    request.host = Header::One("localhost:3000");
    request.protocols = Header::One(&protocols);
    admit(cx, now, &request)
}

fn admitted(step: Step) -> Admission {
    match step {
        Step::Admit(admission) => admission,
        other => panic!("{other:?}"),
    }
}

/// One socket and what came out of it.
struct Peer {
    connection: Connection,
    effects: Effects,
    welcome: Value,
}

impl Peer {
    fn open(cx: &Arc<Context>, now: Now, admission: Admission) -> Self {
        let mut effects = Effects::default();
        let (connection, _) = Connection::open(Arc::clone(cx), now, admission, &mut effects);
        Self { connection, effects, welcome: Value::Null }
    }

    /// A connection of `dev`; `resume` is what else stands among the subprotocols.
    fn dev(cx: &Arc<Context>, now: Now, resume: &str) -> Self {
        Self::open(cx, now, admitted(step(cx, now, "test_token", resume)))
    }

    /// A connection of `dev` that announced a resume, behind its welcome.
    fn announced(cx: &Arc<Context>) -> Self {
        let mut peer = Self::dev(cx, at(0), ", wsguard.resume");
        peer.take();
        peer
    }

    /// A connection that asks for the session of `of`, of which it has everything up to `last_seq`.
    fn resuming(cx: &Arc<Context>, now: Now, of: &Self, last_seq: u64) -> Self {
        Self::dev(cx, now, &of.entry(last_seq))
    }

    fn entry(&self, last_seq: u64) -> String {
        format!(", wsguard.resume.{}.{last_seq}", self.welcome["resumeToken"].as_str().unwrap())
    }

    fn found(&mut self, now: Now, found: Option<Suspended>) -> Resumption {
        self.connection.resume(now, found, &mut self.effects).unwrap()
    }

    /// The frames that were written; a welcome is kept, a close is `{"close": CODE}`.
    fn take(&mut self) -> Vec<Value> {
        let bytes = std::mem::take(&mut self.effects.out);
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while let [first, second, tail @ ..] = rest {
            let (length, tail) = match second {
                126 => (usize::from(u16::from_be_bytes([tail[0], tail[1]])), &tail[2..]),
                127 => panic!("no frame is that large"),
                short => (usize::from(*short), tail),
            };
            let (payload, tail) = tail.split_at(length);
            match first & 0x0f {
                1 => frames.push(serde_json::from_slice(payload).unwrap()),
                8 => frames.push(json!({"close": u16::from_be_bytes([payload[0], payload[1]])})),
                _ => {}
            }
            rest = tail;
        }
        if let Some(welcome) = frames.iter().find(|frame: &&Value| frame["type"] == "welcome") {
            self.welcome = welcome["payload"].clone();
        }
        frames
    }

    fn say(&mut self, now: Now, id: &Value) -> Verdict {
        let text = json!({"type": "echo", "id": id, "csrfToken": self.welcome["csrfToken"], "payload": 1}).to_string();
        self.connection.on_message(now, &text, &mut self.effects, &mut NoProbe)
    }

    fn send(&mut self, now: Now, frame: &Encoded) {
        self.connection.write_application(now, frame, &mut self.effects.out);
    }

    /// The network is gone; what the server keeps.
    fn lose(&mut self) -> Option<Suspended> {
        self.connection.on_lost(&mut self.effects);
        self.connection.take_suspended()
    }
}

fn number(n: u64) -> Encoded {
    Encoded::new("n", &n.to_string())
}

fn seqs(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["seq"].as_u64()).collect()
}

#[test]
fn a_known_id_is_acknowledged_again_and_not_handled() {
    for (name, id) in [("number", json!(7)), ("string", json!("7")), ("escaped", json!("\u{2028}\"\\"))] {
        let cx = context(|_| {});
        let mut peer = Peer::dev(&cx, at(0), "");
        peer.take();
        assert_eq!(peer.say(at(1), &id), Verdict::Allow, "{name}");
        let text = peer.connection.message("", &peer.effects).id.unwrap().to_owned();
        assert_eq!(peer.say(at(2), &id), Verdict::Allow, "{name}: the application has not said what became of it");
        peer.connection.refuse_handled(
            Some(&text),
            &Refusal::new(ControlId::Application, ErrorCode::Forbidden, "no"),
            &mut peer.effects,
        );
        assert_eq!(peer.say(at(3), &id), Verdict::Allow, "{name}: what was refused is not remembered");
        peer.connection.defer(&text);
        peer.take();
        assert_eq!(peer.say(at(4), &id), Verdict::Answered, "{name}: under way");
        assert!(peer.take().is_empty(), "{name}: not acknowledged early");
        peer.connection.acknowledge(at(5), &text, &mut peer.effects.out);
        peer.take();
        assert_eq!(peer.say(at(6), &id), Verdict::Answered, "{name}: handled");
        assert_eq!(peer.take(), [json!({"type": "ack", "id": id, "payload": {}})], "{name}");
        assert_eq!(peer.effects.duplicates, 2, "{name}");
    }
}

#[test]
fn an_id_is_written_in_many_ways_and_is_one() {
    let cx = context(|_| {});
    let mut peer = Peer::dev(&cx, at(0), "");
    peer.take();
    let csrf = peer.welcome["csrfToken"].as_str().unwrap().to_owned();
    let mut say = |id: &str| {
        let text = format!(r#"{{"type":"echo","id":{id},"csrfToken":"{csrf}"}}"#);
        peer.connection.on_message(at(1), &text, &mut peer.effects, &mut NoProbe)
    };
    assert_eq!(say(r#""a/b""#), Verdict::Allow);
    peer.connection.acknowledge(at(1), r#""a/b""#, &mut peer.effects.out);
    let mut say = |id: &str| {
        let text = format!(r#"{{"type":"echo","id":{id},"csrfToken":"{csrf}"}}"#);
        peer.connection.on_message(at(1), &text, &mut peer.effects, &mut NoProbe)
    };
    assert_eq!(say(r#""\u0061\/b""#), Verdict::Answered);
}

#[test]
fn only_an_end_that_nobody_wanted_keeps_the_session() {
    type End = fn(&mut Connection, &mut Effects);
    let cases: [(&str, End, bool); 13] = [
        ("lost", |c, e| c.on_lost(e), true),
        ("the client closes with 1000", |c, e| c.on_peer_close(Some(1000), e), false),
        ("the client closes without a code", |c, e| c.on_peer_close(None, e), false),
        ("the page goes away", |c, e| c.on_peer_close(Some(1001), e), true),
        ("the client reconnects with a code of its own", |c, e| c.on_peer_close(Some(4900), e), true),
        ("silence", |c, e| silent(c, e), true),
        ("the peer does not read", |c, e| drop(c.on_stalled(e)), true),
        ("a message unfinished", |c, e| drop(c.on_message_overdue(e)), true),
        ("revoked", |c, e| drop(c.close(CloseCode::Forbidden, None, e)), false),
        ("token ended", |c, e| drop(c.on_deadline(at(24 * 3_600_000), e)), false),
        ("penalties", |c, e| drop(c.close(CloseCode::RateLimited, None, e)), false),
        ("the server goes away", |c, e| drop(c.close(CloseCode::GoingAway, None, e)), false),
        ("frame protocol broken", |c, e| drop(c.on_frame_error(at(1), FrameError::BinaryRefused, e)), false),
    ];
    for (name, end, kept) in cases {
        for announced in [true, false] {
            let cx = context(|_| {});
            let mut peer = Peer::dev(&cx, at(0), if announced { ", wsguard.resume" } else { "" });
            end(&mut peer.connection, &mut peer.effects);
            assert!(peer.connection.is_closing(), "{name}");
            let suspended = peer.connection.take_suspended();
            assert_eq!(suspended.is_some(), kept && announced, "{name}, announced: {announced}");
            assert!(peer.connection.take_suspended().is_none(), "{name}: once");
        }
    }
}

fn silent(connection: &mut Connection, effects: &mut Effects) {
    let _ = connection.on_deadline(at(25_000), effects);
    let _ = connection.on_deadline(at(35_000), effects);
}

#[test]
fn there_are_four_ways_to_announce() {
    let auth = |payload: Value| json!({"type": "auth", "payload": payload}).to_string();
    for (name, entry, first, then, kept) in [
        ("nothing said", ", wsguard.bearer.test_token", None, None, false),
        ("subprotocol", ", wsguard.bearer.test_token, wsguard.resume", None, None, true),
        ("ack", ", wsguard.bearer.test_token", None, Some(json!({"type": "ack", "payload": {"seq": 0}})), true),
        ("auth without", "", Some(auth(json!({"token": "test_token"}))), None, false),
        ("auth", "", Some(auth(json!({"token": "test_token", "lastSeq": 0}))), None, true),
        ("subprotocol, then auth", ", wsguard.resume", Some(auth(json!({"token": "test_token"}))), None, true),
    ] {
        let cx = context(|_| {});
        let protocols = format!("wsguard.v1{entry}");
        let mut request = HandshakeRequest::new("192.0.2.1".parse().unwrap());
        request.host = Header::One("localhost:3000");
        request.protocols = Header::One(&protocols);
        let mut peer = Peer::open(&cx, at(0), admitted(admit(&cx, at(0), &request)));
        for text in first.into_iter().chain(then.map(|then| then.to_string())) {
            let _ = peer.connection.on_message(at(1), &text, &mut peer.effects, &mut NoProbe);
        }
        peer.take();
        assert_eq!(peer.welcome["resumed"], false, "{name}");
        assert!(peer.welcome["resumeToken"].is_string(), "{name}: everybody is told how");
        assert_eq!(peer.lose().is_some(), kept, "{name}");
    }
    let cx = context(|policy| policy.sessions.resume_window = Millis(0));
    let mut peer = Peer::announced(&cx);
    assert!(peer.welcome["resumeToken"].is_null(), "switched off");
    assert!(peer.lose().is_none(), "switched off");
}

#[test]
fn a_session_goes_on_and_only_what_is_missing_comes_again() {
    let cx = context(|_| {});
    let mut old = Peer::announced(&cx);
    assert_eq!(old.say(at(1), &json!(1)), Verdict::Allow);
    old.connection.acknowledge(at(1), "1", &mut old.effects.out);
    for n in 1..=5 {
        old.send(at(n), &number(n));
    }
    assert_eq!(seqs(&old.take()), [1, 2, 3, 4, 5]);
    let mut suspended = old.lose().unwrap();
    assert_eq!(suspended.ends_at(at(10)), at(120_010).tick);
    for n in 6..=7 {
        suspended.send(at(20).tick, &number(n)).unwrap();
    }
    let mut new = Peer::resuming(&cx, at(30), &old, 3);
    assert!(new.take().is_empty(), "nothing before the session is there");
    assert!(new.connection.wanted().is_some());
    assert_eq!(new.found(at(30), Some(suspended)), Resumption::Resumed { replayed: 4 });
    let frames = new.take();
    assert_eq!(frames[0]["type"], "welcome");
    assert_eq!(frames[0]["payload"]["resumed"], true);
    assert_eq!(frames[0]["payload"]["session"], old.welcome["session"]);
    assert_eq!(frames[0]["payload"]["csrfToken"], old.welcome["csrfToken"], "the session's own");
    assert_ne!(frames[0]["payload"]["resumeToken"], old.welcome["resumeToken"], "rotated");
    assert_eq!(frames[1..].iter().map(|frame| frame["payload"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert_eq!(seqs(&frames), [4, 5, 6, 7]);
    assert_eq!(new.say(at(31), &json!(1)), Verdict::Answered, "known across connections");
    assert_eq!(new.take(), [json!({"type": "ack", "id": 1, "payload": {}})]);
    new.send(at(32), &number(8));
    assert_eq!(seqs(&new.take()), [8]);
}

/// Of 61 messages at once 60 pass; 100 ms later there is room for another, which would overtake the last.
#[test]
fn a_resumed_session_has_the_order_that_its_connection_asked_for() {
    for (before, after) in [(false, false), (false, true), (true, false), (true, true)] {
        let ordered = |is_asked| if is_asked { ", wsguard.ordered" } else { "" };
        let cx = context(|policy| policy.rate.mode = Mode::Enforce);
        let mut old = Peer::dev(&cx, at(0), &format!(", wsguard.resume{}", ordered(before)));
        old.take();
        let suspended = old.lose();
        let mut new = Peer::dev(&cx, at(1), &format!("{}{}", old.entry(0), ordered(after)));
        assert_eq!(new.found(at(1), suspended), Resumption::Resumed { replayed: 0 });
        new.take();
        let passed = (1..=61).filter(|id| new.say(at(2), &json!(id)) == Verdict::Allow).count();
        assert_eq!(passed, 60, "the burst");
        let overtakes = new.say(at(102), &json!(62)) == Verdict::Allow;
        assert_eq!(overtakes, !after, "ordered before: {before}, now: {after}");
    }
}

#[test]
fn what_is_no_good_claim_begins_anew() {
    let cx = context(|_| {});
    let mut old = Peer::announced(&cx);
    for n in 1..=3 {
        old.send(at(n), &number(n));
    }
    let wrong = "A".repeat(48);
    for (name, token, entry, wanted) in [
        ("unknown token", "test_token", format!(", wsguard.resume.{wrong}.0"), false),
        ("token of another form", "test_token", ", wsguard.resume.AAAA.0".to_owned(), false),
        ("another subject", &*token("eve", None), old.entry(3), false),
        ("more than was sent", "test_token", old.entry(4), true),
    ] {
        let mut new = Peer::open(&cx, at(9), admitted(step(&cx, at(9), token, &entry)));
        assert_eq!(new.connection.wanted().is_some(), wanted, "{name}");
        if wanted {
            let suspended = old.lose();
            assert_eq!(new.found(at(9), suspended), Resumption::OutOfReach, "{name}");
        }
        new.take();
        assert_eq!(new.welcome["resumed"], false, "{name}");
        assert_ne!(new.welcome["session"], old.welcome["session"], "{name}");
        assert!(new.lose().is_some(), "{name}: it announced");
    }
    assert!(matches!(step(&cx, at(9), "test_token", ", wsguard.resume.AAAA"), Step::Refuse(r) if r.status == 400));
}

#[test]
fn a_session_that_does_not_come_is_not_waited_for() {
    let cx = context(|_| {});
    let old = Peer::announced(&cx);
    let mut new = Peer::resuming(&cx, at(0), &old, 0);
    assert_eq!(new.connection.deadline(), at(5_000).tick);
    assert_eq!(new.connection.on_deadline(at(4_999), &mut new.effects), Verdict::Answered);
    assert_eq!(new.connection.on_deadline(at(5_000), &mut new.effects), Verdict::Allow);
    new.take();
    assert_eq!(new.welcome["resumed"], false);
}

#[test]
fn the_older_socket_is_fenced() {
    let cx = context(|_| {});
    let mut old = Peer::announced(&cx);
    let mut new = Peer::resuming(&cx, at(1), &old, 0);
    let claim = *new.connection.wanted().unwrap();
    assert!(old.connection.give_up(&claim, &mut old.effects));
    let frames = old.take();
    assert_eq!((&frames[0]["type"], &frames[1]["close"]), (&json!("error"), &json!(4409)));
    assert_eq!(old.say(at(2), &json!(1)), Verdict::Answered, "nothing it sends is handled");
    old.send(at(2), &number(1));
    assert!(old.take().is_empty(), "and nothing is sent to it");
    let suspended = old.connection.take_suspended();
    assert_eq!(new.found(at(3), suspended), Resumption::Resumed { replayed: 0 });
    assert!(!new.connection.give_up(&claim, &mut new.effects) || new.connection.is_closing());
}

#[test]
fn a_lost_welcome_does_not_lose_the_session_and_an_old_token_does_not_find_it() {
    let cx = context(|_| {});
    let mut first = Peer::announced(&cx);
    let suspended = first.lose();
    let mut second = Peer::resuming(&cx, at(1), &first, 0);
    assert_eq!(second.found(at(1), suspended), Resumption::Resumed { replayed: 0 });
    let suspended = second.lose();
    let mut third = Peer::resuming(&cx, at(2), &first, 0);
    assert_eq!(third.found(at(2), suspended), Resumption::Resumed { replayed: 0 }, "the welcome never came");
    third.take();
    let _ = third.connection.on_message(at(3), r#"{"type":"ping"}"#, &mut third.effects, &mut NoProbe);
    let suspended = third.lose().unwrap();
    let fourth = Peer::resuming(&cx, at(4), &first, 0);
    assert!(!suspended.is_claimed_by(fourth.connection.wanted().unwrap()), "a message came behind the welcome");
    let fifth = Peer::resuming(&cx, at(4), &third, 0);
    assert!(suspended.is_claimed_by(fifth.connection.wanted().unwrap()));
}

#[test]
fn what_may_no_longer_be_read_is_not_replayed() {
    let rule = |pattern: &str, access| RoomRule { pattern: pattern.into(), access };
    let cx = context(|policy| {
        policy.rooms = vec![
            rule("staff", Access::Any { roles: vec!["admin".into()], scopes: vec![] }),
            rule("*", Access::Authenticated),
        ];
    });
    let mut old = Peer::open(&cx, at(0), admitted(step(&cx, at(0), &token("ann", Some("admin")), ", wsguard.resume")));
    old.take();
    for (room, n) in [("lobby", "1"), ("staff", "2"), ("lobby", "3")] {
        old.send(at(1), &Encoded::in_room(room, "n", n));
    }
    let suspended = old.lose();
    let entry = old.entry(0);
    let mut new = Peer::open(&cx, at(2), admitted(step(&cx, at(2), &token("ann", None), &entry)));
    assert_eq!(new.found(at(2), suspended), Resumption::Resumed { replayed: 2 });
    assert_eq!(seqs(&new.take()), [1, 3]);
}

#[test]
fn the_session_cap_counts_a_resume_once() {
    let cx = context(|policy| policy.sessions.per_subject = 1);
    let mut old = Peer::announced(&cx);
    let entry = old.entry(0);
    let mut new = Peer::open(&cx, at(1), admitted(step(&cx, at(1), "test_token", &entry)));
    let claim = *new.connection.wanted().expect("admitted without a seat of its own");
    assert!(old.connection.give_up(&claim, &mut old.effects));
    let suspended = old.connection.take_suspended();
    assert!(matches!(new.found(at(1), suspended), Resumption::Resumed { .. }));
    let mut third = Peer::dev(&cx, at(2), "");
    assert_eq!(third.take().last().unwrap()["close"], 4409, "the seat is taken");
    // A session that waits has none, so another may sit down, and then there is none to come back to.
    let mut suspended = new.lose().unwrap();
    suspended.leave_seat();
    let _other = Peer::dev(&cx, at(3), "");
    new.take();
    let mut back = Peer::resuming(&cx, at(3), &new, 0);
    assert_eq!(back.found(at(3), Some(suspended)), Resumption::Refused);
    assert_eq!(back.take().last().unwrap()["close"], 4409);
}

#[test]
fn a_session_that_waits_is_bounded_and_says_when_it_is_worth_nothing() {
    let cx = context(|policy| policy.sessions.replay_bytes = 1_000);
    let mut old = Peer::announced(&cx);
    for n in 1..=30 {
        old.send(at(n), &number(n));
    }
    let mut suspended = old.lose().unwrap();
    assert!(cx.replays().bytes() <= 1_000);
    let sent = (31..1_000).take_while(|n| suspended.send(at(40).tick, &number(*n)).is_ok()).count();
    assert!((5..20).contains(&sent), "{sent}");
    drop(suspended);
    assert_eq!(cx.replays().bytes(), 0, "everything is given back");
}

#[test]
fn what_the_client_has_for_long_is_let_go() {
    let cx = context(|_| {});
    let mut peer = Peer::announced(&cx);
    peer.send(at(0), &number(1));
    assert!(cx.replays().bytes() > 0);
    let ack = r#"{"type":"ack","payload":{"seq":1}}"#;
    assert_eq!(peer.connection.on_message(at(1), ack, &mut peer.effects, &mut NoProbe), Verdict::Answered);
    assert_eq!(cx.replays().bytes(), 0, "acknowledged");
    peer.send(at(2), &number(2));
    let _ = peer.connection.on_deadline(at(120_002), &mut peer.effects);
    assert_eq!(cx.replays().bytes(), 0, "older than the window");
}

/// One step of the model.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// The client sends a new message; the application does this with it.
    Say(Fate),
    /// The application sends a frame.
    Send,
    /// The client reads so many frames from the wire.
    Read(u8),
    /// The client says what it has.
    Ack,
    /// The application is done with the oldest message that it has.
    Done,
    /// The network breaks; does the server notice?
    Cut(bool),
    /// The client connects.
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Done,
    Later,
    Refused,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Say(Fate::Done)),
        2 => Just(Op::Say(Fate::Later)),
        1 => Just(Op::Say(Fate::Refused)),
        5 => Just(Op::Send),
        4 => (1..6_u8).prop_map(Op::Read),
        1 => Just(Op::Ack),
        2 => Just(Op::Done),
        2 => any::<bool>().prop_map(Op::Cut),
        3 => Just(Op::Connect),
    ]
}

/// Server, network, client and application, and what each believes.
struct Model {
    cx: Arc<Context>,
    ms: u64,
    /// The server's end, as far as the server knows.
    server: Option<Peer>,
    suspended: Option<Suspended>,
    /// Whether the client has an end.
    connected: bool,
    /// Whether it has read this connection's welcome: before that a client says nothing, since its first message gives the
    /// token before up.
    welcomed: bool,
    /// Written by the server, not yet read by the client.
    wire: VecDeque<Value>,
    welcome: Value,
    last_seq: u64,
    received: Vec<u64>,
    sent: u64,
    next_id: u64,
    /// Sent by the client and not answered; what the application does with it when it gets it.
    unanswered: BTreeMap<u64, Fate>,
    handled: BTreeMap<u64, u32>,
    under_way: VecDeque<u64>,
    refused: BTreeSet<u64>,
}

impl Model {
    fn new() -> Self {
        let cx = context(|_| {});
        let mut server = Peer::announced(&cx);
        server.take();
        let welcome = server.welcome.clone();
        Self {
            cx,
            ms: 0,
            server: Some(server),
            suspended: None,
            connected: true,
            welcomed: true,
            wire: VecDeque::new(),
            welcome,
            last_seq: 0,
            received: Vec::new(),
            sent: 0,
            next_id: 0,
            unanswered: BTreeMap::new(),
            handled: BTreeMap::new(),
            under_way: VecDeque::new(),
            refused: BTreeSet::new(),
        }
    }

    fn now(&self) -> Now {
        at(self.ms)
    }

    fn act(&mut self, op: Op) {
        self.ms += 10;
        match op {
            Op::Say(fate) => {
                self.next_id += 1;
                self.unanswered.insert(self.next_id, fate);
                self.say(self.next_id);
            }
            Op::Send => {
                self.sent += 1;
                let (now, frame) = (self.now(), number(self.sent));
                if let Some(suspended) = &mut self.suspended {
                    suspended.send(now.tick, &frame).unwrap();
                } else if let Some(server) = &mut self.server {
                    server.send(now, &frame);
                }
                self.collect();
            }
            Op::Read(count) => (0..count).for_each(|_| self.read()),
            Op::Ack => {
                let text = json!({"type": "ack", "payload": {"seq": self.last_seq}}).to_string();
                self.speak(&text);
            }
            Op::Done => {
                let now = self.now();
                if let Some(id) = self.under_way.pop_front() {
                    *self.handled.entry(id).or_default() += 1;
                    if let Some(suspended) = &mut self.suspended {
                        suspended.acknowledge(now.tick, &id.to_string());
                    } else if let Some(server) = &mut self.server {
                        server.connection.acknowledge(now, &id.to_string(), &mut server.effects.out);
                    }
                    self.collect();
                }
            }
            Op::Cut(noticed) => {
                (self.connected, self.welcomed) = (false, false);
                self.wire.clear();
                if noticed && let Some(mut server) = self.server.take() {
                    self.suspended = Some(server.lose().unwrap());
                }
            }
            Op::Connect if !self.connected => self.connect(),
            Op::Connect => {}
        }
    }

    /// What the server wrote goes onto the wire, if the client is still at its other end.
    fn collect(&mut self) {
        if let Some(server) = &mut self.server {
            let frames = server.take();
            if self.connected {
                self.wire.extend(frames);
            }
        }
    }

    /// The client writes, once it is welcome; nobody hears it when the network is gone.
    fn speak(&mut self, text: &str) -> Option<Verdict> {
        let now = self.now();
        let server = self.server.as_mut().filter(|_| self.connected && self.welcomed)?;
        let verdict = server.connection.on_message(now, text, &mut server.effects, &mut NoProbe);
        self.collect();
        Some(verdict)
    }

    fn say(&mut self, id: u64) {
        let text = json!({"type": "echo", "id": id, "csrfToken": self.welcome["csrfToken"], "payload": id}).to_string();
        if self.speak(&text) != Some(Verdict::Allow) {
            return;
        }
        let now = self.now();
        let server = self.server.as_mut().unwrap();
        let text = id.to_string();
        match self.unanswered.get(&id).copied().unwrap_or(Fate::Done) {
            Fate::Done => {
                *self.handled.entry(id).or_default() += 1;
                server.connection.acknowledge(now, &text, &mut server.effects.out);
            }
            Fate::Later => {
                assert!(!self.under_way.contains(&id), "{id} is handed over a second time");
                self.under_way.push_back(id);
                server.connection.defer(&text);
            }
            Fate::Refused => {
                self.refused.insert(id);
                let refusal = Refusal::new(ControlId::Application, ErrorCode::Forbidden, "no");
                server.connection.refuse_handled(Some(&text), &refusal, &mut server.effects);
            }
        }
        self.collect();
    }

    fn read(&mut self) {
        let Some(frame) = self.wire.pop_front() else {
            return;
        };
        if let Some(seq) = frame["seq"].as_u64() {
            assert_eq!(seq, self.last_seq + 1, "each number once, in order");
            self.last_seq = seq;
            self.received.push(frame["payload"].as_u64().unwrap());
        } else if frame["type"] == "welcome" {
            assert_eq!(frame["payload"]["resumed"], true, "nothing was lost that would end the session");
            self.welcome = frame["payload"].clone();
            self.welcomed = true;
            // What has no answer yet is sent again, as a client does behind its welcome.
            for id in self.unanswered.keys().copied().collect::<Vec<_>>() {
                self.say(id);
            }
        } else if matches!(frame["type"].as_str(), Some("ack" | "error")) {
            self.unanswered.remove(&frame["id"].as_u64().unwrap());
        }
    }

    fn connect(&mut self) {
        let now = self.now();
        let token = self.welcome["resumeToken"].as_str().unwrap();
        let entry = format!(", wsguard.resume.{token}.{}", self.last_seq);
        let mut new = Peer::dev(&self.cx, now, &entry);
        let claim = *new.connection.wanted().unwrap();
        if let Some(mut old) = self.server.take() {
            assert!(old.connection.give_up(&claim, &mut old.effects));
            self.suspended = old.connection.take_suspended();
        }
        assert!(matches!(new.found(now, self.suspended.take()), Resumption::Resumed { .. }));
        self.server = Some(new);
        self.connected = true;
        self.wire.clear();
        self.collect();
    }

    /// In the end the network holds, everything is read and everything handled.
    fn settle(&mut self) {
        if !self.connected {
            self.connect();
        }
        for _ in 0..3 {
            while !self.wire.is_empty() {
                self.read();
            }
            while !self.under_way.is_empty() {
                self.act(Op::Done);
            }
        }
        // The client tries again what it has no answer to.
        for id in self.unanswered.keys().copied().collect::<Vec<_>>() {
            self.say(id);
        }
        while !self.wire.is_empty() || !self.under_way.is_empty() {
            self.read();
            self.act(Op::Done);
        }
    }

    fn check(&self) {
        assert_eq!(self.received, (1..=self.sent).collect::<Vec<_>>(), "every frame once, in order");
        assert!(self.unanswered.is_empty(), "everything was answered");
        for id in 1..=self.next_id {
            let want = u32::from(!self.refused.contains(&id));
            assert_eq!(self.handled.get(&id).copied().unwrap_or(0), want, "message {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_comes_once_and_every_message_is_handled_once(ops in proptest::collection::vec(op(), 1..120)) {
        let mut model = Model::new();
        for op in ops {
            model.act(op);
        }
        model.settle();
        model.check();
    }
}
