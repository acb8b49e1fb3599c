//! The strict upgrade: from an HTTP request to a guarded connection.
//!
//! Attacks: requests that one side takes for an upgrade and the other does not (request smuggling, CWE-444), drafts of
//! the protocol with other framing, bodies behind an upgrade. What is not exactly RFC 6455 section 4.2.1 over HTTP/1.1
//! never reaches the guard.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use wsguard_core::effect::{Record, RefusedRequest};
use wsguard_core::handshake::{Admission, HandshakeRefusal, HandshakeRequest, Header, Step, admit};
use wsguard_core::time::Millis;
use wsguard_core::verdict::{ControlId, Refusal};
use wsguard_protocol::{ErrorCode, SUBPROTOCOL};

use crate::clock;
use crate::driver;
use crate::flight::FirstFlight;
use crate::guard::Guard;
use crate::handler::Handler;
use crate::mailbox::Outbox;
use crate::session::Guarded;
use crate::unread::Unread;

/// A handshake that the guard admitted: answer it with [`Upgrade::into_response`] or [`Upgrade::answer`].
#[derive(Debug)]
pub struct Upgrade {
    guard: Guard,
    admission: Admission,
    accept: HeaderValue,
    pending: OnUpgrade,
    /// Which of the guard's handshakes this is: a client that tries again has the higher number.
    number: u64,
}

/// A response with a small body.
pub type SmallResponse = Response<Full<Bytes>>;

/// Judges an upgrade request from `client` against `guard`.
///
/// # Errors
/// The response that refuses it: status, code and reference, nothing more.
pub async fn handshake(guard: &Guard, parts: &mut Parts, client: IpAddr) -> Result<Upgrade, SmallResponse> {
    let asked = Asked::of(client, &parts.uri, &parts.headers);
    let accept = match strict(parts) {
        Ok(accept) => accept,
        Err(refusal) => return Err(refuse(guard, asked, &refusal)),
    };
    let shared = &guard.0;
    if guard.handle().is_draining() || shared.stats.connections_open() >= shared.connections_max {
        let word = if guard.handle().is_draining() { "draining" } else { "connections_of_server" };
        let refusal = Refusal::new(ControlId::SessionCap, ErrorCode::UpstreamUnavailable, word);
        let refusal = HandshakeRefusal { status: 503, refusal: refusal.retry_after(Millis(5_000)) };
        return Err(refuse(guard, asked, &refusal));
    }
    let protocols = joined(&parts.headers, SEC_WEBSOCKET_PROTOCOL);
    let request = HandshakeRequest {
        client,
        host: one(&parts.headers, HOST),
        origin: one(&parts.headers, ORIGIN),
        authorization: one(&parts.headers, AUTHORIZATION),
        protocols: match &protocols {
            Joined::Absent => Header::Absent,
            Joined::Text(text) => Header::One(text),
            Joined::Invalid => Header::Invalid,
        },
        cookie: one(&parts.headers, COOKIE),
        query: parts.uri.query(),
    };
    let mut step = admit(&shared.cx, clock::now(), &request);
    if let Step::Redeem { ticket, waiting } = step {
        let reply = shared.store.take_ticket(ticket, clock::now().unix).await;
        step = waiting.redeemed(&shared.cx, clock::now(), reply);
    }
    let admission = match step {
        Step::Admit(admission) => admission,
        Step::Refuse(refusal) => return Err(refuse(guard, asked, &refusal)),
        Step::Redeem { .. } => {
            let refusal = Refusal::new(ControlId::Credential, ErrorCode::Internal, "ticket_asked_twice");
            return Err(refuse(guard, asked, &HandshakeRefusal { status: 503, refusal }));
        }
    };
    if let Some(displaced) = admission.displaced {
        shared.sessions.with(displaced, |session| session.outbox.reconsider());
    }
    let Some(pending) = parts.extensions.remove::<OnUpgrade>() else {
        let asked = Asked::of(client, &parts.uri, &parts.headers);
        return Err(refuse(guard, asked, &malformed(400, "connection_cannot_upgrade")));
    };
    let number = shared.stats.handshakes_admitted.fetch_add(1, Ordering::Relaxed);
    Ok(Upgrade { guard: guard.clone(), admission, accept, pending, number })
}

impl Upgrade {
    /// Who admitted it.
    #[cfg(feature = "axum")]
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The 101, and the connection behind it, which runs on a task of its own: `handler` is the application.
    pub fn into_response(self, handler: impl Handler) -> SmallResponse {
        let (response, opening) = self.answer(handler);
        tokio::spawn(opening.spawn());
        response
    }

    /// The 101, and the connection behind it. For servers that go on with it on the task of hyper's connection.
    pub fn answer<H: Handler>(self, handler: H) -> (SmallResponse, Opening<H>) {
        let Self { guard, admission, accept, pending, number } = self;
        let mut response = switching_protocols(accept);
        if admission.subprotocol {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        (response, Opening { guard, admission, pending, number, handler })
    }
}

/// A connection whose 101 is under way.
#[derive(Debug)]
pub struct Opening<H> {
    guard: Guard,
    admission: Admission,
    pending: OnUpgrade,
    number: u64,
    handler: H,
}

impl<H: Handler> Opening<H> {
    /// Drives the connection on a task of its own, as soon as hyper lets go of it.
    async fn spawn(self) {
        if let Some((upgraded, outbox, guarded)) = self.begin().await {
            drive(upgraded, outbox, guarded);
        }
    }

    /// Waits until hyper lets go of the connection, and gives the future that drives it to its end. `None` where it is gone,
    /// and where hyper was given another stream than a [`FirstFlight`] of an [`Unread`] of `S`.
    pub async fn over<S>(self) -> Option<impl Future<Output = ()> + Send>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (upgraded, outbox, guarded) = self.begin().await?;
        let (stream, head, early) = take_out(upgraded, bare::<S>).ok()?;
        Some(driver::run_behind(stream, head, early, outbox, guarded))
    }

    async fn begin(self) -> Option<(Upgraded, Outbox, Guarded<H>)> {
        let Self { guard, admission, pending, number, handler } = self;
        let upgraded = pending.await.ok()?;
        let outbox = Outbox::new(guard.0.queue);
        let guarded = Guarded::new(guard.0, admission, outbox.clone(), handler, number);
        Some((upgraded, outbox, guarded))
    }
}

/// The 101 with the `Sec-WebSocket-Accept` that [`strict`] gave, and no subprotocol.
pub fn switching_protocols(accept: HeaderValue) -> SmallResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Drives `endpoint` on a new task. The TCP stream is taken out of what hyper hands over, so that hyper's task and
/// buffers are dropped; I/O of another kind stays boxed.
pub fn drive<E: driver::Endpoint + Send + 'static>(upgraded: Upgraded, outbox: Outbox, endpoint: E) {
    let upgraded = match take_out(upgraded, bare::<TcpStream>) {
        Ok((stream, head, early)) => {
            tokio::spawn(driver::run_behind(stream, head, early, outbox, endpoint));
            return;
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match take_out(upgraded, bare::<TlsStream<TcpStream>>) {
        Ok((stream, head, early)) => {
            tokio::spawn(driver::run_behind(stream, head, early, outbox, endpoint));
            return;
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match take_out(upgraded, FirstFlight::<TcpStream>::into_parts) {
        Ok((stream, head, early)) => {
            tokio::spawn(driver::run_behind(stream, head, early, outbox, endpoint));
            return;
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match take_out(upgraded, FirstFlight::<TlsStream<TcpStream>>::into_parts) {
        Ok((stream, head, early)) => {
            tokio::spawn(driver::run_behind(stream, head, early, outbox, endpoint));
            return;
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match take_out(upgraded, |stream: TcpStream| (stream, Vec::new())) {
        Ok((stream, _, early)) => {
            tokio::spawn(driver::run(stream, early, outbox, endpoint));
            return;
        }
        Err(upgraded) => upgraded,
    };
    match hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => {
            tokio::spawn(driver::run(parts.io.into_inner(), early_of(&parts.read_buf), outbox, endpoint));
        }
        Err(upgraded) => {
            tokio::spawn(driver::run(TokioIo::new(upgraded), None, outbox, endpoint));
        }
    }
}

/// A stream that was taken out of hyper, what is still to be written to it, and what came early.
type TakenOut<S> = (S, Vec<u8>, Option<Box<[u8]>>);

/// Takes the stream out of what hyper hands over, if hyper was given an `Io`.
fn take_out<Io, S>(upgraded: Upgraded, open: impl FnOnce(Io) -> (S, Vec<u8>)) -> Result<TakenOut<S>, Upgraded>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let parts = upgraded.downcast::<TokioIo<Io>>()?;
    let (stream, head) = open(parts.io.into_inner());
    Ok((stream, head, early_of(&parts.read_buf)))
}

/// What is inside, and what is still to be written to it.
fn bare<S>(io: FirstFlight<Unread<S>>) -> (S, Vec<u8>) {
    let (stream, head) = io.into_parts();
    (stream.into_inner(), head)
}

fn early_of(bytes: &Bytes) -> Option<Box<[u8]>> {
    (!bytes.is_empty()).then(|| bytes.to_vec().into_boxed_slice())
}

/// Who asks for what, as far as the record of a refusal tells it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The path of the request, without its query; `None` where the request could not be read.
    pub path: Option<&'a str>,
    /// `Origin`: the first, where it was sent more than once.
    pub origin: Option<&'a HeaderValue>,
}

impl<'a> Asked<'a> {
    /// What `uri` and `headers` say of a request of `client`.
    pub fn of(client: IpAddr, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        Self { client, path: Some(uri.path()), origin: headers.get(ORIGIN) }
    }
}

/// Most of a peer's text that is kept for the log, in bytes: more than the log shows, however it is written.
const TOLD_BYTES_MAX: usize = 1_040;

fn told(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(text.get(..TOLD_BYTES_MAX).unwrap_or(text)).into()
}

/// The refusing response, its record and its count.
pub fn refuse(guard: &Guard, asked: Asked<'_>, refused: &HandshakeRefusal) -> SmallResponse {
    refusing(guard, asked, refused).map(Full::from)
}

/// [`refuse`], with the body at hand.
pub(crate) fn refusing(guard: &Guard, asked: Asked<'_>, refused: &HandshakeRefusal) -> Response<String> {
    let reference = guard.0.cx.reference();
    let mut record = Record::new("handshake_refused");
    record.client = Some(asked.client);
    record.request = Some(Box::new(RefusedRequest {
        status: refused.status,
        path: asked.path.map(|path| told(path.as_bytes())),
        origin: asked.origin.map(|origin| told(origin.as_bytes())),
    }));
    record.reference = Some(reference);
    record.refusal = Some(refused.refusal.clone());
    guard.0.stats.handshake_refused(refused.status);
    let now = clock::now();
    guard.0.record(now.unix, record);
    guard.0.tell_bans(now);
    let body = format!(r#"{{"error":{{"code":"{}","ref":"{reference}"}}}}"#, refused.refusal.code);
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if refused.status == 426 {
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    if let Some(wait) = refused.refusal.retry_after {
        // Whole seconds, never zero: rounding down would invite the client too early.
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.0.div_ceil(1_000).max(1)));
    }
    response
}

/// A refusal of a request that is no proper upgrade.
fn malformed(status: u16, reason: &'static str) -> HandshakeRefusal {
    HandshakeRefusal { status, refusal: Refusal::new(ControlId::Upgrade, ErrorCode::InvalidMessage, reason) }
}

/// Checks RFC 6455 section 4.2.1 over HTTP/1.1 and gives the value of `Sec-WebSocket-Accept`. That is all: who asks, and
/// from where, is for [`handshake`] to judge.
///
/// # Errors
/// The refusal, with status 400, 405 or 426.
pub fn strict(parts: &Parts) -> Result<HeaderValue, HandshakeRefusal> {
    let headers = &parts.headers;
    if parts.method != Method::GET {
        return Err(malformed(405, "method_not_get"));
    }
    if parts.version != Version::HTTP_11 {
        return Err(malformed(400, "version_not_http_1_1"));
    }
    if parts.uri.scheme().is_some() || parts.uri.authority().is_some() {
        return Err(malformed(400, "target_not_origin_form"));
    }
    let body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    if body {
        return Err(malformed(400, "upgrade_with_body"));
    }
    if headers.get_all(SEC_WEBSOCKET_VERSION).iter().count() != 1 {
        return Err(malformed(
            if headers.contains_key(SEC_WEBSOCKET_VERSION) { 400 } else { 426 },
            "websocket_version",
        ));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes() != b"13") {
        return Err(malformed(426, "websocket_version"));
    }
    match one(headers, UPGRADE) {
        Header::One(protocol) if protocol.eq_ignore_ascii_case("websocket") => {}
        Header::Absent => return Err(malformed(426, "upgrade_missing")),
        _ => return Err(malformed(400, "upgrade_not_websocket")),
    }
    let asks = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|token| token.trim_matches([' ', '\t']).eq_ignore_ascii_case("upgrade")));
    if !asks {
        return Err(malformed(400, "connection_not_upgrade"));
    }
    let Header::One(key) = one(headers, SEC_WEBSOCKET_KEY) else {
        return Err(malformed(400, "websocket_key"));
    };
    let good = base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    if !good {
        return Err(malformed(400, "websocket_key"));
    }
    HeaderValue::from_str(&accept_of(key)).map_err(|_| malformed(400, "websocket_key"))
}

/// RFC 6455 section 4.2.2, step 5.4. SHA-1 is no security property here (section 10.8).
fn accept_of(key: &str) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    base64::engine::general_purpose::STANDARD.encode(hash.finish())
}

fn one(headers: &HeaderMap, name: HeaderName) -> Header<'_> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Header::Absent,
        (Some(value), None) => value.to_str().map_or(Header::Invalid, Header::One),
        (Some(_), Some(_)) => Header::Invalid,
    }
}

/// A list header in one line.
enum Joined {
    Absent,
    Text(String),
    /// Not visible ASCII.
    Invalid,
}

/// The lines of a list header joined by commas (RFC 9110 section 5.3).
fn joined(headers: &HeaderMap, name: HeaderName) -> Joined {
    if !headers.contains_key(&name) {
        return Joined::Absent;
    }
    let lines: Option<Vec<&str>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    lines.map_or(Joined::Invalid, |lines| Joined::Text(lines.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Parts);

    fn request(change: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        change(http::Request::builder().uri("/ws")).body(()).unwrap().into_parts().0
    }

    fn good(builder: http::request::Builder) -> http::request::Builder {
        builder
            .header("Host", "localhost")
            .header("Upgrade", "websocket")
            .header("Connection", "keep-alive, Upgrade")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Version", "13")
    }

    #[test]
    fn only_a_proper_upgrade_passes() {
        // The example of RFC 6455 section 1.3.
        assert_eq!(strict(&request(good)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let cases: [(&str, Change, u16); 14] = [
            ("POST", |p| p.method = Method::POST, 405),
            ("HTTP/1.0", |p| p.version = Version::HTTP_10, 400),
            ("HTTP/2", |p| p.version = Version::HTTP_2, 400),
            ("absolute form", |p| p.uri = "http://localhost/ws".parse().unwrap(), 400),
            ("version 8", |p| set(p, "sec-websocket-version", "8"), 426),
            ("no version", |p| remove(p, "sec-websocket-version"), 426),
            ("two versions", |p| add(p, "sec-websocket-version", "13"), 400),
            ("no upgrade", |p| remove(p, "upgrade"), 426),
            ("other upgrade", |p| set(p, "upgrade", "h2c"), 400),
            ("connection without upgrade", |p| set(p, "connection", "keep-alive"), 400),
            ("key of 15 bytes", |p| set(p, "sec-websocket-key", "AAAAAAAAAAAAAAAAAAAA"), 400),
            ("two keys", |p| add(p, "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), 400),
            ("body", |p| add(p, "content-length", "4"), 400),
            ("chunked body", |p| add(p, "transfer-encoding", "chunked"), 400),
        ];
        for (name, change, status) in cases {
            let mut parts = request(good);
            change(&mut parts);
            assert_eq!(strict(&parts).err().map(|refusal| refusal.status), Some(status), "{name}");
        }
    }

    fn set(parts: &mut Parts, name: &'static str, value: &'static str) {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }

    fn add(parts: &mut Parts, name: &'static str, value: &'static str) {
        parts.headers.append(name, HeaderValue::from_static(value));
    }

    fn remove(parts: &mut Parts, name: &'static str) {
        parts.headers.remove(name);
    }
}
