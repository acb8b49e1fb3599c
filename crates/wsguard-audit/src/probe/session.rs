//! A WebSocket on which the target's own language is spoken: greeting, login, messages and their answers.

use serde_json::{Value, json};

use super::budget::Spent;
use super::entry::Denial;
use super::frame::{Frame, Opcode};
use super::socket::{Event, Socket};
use super::{Probe, marker};
use crate::discover::dialect::{Dialect, Template, is_refusal};
use crate::discover::{Placement, Way};

/// What a message brought.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// What the template expects.
    Served(String),
    /// A message that says no.
    Refused(String),
    /// A message that says "too fast".
    Limited(String),
    /// Nothing that belongs to it; what came instead.
    Silent(Vec<String>),
    /// The connection ended.
    Ended(Event),
    /// The audit may not send any more.
    Spent(Spent),
}

impl Answer {
    /// For evidence.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Served(text) => format!("answered: {}", super::shortened(text)),
            Self::Refused(text) => format!("refused: {}", super::shortened(text)),
            Self::Limited(text) => format!("limited: {}", super::shortened(text)),
            Self::Silent(_) => "no answer".into(),
            Self::Ended(event) => event.to_string(),
            Self::Spent(spent) => spent.to_string(),
        }
    }
}

/// A document in MessagePack.
fn packed(json: &str) -> Option<Vec<u8>> {
    rmp_serde::to_vec(&serde_json::from_str::<Value>(json).ok()?).ok()
}

/// The document of a message in MessagePack, as JSON.
fn unpacked(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    let value: Value = rmp_serde::from_read(&mut rest).ok()?;
    // Any byte begins some document; a message is one and nothing else.
    rest.is_empty().then(|| value.to_string())
}

/// Whether a message says that the sender is too fast.
pub(crate) fn is_limit(text: &str) -> bool {
    if text.len() >= 2_000 {
        return false;
    }
    let says = |words: &str| {
        let lower = words.to_ascii_lowercase();
        ["rate_limit", "rate limit", "too many", "ratelimit", "slow down", "throttl", "quota"]
            .iter()
            .any(|word| lower.contains(word))
    };
    // A stack trace has all kinds of words in it.
    let body = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    match serde_json::from_str::<Value>(body) {
        Ok(value) => is_refusal(text) && brief(&value).into_iter().any(says),
        Err(_) => (is_refusal(text) || text.to_ascii_lowercase().starts_with("error")) && says(text),
    }
}

/// The texts of a document that are no longer than a sentence.
fn brief(value: &Value) -> Vec<&str> {
    const SENTENCE_BYTES: usize = 160;
    match value {
        Value::String(text) if text.len() <= SENTENCE_BYTES => vec![text],
        Value::Array(items) => items.iter().flat_map(brief).collect(),
        Value::Object(members) => members.values().flat_map(brief).collect(),
        _ => Vec::new(),
    }
}

/// An open WebSocket in the target's language.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) socket: Socket,
    dialect: Dialect,
    template: Option<Template>,
    /// The CSRF token of the target, where it gives one.
    pub(crate) csrf: String,
    /// What came before the first answer.
    pub(crate) greeting: Vec<String>,
    /// Heartbeats of the language that were answered.
    pub(crate) beats: u32,
    next_id: u32,
    /// Messages that came in one frame of SockJS.
    waiting: Vec<String>,
}

impl Session {
    /// Speaks until messages can be sent.
    ///
    /// # Errors
    /// With how the target refused.
    pub(crate) async fn establish(socket: Socket, way: &Way, credential: Option<&str>) -> Result<Self, Denial> {
        let mut session = Self::unready(socket, way);
        let login = credential.and_then(|credential| way.placement.login(credential));
        match way.dialect {
            Dialect::SocketIo(version) => session.socket_io(version, credential, way).await?,
            Dialect::GraphqlTransportWs | Dialect::GraphqlWs => session.graphql(credential, way).await?,
            Dialect::EngineIo(_) => {
                session.until(5.0, |text| text.starts_with("0{")).await?;
                session.log_in(login, 1.5).await?;
            }
            Dialect::SockJs => {
                session.until(5.0, |text| text == "o").await?;
                session.log_in(login, 1.5).await?;
            }
            Dialect::Wsguard => session.wsguard(credential, login).await?,
            _ => session.log_in(login, 1.5).await?,
        }
        Ok(session)
    }

    /// A connection on which nothing has been said.
    pub(crate) fn unready(socket: Socket, way: &Way) -> Self {
        Self {
            socket,
            dialect: way.dialect,
            template: way.template.clone(),
            csrf: String::new(),
            greeting: Vec::new(),
            beats: 0,
            next_id: 0,
            waiting: Vec::new(),
        }
    }

    async fn log_in(&mut self, login: Option<String>, seconds: f64) -> Result<(), Denial> {
        if let Some(login) = login {
            self.tell(&login).await?;
            // Servers differ in whether they answer a login; silence is no refusal.
            self.until(seconds, |_| true).await?;
        }
        Ok(())
    }

    async fn wsguard(&mut self, credential: Option<&str>, login: Option<String>) -> Result<(), Denial> {
        if let Some(login) = login {
            self.tell(&login).await?;
        }
        if credential.is_none() {
            return Ok(());
        }
        let is_welcome = |text: &str| text.contains(r#""type":"welcome""#);
        if let Some(welcome) = self.until(5.0, is_welcome).await?
            && let Ok(value) = serde_json::from_str::<Value>(&welcome)
            && let Some(token) = value.pointer("/payload/csrfToken").and_then(Value::as_str)
        {
            token.clone_into(&mut self.csrf);
        }
        Ok(())
    }

    async fn socket_io(&mut self, version: u8, credential: Option<&str>, way: &Way) -> Result<(), Denial> {
        self.until(5.0, |text| text.starts_with("0{")).await?;
        if version >= 4 {
            let auth = match (credential, &way.placement) {
                (Some(token), Placement::Connect) => json!({ "token": token }).to_string(),
                _ => String::new(),
            };
            self.tell(&format!("40{auth}")).await?;
        }
        self.until(3.0, |text| text.starts_with("40")).await?;
        Ok(())
    }

    async fn graphql(&mut self, credential: Option<&str>, way: &Way) -> Result<(), Denial> {
        let payload = match (credential, &way.placement) {
            (Some(token), Placement::Connect) => {
                json!({"Authorization": format!("Bearer {token}"), "authToken": token, "token": token})
            }
            _ => json!({}),
        };
        self.tell(&json!({"type": "connection_init", "payload": payload}).to_string()).await?;
        self.until(5.0, |text| text.contains("connection_ack")).await?;
        Ok(())
    }

    async fn tell(&mut self, text: &str) -> Result<(), Denial> {
        self.say(text).await.map_err(Denial::Spent)
    }

    /// Reads until a text that `wanted` takes, or for so many seconds; a refusal or an end is a denial.
    async fn until(&mut self, seconds: f64, wanted: impl Fn(&str) -> bool) -> Result<Option<String>, Denial> {
        let shared = self.socket.shared();
        let deadline = shared.later(shared.pace.seconds(seconds));
        loop {
            match self.hear_until(deadline).await {
                Event::Text(text) => {
                    self.greeting.push(text.clone());
                    if is_refusal(&text) {
                        return Err(Denial::of_message(text, &mut self.socket).await);
                    }
                    if wanted(&text) {
                        return Ok(Some(text));
                    }
                }
                Event::Quiet => return Ok(None),
                event if event.is_end() => return Err(Denial::Closed(event)),
                _ => {}
            }
        }
    }

    /// Sends a message of the target's language, wrapped as its transport wants it.
    pub(crate) async fn say(&mut self, text: &str) -> Result<(), Spent> {
        let frame = self.frame(text);
        self.socket.send(&frame).await
    }

    /// The frame of a message, wrapped as its transport wants it.
    pub(crate) fn frame(&self, text: &str) -> Frame {
        match self.dialect {
            Dialect::SockJs => Frame::text(&json!([text]).to_string()),
            Dialect::Binary => Frame::new(Opcode::BINARY, text),
            // What is no document is sent as it is: that is the point of sending it.
            Dialect::MessagePack => {
                Frame::new(Opcode::BINARY, packed(text).unwrap_or_else(|| text.as_bytes().to_vec()))
            }
            _ => Frame::text(text),
        }
    }

    /// The next event within so many seconds of the catalogue, heartbeats of the language answered.
    pub(crate) async fn hear(&mut self, seconds: f64) -> Event {
        let shared = self.socket.shared();
        let deadline = shared.later(shared.pace.seconds(seconds));
        self.hear_until(deadline).await
    }

    pub(crate) async fn hear_until(&mut self, deadline: tokio::time::Instant) -> Event {
        loop {
            if let Some(text) = self.waiting.pop() {
                return Event::Text(text);
            }
            let event = match self.socket.next_until(deadline).await {
                Event::Binary(bytes) if self.dialect == Dialect::MessagePack => match unpacked(&bytes) {
                    Some(text) => {
                        self.socket.heard(&text);
                        Event::Text(text)
                    }
                    None => Event::Binary(bytes),
                },
                event => event,
            };
            let Event::Text(text) = &event else { return event };
            match self.dialect {
                Dialect::SocketIo(_) | Dialect::EngineIo(_) if text == "2" => {
                    self.beats = self.beats.saturating_add(1);
                    let _ = self.socket.send_text("3").await;
                }
                Dialect::SocketIo(_) | Dialect::EngineIo(_) if text == "3" => {}
                Dialect::GraphqlTransportWs if text.contains(r#""type":"ping""#) => {
                    self.beats = self.beats.saturating_add(1);
                    let _ = self.socket.send_text(r#"{"type":"pong"}"#).await;
                }
                Dialect::SockJs if text == "h" => self.beats = self.beats.saturating_add(1),
                Dialect::SockJs if text.starts_with("a[") => {
                    let list = text.strip_prefix('a').and_then(|list| serde_json::from_str::<Vec<String>>(list).ok());
                    self.waiting = list.unwrap_or_default();
                    self.waiting.reverse();
                }
                _ => return event,
            }
        }
    }

    /// An id that this connection has not used.
    pub(crate) fn fresh_id(&mut self) -> String {
        self.next_id = self.next_id.saturating_add(1);
        format!("wsg-{}", self.next_id)
    }

    /// The template with its places filled: the message, its id and its marker.
    pub(crate) fn message(&mut self) -> Option<Message> {
        let template = self.template.clone()?;
        let (id, marker) = (self.fresh_id(), marker());
        let text = template.message(&id, &self.csrf, &marker);
        Some(Message { text, id, marker, template })
    }

    /// Sends the template and waits for its answer.
    pub(crate) async fn ask(&mut self) -> Answer {
        match self.message() {
            Some(message) => self.ask_with(&message.text.clone(), &message).await,
            None => Answer::Silent(Vec::new()),
        }
    }

    /// Sends `text`, a changed form of `message`, and waits for the answer that belongs to it.
    pub(crate) async fn ask_with(&mut self, text: &str, message: &Message) -> Answer {
        self.socket.shared().budget.message().await;
        self.ask_at_once(text, message).await
    }

    /// The same without regard for the pace: for checks that look for the limit.
    pub(crate) async fn ask_at_once(&mut self, text: &str, message: &Message) -> Answer {
        let since = tokio::time::Instant::now();
        if let Err(spent) = self.say(text).await {
            return Answer::Spent(spent);
        }
        let answer = self.answer_to(message, 3.0).await;
        if matches!(answer, Answer::Served(_)) {
            let shared = self.socket.shared();
            shared.budget.record().answer(shared.budget.elapsed(), since.elapsed());
        }
        answer
    }

    /// The same with a message whose answer may look otherwise than the template expects: what shows the marker is it.
    pub(crate) async fn ask_marked(&mut self, text: &str, message: &Message) -> Answer {
        self.socket.shared().budget.message().await;
        match self.say(text).await {
            Ok(()) => self.marked_answer_to(message, 3.0).await,
            Err(spent) => Answer::Spent(spent),
        }
    }

    /// Waits for what belongs to `message`.
    pub(crate) async fn answer_to(&mut self, message: &Message, seconds: f64) -> Answer {
        self.answer_by(seconds, |text| message.template.is_answer(text, &message.id, &message.marker)).await
    }

    /// Waits for what belongs to `message` or shows its marker.
    pub(crate) async fn marked_answer_to(&mut self, message: &Message, seconds: f64) -> Answer {
        let is_answer = |text: &str| {
            text.contains(&message.marker) || message.template.is_answer(text, &message.id, &message.marker)
        };
        self.answer_by(seconds, is_answer).await
    }

    async fn answer_by(&mut self, seconds: f64, is_answer: impl Fn(&str) -> bool) -> Answer {
        let shared = self.socket.shared();
        // Never so short that a busy machine counts as a silent target.
        let deadline = shared.later(shared.pace.seconds(seconds).max(std::time::Duration::from_millis(400)));
        let mut other = Vec::new();
        loop {
            match self.hear_until(deadline).await {
                Event::Text(text) => {
                    if is_limit(&text) {
                        self.socket.shared().budget.message_limited("a message that says the audit is too fast");
                        return Answer::Limited(text);
                    }
                    if is_refusal(&text) {
                        return Answer::Refused(text);
                    }
                    if is_answer(&text) {
                        return Answer::Served(text);
                    }
                    other.push(text);
                }
                Event::Binary(bytes) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if is_answer(&text) {
                        return Answer::Served(text);
                    }
                    other.push(text);
                }
                Event::Quiet => return Answer::Silent(other),
                event if event.is_end() => return Answer::Ended(event),
                _ => {}
            }
        }
    }

    /// Answers heartbeats until the connection ends or so many seconds passed. Returns the end, or `Quiet`.
    pub(crate) async fn until_end(&mut self, seconds: f64) -> Event {
        let shared = self.socket.shared();
        let deadline = shared.later(shared.pace.seconds(seconds));
        loop {
            let event = self.hear_until(deadline).await;
            if event.is_end() || event == Event::Quiet {
                return event;
            }
        }
    }

    /// Whether the target still answers the template on this connection.
    pub(crate) async fn still_serves(&mut self) -> bool {
        matches!(self.ask().await, Answer::Served(_))
    }

    /// Closes in order.
    pub(crate) async fn close(self) {
        self.socket.close().await;
    }
}

/// A filled template.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) id: String,
    pub(crate) marker: String,
    pub(crate) template: Template,
}

impl Probe {
    /// A session with the good credential, ready for messages.
    ///
    /// # Errors
    /// With the outcome `unknown` and the reason, where none could be had.
    pub(crate) async fn session(&self) -> Result<Session, crate::Outcome> {
        use super::entry::Entry;
        let credential = self.options().token.clone();
        let mut entry = self.admit(&self.request(), credential.as_deref()).await;
        if matches!(entry, Entry::Limited(_)) {
            // The pause that a limit brings comes before the next handshake.
            entry = self.admit(&self.request(), credential.as_deref()).await;
        }
        match entry {
            Entry::Open { session, .. } | Entry::Served { session, .. } => Ok(*session),
            other => Err(crate::Outcome::unknown(format!("the good handshake was not let in: {}", other.shown()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_limit, packed, unpacked};

    #[test]
    fn a_limit_is_told_from_a_trace_of_the_stack() {
        assert!(is_limit(r#"{"type":"error","code":"rate_limited"}"#));
        assert!(is_limit(r#"42["error",{"message":"Too many messages"}]"#));
        assert!(is_limit("error: too many requests"));
        let trace = format!(r#"{{"type":"error","code":"unknown_type","stack":"{}throttle()"}}"#, "at x ".repeat(40));
        assert!(!is_limit(&trace));
        assert!(!is_limit(r#"{"type":"echo","text":"too many"}"#));
    }

    #[test]
    fn documents_are_packed_and_unpacked() {
        let document = r#"{"a":[1,-2,2.5,null,true,"x"]}"#;
        let bytes = packed(document).unwrap();
        assert_eq!(bytes.first(), Some(&0x81), "a map of one");
        assert_eq!(unpacked(&bytes).as_deref(), Some(document));
        assert_eq!((packed("{"), unpacked(b"\xc1"), unpacked(b"words")), (None, None, None));
    }
}
