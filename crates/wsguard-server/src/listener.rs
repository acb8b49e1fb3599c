//! Listeners: accept, TLS, HTTP up to the upgrade.
//!
//! Attacks: slow handshakes (CWE-400), header bombs (CWE-770), connections that never ask for anything. Everything before
//! the upgrade has one deadline, one header limit, one request a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::OptionFuture;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use wsguard::FirstFlight;
use wsguard::unread::Unread;

use crate::pending::{Pending, Place, Shortage, Unfinished};
use crate::public::Public;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4_096;

/// Bytes that the kernel takes for one peer beyond what is on its way to it: a message of the largest size. A peer that
/// does not read would otherwise fill megabytes of the kernel's memory (`net.ipv4.tcp_wmem`, 4 MiB by default) before its
/// send queue, which has a limit, began to fill at all. What is on its way is not bounded by this, and so neither is the
/// rate of a distant peer that does read.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// Time for the TLS handshake, and for the head of the request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// Largest head of a request that is parsed at all, in bytes, and most of its header fields. [`crate::public`] refuses far
/// less; what is beyond these bounds is not even read to its end, and [`Unread`] refuses it. 100: what hyper has place for
/// without allocating it.
const HEAD_BYTES_PARSED_MAX: usize = 64 * 1024;
const HEADERS_PARSED_MAX: usize = 100;

/// Rest after an accept that failed for lack of file descriptors, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that are accepted in a row. Then those who are in have their turn: a hundred that come at once are a hundred
/// handshakes, and a message must not wait for all of them.
const ACCEPTS_IN_A_ROW: u32 = 2;

/// Binds `address`, ready to accept.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit both on Linux, which saves system calls for each of them.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until the task is dropped.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    public: Arc<Public>,
    pending: Arc<Pending>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let mut accepted = 0_u32;
    let mut shortage = Shortage::new(&pending);
    loop {
        accepted = accepted.wrapping_add(1);
        if accepted.is_multiple_of(ACCEPTS_IN_A_ROW) {
            tokio::task::yield_now().await;
        }
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => {
                shortage.is_over();
                accepted
            }
            Err(error) => {
                shortage.goes_on(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, public, waiting) = (tls.clone(), Arc::clone(&public), Arc::clone(&pending));
        let start = |place: Place| {
            if cfg!(not(target_os = "linux")) {
                let _ = stream.set_nodelay(true);
            }
            let note = move |how| waiting.note(peer.ip(), how);
            match tls {
                None => {
                    let beginning = async move {
                        let _place = place;
                        serve(stream, peer, public).await.unwrap_or_else(|how| {
                            note(how);
                            None
                        })
                    };
                    tokio::spawn(live(beginning)).abort_handle()
                }
                // The state of TLS makes an open connection so large that it fits a task of its own best.
                Some(acceptor) => tokio::spawn(Box::pin(async move {
                    let _place = place;
                    let served = match tokio::time::timeout(HEAD_TIME_MAX, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => serve(stream, peer, public).await,
                        // No TLS is no request: there is nobody to answer.
                        Ok(Err(_)) => Ok(None),
                        Err(_) => Err(Unfinished::TooSlow),
                    };
                    match served {
                        Ok(open) => drop(open.map(tokio::spawn)),
                        Err(how) => note(how),
                    }
                }))
                .abort_handle(),
            }
        };
        pending.admit(peer.ip(), start).await;
    }
}

/// A connection from its first byte to its last, on one task. Boxed is what only its beginning needs, gone when it is open.
fn live<F, Open>(beginning: F) -> impl Future<Output = Option<()>>
where
    F: Future<Output = Option<Open>>,
    Open: Future<Output = ()>,
{
    // Of an `async fn` an idle connection would be 24 bytes larger.
    Box::pin(beginning.map(OptionFuture::from)).flatten()
}

/// Makes an answer the last one of its connection: nothing can hide behind the first request.
///
/// Not by `keep_alive(false)`, which makes `Connection: Upgrade, close` of an accepted upgrade: some clients, Node's own
/// WebSocket among them, take nothing but `Upgrade` there.
fn the_last<B>(mut response: Response<B>) -> Response<B> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers one request. After a 101 there is a connection to go on with.
async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    public: Arc<Public>,
) -> Result<Option<impl Future<Output = ()> + Send>, Unfinished>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, reached) = Unread::new(stream, public.guard.clone(), peer.ip());
    let opening = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        reached.set();
        let (public, opening) = (&public, &opening);
        async move { Ok::<_, Infallible>(the_last(public.answer(peer, request, opening).await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_PARSED_MAX)
        .max_headers(HEADERS_PARSED_MAX)
        .serve_connection(TokioIo::new(FirstFlight::new(stream)), service)
        .with_upgrades();
    match connection.await {
        Err(error) if error.is_timeout() => return Err(Unfinished::TooSlow),
        // What else goes wrong here is the peer's business and has been answered.
        Ok(()) | Err(_) => {}
    }
    Ok(match opening.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(opening) => opening.over::<S>().await,
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tokio puts beside the future of a task.
    const BESIDE_BYTES: usize = 88;

    fn size_of_task<F, Open>(_: impl FnOnce(tokio::net::TcpStream, SocketAddr, Arc<Public>) -> F) -> usize
    where
        F: Future<Output = Result<Option<Open>, Unfinished>>,
        Open: Future<Output = ()>,
    {
        fn size_of_output<A, T>(_: impl FnOnce(A) -> T) -> usize {
            size_of::<T>()
        }
        size_of_output(|serving: F| live(serving.map(|served| served.ok().flatten()))).saturating_add(BESIDE_BYTES)
    }

    /// tokio rounds tasks up to 128 bytes, and the allocator has a class of 640. The next is 768: every idle connection
    /// would pay for it.
    #[test]
    fn the_task_of_a_connection_fits_its_class() {
        let size = size_of_task(serve::<tokio::net::TcpStream>);
        assert!(size <= 640, "{size} bytes");
    }
}
