//! What the vectors leave open, and a world of failures in which nothing may be lost.

#![expect(clippy::arithmetic_side_effects, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::options::{Pings, Queue, Reconnect as Reconnection};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn session(settings: Settings) -> Session {
    Session::new(settings, Box::new(|| 0.5))
}

fn without_pings() -> Settings {
    Settings { pings: None, ..Settings::default() }
}

fn renewable() -> Settings {
    Settings { renewable: true, ..without_pings() }
}

fn outgoing(payload: u64) -> Outgoing {
    Outgoing::new(&json!({"type": "n", "payload": payload})).unwrap()
}

fn effects(session: &mut Session) -> Vec<Effect> {
    std::iter::from_fn(|| session.poll_effect()).collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.pop_event()).collect()
}

fn welcome(resumed: bool) -> String {
    welcome_with(&json!({"resumed": resumed}))
}

fn welcome_with(changes: &Value) -> String {
    let mut payload = json!({
        "session": "s1", "subject": "ann", "csrfToken": "c1", "heartbeatMs": 25_000, "maxMessageBytes": 65_536,
        "resumeToken": "r1",
    });
    payload.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!({"type": "welcome", "payload": payload}).to_string()
}

/// A session behind its token and its upgrade.
fn dialled(settings: Settings, now: Duration) -> Session {
    let mut session = session(settings);
    session.start(now);
    session.token(now, Ok(Token::from("t")));
    session.opened();
    session
}

fn open(settings: Settings, now: Duration) -> Session {
    let mut session = dialled(settings, now);
    session.text(now, &welcome(false));
    effects(&mut session);
    assert!(matches!(events(&mut session)[..], [Event::Opened(Opened { resumed: false, missed: false, .. })]));
    session
}

/// The error that ended the client, or made it wait.
fn end_of(session: &mut Session) -> (bool, Error) {
    match events(session).pop() {
        Some(Event::Lost(lost)) => (true, lost.error),
        Some(Event::Closed(closed)) => (false, closed.error.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_heartbeats_of_silence_are_the_end_of_a_connection_without_pings() {
    let mut session = open(without_pings(), S(0));
    session.tick(S(49));
    // A ping of the WebSocket is a sign of life, though the session never sees its bytes.
    session.heard(S(49));
    session.tick(S(98));
    assert_eq!((session.state(), session.deadline()), (State::Open, Some(S(99))));
    session.tick(S(99));
    assert_eq!(session.state(), State::Reconnecting);
    assert!(matches!(effects(&mut session)[..], [Effect::Leave(LEFT, _)]));
}

#[test]
fn silence_says_nothing_while_the_application_does_not_read() {
    let settings = Settings { inbox_messages: 2, ..Settings::default() };
    let mut session = open(settings, S(0));
    session.text(S(1), r#"{"type":"n","seq":1,"payload":1}"#);
    assert!(session.wants_to_read());
    session.text(S(1), r#"{"type":"n","seq":2,"payload":2}"#);
    assert!(!session.wants_to_read());
    for minute in 1..10 {
        session.tick(S(60 * minute));
    }
    assert_eq!(session.state(), State::Open);
    session.pop_event();
    assert!(session.wants_to_read());
    session.tick(S(541));
    assert_eq!(session.state(), State::Open, "silence counts from when it is read again");
    session.tick(S(700));
    assert_eq!(session.state(), State::Reconnecting);
}

#[test]
fn failures_of_an_attempt_say_whether_to_come_back() {
    let failure = |code, reconnect, retry_after: Option<u64>| Failure {
        error: Error::new(code, "x").with_retry_after(retry_after.map(MS)),
        reconnect,
    };
    let unauthenticated = Code::Server(ErrorCode::Unauthenticated);
    for (name, settings, failure, want) in [
        ("network", without_pings(), failure(Code::ConnectionLost, Reconnect::BackOff, None), Some(250)),
        (
            "503 with a wait",
            without_pings(),
            failure(Code::ConnectionLost, Reconnect::BackOff, Some(2_000)),
            Some(2_250),
        ),
        ("429", without_pings(), failure(Code::Protocol, Reconnect::AfterRetryAfter, Some(9_000)), Some(9_250)),
        ("403", without_pings(), failure(Code::Server(ErrorCode::Forbidden), Reconnect::Never, None), None),
        ("401, static", without_pings(), failure(unauthenticated, Reconnect::OnceWithFreshToken, None), None),
        ("401, provider", renewable(), failure(unauthenticated, Reconnect::OnceWithFreshToken, None), Some(250)),
        (
            "no reconnection",
            Settings { reconnect: None, ..without_pings() },
            failure(Code::ConnectionLost, Reconnect::BackOff, None),
            None,
        ),
    ] {
        let mut session = session(settings);
        session.start(S(0));
        session.token(S(0), Ok(Token::from("t")));
        session.failed(S(0), failure);
        assert_eq!(session.deadline(), want.map(MS), "{name}");
        assert_eq!(session.state() == State::Closed, want.is_none(), "{name}");
    }
}

#[test]
fn a_refused_token_stays_refused_until_a_welcome() {
    let mut session = dialled(renewable(), S(0));
    session.closed(S(0), 4_401, String::new());
    let mut reasons = Vec::new();
    for second in 1..4 {
        session.tick(S(second));
        for effect in effects(&mut session) {
            if let Effect::AskToken(reason) = effect {
                reasons.push(reason);
            }
        }
        session.token(S(second), Ok(Token::from("t")));
        session.broken(S(second), Error::new(Code::ConnectionLost, "cut"));
    }
    assert_eq!(reasons[1..], [TokenReason::Rejected; 3], "{reasons:?}");
}

#[test]
fn a_wait_ends_with_its_connection_and_care_goes_on() {
    let mut session = open(without_pings(), S(0));
    for payload in 0..3 {
        session.send(S(0), &outgoing(payload), true, None).unwrap();
    }
    let error = json!({"type": "error", "payload": {"code": "rate_limited", "retryAfterMs": 15_000}}).to_string();
    session.text(S(0), &error);
    session.closed(S(0), 4_429, String::new());
    session.tick(S(16));
    session.token(S(16), Ok(Token::from("t")));
    session.opened();
    effects(&mut session);
    session.text(S(16), &welcome(true));
    let written =
        |session: &mut Session| effects(session).iter().filter(|effect| matches!(effect, Effect::Write(_))).count();
    assert_eq!(written(&mut session), 1, "at once, and one at a time");
    session.text(S(16), r#"{"type":"ack","id":1,"payload":{}}"#);
    assert_eq!(written(&mut session), 1);
}

#[test]
fn a_token_that_a_header_cannot_carry_is_an_end_and_no_loop() {
    for (auth, fits) in
        [(Auth::Bearer, false), (Auth::Subprotocol, false), (Auth::Ticket, false), (Auth::FirstMessage, true)]
    {
        let mut session = session(Settings { auth, ..renewable() });
        session.start(S(0));
        session.token(S(0), Ok(Token::from("a b")));
        assert_eq!(session.state() != State::Closed, fits, "{auth:?}");
        if !fits {
            assert_eq!(end_of(&mut session).1.code(), Code::TokenFailed, "{auth:?}");
        }
    }
}

#[test]
fn the_first_message_carries_the_token_and_the_resume() {
    let settings = Settings { auth: Auth::FirstMessage, ..without_pings() };
    let frame = |session: &mut Session| {
        let mut all = effects(session).into_iter().filter_map(|effect| match effect {
            Effect::Write(text) => Some(serde_json::from_str::<Value>(&text).unwrap()),
            _ => None,
        });
        all.next().unwrap()
    };
    let mut session = dialled(settings, S(0));
    assert_eq!(frame(&mut session), json!({"type": "auth", "payload": {"token": "t", "lastSeq": 0}}));
    session.text(S(0), &welcome(false));
    session.text(S(0), r#"{"type":"n","seq":4,"payload":1}"#);
    session.broken(S(0), Error::new(Code::ConnectionLost, "cut"));
    session.tick(S(1));
    session.token(S(1), Ok(Token::from("t2")));
    session.opened();
    let want = json!({"type": "auth", "payload": {"token": "t2", "resumeToken": "r1", "lastSeq": 4}});
    assert_eq!(frame(&mut session), want);
}

#[test]
fn a_message_that_cannot_be_received_is_not_asked_for_again() {
    let mut session = open(without_pings(), S(0));
    session.broken(S(0), Error::server(ErrorCode::TooLarge, "x"));
    let (comes_back, error) = end_of(&mut session);
    assert_eq!((comes_back, error.code()), (false, Code::Server(ErrorCode::TooLarge)));
}

#[test]
fn a_code_of_a_newer_server_is_a_refusal() {
    let mut session = open(without_pings(), S(0));
    let id = session.send(S(0), &outgoing(1), true, None).unwrap();
    effects(&mut session);
    let error = json!({"type": "error", "id": id, "payload": {"code": "too_early", "message": "m", "ref": "r-1"}});
    session.text(S(0), &error.to_string());
    let [Effect::Settle(Settled { outcome: Err(error), written: true, .. })] = &effects(&mut session)[..] else {
        panic!("refused")
    };
    assert_eq!((error.code().as_str(), error.reference()), ("refused", Some("r-1")));
    assert!(!SendError::new(error.clone(), true).may_have_been_handled());
}

#[test]
fn a_session_that_could_not_go_on_is_told_before_its_messages() {
    let mut session = open(without_pings(), S(0));
    for (resumed, missed) in [(true, false), (false, true)] {
        session.broken(S(0), Error::new(Code::ConnectionLost, "cut"));
        session.tick(S(100));
        session.token(S(100), Ok(Token::from("t")));
        session.opened();
        session.text(S(100), &welcome(resumed));
        let all = events(&mut session);
        assert!(
            matches!(&all[..], [Event::Lost(_), Event::Opened(opened)] if (opened.resumed, opened.missed) == (resumed, missed)),
            "{all:?}"
        );
    }
}

#[test]
fn nothing_secret_is_in_what_is_printed() {
    let mut session = session(without_pings());
    session.start(S(0));
    session.token(S(0), Ok(Token::from("hush")));
    session.opened();
    session.text(S(0), &welcome_with(&json!({"resumeToken": "hush", "csrfToken": "hush"})));
    session.broken(S(0), Error::new(Code::ConnectionLost, "cut"));
    session.tick(S(1));
    session.token(S(1), Ok(Token::from("hush")));
    let printed = format!("{:?} {:?} {:?}", effects(&mut session), events(&mut session), session.phase);
    assert!(!printed.contains("hush"), "{printed}");
}

/// Numbers that look random and are the same for each seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// A part of so many.
    fn some(&mut self, all: usize) -> usize {
        usize::try_from(self.roll(5)).unwrap().min(all)
    }
}

/// How a message ended, by its payload.
type Outcomes = Vec<(u64, Result<(), Code>)>;

/// A server as docs/protocol.md describes it, as far as delivery goes.
#[derive(Default)]
struct Server {
    /// Processes that there were.
    process: u64,
    /// Ids handled in the session of now, and the frames that it sent.
    known: std::collections::BTreeSet<u64>,
    sent: Vec<(u64, u64)>,
    /// Payloads that the application handled, over all processes.
    handled: Vec<u64>,
}

/// What is on its way to the client.
enum Wire {
    Echo { seq: u64, payload: u64 },
    Ack(u64),
}

impl Server {
    fn take(&mut self, frame: &Value, wire: &mut Vec<Wire>) {
        let (Some(id), Some(payload)) = (frame["id"].as_u64(), frame["payload"].as_u64()) else { return };
        if self.known.insert(id) {
            self.handled.push(payload);
            let seq = self.sent.len() as u64 + 1;
            self.sent.push((seq, payload));
            wire.push(Wire::Echo { seq, payload });
        }
        wire.push(Wire::Ack(id));
    }
}

/// Sends 60 messages through a network that is cut at any moment, and if `restarts` a server that is killed at any moment.
/// Gives what the server handled, what the application received, and how each message ended.
fn weather(seed: u64, restarts: bool) -> (Vec<u64>, Vec<u64>, Outcomes) {
    let mut dice = Dice(seed);
    let settings = Settings {
        pings: Some(Pings::default()),
        queue: Queue::bounded(1_000, 1_048_576),
        ack_timeout: S(3_600),
        reconnect: Some(Reconnection::default()),
        ..Settings::default()
    };
    let mut session = session(settings);
    let mut server = Server::default();
    let (mut now, mut next) = (S(0), 0);
    let (mut received, mut outcomes) = (Vec::new(), Vec::new());
    let mut payloads = std::collections::BTreeMap::new();
    // What is on its way in both directions of the one connection, and to which process it leads.
    let (mut up, mut down): (Vec<Value>, Vec<Wire>) = (Vec::new(), Vec::new());
    let mut connected: Option<(u64, Option<Resume>)> = None;
    let mut is_open = false;
    session.start(now);
    for step in 0.. {
        assert!(step < 100_000, "seed {seed}: no end");
        for effect in effects(&mut session) {
            match effect {
                Effect::AskToken(_) => session.token(now, Ok(Token::from("t"))),
                Effect::Dial { resume, .. } => {
                    (connected, is_open) = (Some((server.process, resume)), false);
                    (up, down) = (Vec::new(), Vec::new());
                }
                Effect::Write(text) => {
                    assert!(is_open, "seed {seed}: written before the welcome: {text}");
                    up.push(serde_json::from_str(&text).unwrap());
                }
                Effect::Leave(..) => connected = None,
                Effect::ForgetToken => panic!("seed {seed}: answers come at once"),
                Effect::Settle(Settled { id, outcome, .. }) => {
                    let payload = payloads.remove(&id).unwrap_or_else(|| panic!("seed {seed}: {id} ended twice"));
                    outcomes.push((payload, outcome.map_err(|error| error.code())));
                }
            }
        }
        received.extend(events(&mut session).into_iter().filter_map(|event| match event {
            Event::Message(message) => Some(message.payload::<u64>().unwrap()),
            _ => None,
        }));
        if next == 60 && session.is_drained() && session.effects.is_empty() {
            return (server.handled, received, outcomes);
        }
        match dice.roll(12) {
            0..3 if next < 60 => {
                payloads.insert(session.send(now, &outgoing(next), true, None).unwrap(), next);
                next += 1;
            }
            // The server takes some of what is on its way.
            3..6 if connected.as_ref().is_some_and(|(process, _)| *process == server.process) => {
                for frame in up.drain(..dice.some(up.len())) {
                    server.take(&frame, &mut down);
                }
            }
            6..9 if is_open && !down.is_empty() => {
                let text = match down.remove(0) {
                    Wire::Echo { seq, payload } => json!({"type": "n", "seq": seq, "payload": payload}),
                    Wire::Ack(id) => json!({"type": "ack", "id": id, "payload": {}}),
                };
                session.text(now, &text.to_string());
            }
            9 if connected.is_some() && !is_open => {
                session.opened();
                let resume = connected.as_ref().and_then(|(_, resume)| resume.clone());
                let known = format!("r{}", server.process);
                let resumed = resume.as_ref().is_some_and(|resume| resume.token.expose() == known);
                if !resumed {
                    (server.known, server.sent) = (std::collections::BTreeSet::new(), Vec::new());
                }
                is_open = true;
                session.text(now, &welcome_with(&json!({"resumed": resumed, "resumeToken": known})));
                let last_seq = resume.filter(|_| resumed).map_or(0, |resume| resume.last_seq);
                let replay = server.sent.iter().filter(|(seq, _)| *seq > last_seq);
                down.extend(replay.map(|&(seq, payload)| Wire::Echo { seq, payload }));
            }
            10 if connected.is_some() && dice.roll(3) == 0 => {
                // Some of what is on its way arrives; nothing comes back of it.
                if restarts && dice.roll(2) == 0 {
                    server.process += 1;
                } else if is_open {
                    for frame in up.drain(..dice.some(up.len())) {
                        server.take(&frame, &mut down);
                    }
                }
                (connected, is_open) = (None, false);
                session.broken(now, Error::new(Code::ConnectionLost, "cut"));
            }
            11 => {
                if let Some(deadline) = session.deadline().filter(|_| connected.is_none()) {
                    now = now.max(deadline);
                } else {
                    now += MS(dice.roll(50));
                }
                session.tick(now);
            }
            _ => {}
        }
    }
    unreachable!()
}

#[test]
fn every_message_is_handled_once_and_in_order_whenever_the_network_is_cut() {
    let all: Vec<u64> = (0..60).collect();
    for seed in 0..400 {
        let (handled, received, mut outcomes) = weather(seed, false);
        assert_eq!(handled, all, "seed {seed}: handled");
        // The last echo may still have been on its way when the last acknowledgement came.
        assert_eq!(received[..], all[..received.len()], "seed {seed}: received");
        outcomes.sort_unstable_by_key(|(payload, _)| *payload);
        assert_eq!(outcomes, all.iter().map(|payload| (*payload, Ok(()))).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn what_was_acknowledged_was_handled_and_what_is_unknown_is_not_sent_again_whenever_the_server_is_killed() {
    let mut unknown = 0;
    for seed in 0..400 {
        let (handled, _, outcomes) = weather(seed, true);
        assert_eq!(outcomes.len(), 60, "seed {seed}: each message ends");
        for payload in 0..60 {
            let times = handled.iter().filter(|handled| **handled == payload).count();
            let (_, outcome) = outcomes.iter().find(|(other, _)| *other == payload).unwrap();
            match outcome {
                Ok(()) => assert_eq!(times, 1, "seed {seed}: {payload} was acknowledged"),
                Err(code) => {
                    assert_eq!(*code, Code::DeliveryUnknown, "seed {seed}: {payload}");
                    assert!(times <= 1, "seed {seed}: {payload} was handled {times} times");
                    unknown += 1;
                }
            }
        }
        assert!(handled.is_sorted(), "seed {seed}: {handled:?}");
    }
    assert!(unknown > 100, "{unknown}: the weather is too good to prove anything");
}
