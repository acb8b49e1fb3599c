//! A network that fails when told to: a TCP proxy between a client and a server.
//!
//! It runs on a thread of its own, so that blocking and asynchronous tests can use it, and needs no sleeping: failures are
//! asked for, or come after a number of bytes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "for tests: what cannot be set up is a failed test"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are moved at once: small, so that a cut comes in the middle of things.
const CHUNK: usize = 512;

/// What happens to what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    /// Vanishes: both ends believe that the connection is there.
    Vanishes,
}

/// What the proxy does now.
#[derive(Clone, Debug)]
struct Weather {
    target: SocketAddr,
    /// Connections with a smaller number are cut.
    cut_below: u64,
    /// Connections with a smaller number are black holes, whatever comes later.
    vanish_below: u64,
    /// What happens to new connections; none are accepted where it is `None`.
    new: Option<Fate>,
    /// Before each chunk.
    delay: Duration,
    /// Cut every connection once this many bytes have passed in all.
    cut_at: Option<u64>,
    /// Bytes that no WebSocket endpoint expects are sent to the clients, once for each number.
    garbage: u64,
    /// The proxy was dropped.
    over: bool,
}

#[derive(Debug)]
struct Counts {
    accepted: AtomicU64,
    bytes: AtomicU64,
}

/// A running proxy; ends when dropped, and cuts its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    counts: Arc<Counts>,
}

impl Proxy {
    /// A proxy to `target`, on a free port.
    pub fn start(target: SocketAddr) -> Self {
        let weather = watch::Sender::new(Weather {
            target,
            cut_below: 0,
            vanish_below: 0,
            new: Some(Fate::Passes),
            delay: Duration::ZERO,
            cut_at: None,
            garbage: 0,
            over: false,
        });
        let counts = Arc::new(Counts { accepted: AtomicU64::new(0), bytes: AtomicU64::new(0) });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (view, tally) = (weather.clone(), Arc::clone(&counts));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(accept(listener, view, tally));
        });
        Self { address, weather, counts }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint behind it: `ws://localhost:PORT/ws`.
    pub fn url(&self) -> String {
        format!("ws://localhost:{}/ws", self.address.port())
    }

    fn set(&self, change: impl FnOnce(&mut Weather, u64)) {
        let next = self.counts.accepted.load(Ordering::SeqCst);
        self.weather.send_modify(|weather| change(weather, next));
    }

    /// Cuts every connection (RST); new ones pass.
    pub fn cut(&self) {
        self.set(|weather, next| (weather.cut_below, weather.new) = (next, Some(Fate::Passes)));
    }

    /// Cuts every connection once `bytes` more have passed, in both directions together; new ones pass.
    pub fn cut_after(&self, bytes: u64) {
        let at = self.counts.bytes.load(Ordering::SeqCst).saturating_add(bytes);
        self.set(|weather, _| weather.cut_at = Some(at));
    }

    /// Cuts every connection, and every new one at once, until [`Proxy::restore`].
    pub fn down(&self) {
        self.set(|weather, next| (weather.cut_below, weather.new) = (next, None));
    }

    /// Both ends of every connection believe that it is there, and nothing passes: a cable that was pulled. New connections
    /// fare the same until [`Proxy::restore`].
    pub fn half_open(&self) {
        self.set(|weather, next| (weather.vanish_below, weather.new) = (next, Some(Fate::Vanishes)));
    }

    /// New connections pass. What is half open stays so.
    pub fn restore(&self) {
        self.set(|weather, _| weather.new = Some(Fate::Passes));
    }

    /// Waits before each chunk of at most 512 bytes.
    pub fn delay(&self, time: Duration) {
        self.set(|weather, _| weather.delay = time);
    }

    /// Sends bytes that are no frame to every client.
    pub fn garbage(&self) {
        self.set(|weather, _| weather.garbage = weather.garbage.wrapping_add(1));
    }

    /// Where new connections go from now on: a server that was started anew has another port.
    pub fn retarget(&self, target: SocketAddr) {
        self.set(|weather, _| weather.target = target);
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// How many bytes have passed so far, in both directions together.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(|weather, _| weather.over = true);
    }
}

async fn accept(listener: std::net::TcpListener, sender: watch::Sender<Weather>, counts: Arc<Counts>) {
    let mut weather = sender.subscribe();
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            // With the runtime, every connection ends.
            _ = weather.wait_for(|weather| weather.over) => return,
        };
        let number = counts.accepted.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(client, number, sender.clone(), Arc::clone(&counts)));
    }
}

async fn serve(client: TcpStream, number: u64, sender: watch::Sender<Weather>, counts: Arc<Counts>) {
    let now = sender.borrow().clone();
    // Reset instead of a proper end, on both sides: that is what a network does.
    let abrupt = |stream: &TcpStream| {
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    };
    abrupt(&client);
    let Some(fate) = now.new else { return };
    let Ok(server) = TcpStream::connect(now.target).await else { return };
    abrupt(&server);
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let pump = |from, fate| Pump { from, number, fate, weather: sender.subscribe(), sender: &sender, counts: &counts };
    let up = pump(from_client, fate);
    let down = pump(from_server, fate);
    // The first end of one direction ends both.
    tokio::select! {
        () = up.run(&mut to_server, false) => {}
        () = down.run(&mut to_client, true) => {}
    }
}

/// One direction of a connection.
struct Pump<'a> {
    from: OwnedReadHalf,
    number: u64,
    fate: Fate,
    weather: watch::Receiver<Weather>,
    sender: &'a watch::Sender<Weather>,
    counts: &'a Counts,
}

impl Pump<'_> {
    async fn run(mut self, to: &mut OwnedWriteHalf, to_client: bool) {
        let mut chunk = [0; CHUNK];
        let mut garbage = self.weather.borrow().garbage;
        loop {
            let now = self.weather.borrow_and_update().clone();
            if self.number < now.cut_below {
                return;
            }
            if self.number < now.vanish_below {
                self.fate = Fate::Vanishes;
            }
            if to_client && std::mem::replace(&mut garbage, now.garbage) != now.garbage {
                // A frame with reserved bits and a length that never comes.
                let _ = to.write_all(&[0xff, 0xff, 0x00, 0x13, 0x37]).await;
            }
            let read = tokio::select! {
                read = self.from.read(&mut chunk) => read,
                changed = self.weather.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let count = match read {
                Ok(count @ 1..) => count,
                // The other end of a black hole does not learn that this one has gone.
                _ if self.fate == Fate::Vanishes => match self.weather.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                _ => return,
            };
            if self.fate == Fate::Vanishes {
                continue;
            }
            if !now.delay.is_zero() {
                tokio::time::sleep(now.delay).await;
            }
            if to.write_all(&chunk[..count]).await.is_err() {
                return;
            }
            let passed = self.counts.bytes.fetch_add(count as u64, Ordering::SeqCst).saturating_add(count as u64);
            if now.cut_at.is_some_and(|at| at <= passed) {
                let next = self.counts.accepted.load(Ordering::SeqCst);
                self.sender.send_if_modified(|weather| {
                    // Only the first who notices.
                    let due = weather.cut_at.take().is_some();
                    if due {
                        weather.cut_below = next;
                    }
                    due
                });
            }
        }
    }
}
