//! The development routes of `--dev`: the demo page, tokens for names, the view into a connection, frames that a browser
//! cannot send. None of them exists without `--dev`, and `--dev` listens on loopback only.

mod crowd;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rust_embed::RustEmbed;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use wsguard::core::control::origin;
use wsguard::core::control::revocation::Target;
use wsguard::core::control::session::SessionId;
use wsguard::core::handshake::Header;
use wsguard::core::time::UnixMs;
use wsguard::core::token::{MintClaims, SigningKey, mint};
use wsguard::{Guard, Watched};

use crate::app::unix_ms;
use crate::http::{EventStream, Reply, json as json_reply, read_json, reply, single};
use crate::journal::{Entry, Journal, Outcome};
use crate::setup::DEV_TOKEN;

/// Events that wait for a page that does not read them; then its stream ends.
const EVENTS_WAITING_MAX: usize = 256;

/// What the page may load and talk to: itself.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

#[derive(RustEmbed)]
#[folder = "assets/demo"]
struct Assets;

/// The development routes.
pub(crate) struct Dev {
    pub(crate) key: Option<SigningKey>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) listen: SocketAddr,
    /// Visitors are here: others come only when they are gone.
    pub(crate) crowded: AtomicBool,
}

#[derive(Deserialize)]
struct TokenRequest {
    name: String,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fate {
    /// The connection is lost, as by a network that went away.
    Cut,
    /// The session is revoked, as an operator does it.
    Revoke,
}

#[derive(Deserialize)]
struct FateRequest {
    kind: Fate,
    session: String,
}

#[derive(Deserialize)]
struct AttackRequest {
    kind: String,
}

impl Dev {
    /// Answers a request, or `None` where there is nothing at its path.
    pub(crate) async fn answer(&self, guard: &Guard, request: Request<Incoming>) -> Option<Reply> {
        // A foreign page must not fetch a token from here.
        let foreign = request.headers().contains_key(ORIGIN)
            && single(request.headers(), ORIGIN)
                .is_none_or(|value| origin::inspect(&guard.policy().origins, Header::One(value)).is_err());
        let path = request.uri().path().to_owned();
        if foreign && request.method() != Method::GET {
            return Some(json_reply(StatusCode::FORBIDDEN, &json!({"error": {"code": "forbidden"}})));
        }
        match (request.method(), path.as_str()) {
            (&Method::POST, "/dev/token") => Some(self.token(guard, request).await),
            (&Method::GET, "/dev/watch") => Some(self.watch(guard, request.uri().query())),
            (&Method::POST, "/dev/session") => Some(self.fate(guard, request).await),
            (&Method::POST, "/dev/crowd") => Some(self.crowd().await),
            (&Method::POST, "/dev/attack") => Some(self.attack(request).await),
            (&Method::GET, "/") => asset("index.html"),
            (&Method::GET, path) => asset(path.strip_prefix("/dev/").or(path.strip_prefix('/'))?),
            _ => None,
        }
    }

    /// `POST /dev/token {name, ttl}`: a token for any name.
    async fn token(&self, guard: &Guard, request: Request<Incoming>) -> Reply {
        let bad = |message: &str| {
            json_reply(StatusCode::BAD_REQUEST, &json!({"error": {"code": "invalid_message", "message": message}}))
        };
        let Some(asked) = read_json::<TokenRequest>(request.into_body()).await else {
            return bad("expected {\"name\": STRING, \"ttl\"?: \"15m\", \"roles\"?: [STRING]}");
        };
        let Some(key) = &self.key else {
            return bad("auth.jwks is set: tokens come from the issuer");
        };
        let ttl = asked.ttl.as_deref().unwrap_or("15m");
        let (past, length) = match ttl.strip_prefix('-') {
            Some(length) => (true, length),
            None => (false, ttl),
        };
        let Some(length) = crate::config::time_from_text(length) else {
            return bad("expected a ttl such as \"15m\" or \"-1s\"");
        };
        let now = unix_ms();
        // A token of the past is over by more than the leeway, or it would still be good.
        let expires_at =
            if past { now.saturating_sub(length.0.saturating_add(10_000)) } else { now.saturating_add(length.0) };
        // With an id a session can be revoked together with the token that it has.
        let id = SessionId(guard.context().random_id()).to_string();
        let claims =
            MintClaims { id: Some(&id), roles: &asked.roles, ..MintClaims::new(&asked.name, UnixMs(expires_at)) };
        match mint(key, &claims) {
            Ok(token) => {
                json_reply(StatusCode::OK, &json!({"token": token, "subject": asked.name, "expiresAt": expires_at}))
            }
            Err(error) => bad(&error.to_string()),
        }
    }

    /// `GET /dev/watch?session=S`: what the guard does with that connection, and what the operator learns of all.
    fn watch(&self, guard: &Guard, query: Option<&str>) -> Reply {
        let session = query.and_then(|query| query.strip_prefix("session=")).and_then(|text| text.parse().ok());
        let handle = guard.handle();
        let watched = session.and_then(|session| Some((session, handle.watch(session)?)));
        let Some((session, mut events)) = watched else {
            return json_reply(StatusCode::NOT_FOUND, &json!({"error": {"code": "invalid_message"}}));
        };
        let mut records = self.journal.subscribe();
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                let chunk = tokio::select! {
                    event = events.recv() => match event {
                        Ok(Watched::Message(event)) => format!("event: message\ndata: {event}\n\n"),
                        Ok(Watched::State(state)) => format!("event: state\ndata: {state}\n\n"),
                        Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => continue,
                        Err(tokio::sync::broadcast::error::RecvError::Closed) => {
                            // The session is over. Without a word a browser would ask for it again and again.
                            let _ = sender.try_send(Bytes::from_static(b"event: end\ndata: {}\n\n"));
                            break;
                        }
                    },
                    record = records.recv() => match record {
                        Ok(record) => format!("event: record\ndata: {}\n\n", record.trim_end()),
                        Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => continue,
                        Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                    },
                    _ = tick.tick() => {
                        handle.ask_state(session);
                        ": here\n\n".to_owned()
                    }
                };
                if sender.try_send(Bytes::from(chunk)).is_err() {
                    break;
                }
            }
        });
        let mut response = Response::new(EventStream(receiver).boxed());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// `POST /dev/session {kind, session}`: what a network or an operator does to a session, and a page cannot.
    async fn fate(&self, guard: &Guard, request: Request<Incoming>) -> Reply {
        let failed = |status, message: &str| {
            json_reply(status, &json!({"error": {"code": "invalid_message", "message": message}}))
        };
        let asked = read_json::<FateRequest>(request.into_body()).await;
        let Some((kind, session)) = asked.and_then(|asked| Some((asked.kind, asked.session.parse().ok()?))) else {
            return failed(StatusCode::BAD_REQUEST, "expected {\"kind\": \"cut\" | \"revoke\", \"session\": ID}");
        };
        let handle = guard.handle();
        match kind {
            Fate::Cut if handle.cut(session) => json_reply(StatusCode::OK, &json!({"session": session.to_string()})),
            Fate::Cut => failed(StatusCode::NOT_FOUND, "no such session"),
            Fate::Revoke => match handle.revoke(Target::Session(session), Some("demo page")).await {
                Ok(done) => {
                    let entry = Entry {
                        session: Some(session.to_string()),
                        detail: Some(format!("by the demo page: session and its token (id {})", done.id)),
                        ..Entry::new(unix_ms(), "revocation_added", Outcome::Success)
                    };
                    self.journal.record(entry);
                    json_reply(StatusCode::OK, &json!({"session": session.to_string(), "sessions": done.sessions}))
                }
                Err(error) => failed(StatusCode::CONFLICT, &error.to_string()),
            },
        }
    }

    /// `POST /dev/crowd`: honest visitors come, chat for a dozen seconds, and go.
    async fn crowd(&self) -> Reply {
        let failed = |status, message: &str| {
            json_reply(status, &json!({"error": {"code": "invalid_message", "message": message}}))
        };
        let Some(key) = &self.key else {
            return failed(StatusCode::BAD_REQUEST, "auth.jwks is set: there is no key to let visitors in");
        };
        if self.crowded.swap(true, Ordering::AcqRel) {
            return failed(StatusCode::CONFLICT, "visitors are here already");
        }
        let visitors = crowd::chat(self.listen, key).await;
        self.crowded.store(false, Ordering::Release);
        json_reply(StatusCode::OK, &json!({"visitors": visitors, "messagesEach": crowd::MESSAGES}))
    }

    /// `POST /dev/attack {kind}`: sends this very server, over a socket like any peer's, what a browser cannot.
    async fn attack(&self, request: Request<Incoming>) -> Reply {
        let bytes: &[u8] = match read_json::<AttackRequest>(request.into_body()).await.as_ref().map(|r| r.kind.as_str())
        {
            // RFC 6455 section 5.1: a client's frame without a mask.
            Some("unmasked") => b"\x81\x02Hi",
            // A frame that declares 1 GiB; not one byte of it follows.
            Some("oversized") => b"\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00\x01\x02\x03\x04",
            _ => {
                return json_reply(
                    StatusCode::BAD_REQUEST,
                    &json!({"error": {"code": "invalid_message", "message": "expected {\"kind\": \"unmasked\" | \"oversized\"}"}}),
                );
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(5), attack_with(self.listen, bytes)).await;
        match seen {
            Ok(Ok(seen)) => json_reply(StatusCode::OK, &seen),
            Ok(Err(error)) => json_reply(
                StatusCode::BAD_GATEWAY,
                &json!({"error": {"code": "internal", "message": error.to_string()}}),
            ),
            Err(_) => json_reply(
                StatusCode::OK,
                &json!({"sent": HEXLOWER.encode(bytes), "status": 101, "frames": [], "closeCode": null}),
            ),
        }
    }
}

/// Opens a connection, reads the welcome, sends `bytes`, and tells what came back.
async fn attack_with(listen: SocketAddr, bytes: &[u8]) -> std::io::Result<serde_json::Value> {
    let mut stream = TcpStream::connect(listen).await?;
    stream.write_all(upgrade(listen, DEV_TOKEN).as_bytes()).await?;
    let mut got = Vec::new();
    read_until(&mut stream, &mut got, |got| frames_of(got).is_some_and(|(_, frames)| !frames.is_empty())).await?;
    stream.write_all(bytes).await?;
    stream.read_to_end(&mut got).await?;
    let (status, frames) = frames_of(&got).unwrap_or_default();
    let mut texts = Vec::new();
    let (mut code, mut reference) = (None, None);
    for (opcode, payload) in frames {
        match opcode {
            1 => {
                if let Ok(frame) = serde_json::from_slice::<serde_json::Value>(payload) {
                    reference = frame.pointer("/payload/ref").cloned().or(reference);
                    texts.push(frame);
                }
            }
            8 => code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code)),
            _ => {}
        }
    }
    Ok(json!({
        "sent": HEXLOWER.encode(bytes), "status": status, "frames": texts, "closeCode": code, "closeReason": "", "ref": reference,
    }))
}

/// The upgrade request of a program with a token.
fn upgrade(listen: SocketAddr, token: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: localhost:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: d3NndWFyZCBhdHRhY2shIQ==\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n",
        listen.port()
    )
}

async fn read_until(stream: &mut TcpStream, got: &mut Vec<u8>, done: impl Fn(&[u8]) -> bool) -> std::io::Result<()> {
    while !done(got) {
        if stream.read_buf(got).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// A status, and frames as opcode and payload.
type Answered<'a> = (u16, Vec<(u8, &'a [u8])>);

/// Status and frames of what our own server answered: short unmasked frames, each in one piece.
fn frames_of(got: &[u8]) -> Option<Answered<'_>> {
    let end = got.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = std::str::from_utf8(got.get(9..12)?).ok()?.parse().ok()?;
    let mut rest = got.get(end.checked_add(4)?..)?;
    let mut frames = Vec::new();
    while let [first, length, tail @ ..] = rest {
        let (length, tail) = match (length, tail) {
            (126, [high, low, tail @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), tail),
            (0..126, _) => (usize::from(*length), tail),
            _ => break,
        };
        let Some((payload, after)) = tail.split_at_checked(length) else {
            break;
        };
        frames.push((first & 15, payload));
        rest = after;
    }
    Some((status, frames))
}

fn asset(name: &str) -> Option<Reply> {
    let file = Assets::get(name)?;
    let media = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let mut response = reply(StatusCode::OK, media, file.data.into_owned());
    let headers = response.headers_mut();
    headers
        .insert(HeaderName::from_static("content-security-policy"), HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}
