//! Requests that cannot be read: refused like all others, with a code, a `ref` and a record.
//!
//! Attacks: heads that are larger than any limit (CWE-770), bytes that two parsers read differently (CWE-444). hyper answers
//! them by itself, before any service is asked, with an empty 400, 414 or 431: the peer would get no reference and the
//! operator no line. [`Unread`] stands between the socket and hyper, and as long as no request has come through it puts the
//! guard's refusal in the place of what hyper writes. What is read is untouched: hyper's parser, its limits and its
//! deadlines stay the only ones.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use wsguard_core::handshake::HandshakeRefusal;
use wsguard_core::verdict::{ControlId, Refusal};
use wsguard_protocol::ErrorCode;

use crate::guard::Guard;
use crate::upgrade::{Asked, refusing};

/// Time that a refused peer has to stop sending. Closing before would answer its bytes with a reset, and with the reset
/// goes the refusal.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes of a refused peer that are read and thrown away.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// A stream under hyper, for one request.
///
/// ```
/// # use std::convert::Infallible;
/// # use hyper_util::rt::TokioIo;
/// # async fn serve(stream: tokio::net::TcpStream, guard: wsguard::Guard) -> Result<(), Box<dyn std::error::Error>> {
/// use wsguard::unread::Unread;
///
/// let client = stream.peer_addr()?.ip();
/// let (stream, reached) = Unread::new(stream, guard, client);
/// let service = hyper::service::service_fn(move |_request: hyper::Request<hyper::body::Incoming>| {
///     reached.set();
///     async { Ok::<_, Infallible>(hyper::Response::new(String::new())) }
/// });
/// hyper::server::conn::http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await?;
/// # Ok(())
/// # }
/// ```
pub struct Unread<S> {
    stream: S,
    reached: Arc<AtomicBool>,
    guard: Guard,
    client: IpAddr,
    refusal: Option<Box<Refusing>>,
}

/// Says that a request reached the service, so that what hyper writes from now on is the service's answer.
#[derive(Clone, Debug)]
pub struct Reached(Arc<AtomicBool>);

impl Reached {
    /// A request is here.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Refusing {
    answer: Vec<u8>,
    written: usize,
    swallowed: usize,
    /// The answer is out, and the peer has until then to stop.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> fmt::Debug for Unread<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").field("client", &self.client).finish_non_exhaustive()
    }
}

impl<S> Unread<S> {
    /// Stands before `stream` of `client`. The service calls [`Reached::set`] with the request.
    pub fn new(stream: S, guard: Guard, client: IpAddr) -> (Self, Reached) {
        let reached = Arc::new(AtomicBool::new(false));
        (Self { stream, reached: Arc::clone(&reached), guard, client, refusal: None }, Reached(reached))
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// hyper wrote `answer` by itself: its first bytes say why.
    fn refuse(&mut self, answer: &[u8]) {
        if self.refusal.is_some() {
            return;
        }
        // `HTTP/1.1 431 …`; 414 is the same fault in another line of the head.
        let is_too_large = matches!(answer.get(9..12), Some(b"431" | b"414"));
        let (status, code, reason) = if is_too_large {
            (431, ErrorCode::TooLarge, "head_beyond_parser")
        } else {
            (400, ErrorCode::InvalidMessage, "http_malformed")
        };
        let refusal = HandshakeRefusal { status, refusal: Refusal::new(ControlId::Upgrade, code, reason) };
        let asked = Asked { client: self.client, path: None, origin: None };
        let response = refusing(&self.guard, asked, &refusal);
        self.refusal = Some(Box::new(Refusing { answer: text_of(response), written: 0, swallowed: 0, until: None }));
    }
}

/// The response as it goes over the wire.
fn text_of(response: http::Response<String>) -> Vec<u8> {
    let (head, body) = response.into_parts();
    let mut text = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(body.as_bytes());
    text
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_reached() {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        self.refuse(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_reached() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        self.refuse(bufs.first().map_or(&[], |first| first));
        Poll::Ready(Ok(bufs.iter().fold(0, |sum, buf| sum.saturating_add(buf.len()))))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, refusal, .. } = &mut *self;
        if let Some(refusing) = refusal {
            ready!(refusing.poll_answer(stream, cx))?;
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, refusal, .. } = &mut *self;
        match refusal {
            None => Pin::new(stream).poll_shutdown(cx),
            Some(refusing) => refusing.poll_end(stream, cx),
        }
    }
}

impl Refusing {
    fn poll_answer<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.answer.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written = self.written.saturating_add(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the answer, says that nothing follows, and reads what the peer still sends, for a while.
    fn poll_end<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let until = match &mut self.until {
            Some(until) => until,
            None => self.until.insert(Box::pin(tokio::time::sleep(LINGER))),
        };
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_answer(stream, cx))?;
        ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        let mut space = [0; 4_096];
        while self.swallowed < LINGER_BYTES_MAX {
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
            match buf.filled().len() {
                0 => break,
                count => self.swallowed = self.swallowed.saturating_add(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}
