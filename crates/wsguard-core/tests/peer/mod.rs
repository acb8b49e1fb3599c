//! A peer without a socket: what it sends goes straight to a connection, what comes back is read as it would read it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wsguard_core::control::host::HostPattern;
use wsguard_core::control::origin::Origin;
use wsguard_core::effect::{Effects, Message};
use wsguard_core::frame::{Decoder, Event, FrameLimits};
use wsguard_core::guard::Connection;
use wsguard_core::handshake::{Admission, HandshakeRequest, Header, Step, admit};
use wsguard_core::policy::{Context, Policy, Random, Secrets, StaticToken, built_in_messages};
use wsguard_core::probe::NoProbe;
use wsguard_core::time::{Now, Tick, UnixMs};
use wsguard_core::token::{Key, KeyRing, MintClaims, SigningKey, mint};
use wsguard_core::verdict::Verdict;

pub(crate) const SECRET: &[u8] = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
pub(crate) const UNIX: u64 = 1_700_000_000_000;

/// Counts up: every id and reference differs, and every run is the same.
#[derive(Default)]
pub(crate) struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

pub(crate) fn at(ms: u64) -> Now {
    Now { tick: Tick(10_000_000 + ms), unix: UnixMs(UNIX + ms) }
}

pub(crate) fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::new(KeyRing::new(vec![Key::parse("test", SECRET).unwrap()]).unwrap());
    policy.hosts = vec![HostPattern::parse("localhost").unwrap()];
    policy.origins = vec![Origin::parse("http://localhost:3000").unwrap()];
    policy.static_token = Some(StaticToken { token: "test_token".into(), subject: "dev".into() });
    for message in built_in_messages().unwrap() {
        policy.declare(message).unwrap();
    }
    change(&mut policy);
    policy
}

pub(crate) fn context(change: impl FnOnce(&mut Policy)) -> Arc<Context> {
    let policy = policy(change);
    let secrets = Secrets { csrf: [1; 32], prints: [2; 16] };
    Arc::new(Context::new(policy, &secrets, Box::<Counting>::default()))
}

pub(crate) fn token(subject: &str, life_ms: u64) -> String {
    token_with(subject, life_ms, |_| {})
}

pub(crate) fn token_with<'a>(subject: &'a str, life_ms: u64, change: impl FnOnce(&mut MintClaims<'a>)) -> String {
    let key = SigningKey::parse("test", SECRET).unwrap();
    let mut claims = MintClaims::new(subject, UnixMs(UNIX + life_ms));
    change(&mut claims);
    mint(&key, &claims).unwrap()
}

pub(crate) fn request() -> HandshakeRequest<'static> {
    let mut request = HandshakeRequest::new("192.0.2.1".parse().unwrap());
    request.host = Header::One("localhost:3000");
    request
}

pub(crate) fn admitted(step: Step) -> Admission {
    match step {
        Step::Admit(admission) => admission,
        other => panic!("{other:?}"),
    }
}

/// A connection and what came out of it.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) effects: Effects,
    pub(crate) csrf: String,
    /// What it said last.
    pub(crate) said: String,
}

impl Peer {
    pub(crate) fn open(cx: &Arc<Context>, now: Now, admission: Admission) -> Self {
        let mut effects = Effects::default();
        let (connection, _) = Connection::open(Arc::clone(cx), now, admission, &mut effects);
        let mut peer = Self { connection, effects, csrf: String::new(), said: String::new() };
        peer.welcome();
        peer
    }

    pub(crate) fn with_token(cx: &Arc<Context>, token: &str) -> Self {
        let authorization = format!("Bearer {token}");
        let request = HandshakeRequest { authorization: Header::One(&authorization), ..request() };
        Self::open(cx, at(0), admitted(admit(cx, at(0), &request)))
    }

    pub(crate) fn welcome(&mut self) {
        if let Some(welcome) = self.frames().into_iter().find(|frame| frame["type"] == "welcome") {
            welcome["payload"]["csrfToken"].as_str().unwrap().clone_into(&mut self.csrf);
        }
    }

    /// Takes the text frames; a close frame appears as `{"close": code}`.
    pub(crate) fn frames(&mut self) -> Vec<serde_json::Value> {
        // The codec reads what clients send, so the server's frames are masked first with a key of zeros.
        let mut masked = Vec::new();
        let mut rest = std::mem::take(&mut self.effects.out);
        let mut slice = &mut rest[..];
        while !slice.is_empty() {
            let (head, length) = match slice[1] {
                126 => (4, usize::from(u16::from_be_bytes([slice[2], slice[3]]))),
                short => (2, usize::from(short)),
            };
            let (frame, tail) = slice.split_at_mut(head + length);
            masked.extend_from_slice(&frame[..head]);
            let at = masked.len() - head + 1;
            masked[at] |= 0x80;
            masked.extend_from_slice(&[0; 4]);
            masked.extend_from_slice(&frame[head..]);
            slice = tail;
        }
        let mut codec = Decoder::new();
        let mut rest = &mut masked[..];
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let decoded = codec.decode(&FrameLimits::default(), Tick(0), rest).unwrap();
            match decoded.event {
                Event::Text(text) => frames.push(serde_json::from_str(&text).unwrap()),
                Event::Close(Some(close)) => frames.push(serde_json::json!({"close": close.code})),
                _ => {}
            }
            rest = decoded.rest;
        }
        frames
    }

    pub(crate) fn say(&mut self, now: Now, text: &str) -> Verdict {
        self.said = text.replace("CSRF", &self.csrf);
        self.connection.on_message(now, &self.said, &mut self.effects, &mut NoProbe)
    }

    /// The code with which a message is refused; `None` when it passes.
    pub(crate) fn refusal(&mut self, now: Now, text: &str) -> Option<String> {
        let verdict = self.say(now, text);
        let frames = self.frames();
        let error = frames.iter().find(|frame| frame["type"] == "error");
        assert_eq!(matches!(verdict, Verdict::Refuse(_) | Verdict::Close(_)), error.is_some(), "{text}: {verdict:?}");
        error.map(|error| {
            let reference = error["payload"]["ref"].as_str().unwrap();
            let told = self
                .effects
                .records
                .drain(..)
                .filter(|record| record.reference.is_some_and(|known| known.as_str() == reference));
            assert_eq!(told.count(), 1, "one record for each refusal: {text}");
            error["payload"]["code"].as_str().unwrap().to_owned()
        })
    }

    /// The message that passed.
    pub(crate) fn message(&self) -> Message<'_> {
        self.connection.message(&self.said, &self.effects)
    }

    pub(crate) fn payload(&self) -> String {
        self.message().payload.to_owned()
    }
}
