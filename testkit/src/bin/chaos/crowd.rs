//! The honest clients: they chat at the pace of people while somebody else floods the server, and note what they suffer.
//!
//! A thread of their own with one event loop, so that what a flood costs its sender is not in their figures, and before the
//! server's where both want the core, so that their own wait for it is not either: in truth they have machines of their own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
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
/// Who has no answer for so long goes, and comes back.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What waits for its answer longer than this (in seconds) at the end of a phase counts as lost: a thousand times the p99
/// of quiet times, so that no busy machine is mistaken for it, and less than any attack takes, so that what was sent in
/// one and never answered shows at its end.
const UNANSWERED_MAX: Duration = Duration::from_secs(2);
/// A lost connection is tried again after so long.
const RETRY: Duration = Duration::from_millis(200);
/// Between two who come at the beginning: 64 in one moment are more than a server of few files has places for before the
/// upgrade, and would be the crowd's own flood.
const BETWEEN: Duration = Duration::from_millis(5);
/// Tokens are good for so many minutes: for the whole run, and for jumps of the clock.
const TOKEN_MINUTES: u64 = 24 * 60;

const PROSE: &str = "The quick report is ready, please have a look when you find the time: numbers are up since Monday, \
    the new line runs well, nobody had to stay late. Lunch at noon? Bring the others along, there is room for all of us.";

/// What goes on while something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing is measured: something begins or wears off that has nothing to do with this server.
    Rest,
    /// Nobody attacks.
    Quiet,
    /// Another server on the same machine is attacked in the same way.
    Beside,
    /// The server is attacked.
    Attack,
    /// Right behind an attack: what is lost now is lost to it, while times are no longer those of the attack.
    After,
}

impl Phase {
    fn of(number: u32) -> Self {
        match number {
            1 => Self::Quiet,
            2 => Self::Beside,
            3 => Self::Attack,
            4 => Self::After,
            _ => Self::Rest,
        }
    }

    /// What is lost now is lost to an attack.
    pub(crate) fn is_attacked(self) -> bool {
        matches!(self, Self::Attack | Self::After)
    }
}

/// A phase, and the attack that it belongs to or follows, counted from 1.
#[derive(Clone, Copy, Debug)]
struct Moment {
    phase: Phase,
    round: u32,
}

/// A time that was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Since the crowd began.
    pub(crate) at: Duration,
    pub(crate) phase: Phase,
    pub(crate) round: u32,
    pub(crate) took: Duration,
}

/// What an honest client did not deserve.
#[derive(Clone, Debug)]
pub(crate) struct Suffered {
    pub(crate) phase: Phase,
    pub(crate) what: String,
}

/// Who need not be served for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Excuse {
    Nobody,
    /// Newcomers cannot be let in; who is in must not notice.
    Newcomers,
    /// The process is being killed: connections are lost with it.
    All,
}

/// A newcomer who came while newcomers were excused, or was on his way then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exempt {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) served: bool,
}

/// Something that an honest client waits for.
#[derive(Debug)]
struct Open {
    what: &'static str,
    sent: Instant,
    phase: Phase,
    counted: bool,
}

/// What all of them note.
#[derive(Debug)]
pub(crate) struct Notes {
    began: Instant,
    /// The phase in the lowest eight bits, above them the round.
    now: AtomicU32,
    present: AtomicU32,
    excuse: AtomicU8,
    /// How often the excuse changed.
    excuses: AtomicU32,
    ending: AtomicBool,
    /// The kernel gives them the core before the server.
    first: AtomicBool,
    lost: AtomicU32,
    /// What newcomers said and had acknowledged.
    greetings: AtomicU64,
    ticket: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    messages: Mutex<Vec<Sample>>,
    entries: Mutex<Vec<Sample>>,
    exempt: Mutex<Vec<Exempt>>,
    suffered: Mutex<Vec<Suffered>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            now: AtomicU32::new(0),
            present: AtomicU32::new(0),
            excuse: AtomicU8::new(Excuse::Nobody as u8),
            excuses: AtomicU32::new(0),
            ending: AtomicBool::new(false),
            first: AtomicBool::new(false),
            lost: AtomicU32::new(0),
            greetings: AtomicU64::new(0),
            ticket: AtomicU64::new(0),
            open: Mutex::default(),
            messages: Mutex::default(),
            entries: Mutex::default(),
            exempt: Mutex::default(),
            suffered: Mutex::default(),
        })
    }

    fn moment(&self) -> Moment {
        let now = self.now.load(Ordering::Relaxed);
        Moment { phase: Phase::of(now & 0xff), round: now >> 8 }
    }

    fn enter(&self, phase: Phase) {
        self.look_for_unanswered();
        let round = self.moment().round + u32::from(phase == Phase::Attack);
        self.now.store(phase as u32 | round << 8, Ordering::Relaxed);
    }

    fn since(&self) -> Duration {
        self.began.elapsed()
    }

    fn is_excused(&self, excuse: Excuse) -> bool {
        self.excuse.load(Ordering::Relaxed) >= excuse as u8
    }

    /// Files it under the phase of this moment; what was `begun` while the server was attacked is lost to the attack, also
    /// where that shows only later.
    fn suffer(&self, begun: Option<Phase>, what: String) {
        if self.ending.load(Ordering::Relaxed) {
            return;
        }
        if self.is_excused(Excuse::All) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let now = self.moment().phase;
        let phase = begun.filter(|begun| begun.is_attacked() && !now.is_attacked()).unwrap_or(now);
        lock(&self.suffered).push(Suffered { phase, what });
    }

    fn took(&self, list: &Mutex<Vec<Sample>>, moment: Moment, began: Instant) {
        let sample = Sample { at: self.since(), phase: moment.phase, round: moment.round, took: began.elapsed() };
        lock(list).push(sample);
    }

    /// Something is waited for until what is given is dropped.
    fn wait_for(&self, what: &'static str) -> Waiting<'_> {
        let (ticket, sent, moment) = (self.ticket.fetch_add(1, Ordering::Relaxed), Instant::now(), self.moment());
        lock(&self.open).insert(ticket, Open { what, sent, phase: moment.phase, counted: false });
        Waiting { notes: self, ticket, sent, moment }
    }

    /// What waits for too long counts as lost, once.
    fn look_for_unanswered(&self) {
        let mut lost = Vec::new();
        for open in lock(&self.open).values_mut() {
            if !open.counted && open.sent.elapsed() > UNANSWERED_MAX {
                open.counted = true;
                lost.push((open.phase, open.what));
            }
        }
        for (phase, what) in lost {
            self.suffer(Some(phase), format!("{what} without an answer for {} s", UNANSWERED_MAX.as_secs()));
        }
    }
}

/// Something is waited for; over when it is dropped.
#[derive(Debug)]
struct Waiting<'a> {
    notes: &'a Notes,
    ticket: u64,
    sent: Instant,
    moment: Moment,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.notes.open).remove(&self.ticket);
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
    pub(crate) exempt: Vec<Exempt>,
    pub(crate) suffered: Vec<Suffered>,
    /// Messages of the application that were acknowledged to them.
    pub(crate) chats: u64,
    /// Connections that were lost with a process that was killed on purpose, and attempts in vain until the next was there.
    pub(crate) lost: u32,
    /// They had the core before the server.
    pub(crate) first: bool,
}

impl Crowd {
    /// Lets `people` in, a room for each eight, and waits until all of them have joined.
    pub(crate) fn start(server: SocketAddr, issuer: &Issuer, people: u32) -> Result<Self, String> {
        let tokens = |name: &str, count| {
            (0..count).map(|index| issuer.token(&format!("{name}-{index}"), TOKEN_MINUTES)).collect::<Result<_, _>>()
        };
        let (people_tokens, comer_tokens): (Vec<_>, Vec<_>) = (tokens("person", people)?, tokens("comer", COMERS)?);
        Self::of(server, people_tokens, comer_tokens)
    }

    /// A person for each of the first tokens, newcomers in turn with the others.
    fn of(server: SocketAddr, people_tokens: Vec<String>, comer_tokens: Vec<String>) -> Result<Self, String> {
        let people = u32::try_from(people_tokens.len()).unwrap_or(u32::MAX);
        let notes = Notes::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let shared = Arc::clone(&notes);
        let thread = thread::Builder::new().name("crowd".to_owned()).spawn(move || {
            shared.first.store(come_first(), Ordering::Relaxed);
            runtime.block_on(async {
                for (index, token) in (0..).zip(people_tokens) {
                    tokio::spawn(person(Arc::clone(&shared), server, index, token));
                    sleep(BETWEEN).await;
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
        self.notes.enter(phase);
    }

    /// Who need not be served from now on.
    pub(crate) fn excuse(&self, excuse: Excuse) {
        self.notes.excuse.store(excuse as u8, Ordering::Relaxed);
        self.notes.excuses.fetch_add(1, Ordering::Relaxed);
    }

    /// Newcomers so far who came while newcomers were excused.
    pub(crate) fn exempt(&self) -> Vec<Exempt> {
        lock(&self.notes.exempt).clone()
    }

    /// The moment from which the times of its samples count.
    pub(crate) fn began(&self) -> Instant {
        self.notes.began
    }

    /// Sends them home.
    pub(crate) fn end(mut self) -> Noted {
        self.notes.look_for_unanswered();
        for _ in self.notes.present.load(Ordering::Relaxed)..self.people {
            self.notes.suffer(None, "a chatting client: not there at the end".to_owned());
        }
        self.notes.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let messages = std::mem::take(&mut *lock(&self.notes.messages));
        Noted {
            chats: messages.len() as u64 + self.notes.greetings.load(Ordering::Relaxed),
            messages,
            exempt: std::mem::take(&mut lock(&self.notes.exempt)),
            first: self.notes.first.load(Ordering::Relaxed),
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
struct Said<'a> {
    number: u32,
    waiting: Waiting<'a>,
    heard: bool,
    acked: bool,
}

/// Chats as long as the server lives, and comes back when it lost the connection.
async fn person(notes: Arc<Notes>, server: SocketAddr, index: u32, token: String) {
    let way = Way::of(server, Ipv4Addr::new(20, 0, 0, 1), index);
    let mut dice = Dice::new(index + 1);
    loop {
        let opened = timeout(ANSWER_MAX, Link::open(way, &token)).await.unwrap_or(Err(Ended::Silent));
        let (ended, begun) = match opened {
            Ok(link) => chat(&notes, link, index, &mut dice).await,
            Err(ended) => (ended, None),
        };
        notes.suffer(begun, format!("a chatting client: {ended}"));
        sleep(RETRY).await;
    }
}

/// Puts this thread before all that have no priority of real time; whether the kernel permits it.
fn come_first() -> bool {
    let own = std::fs::read_link("/proc/thread-self").ok();
    let Some(thread) = own.as_deref().and_then(|own| own.file_name()) else {
        return false;
    };
    let mut chrt = Command::new("chrt");
    chrt.args(["--rr", "--pid", "1"]).arg(thread).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    chrt.status().is_ok_and(|status| status.success())
}

/// Counts those who are there.
struct Present<'a>(&'a Notes);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says how it ended, and in which phase the message was sent that was waited for in vain.
async fn chat(notes: &Notes, mut link: Link, index: u32, dice: &mut Dice) -> (Ended, Option<Phase>) {
    let room = room_of(index / ROOM);
    let joined = async {
        link.ask("join", "join", &json!({ "room": room })).await?;
        link.ask("leave", "leave", &json!({ "room": "lobby" })).await
    };
    if let Err(ended) = joined.await {
        return (ended, None);
    }
    notes.present.fetch_add(1, Ordering::Relaxed);
    let _present = Present(notes);
    let own = format!("person-{index}");
    let mut under_way: Vec<Said<'_>> = Vec::new();
    let mut number = 0;
    let mut next = tokio::time::Instant::now() + dice.pace(PACE_MS);
    loop {
        let frame = tokio::select! {
            () = sleep_until(next) => None,
            frame = link.frame() => Some(frame),
        };
        match frame {
            None => {
                if let Some(said) = under_way.iter().find(|said| said.waiting.sent.elapsed() > ANSWER_MAX) {
                    return (Ended::Silent, Some(said.waiting.moment.phase));
                }
                number += 1;
                let length = usize::try_from(20 + dice.roll(180)).unwrap_or(20);
                let words: String =
                    PROSE.chars().cycle().skip(usize::try_from(dice.roll(60)).unwrap_or(0)).take(length).collect();
                let text = format!("{number} {words}");
                let waiting = notes.wait_for("a message");
                if let Err(ended) = link.say("chat", &number.to_string(), &json!({"message": text, "room": room})).await
                {
                    return (ended, None);
                }
                under_way.push(Said { number, waiting, heard: false, acked: false });
                next = tokio::time::Instant::now() + dice.pace(PACE_MS);
            }
            Some(Ok(frame)) if frame.opcode == opcode::TEXT => {
                let Ok(message) = serde_json::from_slice::<Value>(&frame.payload) else {
                    return (Ended::Lost(std::io::ErrorKind::InvalidData), None);
                };
                match message.get("type").and_then(Value::as_str) {
                    Some("chat") => {
                        let text = |name: &str| message.pointer(name).and_then(Value::as_str).unwrap_or_default();
                        if text("/payload/from") == own {
                            let number = text("/payload/message").split(' ').next().and_then(|word| word.parse().ok());
                            mark(&mut under_way, number, |said| said.heard = true);
                        }
                    }
                    Some("ack") => {
                        let number = message.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
                        mark(&mut under_way, number, |said| said.acked = true);
                    }
                    Some("csrf") => link.follow(&message),
                    Some("error") => {
                        let code = message.pointer("/payload/code").and_then(Value::as_str).unwrap_or("unknown");
                        notes.suffer(None, format!("a chatting client: its message was refused: {code}"));
                        under_way.clear();
                    }
                    _ => {}
                }
                under_way.retain(|said| {
                    let done = said.heard && said.acked;
                    if done {
                        notes.took(&notes.messages, said.waiting.moment, said.waiting.sent);
                    }
                    !done
                });
            }
            Some(Ok(_)) => {}
            Some(Err(ended)) => return (ended, None),
        }
    }
}

fn mark<'a>(under_way: &mut [Said<'a>], number: Option<u32>, how: impl Fn(&mut Said<'a>)) {
    if let Some(said) = under_way.iter_mut().find(|said| Some(said.number) == number) {
        how(said);
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
        tokio::spawn(async move { come(&notes, server, index, &token).await });
    }
}

async fn come(notes: &Notes, server: SocketAddr, index: u32, token: &str) {
    let changes = notes.excuses.load(Ordering::Relaxed);
    let excused = notes.is_excused(Excuse::Newcomers);
    let way = Way::of(server, Ipv4Addr::new(24, 0, 0, 1), index);
    let waiting = (!excused).then(|| notes.wait_for("a newcomer"));
    let (moment, began) = (notes.moment(), Instant::now());
    let entered = timeout(ANSWER_MAX, Link::open(way, token)).await.unwrap_or(Err(Ended::Silent));
    if excused || notes.excuses.load(Ordering::Relaxed) != changes {
        lock(&notes.exempt).push(Exempt { began, ended: Instant::now(), served: entered.is_ok() });
        if let Ok(link) = entered {
            link.leave().await;
        }
        return;
    }
    match entered {
        Ok(mut link) => {
            notes.took(&notes.entries, moment, began);
            let said = link.ask("chat", "1", &json!({"message": "good morning", "room": "lobby"})).await;
            drop(waiting);
            match said {
                Ok(()) => {
                    notes.greetings.fetch_add(1, Ordering::Relaxed);
                    link.leave().await;
                }
                Err(ended) => notes.suffer(Some(moment.phase), format!("a newcomer: {ended}")),
            }
        }
        Err(ended) => notes.suffer(Some(moment.phase), format!("a newcomer: {ended}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::outcome::tests::good;
    use crate::outcome::{self, Outcome};

    /// What the fake server does to one client once it is told to.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Harm {
        Nothing,
        Drop,
        NeverAnswer,
    }

    /// Lets everybody in, acknowledges what they say and gives it back; to `victim` it does harm while `harming`.
    fn fake_server(victim: &'static str, harm: Harm, harming: Arc<AtomicBool>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, harming) = (stream.unwrap(), Arc::clone(&harming));
                thread::spawn(move || serve(stream, victim, harm, &harming));
            }
        });
        address
    }

    /// Ends with the connection.
    fn serve(mut stream: TcpStream, victim: &str, harm: Harm, harming: &AtomicBool) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let name = head.split_once("Bearer ")?.1.lines().next()?.to_owned();
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").ok()?;
        send(&mut stream, &json!({"type": "welcome", "payload": {"csrfToken": "c"}}))?;
        stream.set_read_timeout(Some(Duration::from_millis(20))).ok()?;
        loop {
            let harmed = name == victim && harming.load(Ordering::Relaxed);
            if harmed && harm == Harm::Drop {
                return None;
            }
            let mut first = [0];
            match stream.read(&mut first) {
                Ok(1..) => {}
                Ok(_) => return None,
                Err(_) => continue,
            }
            let message = receive(&mut stream)?;
            if harmed && harm == Harm::NeverAnswer {
                continue;
            }
            send(&mut stream, &json!({"type": "ack", "id": message.get("id")}))?;
            if message.get("type")? == "chat" {
                let said = message.pointer("/payload/message")?;
                send(&mut stream, &json!({"type": "chat", "payload": {"from": name, "message": said}}))?;
            }
        }
    }

    /// A masked frame behind its first byte; `None` for one that holds no JSON.
    fn receive(stream: &mut TcpStream) -> Option<Value> {
        let mut bytes = |count: usize| {
            let mut bytes = vec![0; count];
            stream.read_exact(&mut bytes).ok()?;
            Some(bytes)
        };
        let length = match usize::from(bytes(1)?[0] & 0x7f) {
            126 => {
                let long = bytes(2)?;
                usize::from(long[0]) << 8 | usize::from(long[1])
            }
            short => short,
        };
        let mask = bytes(4)?;
        let payload: Vec<u8> = bytes(length)?.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        serde_json::from_slice(&payload).ok()
    }

    fn send(stream: &mut TcpStream, message: &Value) -> Option<()> {
        let text = message.to_string();
        let mut frame = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(short) if short < 126 => frame.push(short),
            _ => {
                frame.push(126);
                frame.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
            }
        }
        frame.extend_from_slice(text.as_bytes());
        stream.write_all(&frame).ok()
    }

    /// A crowd of three at a server that does `harm` to `victim` in the phase `during`, for `length`.
    fn outcome_of(victim: &'static str, harm: Harm, during: Phase, length: Duration) -> Outcome {
        let begun = Arc::new(AtomicBool::new(false));
        let server = fake_server(victim, harm, Arc::clone(&begun));
        let names = |name: &str, count| (0..count).map(|index| format!("{name}-{index}")).collect();
        let crowd = Crowd::of(server, names("person", 3), names("comer", COMERS)).unwrap();
        crowd.enter(Phase::Quiet);
        thread::sleep(Duration::from_millis(300));
        if during == Phase::After {
            crowd.enter(Phase::Attack);
        }
        crowd.enter(during);
        begun.store(true, Ordering::Relaxed);
        thread::sleep(length);
        begun.store(false, Ordering::Relaxed);
        if during == Phase::Attack {
            crowd.enter(Phase::After);
        }
        crowd.enter(Phase::Quiet);
        crowd.gathered(Duration::from_secs(20)).unwrap();
        let noted = crowd.end();
        assert!(noted.chats > 0, "somebody was answered");
        Outcome {
            suffered_quiet: outcome::counted(&noted.suffered, |phase| matches!(phase, Phase::Rest | Phase::Quiet)),
            suffered_beside: outcome::counted(&noted.suffered, |phase| phase == Phase::Beside),
            suffered_attack: outcome::counted(&noted.suffered, Phase::is_attacked),
            ..good()
        }
    }

    #[test]
    fn nobody_suffers_at_a_server_that_does_no_harm() {
        let outcome = outcome_of("person-1", Harm::Nothing, Phase::Attack, Duration::from_millis(500));
        assert_eq!(outcome.missed(), Vec::<String>::new());
    }

    #[test]
    fn a_client_that_is_dropped_during_an_attack_is_a_miss() {
        let outcome = outcome_of("person-1", Harm::Drop, Phase::Attack, Duration::from_millis(300));
        let (what, count) = outcome.suffered_attack.first_key_value().unwrap();
        assert!(what.starts_with("a chatting client: lost") && *count > 0, "{outcome:?}");
        assert!(outcome.suffered_quiet.is_empty() && !outcome.missed().is_empty(), "{outcome:?}");
    }

    #[test]
    fn a_client_that_is_dropped_right_behind_an_attack_is_a_miss_of_the_attack() {
        let outcome = outcome_of("person-1", Harm::Drop, Phase::After, Duration::from_millis(300));
        assert!(!outcome.suffered_attack.is_empty() && !outcome.missed().is_empty(), "{outcome:?}");
    }

    #[test]
    fn a_client_that_is_dropped_while_another_server_is_attacked_is_told() {
        let outcome = outcome_of("person-1", Harm::Drop, Phase::Beside, Duration::from_millis(300));
        assert!(outcome.suffered_attack.is_empty() && !outcome.suffered_beside.is_empty(), "{outcome:?}");
        assert!(!outcome.missed().is_empty(), "{outcome:?}");
    }

    #[test]
    fn a_message_that_is_never_answered_is_lost_at_the_end_of_the_attack() {
        let outcome = outcome_of("person-1", Harm::NeverAnswer, Phase::Attack, Duration::from_secs(5));
        let count = outcome.suffered_attack.get("a message without an answer for 2 s").copied();
        assert!(count > Some(0), "{outcome:?}");
        assert!(outcome.suffered_quiet.is_empty() && !outcome.missed().is_empty(), "{outcome:?}");
    }

    #[test]
    fn silence_after_the_attack_belongs_to_the_attack_in_which_the_message_was_sent() {
        let notes = Notes::new();
        notes.enter(Phase::Attack);
        let waiting = notes.wait_for("a message");
        notes.enter(Phase::Quiet);
        notes.suffer(Some(waiting.moment.phase), "silence".to_owned());
        notes.suffer(Some(Phase::Quiet), "another".to_owned());
        assert_eq!(lock(&notes.open).len(), 1);
        drop(waiting);
        assert!(lock(&notes.open).is_empty());
        let suffered = lock(&notes.suffered).iter().map(|one| one.phase).collect::<Vec<_>>();
        assert_eq!(suffered, [Phase::Attack, Phase::Quiet]);
    }

    #[test]
    fn what_is_lost_with_a_killed_process_is_counted_apart_and_newcomers_can_be_excused_alone() {
        let notes = Notes::new();
        for (excuse, suffered, lost) in [(Excuse::Newcomers, 1, 0), (Excuse::All, 1, 1), (Excuse::Nobody, 2, 1)] {
            notes.excuse.store(excuse as u8, Ordering::Relaxed);
            notes.suffer(None, "a chatting client: silence".to_owned());
            let counts = (lock(&notes.suffered).len(), notes.lost.load(Ordering::Relaxed));
            assert_eq!(counts, (suffered, lost), "{excuse:?}");
        }
    }
}
