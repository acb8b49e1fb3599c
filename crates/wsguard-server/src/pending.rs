//! Connections that have not asked for anything yet, and how many files all connections may take.
//!
//! Attack: many connections that send nothing, or their head byte by byte (CWE-400). They hold what newcomers need: a
//! place before the upgrade, and a file descriptor, without which nothing can be accepted at all. So there are fewer places
//! than descriptors, and where all are taken one gives way: the oldest of the network that holds most of them, since an
//! honest head is there within moments and a slow one is not, and since one network cannot push the others out so. Each
//! connection that ends so is counted, and is in the log.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::journal::{Entry, Journal, Outcome};

/// Connections that are not upgraded yet: 10 s of four hundred slow ones a second. Fewer where the process may not have so
/// many files.
pub(crate) const PENDING_MAX: u32 = 4_096;

/// Files that are not connections of the public listener: logs, store, listeners, configuration that is read again, and the
/// connections of the admin listener.
const FILES_RESERVED: u32 = 64;

/// Places that are left before the upgrade where `server.connections_max` leaves fewer: a quarter of the files otherwise.
const PENDING_ENOUGH: u32 = 512;

/// How many files the connections of the public listener may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Before their upgrade.
    pub(crate) pending: u32,
    /// Open.
    pub(crate) connections: u32,
}

impl Share {
    /// Of `files` that the process may open, with `connections` wanted.
    pub(crate) fn of(files: u32, connections: u32) -> Self {
        let usable = files.saturating_sub(FILES_RESERVED).max(2);
        let left = usable.saturating_sub(connections);
        let pending = if left >= PENDING_ENOUGH { left } else { usable / 4 }.clamp(1, PENDING_MAX);
        Self { pending, connections: connections.min(usable.saturating_sub(pending)) }
    }

    /// Raises the limit of files of this process as far as `connections` need and the system permits, and shares what
    /// there is then.
    pub(crate) fn claim(connections: u32) -> (Self, u32) {
        let wanted = u64::from(connections.saturating_add(PENDING_MAX).saturating_add(FILES_RESERVED));
        let limit = getrlimit(Resource::Nofile);
        if limit.current.is_some_and(|current| current < wanted) {
            let current = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
            // Where it is refused, what there is has to do.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum });
        }
        let files =
            getrlimit(Resource::Nofile).current.map_or(u32::MAX, |files| u32::try_from(files).unwrap_or(u32::MAX));
        (Self::of(files, connections), files)
    }
}

/// Connections that give way in a row, and a pause after them, so that those who are in do not wait for a flood of those
/// who want nothing: some eight thousand a second, since a timer of a millisecond takes two. Others wait in the kernel's
/// queue.
const DISPLACED_IN_A_ROW: u64 = 16;
const DISPLACED_PAUSE: Duration = Duration::from_millis(1);

/// Why a connection ended before its request was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// TLS handshake or head took too long.
    TooSlow,
    /// All places were taken, and it was the oldest of the network with most of them.
    Displaced,
}

impl Unfinished {
    pub(crate) const ALL: [Self; 2] = [Self::TooSlow, Self::Displaced];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TooSlow => "head_too_slow",
            Self::Displaced => "displaced",
        }
    }
}

/// The places before the upgrade.
#[derive(Debug)]
pub(crate) struct Pending {
    room: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    journal: Arc<Journal>,
    unfinished: [AtomicU64; Unfinished::ALL.len()],
    not_accepted: AtomicU64,
}

/// What the operator is told of a time in which no connection could be accepted: that it began and why, and that it is
/// over. What is tried in between is counted.
#[derive(Debug)]
pub(crate) struct Shortage {
    pending: Arc<Pending>,
    since: Option<Instant>,
    tries: u64,
}

impl Shortage {
    pub(crate) fn new(pending: &Arc<Pending>) -> Self {
        Self { pending: Arc::clone(pending), since: None, tries: 0 }
    }

    /// Another connection could not be accepted.
    pub(crate) fn goes_on(&mut self, error: &io::Error) {
        self.pending.not_accepted.fetch_add(1, Ordering::Relaxed);
        self.tries = self.tries.saturating_add(1);
        if self.since.is_none() {
            self.since = Some(Instant::now());
            tracing::warn!(%error, "connections cannot be accepted");
            self.tell("accept_failed", Outcome::Failure, error.to_string());
        }
    }

    /// A connection was accepted.
    pub(crate) fn is_over(&mut self) {
        if let Some(since) = self.since.take() {
            let (tries, ms) = (std::mem::take(&mut self.tries), since.elapsed().as_millis());
            tracing::info!(tries, ms, "connections are accepted again");
            self.tell("accept_resumed", Outcome::Success, format!("{tries} tries failed in {ms} ms"));
        }
    }

    fn tell(&self, action: &'static str, outcome: Outcome, detail: String) {
        let entry = Entry::new(wsguard::now().unix.0, action, outcome);
        self.pending.journal.record(Entry { detail: Some(detail), ..entry });
    }
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    open: BTreeMap<u64, (IpAddr, AbortHandle)>,
    /// The numbers in `open` of each network: the first is its oldest.
    networks: BTreeMap<IpAddr, BTreeSet<u64>>,
    /// The networks by how many places they hold, then by age: the last is the next to lose one.
    ranks: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

impl Waiting {
    fn enter(&mut self, number: u64, peer: IpAddr, task: AbortHandle) {
        self.open.insert(number, (peer, task));
        self.change(network(peer), |numbers| numbers.insert(number));
    }

    fn leave(&mut self, number: u64) -> Option<(IpAddr, AbortHandle)> {
        let (peer, task) = self.open.remove(&number)?;
        self.change(network(peer), |numbers| numbers.remove(&number));
        Some((peer, task))
    }

    /// Takes out whose turn it is to give way.
    fn displace(&mut self) -> Option<(IpAddr, AbortHandle)> {
        let &(_, Reverse(oldest), _) = self.ranks.last()?;
        self.leave(oldest)
    }

    fn change(&mut self, network: IpAddr, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let rank = |numbers: &BTreeSet<u64>| Some((numbers.len(), Reverse(*numbers.first()?), network));
        let numbers = self.networks.entry(network).or_default();
        if let Some(before) = rank(numbers) {
            self.ranks.remove(&before);
        }
        change(numbers);
        if let Some(now) = rank(numbers) {
            self.ranks.insert(now);
        } else {
            self.networks.remove(&network);
        }
    }
}

/// What one attacker has easily: IPv4 /24, IPv6 /48.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80))),
    }
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pending: Arc<Pending>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pending.waiting().leave(self.number);
    }
}

impl Pending {
    pub(crate) fn new(places: u32, journal: Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(usize::MAX >> 3).max(1))),
            waiting: Mutex::default(),
            journal,
            unfinished: Default::default(),
            not_accepted: AtomicU64::new(0),
        })
    }

    /// Connections that are not upgraded yet.
    pub(crate) fn count(&self) -> usize {
        self.waiting().open.len()
    }

    /// Connections since the start that ended so.
    pub(crate) fn unfinished(&self, how: Unfinished) -> u64 {
        self.unfinished.get(how as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How often since the start the system had no connection to give although one waited, as without descriptors.
    pub(crate) fn not_accepted(&self) -> u64 {
        self.not_accepted.load(Ordering::Relaxed)
    }

    /// Gives a connection from `peer`, which was accepted, a place: somebody else's, where none is free. `start` spawns
    /// the task that serves it, and must hold the place as long as its request is not answered.
    pub(crate) async fn admit(self: &Arc<Self>, peer: IpAddr, start: impl FnOnce(Place) -> AbortHandle) {
        let room = Arc::clone(&self.room);
        let permit = if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
            permit
        } else {
            if self.displace().is_multiple_of(DISPLACED_IN_A_ROW) {
                tokio::time::sleep(DISPLACED_PAUSE).await;
            }
            // Free as soon as the runtime has dropped that task.
            let Ok(permit) = room.acquire_owned().await else {
                return;
            };
            permit
        };
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next = number.saturating_add(1);
        // Under the lock, so that the task cannot leave before it is in.
        let task = start(Place { pending: Arc::clone(self), number, _permit: permit });
        waiting.enter(number, peer, task);
    }

    /// Says how many had to give way by now.
    fn displace(&self) -> u64 {
        let displaced = self.waiting().displace();
        if let Some((peer, task)) = displaced {
            task.abort();
            self.note(peer, Unfinished::Displaced);
        }
        self.unfinished(Unfinished::Displaced)
    }

    /// A connection from `peer` ended before its request was read.
    pub(crate) fn note(&self, peer: IpAddr, how: Unfinished) {
        if let Some(count) = self.unfinished.get(how as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.journal.record(Entry {
            source: Some(peer),
            reason: Some(how.as_str()),
            ..Entry::new(wsguard::now().unix.0, "handshake_unfinished", Outcome::Failure)
        });
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::UnboundedSender;

    use super::*;
    use crate::config::{LogFormat, LogTarget};
    use crate::journal::Options;

    #[test]
    fn files_are_shared_between_newcomers_and_those_who_are_in() {
        for (name, files, connections, want) in [
            ("plenty", 1_000_000, 16_384, (4_096, 16_384)),
            ("just enough", 20_000, 16_384, (3_552, 16_384)),
            ("what a shell gives", 1_024, 16_384, (240, 720)),
            ("little", 256, 16_384, (48, 144)),
            ("little, and little wanted", 1_024, 100, (860, 100)),
            ("next to nothing", 10, 16_384, (1, 1)),
        ] {
            let share = Share::of(files, connections);
            assert_eq!((share.pending, share.connections), want, "{name}");
            assert!(files < 100 || share.pending + share.connections + FILES_RESERVED <= files, "{name}");
        }
    }

    fn pending(places: u32) -> Arc<Pending> {
        let options = Options {
            target: LogTarget::File("/dev/null".into()),
            format: LogFormat::Json,
            key: None,
            checkpoints: None,
            rotate_bytes: u64::MAX,
            keep_files: 1,
        };
        Pending::new(places, Arc::new(Journal::open(options).unwrap()))
    }

    /// Says its number at its end.
    struct Ended(u8, UnboundedSender<u8>);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.1.send(self.0);
        }
    }

    /// Comes from `peer` and asks for nothing; says `number` when it has to go.
    async fn come(pending: &Arc<Pending>, peer: IpAddr, number: u8, said: &UnboundedSender<u8>) {
        let ended = Ended(number, said.clone());
        let start = |place| {
            tokio::spawn(async move {
                let (_place, _ended) = (place, ended);
                std::future::pending::<()>().await;
            })
            .abort_handle()
        };
        tokio::time::timeout(Duration::from_secs(10), pending.admit(peer, start)).await.unwrap();
    }

    #[tokio::test]
    async fn the_oldest_gives_way_to_whoever_comes_and_nobody_else() {
        let pending = pending(2);
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..5 {
            come(&pending, Ipv4Addr::LOCALHOST.into(), number, &said).await;
        }
        for gone in 0..3 {
            assert_eq!(heard.recv().await, Some(gone));
        }
        assert!(heard.try_recv().is_err(), "the others stay");
        assert_eq!((pending.count(), pending.unfinished(Unfinished::Displaced)), (2, 3));
    }

    #[tokio::test]
    async fn a_network_that_holds_most_places_gives_way_first() {
        let pending = pending(4);
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let alone = ["198.51.100.7", "2001:db8:1::7"].map(|peer| peer.parse().unwrap());
        for (number, peer) in (0..).zip(alone) {
            come(&pending, peer, number, &said).await;
        }
        for number in 2..200 {
            come(&pending, IpAddr::from([203, 0, 113, number]), number, &said).await;
        }
        for gone in 2..198 {
            assert_eq!(heard.recv().await, Some(gone), "one /24 is one network");
        }
        for (number, last) in (200..).zip(["2001:db8:2:1::1", "2001:db8:2:2::1", "2001:db8:2:3::1"]) {
            come(&pending, last.parse().unwrap(), number, &said).await;
        }
        // 198 as the oldest of two, then 0 as the oldest of all with one, then one of the /48 that holds two.
        for gone in [198, 0, 200] {
            assert_eq!(heard.recv().await, Some(gone));
        }
        let waiting = pending.waiting();
        let counted: usize = waiting.networks.values().map(BTreeSet::len).sum();
        assert_eq!((waiting.open.len(), counted, waiting.ranks.len()), (4, 4, waiting.networks.len()));
    }

    #[tokio::test]
    async fn who_is_served_leaves_a_place() {
        let pending = pending(1);
        for _ in 0..3 {
            let (done, served) = tokio::sync::oneshot::channel();
            let start = |place| {
                tokio::spawn(async move {
                    drop(place);
                    let _ = done.send(());
                })
                .abort_handle()
            };
            pending.admit(Ipv4Addr::LOCALHOST.into(), start).await;
            served.await.unwrap();
        }
        assert_eq!((pending.count(), pending.unfinished(Unfinished::Displaced)), (0, 0));
    }
}
