//! The honest clients: they chat at the pace of people while somebody else floods the server, and note what they suffer.
//!
//! A thread of their own with one event loop, so that what a flood costs its sender is not in their figures.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::wire::opcode;
use tokio::time::{sleep, sleep_until, timeout};

use crate::link::{Ended, Issuer, Link, Way};

/// Members of each room.
const ROOM: u32 = 8;
/// Mean time between two messages of a person.
const PACE_MS: u64 = 700;
/// Mean time between two that come, say one thing and leave.
const COMING_MS: u64 = 150;
/// Those who come and go: each comes back after a while, far below the quota of handshakes.
const COMERS: u32 = 120;
/// A message without an answer for so long is lost.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A lost connection is tried again after so long.
const RETRY: Duration = Duration::from_millis(200);
/// Tokens are good for so many minutes: for the whole run, and for jumps of the clock.
const TOKEN_MINUTES: u64 = 24 * 60;

const PROSE: &str = "The quick report is ready, please have a look when you find the time: numbers are up since Monday, \
    the new line runs well, nobody had to stay late. Lunch at noon? Bring the others along, there is room for all of us.";

/// What goes on while something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing is measured: something begins or wears off.
    Rest,
    /// Nobody attacks.
    Quiet,
    /// Another server on the same machine is attacked in the same way.
    Beside,
    /// The server is attacked.
    Attack,
}

impl Phase {
    fn of(number: u8) -> Self {
        match number {
            1 => Self::Quiet,
            2 => Self::Beside,
            3 => Self::Attack,
            _ => Self::Rest,
        }
    }
}

/// A time that was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Since the crowd began.
    pub(crate) at: Duration,
    pub(crate) phase: Phase,
    pub(crate) took: Duration,
}

/// What an honest client did not deserve.
#[derive(Clone, Debug)]
pub(crate) struct Suffered {
    pub(crate) phase: Phase,
    pub(crate) what: String,
}

/// What all of them note.
#[derive(Debug)]
pub(crate) struct Notes {
    began: Instant,
    phase: AtomicU8,
    present: AtomicU32,
    /// The process is being killed: connections are lost with it, and nobody is let in for a while.
    excused: AtomicBool,
    ending: AtomicBool,
    lost: AtomicU32,
    messages: Mutex<Vec<Sample>>,
    entries: Mutex<Vec<Sample>>,
    suffered: Mutex<Vec<Suffered>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    fn since(&self) -> Duration {
        self.began.elapsed()
    }

    fn suffer(&self, phase: Phase, what: String) {
        if self.ending.load(Ordering::Relaxed) {
            return;
        }
        if self.excused.load(Ordering::Relaxed) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lock(&self.suffered).push(Suffered { phase, what });
    }

    fn took(&self, list: &Mutex<Vec<Sample>>, phase: Phase, began: Instant) {
        lock(list).push(Sample { at: self.since(), phase, took: began.elapsed() });
    }
}

/// Numbers that look random and are the same for each seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u32) -> Self {
        Self(u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }

    /// A time around `mean_ms`, as people take: from a fifth of it to the quadruple.
    fn pace(&mut self, mean_ms: u64) -> Duration {
        let lengths = [20, 35, 50, 60, 75, 90, 100, 120, 150, 300];
        let turn = usize::try_from(self.roll(lengths.len() as u64)).unwrap_or_default();
        let percent = lengths.get(turn).copied().unwrap_or(100) + self.roll(20);
        Duration::from_millis(mean_ms * percent / 100)
    }
}

/// The crowd at work.
#[derive(Debug)]
pub(crate) struct Crowd {
    notes: Arc<Notes>,
    thread: Option<JoinHandle<()>>,
    people: u32,
}

/// Everything that was noted.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) messages: Vec<Sample>,
    pub(crate) entries: Vec<Sample>,
    pub(crate) suffered: Vec<Suffered>,
    /// Connections that were lost with a process that was killed on purpose, and attempts in vain until the next was there.
    pub(crate) lost: u32,
}

impl Crowd {
    /// Lets `people` in, a room for each eight, and waits until all of them have joined.
    pub(crate) fn start(server: SocketAddr, issuer: &Issuer, people: u32) -> Result<Self, String> {
        let notes = Arc::new(Notes {
            began: Instant::now(),
            phase: AtomicU8::new(0),
            present: AtomicU32::new(0),
            excused: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            lost: AtomicU32::new(0),
            messages: Mutex::default(),
            entries: Mutex::default(),
            suffered: Mutex::default(),
        });
        let tokens = |name: &str, count| {
            (0..count).map(|index| issuer.token(&format!("{name}-{index}"), TOKEN_MINUTES)).collect::<Result<_, _>>()
        };
        let (people_tokens, comer_tokens): (Vec<_>, Vec<_>) = (tokens("person", people)?, tokens("comer", COMERS)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let shared = Arc::clone(&notes);
        let thread = thread::Builder::new().name("crowd".to_owned()).spawn(move || {
            runtime.block_on(async {
                for (index, token) in (0..).zip(people_tokens) {
                    tokio::spawn(person(Arc::clone(&shared), server, index, token));
                }
                tokio::spawn(comers(Arc::clone(&shared), server, comer_tokens));
                while !shared.ending.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(50)).await;
                }
            });
        });
        let crowd = Self { notes, thread: Some(thread.map_err(|e| e.to_string())?), people };
        crowd.gathered(Duration::from_secs(30))?;
        Ok(crowd)
    }

    /// Waits until all of them are there.
    pub(crate) fn gathered(&self, patience: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        while self.notes.present.load(Ordering::Relaxed) < self.people {
            if began.elapsed() > patience {
                let why = lock(&self.notes.suffered).last().map(|last| last.what.clone()).unwrap_or_default();
                return Err(format!("the honest clients are not let in: {why}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(began.elapsed())
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.notes.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// While it is `true`, what is lost is lost with a process that was killed on purpose.
    pub(crate) fn excuse(&self, excused: bool) {
        self.notes.excused.store(excused, Ordering::Relaxed);
    }

    /// The moment from which the times of its samples count.
    pub(crate) fn began(&self) -> Instant {
        self.notes.began
    }

    /// Sends them home.
    pub(crate) fn end(mut self) -> Noted {
        self.notes.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        Noted {
            messages: std::mem::take(&mut lock(&self.notes.messages)),
            entries: std::mem::take(&mut lock(&self.notes.entries)),
            suffered: std::mem::take(&mut lock(&self.notes.suffered)),
            lost: self.notes.lost.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.notes.ending.store(true, Ordering::Relaxed);
    }
}

/// A message that is under way.
#[derive(Debug)]
struct Waiting {
    number: u32,
    sent: Instant,
    phase: Phase,
    heard: bool,
    acked: bool,
}

/// Chats as long as the server lives, and comes back when it lost the connection.
async fn person(notes: Arc<Notes>, server: SocketAddr, index: u32, token: String) {
    let way = Way::of(server, Ipv4Addr::new(20, 0, 0, 1), index);
    let mut dice = Dice::new(index + 1);
    loop {
        let phase = notes.phase();
        let ended = match Link::open(way, &token).await {
            Ok(link) => chat(&notes, link, index, &mut dice).await,
            Err(ended) => ended,
        };
        notes.suffer(phase, format!("a chatting client: {ended}"));
        sleep(RETRY).await;
    }
}

/// Counts those who are there.
struct Present<'a>(&'a Notes);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn chat(notes: &Notes, mut link: Link, index: u32, dice: &mut Dice) -> Ended {
    let room = room_of(index / ROOM);
    let joined = async {
        link.ask("join", "join", &json!({ "room": room })).await?;
        link.ask("leave", "leave", &json!({ "room": "lobby" })).await
    };
    if let Err(ended) = joined.await {
        return ended;
    }
    notes.present.fetch_add(1, Ordering::Relaxed);
    let _present = Present(notes);
    let own = format!("person-{index}");
    let mut under_way: Vec<Waiting> = Vec::new();
    let mut number = 0;
    let mut next = tokio::time::Instant::now() + dice.pace(PACE_MS);
    loop {
        let frame = tokio::select! {
            () = sleep_until(next) => None,
            frame = link.frame() => Some(frame),
        };
        match frame {
            None => {
                if under_way.iter().any(|waiting| waiting.sent.elapsed() > ANSWER_MAX) {
                    return Ended::Silent;
                }
                number += 1;
                let length = usize::try_from(20 + dice.roll(180)).unwrap_or(20);
                let words: String =
                    PROSE.chars().cycle().skip(usize::try_from(dice.roll(60)).unwrap_or(0)).take(length).collect();
                let text = format!("{number} {words}");
                let sent = Instant::now();
                if let Err(ended) = link.say("chat", &number.to_string(), &json!({"message": text, "room": room})).await
                {
                    return ended;
                }
                under_way.push(Waiting { number, sent, phase: notes.phase(), heard: false, acked: false });
                next = tokio::time::Instant::now() + dice.pace(PACE_MS);
            }
            Some(Ok(frame)) if frame.opcode == opcode::TEXT => {
                let Ok(message) = serde_json::from_slice::<Value>(&frame.payload) else {
                    return Ended::Lost(std::io::ErrorKind::InvalidData);
                };
                match message.get("type").and_then(Value::as_str) {
                    Some("chat") => {
                        let text = |name: &str| message.pointer(name).and_then(Value::as_str).unwrap_or_default();
                        if text("/payload/from") == own {
                            let number = text("/payload/message").split(' ').next().and_then(|word| word.parse().ok());
                            mark(&mut under_way, number, |waiting| waiting.heard = true);
                        }
                    }
                    Some("ack") => {
                        let number = message.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
                        mark(&mut under_way, number, |waiting| waiting.acked = true);
                    }
                    Some("csrf") => link.follow(&message),
                    Some("error") => {
                        let code = message.pointer("/payload/code").and_then(Value::as_str).unwrap_or("unknown");
                        notes.suffer(notes.phase(), format!("a chatting client: its message was refused: {code}"));
                        under_way.clear();
                    }
                    _ => {}
                }
                under_way.retain(|waiting| {
                    let done = waiting.heard && waiting.acked;
                    if done {
                        notes.took(&notes.messages, waiting.phase, waiting.sent);
                    }
                    !done
                });
            }
            Some(Ok(_)) => {}
            Some(Err(ended)) => return ended,
        }
    }
}

fn mark(under_way: &mut [Waiting], number: Option<u32>, how: impl Fn(&mut Waiting)) {
    if let Some(waiting) = under_way.iter_mut().find(|waiting| Some(waiting.number) == number) {
        how(waiting);
    }
}

/// The name of a room of honest people.
pub(crate) fn room_of(number: u32) -> String {
    format!("room-{number}")
}

/// Opens a connection now and then, says one thing, and leaves.
async fn comers(notes: Arc<Notes>, server: SocketAddr, tokens: Vec<String>) {
    let mut dice = Dice::new(7_919);
    for turn in 0_u32.. {
        sleep(dice.pace(COMING_MS)).await;
        let index = turn % COMERS;
        let Some(token) = usize::try_from(index).ok().and_then(|index| tokens.get(index)).cloned() else {
            return;
        };
        let notes = Arc::clone(&notes);
        tokio::spawn(async move {
            let (phase, began) = (notes.phase(), Instant::now());
            let way = Way::of(server, Ipv4Addr::new(24, 0, 0, 1), index);
            let entered = timeout(ANSWER_MAX, Link::open(way, &token)).await.unwrap_or(Err(Ended::Silent));
            match entered {
                Ok(mut link) => {
                    notes.took(&notes.entries, phase, began);
                    let said = link.ask("chat", "1", &json!({"message": "good morning", "room": "lobby"})).await;
                    match said {
                        Ok(()) => link.leave().await,
                        Err(ended) => notes.suffer(phase, format!("a newcomer: {ended}")),
                    }
                }
                Err(ended) => notes.suffer(phase, format!("a newcomer: {ended}")),
            }
        });
    }
}
