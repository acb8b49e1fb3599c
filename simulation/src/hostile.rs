//! Peers that break the rules, each in its own way. They stop when the storm is over.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wsguard_core::time::Millis;

use crate::desk;
use crate::issuer::{Forgery, Token, Wish};
use crate::peer::{Connection, Frame, OWN_PAGE, Peer, Refusal, masked, stranger};
use crate::scenario::Kind;
use crate::trace::{Event, Meant, Target};

/// Runs the peer until the storm is over, then leaves.
pub async fn run(mut peer: Peer) {
    let first = peer.rng.below(4_000);
    sleep(Duration::from_millis(first)).await;
    while peer.world.is_stormy() {
        let pause = match peer.kind {
            Kind::Flood => flood(&mut peer).await,
            Kind::Knocker => knock(&mut peer).await,
            Kind::Forger => forge(&mut peer).await,
            Kind::Early => early(&mut peer).await,
            Kind::Thief => steal(&mut peer).await,
            Kind::Vectors => vectors(&mut peer).await,
            Kind::Loud => loud(&mut peer).await,
            Kind::Deaf => deaf(&mut peer).await,
            Kind::Trickle => trickle(&mut peer).await,
            Kind::Careless => careless(&mut peer).await,
            Kind::Climber => climb(&mut peer).await,
            Kind::Deserter => desert(&mut peer).await,
            Kind::Hijacker => hijack(&mut peer).await,
            Kind::Leaver => leave(&mut peer).await,
            Kind::Hoarder => hoard(&mut peer).await,
            Kind::Swarm => swarm(&mut peer).await,
            Kind::Spray => spray(&mut peer).await,
            Kind::Honest | Kind::SecondDevice | Kind::Stubborn => return,
        };
        sleep(Duration::from_millis(pause)).await;
    }
}

/// An open connection with its welcome read.
struct Joined {
    connection: Connection,
    csrf: String,
}

impl Joined {
    fn message(&self, kind: &str, id: u64, text: &str) -> String {
        json!({"type": kind, "id": id, "csrfToken": self.csrf, "payload": {"text": text}}).to_string()
    }

    /// Reads what is there, for `length`.
    async fn listen(&mut self, length: Duration) -> bool {
        let until = Instant::now() + length;
        loop {
            match self.connection.next(until).await {
                Ok(Frame::Close(_)) | Err(crate::peer::Silence::Gone) => return false,
                Ok(Frame::Text(value)) if value["type"] == "csrf" => {
                    value["payload"]["csrfToken"].as_str().unwrap_or_default().clone_into(&mut self.csrf);
                }
                Ok(_) => {}
                Err(crate::peer::Silence::Late) => return true,
            }
        }
    }
}

async fn join_with(peer: &mut Peer, token: &Token, more: &[String]) -> Result<Joined, Refusal> {
    if peer.rng.chance(30) {
        let (mut connection, proof) = peer.by_cookie(token, more).await?;
        peer.prove(&mut connection, token, &proof, None).await;
        return welcome(peer, connection).await;
    }
    let mut lines = vec![format!("Authorization: Bearer {}", token.text)];
    lines.extend_from_slice(more);
    let connection = peer.knock(&Peer::upgrade(&lines), b"").await?;
    peer.presents(connection.link, token.number);
    welcome(peer, connection).await
}

async fn welcome(peer: &Peer, mut connection: Connection) -> Result<Joined, Refusal> {
    let until = Instant::now() + Duration::from_secs(6);
    loop {
        match connection.next(until).await {
            Ok(Frame::Text(value)) if value["type"] == "welcome" => {
                welcomed(peer, &connection, &value);
                let csrf = value["payload"]["csrfToken"].as_str().unwrap_or_default().to_owned();
                return Ok(Joined { connection, csrf });
            }
            Ok(Frame::Close(_)) | Err(_) => return Err(Refusal::Lost),
            Ok(_) => {}
        }
    }
}

fn welcomed(peer: &Peer, connection: &Connection, welcome: &Value) {
    let text = |name: &str| welcome["payload"][name].as_str().unwrap_or_default().to_owned();
    peer.world.tell(Event::Welcomed {
        peer: peer.number,
        link: connection.link,
        session: text("session"),
        subject: text("subject"),
        resumed: welcome["payload"]["resumed"] == true,
    });
}

async fn join(peer: &mut Peer) -> Result<Joined, Refusal> {
    let token = peer.token();
    join_with(peer, &token, &[]).await
}

/// Everything at once, and again at once.
async fn flood(peer: &mut Peer) -> u64 {
    let Ok(mut joined) = join(peer).await else {
        return 700;
    };
    let size = peer.rng.range(10, 60);
    for id in 0.. {
        let mut burst = Vec::new();
        for number in 0..size {
            let (tag, text) = peer.text();
            let kind = *peer.rng.pick(&["say", "echo", "tight", "echo", desk::LATER]);
            let link = joined.connection.link;
            peer.world.tell(Event::Sent { peer: peer.number, link, tag, meant: Meant::Well });
            let message = joined.message(kind, id * 1_000 + number, &text);
            burst.extend_from_slice(&masked(1, message.as_bytes(), peer.rng.mask()));
        }
        if !peer.world.is_stormy() || !joined.connection.raw(&burst).await {
            break;
        }
        let pause = Duration::from_millis(peer.rng.range(20, 300));
        if !joined.listen(pause).await {
            break;
        }
    }
    peer.rng.range(10, 400)
}

/// Handshakes without end, with and without anything in them.
async fn knock(peer: &mut Peer) -> u64 {
    let more = match peer.rng.below(4) {
        0 => vec!["Authorization: Bearer x.y.z".to_owned()],
        1 => vec!["Origin: https://evil.example".to_owned()],
        2 => vec!["Sec-WebSocket-Protocol: wsguard.v1, wsguard.bearer.nonsense".to_owned()],
        _ => Vec::new(),
    };
    if let Ok(mut connection) = peer.knock(&Peer::upgrade(&more), b"").await {
        let until = Instant::now() + Duration::from_millis(peer.rng.below(400));
        while connection.next(until).await.is_ok() {}
    }
    peer.rng.below(200)
}

/// Tokens that nobody issued, and messages behind them all the same.
async fn forge(peer: &mut Peer) -> u64 {
    let forgery =
        *peer.rng.pick(&[Forgery::OtherKey, Forgery::OtherSubject, Forgery::None, Forgery::Ended, Forgery::Future]);
    let victim = peer.world.places().values().next().map_or_else(|| "s0".to_owned(), |place| place.subject.clone());
    let roles = ["admin".to_owned()];
    let token = peer.world.forge(Wish { subject: &victim, roles: &roles, life: Millis(60_000) }, forgery);
    let way = peer.rng.below(3);
    let joined = if way == 0 {
        join_with(peer, &token, &[]).await
    } else {
        let lines = if way == 1 {
            vec![format!("Sec-WebSocket-Protocol: wsguard.v1, wsguard.bearer.{}", token.text)]
        } else {
            Vec::new()
        };
        match peer.knock(&Peer::upgrade(&lines), b"").await {
            Ok(mut connection) => {
                let auth = json!({"type": "auth", "payload": {"token": token.text}});
                let _ = connection.text(&auth.to_string()).await;
                Ok(Joined { connection, csrf: String::new() })
            }
            Err(refusal) => Err(refusal),
        }
    };
    if let Ok(mut joined) = joined {
        peer.presents(joined.connection.link, token.number);
        let _ = joined.listen(Duration::from_millis(300)).await;
        let (tag, text) = peer.text();
        let message = joined.message("admin", 1, &text);
        let _ = joined.connection.say(tag, Meant::Well, &message).await;
        let (tag, text) = peer.text();
        let message = joined.message("say", 2, &text);
        let _ = joined.connection.say(tag, Meant::Well, &message).await;
        let _ = joined.listen(Duration::from_millis(800)).await;
    }
    peer.rng.range(300, 2_000)
}

/// Messages before any credential: behind the request in the same bytes, and as a first message.
async fn early(peer: &mut Peer) -> u64 {
    let mut bytes = Vec::new();
    let mut tags = Vec::new();
    for id in 0..peer.rng.range(1, 4) {
        let (tag, text) = peer.text();
        let message = json!({"type": "say", "id": id, "csrfToken": "x", "payload": {"text": text}}).to_string();
        bytes.extend_from_slice(&masked(1, message.as_bytes(), peer.rng.mask()));
        tags.push(tag);
    }
    let is_behind = peer.rng.chance(50);
    if let Ok(mut connection) = peer.knock(&Peer::upgrade(&[]), if is_behind { &bytes } else { b"" }).await {
        for tag in tags {
            peer.world.tell(Event::Sent { peer: peer.number, link: connection.link, tag, meant: Meant::Well });
        }
        if !is_behind {
            let _ = connection.raw(&bytes).await;
        }
        let until = Instant::now() + Duration::from_secs(2);
        while connection.next(until).await.is_ok() {}
    }
    peer.rng.range(400, 2_000)
}

/// What belongs to others.
async fn steal(peer: &mut Peer) -> u64 {
    let (resume, ticket, message) = {
        let loot = peer.world.loot();
        let rng = &mut peer.rng;
        let one = |all: &[String], rng: &mut crate::rng::Rng| (!all.is_empty()).then(|| rng.pick(all).clone());
        (one(&loot.resume, rng), one(&loot.tickets, rng), one(&loot.messages, rng))
    };
    if let Some(ticket) = ticket.filter(|_| peer.rng.chance(50)) {
        let head = Peer::upgrade(&[]).replacen("GET /ws ", &format!("GET /ws?ticket={ticket} "), 1);
        if let Ok(mut connection) = peer.knock(&head, b"").await {
            let token = peer.world.tickets().get(&ticket).copied();
            if let Some(token) = token {
                peer.presents(connection.link, token);
            }
            peer.world.tell(Event::Redeemed { link: connection.link, ticket });
            let until = Instant::now() + Duration::from_millis(500);
            while let Ok(frame) = connection.next(until).await {
                match frame {
                    Frame::Text(value) if value["type"] == "welcome" => welcomed(peer, &connection, &value),
                    _ => {}
                }
            }
        }
    }
    let token = peer.token();
    let lines: Vec<_> =
        resume.iter().map(|resume| format!("Sec-WebSocket-Protocol: wsguard.v1, wsguard.resume.{resume}.0")).collect();
    let Ok(mut joined) = join_with(peer, &token, &lines).await else {
        return 1_500;
    };
    // As it was captured: another's CSRF token.
    if let Some(message) = message {
        let _ = joined.connection.text(&message).await;
    }
    let (tag, text) = peer.text();
    let kind = *peer.rng.pick(&["echo", desk::LATER]);
    let own = joined.message(kind, 1, &text);
    for _ in 0..3 {
        // The same message over and over, without waiting for its acknowledgement.
        let _ = joined.connection.say(tag, Meant::Well, &own).await;
    }
    let _ = joined.listen(Duration::from_millis(1_500)).await;
    let _ = joined.connection.say(tag, Meant::Well, &own).await;
    let _ = joined.listen(Duration::from_millis(500)).await;
    peer.rng.range(300, 2_500)
}

fn hostile(of: &str) -> &'static [Value] {
    static JSON: OnceLock<Vec<Value>> = OnceLock::new();
    static WIRE: OnceLock<Vec<Value>> = OnceLock::new();
    static HANDSHAKE: OnceLock<Vec<Value>> = OnceLock::new();
    let (place, text) = match of {
        "json" => (&JSON, include_str!("../../vectors/hostile/json.json")),
        "wire" => (&WIRE, include_str!("../../vectors/hostile/wire.json")),
        _ => (&HANDSHAKE, include_str!("../../vectors/hostile/handshake.json")),
    };
    place.get_or_init(|| serde_json::from_str(text).expect("a list of vectors"))
}

/// The vectors of `vectors/hostile`.
async fn vectors(peer: &mut Peer) -> u64 {
    let case = peer.rng.pick(hostile("handshake"));
    let lines: Vec<_> = case["request"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // With a token that is good: it is for what else is wrong that it must be refused.
    let token = peer.token();
    let head =
        lines.join("\r\n").replace("$HOST", "world.example").replace("$TOKEN", &token.text).replace("$PORT", "80");
    // Its end comes from the case itself, where it has one.
    let _ = peer.knock(&head, b"").await;
    let Ok(mut joined) = join(peer).await else {
        return 900;
    };
    for _ in 0..peer.rng.range(1, 12) {
        let case = peer.rng.pick(hostile("json"));
        let text = case["text"].as_str().unwrap_or_default().replace("$CSRF", &joined.csrf);
        if text.len() > 12_000 || !joined.connection.text(&text).await {
            continue;
        }
        if !joined.listen(Duration::from_millis(150)).await {
            return 600;
        }
    }
    let case = peer.rng.pick(hostile("wire"));
    for part in case["parts"].as_array().into_iter().flatten() {
        let hex = part["hex"].as_str().unwrap_or_default();
        let bytes: Vec<u8> =
            (0..hex.len() / 2).filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()).collect();
        let times = usize::try_from(part["times"].as_u64().unwrap_or(1)).unwrap_or(1);
        let _ = joined.connection.raw(&bytes.repeat(times.min(2_000))).await;
    }
    let _ = joined.listen(Duration::from_millis(500)).await;
    peer.rng.range(300, 1_500)
}

/// Long messages to everybody, just within the quotas.
async fn loud(peer: &mut Peer) -> u64 {
    let Ok(mut joined) = join(peer).await else {
        return 900;
    };
    // Some are within the quota of messages and far above that of bytes.
    let length = if peer.rng.chance(30) { 2_900 } else { 1_300 };
    for id in 0..peer.rng.range(100, 500) {
        let (tag, text) = peer.text();
        let message = joined.message("say", id, &format!("{text} {}", "la ".repeat(length)));
        if !peer.world.is_stormy() || !joined.connection.say(tag, Meant::Well, &message).await {
            break;
        }
        let pause = Duration::from_millis(peer.rng.range(50, 80));
        if !joined.listen(pause).await {
            break;
        }
    }
    peer.rng.range(100, 3_000)
}

/// Joins the room and does not read, or hardly.
async fn deaf(peer: &mut Peer) -> u64 {
    let Ok(mut joined) = join(peer).await else {
        return 900;
    };
    // What it does not read it still causes.
    for id in 0..peer.rng.range(2, 10) {
        let (tag, text) = peer.text();
        let message = joined.message("echo", id, &text);
        let _ = joined.connection.say(tag, Meant::Well, &message).await;
    }
    if peer.rng.chance(25) {
        let deaf_for = peer.rng.range(2_000, 20_000);
        sleep(Duration::from_millis(deaf_for)).await;
    } else {
        // Just enough that it does not look dead.
        for _ in 0..peer.rng.range(10, 40) {
            sleep(Duration::from_millis(1_500)).await;
            let is_there = joined.connection.frame(10, b"").await && joined.connection.sip(600).await;
            if !is_there || !peer.world.is_stormy() {
                break;
            }
        }
    }
    let _ = joined.listen(Duration::from_millis(200)).await;
    peer.rng.range(100, 1_000)
}

/// One byte at a time: a request, then a frame that never ends.
async fn trickle(peer: &mut Peer) -> u64 {
    let Ok(mut joined) = join(peer).await else {
        return 900;
    };
    let (_, text) = peer.text();
    let frame = masked(1, joined.message("say", 1, &text).as_bytes(), peer.rng.mask());
    for byte in &frame[..frame.len() - 1] {
        if !peer.world.is_stormy() || !joined.connection.raw(&[*byte]).await {
            break;
        }
        let pause = peer.rng.range(20, 300);
        if !joined.listen(Duration::from_millis(pause)).await {
            break;
        }
    }
    peer.rng.range(100, 1_000)
}

/// The proof of a cookie of its own, which is no CSRF token.
fn own_proof(peer: &Peer) -> Option<String> {
    let loot = peer.world.loot();
    let own = loot.cookies.iter().rev().find(|cookie| cookie.token.subject == peer.subject);
    own.map(|cookie| cookie.proof.clone())
}

/// The CSRF token of another's session.
fn stolen_csrf(peer: &Peer) -> Option<String> {
    let message: Value = serde_json::from_str(peer.world.loot().messages.last()?).ok()?;
    Some(message["csrfToken"].as_str()?.to_owned())
}

/// Without the CSRF token, or with a wrong one.
async fn careless(peer: &mut Peer) -> u64 {
    let Ok(mut joined) = join(peer).await else {
        return 900;
    };
    for id in 0..peer.rng.range(2, 12) {
        let (tag, text) = peer.text();
        let mut message = json!({"type": "say", "id": id, "payload": {"text": text}});
        match peer.rng.below(5) {
            0 => {}
            1 => message["csrfToken"] = json!(""),
            2 => message["csrfToken"] = json!(own_proof(peer)),
            3 => message["csrfToken"] = json!(stolen_csrf(peer)),
            _ => message["csrfToken"] = json!(joined.csrf.chars().rev().collect::<String>()),
        }
        let _ = joined.connection.say(tag, Meant::WithoutCsrf, &message.to_string()).await;
        if !joined.listen(Duration::from_millis(250)).await {
            break;
        }
    }
    peer.rng.range(300, 1_500)
}

/// What its roles do not allow.
async fn climb(peer: &mut Peer) -> u64 {
    let Ok(mut joined) = join(peer).await else {
        return 900;
    };
    for id in 0..peer.rng.range(2, 10) {
        let (tag, text) = peer.text();
        let message = joined.message("admin", id, &text);
        let _ = joined.connection.say(tag, Meant::Well, &message).await;
        if !joined.listen(Duration::from_millis(300)).await {
            break;
        }
    }
    peer.rng.range(300, 1_500)
}

/// Sessions that wait for somebody who does not come.
async fn desert(peer: &mut Peer) -> u64 {
    let token = peer.token();
    let announce = ["Sec-WebSocket-Protocol: wsguard.v1, wsguard.resume".to_owned()];
    if let Ok(mut joined) = join_with(peer, &token, &announce).await {
        let (tag, text) = peer.text();
        let kind = *peer.rng.pick(&["echo", desk::LATER, desk::NEVER]);
        let message = joined.message(kind, 1, &text);
        let _ = joined.connection.say(tag, Meant::Well, &message).await;
        let _ = joined.listen(Duration::from_millis(100)).await;
        // Some go without a word, some say that they go, some that they are done.
        if let Some(code) = *peer.rng.pick(&[None, Some(1001_u16), Some(1000)]) {
            let goodbye = masked(8, &code.to_be_bytes(), peer.rng.mask());
            let _ = joined.connection.raw(&goodbye).await;
            let _ = joined.listen(Duration::from_millis(500)).await;
        }
    }
    peer.rng.range(50, 900)
}

/// More connections under one name than a subject may have, and something said on each.
async fn hoard(peer: &mut Peer) -> u64 {
    let mut open = Vec::new();
    for _ in 0..peer.rng.range(3, 8) {
        if let Ok(joined) = join(peer).await {
            open.push(joined);
        }
    }
    for joined in &mut open {
        let (tag, text) = peer.text();
        let message = joined.message("echo", 1, &text);
        let _ = joined.connection.say(tag, Meant::Well, &message).await;
        let _ = joined.listen(Duration::from_millis(400)).await;
    }
    // So that its handshakes stay within their quota.
    peer.rng.range(6_000, 12_000)
}

/// Addresses of a swarm, more than a prefix has the quotas of, and subjects behind each.
const SWARM: (u8, u8) = (6, 2);

/// An address in the prefix around `address`.
fn neighbour(address: IpAddr, number: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, number))
        }
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !(0xff << 64) | (u128::from(number) << 64)).into()),
    }
}

/// Many who are modest, all at once.
async fn swarm(peer: &mut Peer) -> u64 {
    let (home, name) = (peer.address, peer.subject.clone());
    let mut open = Vec::new();
    for (address, subject) in (0..SWARM.0).flat_map(|address| (0..SWARM.1).map(move |subject| (address, subject))) {
        peer.address = neighbour(home, 10 + address);
        peer.subject = format!("{name}.{address}.{subject}");
        open.extend(join(peer).await);
    }
    (peer.address, peer.subject) = (home, name);
    // Many short ones, some long ones, or some of the type that has a quota of its own.
    let (kind, count, length) = *peer.rng.pick(&[("echo", 34, 0), ("echo", 7, 4_000), ("tight", 8, 0)]);
    for joined in &mut open {
        let mut burst = Vec::new();
        for id in 0..count {
            let (tag, text) = peer.text();
            let link = joined.connection.link;
            peer.world.tell(Event::Sent { peer: peer.number, link, tag, meant: Meant::Well });
            let message = joined.message(kind, id, &format!("{text} {}", "la".repeat(length)));
            burst.extend_from_slice(&masked(1, message.as_bytes(), peer.rng.mask()));
        }
        let _ = joined.connection.raw(&burst).await;
    }
    for joined in &mut open {
        let _ = joined.listen(Duration::from_millis(150)).await;
    }
    // So that its handshakes stay within their quota.
    peer.rng.range(3_000, 12_000)
}

/// Strangers that come at once; more than the largest table has keys where tables are small.
const STRANGERS: u64 = 48;

/// Requests of one prefix without a slot, by as many addresses; more than its quota.
const OF_ONE_PREFIX: (u8, u8) = (20, 3);

/// Strangers by the dozen, and behind them one prefix that finds the tables full.
async fn spray(peer: &mut Peer) -> u64 {
    let token = peer.token();
    let ticket = format!(
        "POST /ws/ticket HTTP/1.1\r\nHost: world.example\r\nAuthorization: Bearer {}\r\nContent-Length: 0",
        token.text
    );
    let mode = peer.rng.below(5);
    let head = match mode {
        0 => Peer::upgrade(&["Origin: https://evil.example".to_owned()]),
        1 => Peer::upgrade(&["Authorization: Bearer x.y.z".to_owned()]),
        2 => ticket,
        _ => Peer::upgrade(&[]),
    };
    let home = peer.address;
    let mut from: Vec<_> = (0..STRANGERS).map(|_| stranger(&mut peer.rng)).collect();
    let prefix = stranger(&mut peer.rng);
    // A page that is foreign has a quota at each address alone.
    let addresses = if mode == 0 { 1 } else { OF_ONE_PREFIX.0 };
    let times = if mode == 0 { OF_ONE_PREFIX.0 } else { OF_ONE_PREFIX.1 };
    from.extend((0..addresses).flat_map(|number| (0..times).map(move |_| neighbour(prefix, number))));
    if peer.rng.chance(30) {
        // Or in front of them, where it finds its slots.
        from.reverse();
    }
    // They arrive in the order in which they are asked.
    peer.weather.jitter_ms = 0;
    let mut asked = Vec::new();
    for address in from {
        peer.address = address;
        asked.extend(peer.ask(&head, b"").await);
    }
    peer.address = home;
    for connection in asked {
        drop(connection.answered(&head).await);
    }
    peer.rng.range(1_000, 5_000)
}

/// Pages that are not the cookie's.
const FOREIGN_PAGES: [&str; 4] =
    ["https://evil.example", "https://world.example.evil.example", "http://world.example", "null"];

/// How a cookie is used by somebody who may not.
#[derive(Clone, Copy)]
enum Misuse {
    /// By a page of another origin, in the browser that has it.
    ForeignPage,
    /// By a program that says of no page, with a proof that leaked.
    NoPage,
    /// With messages in the place of its proof.
    NoAuth,
    /// With `auth`, and no proof.
    NoProof,
    /// With a proof that is none.
    WrongProof,
    /// With the proof of a cookie of its own.
    OwnProof,
}

const MISUSES: [Misuse; 6] =
    [Misuse::ForeignPage, Misuse::NoPage, Misuse::NoAuth, Misuse::NoProof, Misuse::WrongProof, Misuse::OwnProof];

/// Cookies of others. Nothing is presented here: whatever is welcomed or handled is so without a credential.
async fn hijack(peer: &mut Peer) -> u64 {
    let own = peer.token();
    let Ok(own_proof) = peer.proof(&own.text, Some(OWN_PAGE)).await else {
        return 900;
    };
    let theirs = {
        let loot = peer.world.loot();
        loot.cookies.iter().rev().find(|cookie| cookie.token.subject != own.subject).cloned()
    };
    let Some(victim) = theirs else {
        return 900;
    };
    let misuse = *peer.rng.pick(&MISUSES);
    let foreign = *peer.rng.pick(&FOREIGN_PAGES);
    let home = peer.address;
    let (origin, proof) = match misuse {
        Misuse::ForeignPage => {
            peer.address = victim.address;
            let fetched = peer.proof(&victim.token.text, Some(foreign)).await;
            (Some(foreign), Some(fetched.unwrap_or(victim.proof)))
        }
        Misuse::NoPage => (None, Some(victim.proof)),
        Misuse::NoAuth | Misuse::NoProof => (Some(OWN_PAGE), None),
        Misuse::WrongProof => (Some(OWN_PAGE), Some(victim.proof.chars().rev().collect())),
        Misuse::OwnProof => (Some(OWN_PAGE), Some(own_proof)),
    };
    let opened = peer.knock(&Peer::upgrade(&Peer::browser(&victim.token.text, origin)), b"").await;
    peer.address = home;
    let Ok(mut connection) = opened else {
        return peer.rng.range(200, 1_200);
    };
    let auth = match proof {
        Some(proof) => json!({"type": "auth", "csrfToken": proof}),
        None => json!({"type": "auth"}),
    };
    if !matches!(misuse, Misuse::NoAuth) {
        let _ = connection.text(&auth.to_string()).await;
    }
    // A guard that is wrong may not say so in a welcome.
    let (tag, text) = peer.text();
    let early = json!({"type": "say", "id": 1, "payload": {"text": text}}).to_string();
    let _ = connection.say(tag, Meant::Well, &early).await;
    if let Ok(mut joined) = welcome(peer, connection).await {
        let (tag, text) = peer.text();
        let message = joined.message("say", 2, &text);
        let _ = joined.connection.say(tag, Meant::Well, &message).await;
        let _ = joined.listen(Duration::from_millis(800)).await;
    }
    peer.rng.range(200, 1_200)
}

/// Logs out, and uses its cookie all the same: on the open connection, with a proof that it kept back, at a new handshake.
async fn leave(peer: &mut Peer) -> u64 {
    let token = peer.token();
    let logout = Target::Token(token.number);
    let (is_proof_kept_back, is_anew) = (peer.rng.chance(66), peer.rng.chance(50));
    let Ok((mut connection, proof)) = peer.by_cookie(&token, &[]).await else {
        return 900;
    };
    if is_proof_kept_back {
        peer.world.node.revoke(&peer.world, logout.clone()).await;
        let pause = Duration::from_millis(peer.rng.range(1_100, 2_200));
        sleep(pause).await;
        if is_anew {
            let lines = Peer::browser(&token.text, Some(OWN_PAGE));
            let Ok(again) = peer.knock(&Peer::upgrade(&lines), b"").await else {
                return 900;
            };
            connection = again;
        }
    }
    peer.prove(&mut connection, &token, &proof, None).await;
    let Ok(mut joined) = welcome(peer, connection).await else {
        return peer.rng.range(300, 1_500);
    };
    if !is_proof_kept_back {
        peer.world.node.revoke(&peer.world, logout).await;
    }
    for id in 0..8 {
        let (tag, text) = peer.text();
        let message = joined.message("say", id, &text);
        let is_there = joined.connection.say(tag, Meant::Well, &message).await;
        if !is_there || !joined.listen(Duration::from_millis(300)).await {
            break;
        }
    }
    peer.rng.range(300, 1_500)
}
