//! A client that follows docs/protocol.md: announces, acknowledges, resumes, rotates its CSRF token, refreshes its token,
//! proves its cookie, comes back as the close code says.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::desk;
use crate::issuer::Token;
use crate::peer::{Connection, Frame, Peer, Refusal, Silence};
use crate::scenario::Kind;
use crate::trace::{Event, Meant, Tag};

/// Longer than the server's heartbeat and its time-out: a connection that is silent for so long is dead.
const SILENT_MAX: Duration = Duration::from_secs(12);

/// Time in which a connection is told of one refusal for a quota; those between have no answer.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// How a token is brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Bearer,
    Subprotocol,
    Ticket,
    FirstMessage,
    Cookie,
}

/// What is sent and neither acknowledged nor refused.
struct Waiting {
    id: Value,
    kind: &'static str,
    tag: Tag,
    text: String,
}

/// What a client keeps over its connections.
pub struct Client {
    peer: Peer,
    way: Way,
    token: Token,
    /// The refreshed token that waits for its `auth.refreshed`.
    fresh: Option<Token>,
    session: Option<String>,
    resume: Option<String>,
    last_seq: u64,
    csrf: String,
    next_id: u64,
    waiting: Vec<Waiting>,
    /// It was told not to come back.
    done: bool,
}

/// How long the client is to stay away.
struct Back(Duration);

/// Runs the client until the world is over.
pub async fn run(mut peer: Peer) {
    let way =
        *peer.rng.pick(&[Way::Bearer, Way::Subprotocol, Way::Ticket, Way::FirstMessage, Way::Cookie, Way::Cookie]);
    let token = peer.token();
    let mut client = Client {
        peer,
        way,
        token,
        fresh: None,
        session: None,
        resume: None,
        last_seq: 0,
        csrf: String::new(),
        next_id: 1,
        waiting: Vec::new(),
        done: false,
    };
    let first = client.peer.rng.below(1_500);
    sleep(Duration::from_millis(first)).await;
    loop {
        let back = match client.open().await {
            Ok(connection) => client.live_and_leave(connection).await.0,
            Err(Refusal::Status(401 | 403, _)) => {
                client.token = client.peer.token();
                Duration::ZERO
            }
            Err(Refusal::Status(_, wait)) => wait.unwrap_or_default(),
            Err(Refusal::Lost | Refusal::NoServer) => Duration::ZERO,
        };
        if client.done && client.peer.kind != Kind::Stubborn {
            std::future::pending::<()>().await;
        }
        let spread = Duration::from_millis(client.peer.rng.range(900, 2_500));
        sleep(back + spread).await;
    }
}

impl Client {
    async fn open(&mut self) -> Result<Connection, Refusal> {
        if self.done {
            // It was told to stay away, and does not.
            self.token = self.peer.token();
            self.done = false;
        }
        let resume = match &self.resume {
            Some(token) => format!("wsguard.resume.{token}.{}", self.last_seq),
            None => "wsguard.resume".to_owned(),
        };
        let plain = format!("Sec-WebSocket-Protocol: wsguard.v1, {resume}");
        let connection = match self.way {
            Way::Bearer => {
                let head = Peer::upgrade(&[plain, format!("Authorization: Bearer {}", self.token.text)]);
                let connection = self.peer.knock(&head, b"").await?;
                self.peer.presents(connection.link, self.token.number);
                connection
            }
            Way::Subprotocol => {
                let head = Peer::upgrade(&[format!("{plain}, wsguard.bearer.{}", self.token.text)]);
                let connection = self.peer.knock(&head, b"").await?;
                self.peer.presents(connection.link, self.token.number);
                connection
            }
            Way::FirstMessage => {
                let mut connection =
                    self.peer.knock(&Peer::upgrade(&["Sec-WebSocket-Protocol: wsguard.v1".to_owned()]), b"").await?;
                self.peer.presents(connection.link, self.token.number);
                let mut payload = json!({"token": self.token.text, "lastSeq": self.last_seq});
                if let Some(resume) = &self.resume {
                    payload["resumeToken"] = json!(resume);
                }
                if !connection.text(&json!({"type": "auth", "payload": payload}).to_string()).await {
                    return Err(Refusal::Lost);
                }
                connection
            }
            Way::Cookie => {
                let (token, by_payload) = (self.token.clone(), self.peer.rng.chance(50));
                let mut payload = json!({"lastSeq": self.last_seq});
                if let Some(resume) = &self.resume {
                    payload["resumeToken"] = json!(resume);
                }
                let (line, payload) = if by_payload {
                    ("Sec-WebSocket-Protocol: wsguard.v1".to_owned(), Some(payload))
                } else {
                    (plain, None)
                };
                let (mut connection, proof) = self.peer.by_cookie(&token, &[line]).await?;
                if !self.peer.prove(&mut connection, &token, &proof, payload).await {
                    return Err(Refusal::Lost);
                }
                connection
            }
            Way::Ticket => {
                self.peer.world.tickets().insert(self.token.text.clone(), self.token.number);
                let head = format!(
                    "POST /ws/ticket HTTP/1.1\r\nHost: world.example\r\nAuthorization: Bearer {}\r\nContent-Length: 0",
                    self.token.text
                );
                let reply = self.peer.knock(&head, b"").await?;
                let body: Value = serde_json::from_slice(reply.body()).unwrap_or_default();
                drop(reply);
                let ticket = body["ticket"].as_str().ok_or(Refusal::Lost)?.to_owned();
                let head = Peer::upgrade(&[plain]).replacen("GET /ws ", &format!("GET /ws?ticket={ticket} "), 1);
                self.peer.world.loot().tickets.push(ticket.clone());
                let connection = self.peer.knock(&head, b"").await?;
                self.peer.world.tell(Event::Redeemed { link: connection.link, ticket });
                self.peer.presents(connection.link, self.token.number);
                connection
            }
        };
        Ok(connection)
    }

    fn note(&self, is_there: bool) {
        let mut places = self.peer.world.places();
        let place = places.entry(self.peer.number).or_default();
        // What is kept for as long as the session lives has no answer to wait for.
        let waiting = self.waiting.iter().filter(|waiting| waiting.kind != desk::NEVER).count();
        (place.is_there, place.waiting, place.done) = (is_there, waiting, self.done);
    }

    async fn live_and_leave(&mut self, connection: Connection) -> Back {
        let end = self.live(connection).await;
        self.note(false);
        end
    }

    async fn live(&mut self, mut connection: Connection) -> Back {
        let mut heard = Instant::now();
        let mut next_message = heard + Duration::from_hours(1);
        let mut next_ack = next_message;
        // When it sends again what has no answer, since a refusal for a quota is not told each time.
        let mut next_try = next_message;
        let mut is_welcome = false;
        let mut wait = Duration::ZERO;
        let mut draining = Duration::ZERO;
        loop {
            self.note(is_welcome);
            let until = next_message.min(next_ack).min(next_try).min(heard + SILENT_MAX);
            match connection.next(until).await {
                Err(Silence::Gone) => return Back(wait),
                Err(Silence::Late) if Instant::now() >= heard + SILENT_MAX => return Back(wait),
                Err(Silence::Late) => {
                    let now = Instant::now();
                    if now >= next_ack {
                        let ack = json!({"type": "ack", "payload": {"seq": self.last_seq}});
                        let _ = connection.text(&ack.to_string()).await;
                        next_ack = now + Duration::from_millis(self.peer.rng.range(500, 4_000));
                    }
                    if now >= next_try {
                        next_try = now + Duration::from_hours(1);
                        if !self.send_again(&mut connection).await {
                            return Back(wait);
                        }
                    }
                    if now >= next_message {
                        next_message = now + Duration::from_millis(self.peer.rng.range(250, 2_200));
                        if !self.act(&mut connection).await {
                            return Back(wait);
                        }
                    }
                }
                Ok(frame) => {
                    heard = Instant::now();
                    match frame {
                        Frame::Ping => {
                            if !connection.frame(10, b"").await {
                                return Back(wait);
                            }
                        }
                        Frame::Pong => {}
                        Frame::Close(code) => {
                            let _ = connection.frame(8, &code.to_be_bytes()).await;
                            return self.closed(code, wait.max(draining));
                        }
                        Frame::Text(value) => match value["type"].as_str().unwrap_or_default() {
                            "welcome" => {
                                if !self.welcomed(&mut connection, &value["payload"]).await {
                                    return Back(wait);
                                }
                                is_welcome = true;
                                next_message = heard + Duration::from_millis(self.peer.rng.range(50, 1_000));
                                next_ack = heard + Duration::from_millis(self.peer.rng.range(500, 4_000));
                            }
                            "draining" => {
                                let after = value["payload"]["reconnectAfterMs"].as_u64().unwrap_or(0);
                                draining = Duration::from_millis(after);
                            }
                            "error" => {
                                wait = self.refused(&value);
                                if is_welcome && value["payload"]["code"] == "rate_limited" {
                                    next_try = heard + wait + TOLD_EVERY;
                                }
                            }
                            _ => {
                                if !self.hear(&mut connection, &value).await {
                                    return Back(wait);
                                }
                            }
                        },
                    }
                }
            }
        }
    }

    async fn welcomed(&mut self, connection: &mut Connection, payload: &Value) -> bool {
        let session = payload["session"].as_str().unwrap_or_default().to_owned();
        let resumed = payload["resumed"] == true;
        self.peer.world.tell(Event::Welcomed {
            peer: self.peer.number,
            link: connection.link,
            session: session.clone(),
            subject: payload["subject"].as_str().unwrap_or_default().to_owned(),
            resumed,
        });
        self.peer.is_at(&session);
        if !resumed {
            // What was in flight may have been handled or not: it is not sent again.
            self.waiting.clear();
            self.last_seq = 0;
        }
        self.session = Some(session);
        payload["csrfToken"].as_str().unwrap_or_default().clone_into(&mut self.csrf);
        self.resume = payload["resumeToken"].as_str().map(str::to_owned);
        if let Some(resume) = &self.resume {
            self.peer.world.loot().resume.push(resume.clone());
        }
        self.send_again(connection).await
    }

    async fn send_again(&self, connection: &mut Connection) -> bool {
        let again: Vec<_> = self.waiting.iter().map(|waiting| (waiting.tag, self.message(waiting))).collect();
        for (tag, text) in again {
            if !connection.say(tag, Meant::Well, &text).await {
                return false;
            }
        }
        true
    }

    fn message(&self, waiting: &Waiting) -> String {
        json!({"type": waiting.kind, "id": waiting.id, "csrfToken": self.csrf, "payload": {"text": waiting.text}})
            .to_string()
    }

    async fn act(&mut self, connection: &mut Connection) -> bool {
        let stormy = self.peer.world.is_stormy();
        let choice = self.peer.rng.below(100);
        // What is silent must be asked whether it is still there.
        if choice < 8 || !stormy {
            return connection.text(&json!({"type": "ping", "payload": {"t": choice}}).to_string()).await;
        }
        let kind = match choice {
            8..=10 => "boom",
            11..=16 => "nope",
            17..=24 => "tight",
            25..=32 if self.peer.roles.iter().any(|role| role == "admin") => "admin",
            33..=50 => "echo",
            51..=64 => desk::LATER,
            65..=67 => desk::NEVER,
            _ => "say",
        };
        let (tag, text) = self.peer.text();
        let id = if self.peer.rng.chance(80) { json!(self.next_id) } else { json!(format!("m{}", self.next_id)) };
        self.next_id += 1;
        let waiting = Waiting { id, kind, tag, text };
        let message = self.message(&waiting);
        if self.peer.rng.chance(20) {
            self.peer.world.loot().messages.push(message.clone());
        }
        self.waiting.push(waiting);
        connection.say(tag, Meant::Well, &message).await
    }

    async fn hear(&mut self, connection: &mut Connection, value: &Value) -> bool {
        match value["type"].as_str().unwrap_or_default() {
            "ack" => {
                if let Some(place) = self.waiting.iter().position(|waiting| waiting.id == value["id"]) {
                    let waiting = self.waiting.remove(place);
                    self.peer.world.tell(Event::Acked { peer: self.peer.number, tag: waiting.tag });
                }
            }
            "csrf" => value["payload"]["csrfToken"].as_str().unwrap_or_default().clone_into(&mut self.csrf),
            // A page whose scripts have no token, and whose cookie nobody renews in time.
            "auth.expiring" if self.way == Way::Cookie && self.is_left_to_end() => {}
            "auth.expiring" => {
                let token = self.peer.token();
                self.peer.presents(connection.link, token.number);
                let refresh = json!({"type": "auth.refresh", "payload": {"token": token.text}});
                self.fresh = Some(token);
                return connection.text(&refresh.to_string()).await;
            }
            "auth.refreshed" => {
                if let Some(fresh) = self.fresh.take() {
                    self.token = fresh;
                }
            }
            kind @ ("said" | "echoed") => {
                let seq = value["seq"].as_u64().unwrap_or(0);
                self.peer.world.tell(Event::Received {
                    peer: self.peer.number,
                    session: self.session.clone().unwrap_or_default(),
                    seq,
                    tag: value["payload"]["text"].as_str().and_then(Tag::of),
                    alone: kind == "echoed",
                });
                self.last_seq = seq;
            }
            _ => {}
        }
        true
    }

    /// Half of the time, while things go wrong.
    fn is_left_to_end(&mut self) -> bool {
        self.peer.world.is_stormy() && self.peer.rng.chance(50)
    }

    fn refused(&mut self, value: &Value) -> Duration {
        if let Some(place) = self.waiting.iter().position(|waiting| waiting.id == value["id"]) {
            self.waiting.remove(place);
        }
        Duration::from_millis(value["payload"]["retryAfterMs"].as_u64().unwrap_or(0))
    }

    fn closed(&mut self, code: u16, wait: Duration) -> Back {
        match code {
            4401 => {
                self.token = self.peer.token();
                Back(Duration::ZERO)
            }
            1000 | 1002 | 1003 | 1007 | 1008 | 1009 | 4403 | 4409 => {
                self.done = true;
                self.session = None;
                Back(wait)
            }
            _ => Back(wait),
        }
    }
}
