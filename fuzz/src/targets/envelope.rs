//! A whole open connection: whatever it is told, the application receives only what was checked, in canonical form.
//!
//! Input: messages parted by the byte 0xFF, which is never UTF-8; `$CSRF` stands for the connection's token.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value as Tree;
use wsguard_core::control::host::HostPattern;
use wsguard_core::control::rate::Mode;
use wsguard_core::effect::Effects;
use wsguard_core::guard::Connection;
use wsguard_core::handshake::{HandshakeRequest, Header, Step, admit};
use wsguard_core::json::{self, ScanLimits, Tape, Value};
use wsguard_core::markup::is_harmless;
use wsguard_core::policy::{Context, Policy, Random, Secrets, StaticToken, built_in_messages};
use wsguard_core::probe::NoProbe;
use wsguard_core::time::{Now, Tick, UnixMs};
use wsguard_core::token::{Key, KeyRing};
use wsguard_core::verdict::Verdict;

const SECRET: &[u8] = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Counts up, so that a run can be repeated.
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(next) {
                *to = from;
            }
        }
    }
}

/// The built-in message types; quotas count and refuse nothing, or nobody would see what is behind them.
static CONTEXT: LazyLock<Arc<Context>> = LazyLock::new(|| {
    let key = Key::parse("fuzz", SECRET).expect("a good key");
    let mut policy = Policy::new(KeyRing::new(vec![key]).expect("a good ring"));
    policy.hosts = vec![HostPattern::parse("localhost").expect("a good host")];
    policy.static_token = Some(StaticToken { token: "test_token".into(), subject: "dev".into() });
    policy.rate.mode = Mode::Shadow;
    policy.penalty.mode = Mode::Shadow;
    for message in built_in_messages().expect("good schemas") {
        policy.declare(message).expect("a good type");
    }
    Arc::new(Context::new(policy, &Secrets { csrf: [1; 32], prints: [2; 16] }, Box::new(Counting(AtomicU64::new(0)))))
});

/// Panics where a promise of the guard does not hold for `data`.
pub fn run(data: &[u8]) {
    let mut request = HandshakeRequest::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
    request.host = Header::One("localhost");
    request.authorization = Header::One("Bearer test_token");
    let Step::Admit(admission) = admit(&CONTEXT, at(0), &request) else { panic!("a good handshake was refused") };
    let mut effects = Effects::default();
    let (mut connection, _) = Connection::open(Arc::clone(&CONTEXT), at(0), admission, &mut effects);
    let welcome = frames(&std::mem::take(&mut effects.out));
    let csrf = welcome[0]["payload"]["csrfToken"].as_str().expect("a token in the welcome").to_owned();

    for (place, message) in data.split(|byte| *byte == 0xff).enumerate().take(64) {
        let Ok(text) = std::str::from_utf8(message) else { continue };
        let text = text.replace("$CSRF", &csrf);
        let now = at(u64::try_from(place).expect("a small number") * 100 + 100);
        let was_closing = connection.is_closing();
        let verdict = connection.on_message(now, &text, &mut effects, &mut NoProbe);
        let sent = frames(&std::mem::take(&mut effects.out));
        let refused = sent.iter().filter(|frame| frame["type"] == "error").count();
        match verdict {
            Verdict::Allow => {
                assert!(!was_closing && sent.is_empty(), "the guard answered what it handed over");
                judge(&connection, &text, &effects);
            }
            Verdict::Refuse(_) | Verdict::Close(_) => {
                assert_eq!(refused, 1, "a refusal that the peer is not told of once");
            }
            Verdict::Answered => assert_eq!(refused, 0, "an error for what was answered"),
        }
        // One line of the log for each error that the peer sees, joined by the reference.
        let told = effects.records.iter().filter(|record| record.reference.is_some()).count();
        assert_eq!(told, refused, "records and errors");
        effects.records.clear();
    }
}

fn at(ms: u64) -> Now {
    Now { tick: Tick(10_000_000 + ms), unix: UnixMs(1_700_000_000_000 + ms) }
}

/// What the application receives.
fn judge(connection: &Connection, text: &str, effects: &Effects) {
    let message = connection.message(text, effects);
    let policy = CONTEXT.policy();
    let kind = policy.messages().iter().find(|kind| kind.name() == message.kind).expect("a declared type");
    let mut tape = Tape::new();
    let document = json::scan(message.payload, &ScanLimits::default(), &mut tape).expect("strict JSON is handed over");
    let mut canonical = Vec::new();
    json::write_canonical(document.root(), &mut canonical);
    assert_eq!(canonical, message.payload.as_bytes(), "not canonical");
    if message.payload != "null" {
        let parts = |value: Value<'_>| value.subtree().map(|part| (part.span(), part.kind())).collect::<Vec<_>>();
        assert_eq!(parts(message.value), parts(document.root()), "the cursor reads something else than the text");
    }
    if message.neutralised == 0 {
        // Where `<` became `&lt;`, a string may have grown beyond its `maxLength`.
        assert_eq!(kind.schema().check(document, document.root()), Ok(()), "not of its schema");
    }
    let tree: Tree = serde_json::from_str(message.payload).expect("JSON for others too");
    walk(&tree, &mut |text, is_key| {
        assert!(is_harmless(text), "markup passed: {text:?}");
        assert!(!(is_key && text == "__proto__"), "a prototype passed");
        let control = |character| matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}');
        assert!(!text.contains(control), "a control character passed: {text:?}");
    });
    if let Some(id) = message.id {
        let id: Tree = serde_json::from_str(id).expect("an id is JSON");
        assert!(id.as_str().is_some_and(|id| (1..=64).contains(&id.chars().count())) || id.is_u64(), "{id}");
    }
}

fn walk(tree: &Tree, see: &mut impl FnMut(&str, bool)) {
    match tree {
        Tree::String(text) => see(text, false),
        Tree::Array(items) => items.iter().for_each(|item| walk(item, see)),
        Tree::Object(members) => {
            for (key, value) in members {
                see(key, true);
                walk(value, see);
            }
        }
        _ => {}
    }
}

/// The server's frames: whole, unmasked, JSON in each text.
fn frames(mut bytes: &[u8]) -> Vec<Tree> {
    let mut found = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match (second, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (short @ 0..=125, rest) => (usize::from(*short), rest),
            _ => panic!("a frame of the server is masked or longer than any: {second}"),
        };
        let (payload, rest) = rest.split_at(length);
        match first {
            0x81 => found.push(serde_json::from_slice(payload).expect("JSON")),
            0x88..=0x8a => {}
            other => panic!("first byte {other:#x}"),
        }
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame");
    found
}
