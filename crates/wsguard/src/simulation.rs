//! What a simulated world has in place of the machine: its clocks, its randomness, its slow disk.
//!
//! Only a build with `--cfg wsguard_simulation` has this module, so that no program can be shipped whose clock or
//! randomness somebody else holds. A world is one thread: everything here belongs to the thread that called [`begin`].

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use wsguard_core::policy::Random;
use wsguard_core::time::{Tick, UnixMs};

use crate::{Guard, GuardedSocket, Handler};

/// The tick at which every world begins.
const FIRST_TICK_MS: u64 = 3_600_000;

/// A world's clocks and randomness.
struct World {
    began: Instant,
    /// The wall clock at the beginning.
    unix: u64,
    /// What the wall clock was moved by since.
    moved_ms: i64,
    random: u64,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static LEDGER_TAKES: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn with<T>(act: impl FnOnce(&mut World) -> T) -> T {
    #[expect(clippy::expect_used, reason = "only a simulation comes here, and it begins a world first")]
    WORLD.with_borrow_mut(|world| act(world.as_mut().expect("a world began on this thread")))
}

/// Begins a world on this thread, inside a runtime whose time is paused. Everything follows from `seed`.
pub fn begin(seed: u64, unix: UnixMs) {
    let world = World { began: Instant::now(), unix: unix.0, moved_ms: 0, random: seed };
    WORLD.with_borrow_mut(|place| *place = Some(world));
    LEDGER_TAKES.set(Duration::ZERO);
}

/// Moves the wall clock.
pub fn move_wall_clock(ms: i64) {
    with(|world| world.moved_ms = world.moved_ms.saturating_add(ms));
}

/// From now on a ledger takes so long for each call.
pub fn set_ledger_time(takes: Duration) {
    LEDGER_TAKES.set(takes);
}

fn since_began(world: &World) -> u64 {
    u64::try_from(Instant::now().saturating_duration_since(world.began).as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn tick() -> Tick {
    with(|world| Tick(since_began(world).saturating_add(FIRST_TICK_MS)))
}

pub(crate) fn unix() -> UnixMs {
    with(|world| UnixMs(world.unix.saturating_add(since_began(world)).saturating_add_signed(world.moved_ms)))
}

pub(crate) fn instant_of(tick: Tick) -> Option<Instant> {
    let since = tick.0.saturating_sub(FIRST_TICK_MS);
    with(|world| world.began.checked_add(Duration::from_millis(since)))
}

/// Does what would block a thread: the world has one, so it waits by its clock.
pub(crate) async fn off_the_thread<T>(act: impl FnOnce() -> T) -> T {
    let takes = LEDGER_TAKES.get();
    if !takes.is_zero() {
        tokio::time::sleep(takes).await;
    }
    act()
}

/// The handler behind a [`GuardedSocket`], for an application that has a loop for a part of its messages.
pub fn to_socket<In, Out, Run, Done>(guard: &Guard, run: Run) -> impl Handler + use<In, Out, Run, Done>
where
    Run: FnOnce(GuardedSocket<In, Out>) -> Done + Send + 'static,
    Done: Future<Output = ()> + Send + 'static,
    In: DeserializeOwned + 'static,
    Out: Serialize + 'static,
{
    crate::socket::to_socket(guard, run)
}

/// SplitMix64 from the world's seed.
pub(crate) struct WorldRandom;

impl Random for WorldRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = with(|world| {
                world.random = world.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut word = world.random;
                word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                word ^ (word >> 31)
            });
            for (byte, random) in chunk.iter_mut().zip(word.to_le_bytes()) {
                *byte = random;
            }
        }
    }
}
