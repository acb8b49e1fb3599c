//! WebSockets over HTTP/2 (RFC 8441), by the extended CONNECT.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request as HttpRequest, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::time::timeout_at;

use super::link::{End, Link, Stream, Unreached};
use super::request::Request;
use super::response::Response;
use super::socket::Socket;
use super::{Handshake, Probe};

/// What the two directions of a stream hold on the way, in bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// What became of the wish for HTTP/2.
#[expect(clippy::large_enum_variant, reason = "one at a time, and matched at once")]
pub(crate) enum Parallel {
    /// The target does not speak it, or not for WebSockets: why.
    NotOffered(String),
    /// What became of the handshake.
    Spoken(Handshake),
}

/// Headers that HTTP/2 has other words for, or that it forbids (RFC 9113 section 8.2.2, RFC 8441 section 5).
const WITHOUT: [&str; 5] = ["host", "connection", "upgrade", "sec-websocket-key", "transfer-encoding"];

impl Probe {
    /// Sends `request` as an extended CONNECT of HTTP/2.
    pub(crate) async fn handshake_http2(&self, request: &Request) -> Parallel {
        let deadline = self.shared().patience(10.0);
        let unreached = |why: Unreached| Parallel::Spoken(Handshake::Unreached(why));
        let target = self.target();
        let link = match self.connect_with(target.tls, target.port, &[b"h2", b"http/1.1"]).await {
            Ok(link) => link,
            // Some refuse the offer of a protocol that they do not know with an alert.
            Err(Unreached::Tls(why)) => return Parallel::NotOffered(why),
            Err(why) => return unreached(why),
        };
        if link.tls.as_ref().and_then(|facts| facts.alpn.as_deref()) != Some(b"h2") {
            return Parallel::NotOffered("h2 was offered in ALPN, and not chosen".into());
        }
        let Some(wanted) = connect(request, &target.authority()) else {
            return Parallel::NotOffered("the handshake has a header that HTTP/2 cannot carry".into());
        };
        if let Err(spent) = self.shared().budget.send(0, 0, request.encode().len() as u64) {
            return unreached(Unreached::Spent(spent.to_string()));
        }
        let (stream, end) = duplex(PIPE_BYTES);
        let mut io = None;
        let link = link.within(|inner| {
            io = Some(inner);
            stream
        });
        let Some(io) = io else { return unreached(Unreached::Silent) };
        match timeout_at(deadline, ask(io, wanted)).await {
            Err(_) => unreached(Unreached::Silent),
            Ok(Err(Asked::NotOffered)) => {
                Parallel::NotOffered("HTTP/2 without SETTINGS_ENABLE_CONNECT_PROTOCOL".into())
            }
            // A stream that is reset is refused; so is a connection that ends.
            Ok(Err(Asked::Refused)) => Parallel::Spoken(Handshake::Dropped(End::Reset)),
            Ok(Ok((head, body, sender))) => Parallel::Spoken(self.settle_http2(link, head, body, sender, end).await),
        }
    }

    async fn settle_http2(
        &self,
        link: Link,
        head: Response,
        mut body: RecvStream,
        sender: SendStream<Bytes>,
        end: DuplexStream,
    ) -> Handshake {
        if head.status == 200 {
            tokio::spawn(pump(body, sender, end));
            return Handshake::Opened(Socket::new(link, head, std::sync::Arc::clone(self.shared()), self.check));
        }
        let mut head = head;
        let deadline = self.shared().later(Duration::from_millis(700));
        while let Ok(Some(Ok(part))) = timeout_at(deadline, body.data()).await {
            let _ = body.flow_control().release_capacity(part.len());
            head.body.extend_from_slice(&part);
            if head.body.len() >= super::link::BODY_BYTES_MAX {
                break;
            }
        }
        self.shared().heard(self.check, "body", &head.text());
        if head.is_limit() {
            self.budget().limited(&head.to_string(), None);
            return Handshake::Limited(head);
        }
        if matches!(head.status, 502 | 504) {
            return Handshake::Unreached(Unreached::Gateway(head.status));
        }
        Handshake::Refused(head)
    }
}

/// The request in the words of HTTP/2.
fn connect(request: &Request, authority: &str) -> Option<HttpRequest<()>> {
    let authority = request.value("Host").unwrap_or(authority);
    let uri: Uri = format!("https://{authority}{}", request.target).parse().ok()?;
    let mut wanted = HttpRequest::builder().method(Method::CONNECT).uri(uri);
    for (name, value) in &request.headers {
        if !WITHOUT.contains(&name.to_ascii_lowercase().as_str()) {
            wanted = wanted.header(name, value);
        }
    }
    wanted.extension(Protocol::from_static("websocket")).body(()).ok()
}

enum Asked {
    NotOffered,
    Refused,
}

async fn ask(io: Box<dyn Stream>, wanted: HttpRequest<()>) -> Result<(Response, RecvStream, SendStream<Bytes>), Asked> {
    let (sender, connection) =
        Builder::new().enable_push(false).handshake::<_, Bytes>(io).await.map_err(|_| Asked::Refused)?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut sender = sender.ready().await.map_err(|_| Asked::Refused)?;
    if !is_offered(&sender).await {
        return Err(Asked::NotOffered);
    }
    let (answer, stream): (ResponseFuture, _) = sender.send_request(wanted, false).map_err(|_| Asked::Refused)?;
    let (parts, body) = answer.await.map_err(|_| Asked::Refused)?.into_parts();
    let mut head = Response { version: "HTTP/2".into(), status: parts.status.as_u16(), ..Response::default() };
    for (name, value) in &parts.headers {
        head.headers.push((name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    }
    Ok((head, body, stream))
}

/// The setting comes with the first bytes of the target, which may take a moment.
async fn is_offered(sender: &SendRequest<Bytes>) -> bool {
    let told = async {
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(800), told).await.is_ok()
}

/// Carries bytes between the stream of HTTP/2 and the peer that believes in TCP, until one of them ends.
async fn pump(mut body: RecvStream, mut sender: SendStream<Bytes>, end: DuplexStream) {
    let (mut from_peer, mut to_peer) = split(end);
    let outward = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from_peer.read(&mut buffer).await {
            let Some(mut part) = buffer.get(..count).map(Bytes::copy_from_slice) else { break };
            while !part.is_empty() {
                sender.reserve_capacity(part.len());
                let Some(Ok(room)) = std::future::poll_fn(|context| sender.poll_capacity(context)).await else {
                    return;
                };
                let now = part.split_to(room.min(part.len()));
                if sender.send_data(now, false).is_err() {
                    return;
                }
            }
        }
        sender.send_reset(Reason::CANCEL);
    };
    let inward = async {
        while let Some(Ok(part)) = body.data().await {
            let _ = body.flow_control().release_capacity(part.len());
            if to_peer.write_all(&part).await.is_err() {
                break;
            }
        }
        let _ = to_peer.shutdown().await;
    };
    tokio::join!(outward, inward);
}
