//! Makes connections: TCP, TLS, the ticket, and the upgrade.
//!
//! hyper speaks HTTP, so that a refusal comes with its status, its `Retry-After` and its `ref`; after the 101 the frames
//! are tokio-websockets' business.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Limits, WebSocketStream};
use wsguard_protocol::{
    ErrorCode, Reconnect, SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX, SUBPROTOCOL_ORDERED, SUBPROTOCOL_RESUME,
};

use crate::address::Address;
use crate::error::{Code, Error};
use crate::options::Auth;
use crate::session::{Failure, Resume};
use crate::token::Token;

/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1_024;

/// Largest body of an answer, in bytes: a ticket, or `{"error":{"code","ref"}}`.
const BODY_BYTES_MAX: usize = 16 * 1_024;

/// What RFC 6455 section 4.2.2 appends to the key.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An upgraded connection.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Makes connections to one server.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) address: Address,
    pub(crate) auth: Auth,
    /// `None` for `ws://`.
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Largest message that is received, in bytes.
    pub(crate) message_bytes_max: usize,
}

impl Transport {
    /// Makes a connection with `token`, to go on with `resume` where there is one.
    pub(crate) async fn dial(&self, token: &Token, resume: Option<&Resume>) -> Result<Socket, Failure> {
        let ticket = match self.auth {
            Auth::Ticket => Some(self.ticket(token, resume).await?),
            Auth::Bearer | Auth::Subprotocol | Auth::FirstMessage => None,
        };
        let key = key().map_err(failed)?;
        let mut request = self.request(&self.address.target(ticket.as_deref()), Bytes::new())?;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).map_err(failed)?);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, secret(&self.protocols(token, resume))?);
        if self.auth == Auth::Bearer {
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", token.expose()))?);
        }
        let (response, _connection) = self.ask(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response, "the server", Code::ConnectionLost).await);
        }
        check_upgrade(response.headers(), &key)?;
        let upgraded = hyper::upgrade::on(response).await.map_err(failed)?;
        let limits = Limits::default().max_payload_len(Some(self.message_bytes_max));
        Ok(ClientBuilder::new().limits(limits).take_over(TokioIo::new(upgraded)))
    }

    /// The entries of `Sec-WebSocket-Protocol`: every connection asks for order, and announces that it will be resumed or
    /// asks for it. In a ticket and in a first message that stands with the credential.
    fn protocols(&self, token: &Token, resume: Option<&Resume>) -> String {
        let mut entries = [SUBPROTOCOL, ", ", SUBPROTOCOL_ORDERED].concat();
        if self.auth == Auth::Subprotocol {
            entries.extend([", ", SUBPROTOCOL_BEARER_PREFIX, token.expose()]);
        }
        if matches!(self.auth, Auth::Bearer | Auth::Subprotocol) {
            entries.extend([", ", SUBPROTOCOL_RESUME]);
            if let Some(Resume { token, last_seq }) = resume {
                entries.extend([".", token.expose(), ".", &last_seq.to_string()]);
            }
        }
        entries
    }

    /// A ticket for `token`, which announces a resume or asks for it.
    async fn ticket(&self, token: &Token, resume: Option<&Resume>) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Ticket {
            ticket: String,
        }
        let body = match resume {
            Some(resume) => serde_json::json!({"resumeToken": resume.token.expose(), "lastSeq": resume.last_seq}),
            None => serde_json::json!({"lastSeq": 0}),
        };
        let mut request = self.request(&self.address.ticket_target(), Bytes::from(body.to_string()))?;
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", token.expose()))?);
        let (response, _connection) = self.ask(request).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response, "the ticket endpoint", Code::TokenFailed).await);
        }
        let broken = || Failure {
            error: Error::new(Code::TokenFailed, "the ticket endpoint answered without a ticket"),
            reconnect: Reconnect::BackOff,
        };
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(|_| broken())?;
        let Ticket { ticket } = serde_json::from_slice(&body.to_bytes()).map_err(|_| broken())?;
        // It goes into a query as it is.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if ticket.is_empty() || !ticket.bytes().all(plain) { Err(broken()) } else { Ok(ticket) }
    }

    fn request(&self, target: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = target.parse().map_err(failed)?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(self.address.authority()).map_err(failed)?);
        let agent = HeaderValue::from_static(concat!("wsguard-client/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        Ok(request)
    }

    /// Sends one request on a connection of its own, which lives as long as the second value.
    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, JoinSet<()>), Failure> {
        let stream = TcpStream::connect((self.address.host(), self.address.port())).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some((connector, name)) => {
                exchange(connector.connect(name.clone(), stream).await.map_err(failed)?, request).await
            }
        }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, JoinSet<()>), Failure> {
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Aborted when it is dropped, so that an attempt that is given up leaves nothing behind.
    let mut task = JoinSet::new();
    task.spawn(async move {
        // What goes wrong there, the exchange sees as well.
        let _ = connection.with_upgrades().await;
    });
    Ok((sender.send_request(request).await.map_err(failed)?, task))
}

/// Holds a 101 against RFC 6455 section 4.1.
fn check_upgrade(headers: &HeaderMap, key: &str) -> Result<(), Failure> {
    let value = |name| headers.get(name).map(HeaderValue::as_bytes);
    let lists = |name, token: &str| {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(token))
    };
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(ACCEPT_GUID);
    let accept = STANDARD.encode(digest.finish());
    let what = if !lists(UPGRADE, "websocket") || !lists(CONNECTION, "upgrade") {
        "the server answered 101 without an upgrade to WebSocket"
    } else if value(SEC_WEBSOCKET_ACCEPT) != Some(accept.as_bytes()) {
        "the server answered with another Sec-WebSocket-Accept"
    } else if value(SEC_WEBSOCKET_PROTOCOL) != Some(SUBPROTOCOL.as_bytes()) {
        "the server did not select wsguard.v1"
    } else if value(SEC_WEBSOCKET_EXTENSIONS).is_some() {
        "the server chose an extension that was not offered"
    } else {
        return Ok(());
    };
    Err(Failure { error: Error::new(Code::Protocol, what), reconnect: Reconnect::BackOff })
}

/// What to make of an answer that is not the expected one. A refusal that would come again is the end, since nothing of
/// the request would be different.
async fn refusal(response: Response<Incoming>, who: &'static str, otherwise: Code) -> Failure {
    #[derive(Deserialize)]
    struct Body {
        error: Refused,
    }
    #[derive(Deserialize)]
    struct Refused {
        #[serde(default, rename = "ref")]
        reference: Option<String>,
    }
    let status = response.status();
    let (code, reconnect) = match status.as_u16() {
        401 => (Code::Server(ErrorCode::Unauthenticated), Reconnect::OnceWithFreshToken),
        403 => (Code::Server(ErrorCode::Forbidden), Reconnect::Never),
        408 | 425 | 429 => (Code::Server(ErrorCode::RateLimited), Reconnect::AfterRetryAfter),
        400..500 => (Code::Protocol, Reconnect::Never),
        _ => (otherwise, Reconnect::BackOff),
    };
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse::<u32>().ok())
        .map(|seconds| Duration::from_secs(u64::from(seconds.min(86_400))));
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let reference = body
        .ok()
        .and_then(|body| serde_json::from_slice::<Body>(&body.to_bytes()).ok())
        .and_then(|body| body.error.reference);
    let error = Error::new(code, format!("{who} answered {}", status.as_u16()))
        .with_reference(reference)
        .with_retry_after(retry_after);
    Failure { error, reconnect }
}

/// A key as RFC 6455 section 4.1 wants it: 16 random bytes.
fn key() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

/// A header value that nothing prints.
fn secret(text: &str) -> Result<HeaderValue, Failure> {
    // The error says nothing of the text.
    let mut value = HeaderValue::from_str(text).map_err(failed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The network, or what is between, failed.
fn failed(source: impl std::error::Error + Send + Sync + 'static) -> Failure {
    let error = Error::new(Code::ConnectionLost, "the connection could not be made").with_source(Arc::new(source));
    Failure { error, reconnect: Reconnect::BackOff }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn headers(changes: &[(&'static str, Option<&'static str>)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let good = [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "wsguard.v1"),
        ];
        for (name, value) in good {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in changes {
            headers.remove(*name);
            if let Some(value) = value {
                headers.insert(*name, HeaderValue::from_static(value));
            }
        }
        headers
    }

    #[test]
    fn an_upgrade_is_held_against_what_was_asked_for() {
        // The sample of RFC 6455 section 1.3.
        assert!(check_upgrade(&headers(&[]), KEY).is_ok());
        for (name, value) in [
            ("upgrade", None),
            ("upgrade", Some("h2c")),
            ("connection", Some("close")),
            ("sec-websocket-accept", None),
            ("sec-websocket-accept", Some("AAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
            ("sec-websocket-protocol", None),
            ("sec-websocket-protocol", Some("chat")),
            ("sec-websocket-extensions", Some("permessage-deflate")),
        ] {
            let failure = check_upgrade(&headers(&[(name, value)]), KEY).unwrap_err();
            assert_eq!(failure.error.code(), Code::Protocol, "{name}: {value:?}");
        }
    }

    #[test]
    fn the_entries_of_the_subprotocol_carry_what_belongs_there() {
        let resume = Resume { token: Token::from("R"), last_seq: 7 };
        for (auth, first, again) in [
            (
                Auth::Bearer,
                "wsguard.v1, wsguard.ordered, wsguard.resume",
                "wsguard.v1, wsguard.ordered, wsguard.resume.R.7",
            ),
            (
                Auth::Subprotocol,
                "wsguard.v1, wsguard.ordered, wsguard.bearer.T, wsguard.resume",
                "wsguard.v1, wsguard.ordered, wsguard.bearer.T, wsguard.resume.R.7",
            ),
            (Auth::Ticket, "wsguard.v1, wsguard.ordered", "wsguard.v1, wsguard.ordered"),
            (Auth::FirstMessage, "wsguard.v1, wsguard.ordered", "wsguard.v1, wsguard.ordered"),
        ] {
            let address = Address::parse("ws://localhost/ws").unwrap();
            let transport = Transport { address, auth, tls: None, message_bytes_max: 1 };
            let token = Token::from("T");
            assert_eq!(transport.protocols(&token, None), first, "{auth:?}");
            assert_eq!(transport.protocols(&token, Some(&resume)), again, "{auth:?}");
        }
    }
}
