//! The vectors of the clients, read by this one. Their format: vectors/client/README.md.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::*;
use crate::options::{Overflow, Pings, Queue, Reconnect as Reconnection};

/// Abilities that some scenarios need and this client has; it lives in no page.
const ABILITIES: [&str; 1] = ["abort"];

fn ms(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap_or_else(|| panic!("not milliseconds: {value}")))
}

fn millis(time: Duration) -> Value {
    // No scenario has fractions.
    assert_eq!(time.subsec_nanos() % 1_000_000, 0, "{time:?}");
    json!(u64::try_from(time.as_millis()).unwrap())
}

#[test]
fn the_trace_is_that_of_the_vectors() {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/client"));
    let mut played = 0;
    let mut skipped = Vec::new();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for scenario in file["scenarios"].as_array().unwrap() {
            let title = format!("{name}: {}", scenario["name"]);
            let needs = scenario["options"]["needs"].as_array().cloned().unwrap_or_default();
            if needs.iter().all(|need| ABILITIES.contains(&need.as_str().unwrap())) {
                play(&title, scenario, &file["welcome"]);
                played += 1;
            } else {
                skipped.push(title);
            }
        }
    }
    assert!(played > 40, "{played} scenarios; where are the vectors?");
    assert!(skipped.iter().all(|title| title.contains("wake")), "{skipped:?}");
}

fn play(title: &str, scenario: &Value, welcome: &Value) {
    let mut world: Option<World> = None;
    for (at, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
        let (what, value) = step["in"].as_object().unwrap().iter().next().unwrap();
        let world = world.get_or_insert_with(|| World::new(&scenario["options"], welcome));
        world.happen(what, value);
        let out = step.get("out").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(world.observed(), out, "{title}, step {at}: {}", step["in"]);
    }
}

struct World {
    session: Session,
    now: Duration,
    welcome: Value,
    static_token: Option<String>,
    /// Questions to the provider, the oldest first, and whether an answer still counts.
    questions: VecDeque<bool>,
    /// A connection, or an attempt to make one, is there.
    connected: bool,
    last_ping: Value,
    names: BTreeMap<u64, String>,
    state: State,
    pongs: bool,
    out: BTreeMap<&'static str, Vec<Value>>,
    outcomes: Map<String, Value>,
}

impl World {
    fn new(options: &Value, welcome: &Value) -> Self {
        let mut settings = Settings { pings: None, ..Settings::default() };
        let mut static_token = Some("t0".to_owned());
        let mut random = 0.5;
        for (name, value) in options.as_object().into_iter().flatten() {
            match name.as_str() {
                "needs" => {}
                "token" => static_token = value.as_str().map(str::to_owned),
                "random" => random = value.as_f64().unwrap(),
                "onLost" => {
                    settings.on_lost = if value == "resend" { OnLost::Resend } else { OnLost::Reject };
                }
                "connectTimeoutMs" => settings.connect_timeout = ms(value),
                "ackTimeoutMs" => settings.ack_timeout = ms(value),
                "queue" => {
                    let Queue { messages_max, bytes_max, .. } = Queue::default();
                    let number = |name: &str, default: usize| {
                        value[name].as_u64().map_or(default, |number| usize::try_from(number).unwrap())
                    };
                    let overflow = match value["policy"].as_str() {
                        None | Some("reject") => Overflow::Reject,
                        Some("drop-oldest") => Overflow::DropOldest,
                        Some("drop-newest") => Overflow::DropNewest,
                        Some(other) => panic!("policy {other}"),
                    };
                    settings.queue = Queue::bounded(number("maxMessages", messages_max), number("maxBytes", bytes_max))
                        .overflow(overflow);
                }
                "reconnect" => {
                    let Reconnection { delay_min, delay_max, stable_after } = Reconnection::default();
                    let time = |name: &str, default| value.get(name).map_or(default, ms);
                    settings.reconnect = (value != &json!(false)).then(|| {
                        Reconnection::full_jitter(time("minDelayMs", delay_min), time("maxDelayMs", delay_max))
                            .stable_after(time("stableAfterMs", stable_after))
                    });
                }
                "health" => {
                    let Pings { timeout, .. } = Pings::default();
                    settings.pings = (value != &json!(false)).then(|| Pings {
                        interval: value.get("intervalMs").map(ms),
                        timeout: value.get("timeoutMs").map_or(timeout, ms),
                    });
                }
                other => panic!("option {other}"),
            }
        }
        settings.renewable = static_token.is_none();
        Self {
            session: Session::new(settings, Box::new(move || random)),
            now: Duration::from_secs(1),
            welcome: welcome.clone(),
            static_token,
            questions: VecDeque::new(),
            connected: false,
            last_ping: Value::Null,
            names: BTreeMap::new(),
            state: State::Connecting,
            pongs: false,
            out: BTreeMap::new(),
            outcomes: Map::new(),
        }
    }

    fn tell(&mut self, channel: &'static str, value: Value) {
        self.out.entry(channel).or_default().push(value);
    }

    fn happen(&mut self, what: &str, value: &Value) {
        let now = self.now;
        match what {
            "start" => self.session.start(now),
            "send" => self.send(value),
            "abort" => {
                let id = self.names.iter().find(|(_, name)| value == name.as_str()).map(|(id, _)| *id);
                self.session.abort(id.unwrap());
            }
            "refresh" => self.session.refresh(),
            "close" => {
                let code = u16::try_from(value["code"].as_u64().unwrap()).unwrap();
                self.session.close(code, value["reason"].as_str().unwrap());
            }
            "answer" => {
                if self.questions.pop_front().expect("a question") {
                    let answer = match value["error"].as_str() {
                        None => Ok(Token::from(value.as_str().unwrap())),
                        Some("forbidden") => Err(TokenError::forbidden()),
                        Some("token_failed") => Err(TokenError::failed("no token")),
                        Some(other) => panic!("error {other}"),
                    };
                    self.session.token(now, answer);
                }
            }
            "opened" => self.session.opened(),
            "welcome" => {
                let mut payload = self.welcome.as_object().unwrap().clone();
                payload.extend(value.as_object().unwrap().clone());
                payload.retain(|_, value| !value.is_null());
                self.text(&json!({"type": "welcome", "payload": payload}).to_string());
            }
            "frame" => {
                let mut frame = value.clone();
                if frame["payload"]["t"] == "$t" {
                    frame["payload"]["t"] = self.last_ping.clone();
                    self.pongs = true;
                }
                self.text(&frame.to_string());
            }
            "text" => self.text(value.as_str().unwrap()),
            "closed" => {
                self.connected = false;
                let code = u16::try_from(value["code"].as_u64().unwrap()).unwrap();
                let reason = value["reason"].as_str().unwrap_or_default().to_owned();
                self.session.closed(now, code, reason);
            }
            "cut" => {
                self.connected = false;
                self.session.broken(now, Error::new(Code::ConnectionLost, "cut"));
            }
            "advance" => {
                let end = now.saturating_add(ms(value));
                while let Some(deadline) = self.session.deadline()
                    && deadline <= end
                {
                    self.now = self.now.max(deadline);
                    self.session.tick(self.now);
                    self.observe();
                }
                self.now = end;
            }
            other => panic!("event {other}"),
        }
        self.observe();
    }

    fn text(&mut self, text: &str) {
        self.session.text(self.now, text);
    }

    fn send(&mut self, value: &Value) {
        let mut message = Map::new();
        message.insert("type".to_owned(), value["type"].clone());
        if let Some(payload) = value.get("payload") {
            message.insert("payload".to_owned(), payload.clone());
        }
        let name = value["as"].as_str().unwrap().to_owned();
        let acked = value["ack"] != json!(false);
        let timeout = value.get("timeoutMs").map(ms);
        let sent = Outgoing::new(&message)
            .map_err(|error| SendError::new(error, false))
            .and_then(|message| self.session.send(self.now, &message, acked, timeout));
        match sent {
            Ok(id) => {
                self.names.insert(id, name);
            }
            Err(error) => {
                self.outcomes.insert(name, json!(error.code().as_str()));
            }
        }
    }

    /// Takes what the session wants, as a driver does.
    fn observe(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::AskToken(reason) => {
                    if let Some(token) = &self.static_token {
                        self.session.token(self.now, Ok(Token::from(token.as_str())));
                    } else {
                        self.questions.push_back(true);
                        self.tell("asks", json!(reason.as_str()));
                    }
                }
                Effect::ForgetToken => *self.questions.back_mut().expect("a question") = false,
                Effect::Dial { token, resume } => {
                    self.connected = true;
                    let resume =
                        resume.map(|Resume { token, last_seq }| json!({"token": token.expose(), "lastSeq": last_seq}));
                    self.tell("wire", json!({"dial": {"token": token.expose(), "resume": resume}}));
                }
                Effect::Write(text) => {
                    assert!(self.connected, "nothing is written to a connection that is not there: {text}");
                    let mut frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] == "ping" {
                        self.last_ping = std::mem::replace(&mut frame["payload"]["t"], json!("$t"));
                    }
                    self.tell("wire", json!({"frame": frame}));
                }
                Effect::Leave(code, _) => {
                    assert!(self.connected, "there is something to leave");
                    self.connected = false;
                    self.tell("wire", json!({"hangup": code}));
                }
                Effect::Settle(Settled { id, outcome, .. }) => {
                    let outcome = outcome.map_or_else(|error| error.code().as_str(), |()| "resolved");
                    let name = self.names.remove(&id).expect("each message ends once");
                    self.outcomes.insert(name, json!(outcome));
                }
            }
        }
        let state = self.session.state();
        if std::mem::replace(&mut self.state, state) != state {
            self.tell("states", json!(state.as_str()));
        }
        while let Some(event) = self.session.pop_event() {
            self.event(event);
        }
        let rtt = self.session.status(self.now).rtt;
        if std::mem::take(&mut self.pongs)
            && let Some(Rtt { last, median, jitter }) = rtt
        {
            self.tell("rtt", json!({"last": millis(last), "median": millis(median), "jitter": millis(jitter)}));
        }
    }

    fn event(&mut self, event: Event) {
        let error_of = |error: Option<Error>| error.map(|error| error.code().as_str());
        match event {
            Event::Message(message) => {
                let mut seen = json!({"type": message.kind, "payload": message.payload::<Value>().unwrap()});
                if let Some(id) = &message.id {
                    seen["id"] = serde_json::to_value(id).unwrap();
                }
                if let Some(seq) = message.seq {
                    seen["seq"] = json!(seq);
                }
                self.tell("messages", seen);
            }
            Event::Opened(_) => {}
            Event::Fault(error) => self.tell("errors", json!(error.code().as_str())),
            Event::Lost(Lost { code, error, retry_in, .. }) => {
                let end = json!({"code": code, "error": error_of(Some(error)), "retryInMs": millis(retry_in)});
                self.tell("closes", end);
            }
            Event::Closed(Closed { code, error, .. }) => {
                self.tell("closes", json!({"code": code, "error": error_of(error), "retryInMs": null}));
            }
        }
    }

    /// What came out since the last step.
    fn observed(&mut self) -> Value {
        let mut seen = Map::new();
        for (channel, values) in std::mem::take(&mut self.out) {
            seen.insert(channel.to_owned(), Value::Array(values));
        }
        let outcomes = std::mem::take(&mut self.outcomes);
        if !outcomes.is_empty() {
            seen.insert("outcomes".to_owned(), Value::Object(outcomes));
        }
        Value::Object(seen)
    }
}
