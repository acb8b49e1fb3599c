//! Handshakes: only a proper upgrade for a listed Host, from a listed Origin or none, with a good credential or none.
//!
//! Input: the head of an HTTP request. It is parsed as hyper would hand it over; hyper's own parser is not the subject.

use std::future::Future as _;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use http::request::Parts;
use http::{HeaderMap, Method, Version};
use wsguard::core::control::rate::Mode;
use wsguard::core::effect::Record;
use wsguard::core::handshake::{Entry, HandshakeRequest, Header, Step, admit};
use wsguard::core::policy::StaticToken;
use wsguard::core::time::{Now, Tick, UnixMs};
use wsguard::{Guard, Journal, upgrade};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HOST: &str = "localhost";
const ORIGIN: &str = "http://localhost:3000";
const TOKEN: &str = "test_token";

/// Keeps the reason of the last refusal.
#[derive(Clone, Default)]
struct Last(Arc<Mutex<Option<Record>>>);

impl Journal for Last {
    fn record(&self, _: UnixMs, record: Record) {
        *self.0.lock().expect("not poisoned") = Some(record);
    }
}

/// Quotas count and refuse nothing: time must not decide.
static GUARD: LazyLock<(Guard, Last)> = LazyLock::new(|| {
    let last = Last::default();
    let guard = Guard::builder()
        .hosts([HOST])
        .origins([ORIGIN])
        .key("fuzz", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
        .message("echo", "{}")
        .journal(last.clone())
        .tune(|policy| {
            policy.rate.mode = Mode::Shadow;
            policy.static_token = Some(StaticToken { token: TOKEN.into(), subject: "dev".into() });
        })
        .build()
        .expect("a good guard");
    (guard, last)
});

/// One at a time: the last refusal must be that of this request.
static TURN: Mutex<()> = Mutex::new(());

/// Panics where a promise of the handshake does not hold for `data`.
pub fn run(data: &[u8]) {
    let Some(mut parts) = head(data) else { return };
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (guard, last) = &*GUARD;
    let strict = upgrade::strict(&parts);
    if let Ok(accept) = &strict {
        assert_eq!((&parts.method, parts.version), (&Method::GET, Version::HTTP_11));
        assert_eq!(accept.len(), 28, "SHA-1 in base64");
        for (name, want) in [("sec-websocket-version", "13"), ("upgrade", "websocket")] {
            let values: Vec<_> = parts.headers.get_all(name).iter().collect();
            assert!(
                values.len() == 1 && values.iter().all(|value| value.as_bytes().eq_ignore_ascii_case(want.as_bytes()))
            );
        }
        assert_eq!(parts.headers.get_all("sec-websocket-key").iter().count(), 1, "one key");
        assert!(!parts.headers.contains_key("transfer-encoding"), "a body");
    }

    let admitted = core(guard, &parts);
    *last.0.lock().expect("not poisoned") = None;
    let Poll::Ready(outcome) =
        pin!(upgrade::handshake(guard, &mut parts, CLIENT)).poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("the store of this process answers at once");
    };
    // No connection is behind these parts, so a handshake that passes every control is refused at the very end.
    let response = outcome.err().expect("nothing to upgrade");
    let record = last.0.lock().expect("not poisoned").take().expect("every refusal is recorded");
    let reason = record.refusal.as_ref().map(|refusal| refusal.reason.word).expect("a reason");
    assert_eq!(
        reason == "connection_cannot_upgrade",
        strict.is_ok() && admitted,
        "the whole path and its parts: {reason}"
    );
    assert!(matches!(response.status().as_u16(), 400 | 401 | 403 | 405 | 426 | 503), "{}", response.status());
    for (name, value) in response.headers() {
        assert!(matches!(
            (name.as_str(), value.as_bytes()),
            ("content-type", b"application/json")
                | ("sec-websocket-version", b"13")
                | ("upgrade", b"websocket")
                | ("retry-after", _)
        ));
    }
}

/// Asks the core as the upgrade does, and judges what it admits by what stands in the request.
fn core(guard: &Guard, parts: &Parts) -> bool {
    let joined = lines(&parts.headers, "sec-websocket-protocol").map(|lines| lines.join(","));
    let request = HandshakeRequest {
        client: CLIENT,
        host: one(&parts.headers, "host"),
        origin: one(&parts.headers, "origin"),
        authorization: one(&parts.headers, "authorization"),
        protocols: match &joined {
            _ if !parts.headers.contains_key("sec-websocket-protocol") => Header::Absent,
            Some(text) => Header::One(text),
            None => Header::Invalid,
        },
        cookie: one(&parts.headers, "cookie"),
        query: parts.uri.query(),
    };
    let now = Now { tick: Tick(10_000_000), unix: UnixMs(1_700_000_000_000) };
    let Step::Admit(admission) = admit(guard.context(), now, &request) else { return false };
    let host = parts.headers.get("host").expect("no Host passed").to_str().expect("ASCII").to_ascii_lowercase();
    assert!(host == HOST || host.strip_prefix("localhost:").is_some_and(|port| port.parse::<u16>().is_ok()), "{host}");
    let origin = parts.headers.get("origin");
    assert!(origin.is_none_or(|origin| origin == ORIGIN), "a foreign Origin passed: {origin:?}");
    let says = |name: &str| {
        parts
            .headers
            .get_all(name)
            .iter()
            .any(|value| value.as_bytes().windows(10).any(|part| part == TOKEN.as_bytes()))
    };
    match &admission.entry {
        Entry::Open(identity, _) => {
            assert_eq!(&*identity.claims.subject, "dev");
            assert!(says("authorization") || says("sec-websocket-protocol"), "nobody said the token");
        }
        Entry::Proof { .. } => assert!(says("cookie") && origin.is_some(), "a cookie without its page"),
        Entry::FirstMessage => assert!(!parts.headers.contains_key("authorization"), "a bad bearer counts as none"),
        Entry::Refused(_) => assert!(admission.subprotocol, "told over a socket that nobody asked for"),
    }
    if admission.subprotocol {
        assert!(joined.is_some_and(|joined| joined.contains("wsguard.v1")), "selected what was not offered");
    }
    true
}

/// Splits a head into its lines, as far as the `http` types accept them.
fn head(data: &[u8]) -> Option<Parts> {
    let text: Vec<&[u8]> =
        data.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    let (first, rest) = text.split_first()?;
    let mut words = std::str::from_utf8(first).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let mut builder = http::Request::builder().method(method).uri(target).version(match version {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/1.1" => Version::HTTP_11,
        "HTTP/2.0" => Version::HTTP_2,
        _ => return None,
    });
    for line in rest.iter().take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        builder = builder.header(name, value.get(1..)?.trim_ascii());
    }
    Some(builder.body(()).ok()?.into_parts().0)
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Header<'a> {
    match lines(headers, name).as_deref() {
        Some([]) => Header::Absent,
        Some([value]) => Header::One(value),
        _ => Header::Invalid,
    }
}

/// The values of a header; `None` where one is not visible ASCII.
fn lines<'a>(headers: &'a HeaderMap, name: &str) -> Option<Vec<&'a str>> {
    headers.get_all(name).iter().map(|value| value.to_str().ok()).collect()
}
