//! What a client does, without sockets, clocks or randomness: events go in with the time, effects come out.
//!
//! The driving contract: call a method for what happened, take every [`Effect`] until there is none, and call
//! [`Session::tick`] when [`Session::deadline`] has come. Time is what has passed since an instant of the driver's choice
//! and never goes back. Everything that has to do with time is tested here, without waiting.

mod health;
mod inbox;
mod live;
mod outbox;
mod wire;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use wsguard_protocol::{CloseCode, ErrorCode, Reconnect, limits};

pub use self::health::Rtt;
use self::health::Samples;
use self::inbox::Inbox;
use self::live::Live;
pub(crate) use self::outbox::Settled;
use self::outbox::{Entry, IN_FLIGHT_MAX, Outbox};
use self::wire::{Frame, Welcome};
use crate::backoff::Backoff;
use crate::error::{Code, Error, SendError};
use crate::event::{Closed, Event, Lost, Opened, State, Status};
use crate::message::{Id, Outgoing};
use crate::options::{Auth, OnLost, Settings};
use crate::token::{Token, TokenError, TokenReason};

/// RFC 6455 section 7.1.5: there was no close frame.
pub(crate) const ABNORMAL: u16 = 1006;

/// What the server sees of a client that comes back: a code after which it lets the session wait.
pub(crate) const LEFT: u16 = 4900;

/// Shortest silence after `rate_limited`: a server leaves refusals unanswered for 250 ms after one.
const SILENCE: Duration = Duration::from_millis(300);

/// A number from 0 (included) to 1 (excluded).
pub(crate) type Random = Box<dyn FnMut() -> f64 + Send>;

/// Names the session that a new connection is to go on with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) token: Token,
    pub(crate) last_seq: u64,
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resume").field("last_seq", &self.last_seq).finish_non_exhaustive()
    }
}

/// What must happen outside.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Ask the provider; answer with [`Session::token`]. One question at a time.
    AskToken(TokenReason),
    /// Give the question up: its answer comes too late.
    ForgetToken,
    /// Make a connection; answer with [`Session::opened`] or [`Session::failed`].
    Dial { token: Token, resume: Option<Resume> },
    /// Write a text frame to the connection.
    Write(String),
    /// End the connection with this close frame, or give up the attempt to make one. Nothing is told of it.
    Leave(u16, String),
    /// A message has ended.
    Settle(Settled),
}

/// Why an attempt to connect failed, as far as the driver knows.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) reconnect: Reconnect,
}

/// How a connection ended.
struct End {
    code: u16,
    reason: String,
    error: Error,
    reconnect: Reconnect,
}

impl End {
    fn failed(error: Error, reconnect: Reconnect) -> Self {
        Self { code: ABNORMAL, reason: String::new(), error, reconnect }
    }
}

#[derive(Debug)]
enum Phase {
    /// Not started.
    Idle,
    /// The token is awaited.
    Asking { deadline: Duration },
    /// The connection, then its welcome is awaited.
    Dialling { deadline: Duration, token: Token, resume: Option<Resume> },
    /// Messages flow.
    Open(Live),
    /// The next attempt is awaited.
    Waiting { until: Duration },
    /// The end.
    Closed(Closed),
}

/// The state of a client.
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on each other")]
pub(crate) struct Session {
    settings: Settings,
    random: Random,
    backoff: Backoff,
    outbox: Outbox,
    inbox: Inbox,
    effects: VecDeque<Effect>,
    phase: Phase,
    state: State,
    /// A question to the provider is open.
    asking: bool,
    /// The open connection waits for its answer, to refresh its token.
    refreshing: bool,
    /// Why the next token is asked for.
    token_reason: TokenReason,
    /// A refused token was already replaced once, and no connection has been stable since.
    tried_fresh_token: bool,
    /// The server said that messages were too many: one at a time, the next behind the answer to the one before, until
    /// nothing waits.
    slow: bool,
    /// Counts messages from 1; never starts over, so that a resumed session can tell a repetition.
    last_id: u64,
    /// Counts pings of all connections.
    last_ping: u64,
    /// The session and the subject that the last welcome named.
    identity: Option<(String, String)>,
    resume_token: Option<Token>,
    last_seq: u64,
    /// The CSRF token as JSON, and how many there were.
    csrf: (String, u64),
    message_bytes_max: usize,
    /// The last `error` frame of this connection: before a close that is a refusal it says why.
    last_error: Option<Error>,
    /// Why the connection before was lost, and how many were.
    last_loss: Option<Error>,
    losses: u64,
    rtt: Samples,
}

impl Session {
    pub(crate) fn new(settings: Settings, random: Random) -> Self {
        let (min, max) = settings.reconnect.map_or_else(Default::default, |r| (r.delay_min, r.delay_max));
        Self {
            backoff: Backoff::new(min, max),
            outbox: Outbox::new(settings.queue),
            inbox: Inbox::new(settings.inbox_messages, settings.inbox_bytes),
            settings,
            random,
            effects: VecDeque::new(),
            phase: Phase::Idle,
            state: State::Connecting,
            asking: false,
            refreshing: false,
            token_reason: TokenReason::Connect,
            tried_fresh_token: false,
            slow: false,
            last_id: 0,
            last_ping: 0,
            identity: None,
            resume_token: None,
            last_seq: 0,
            csrf: (String::from("\"\""), 0),
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            last_error: None,
            last_loss: None,
            losses: 0,
            rtt: Samples::default(),
        }
    }

    // What the application does.

    /// Begins with the first attempt to connect.
    pub(crate) fn start(&mut self, now: Duration) {
        self.connect(now);
    }

    /// Takes a message, to be written now or as soon as there is a connection. Its end comes as [`Effect::Settle`].
    ///
    /// # Errors
    /// `closed`, `too_large` or `queue_full`: the message was not taken.
    pub(crate) fn send(
        &mut self,
        now: Duration,
        message: &Outgoing,
        acked: bool,
        timeout: Option<Duration>,
    ) -> Result<u64, SendError> {
        self.take(now, message, acked, timeout).map_err(|error| SendError::new(error, false))
    }

    fn take(
        &mut self,
        now: Duration,
        message: &Outgoing,
        acked: bool,
        timeout: Option<Duration>,
    ) -> Result<u64, Error> {
        if let Phase::Closed(end) = &self.phase {
            return Err(closed(end.error.as_ref()));
        }
        self.last_id = self.last_id.saturating_add(1);
        let id = self.last_id;
        let body = message.body(acked.then_some(id))?;
        self.size_error(&body).map_or(Ok(()), Err)?;
        let deadline = now.saturating_add(timeout.unwrap_or(self.settings.ack_timeout));
        self.outbox.add(id, Entry::new(body, acked, deadline), &mut settle(&mut self.effects))?;
        self.flush();
        Ok(id)
    }

    /// Takes a message back. If it was written, the server may handle it all the same.
    pub(crate) fn abort(&mut self, id: u64) {
        let error = Error::new(Code::Aborted, "the message was taken back");
        self.outbox.end(id, Err(error), &mut settle(&mut self.effects));
        self.flush();
    }

    /// Replaces the token of the open connection by a fresh one. A static one has no successor: its end is the server's to
    /// tell.
    pub(crate) fn refresh(&mut self) {
        if matches!(self.phase, Phase::Open(_)) && self.settings.renewable && !self.refreshing {
            self.refreshing = true;
            self.ask(TokenReason::Expiring);
        }
    }

    /// Closes for good. What was not yet written ends with `closed`, what was in flight with `delivery_unknown`.
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        if self.state != State::Closed {
            self.leave(code, reason.to_owned());
            self.finish(code, reason.to_owned(), None);
        }
    }

    /// The next event.
    pub(crate) fn pop_event(&mut self) -> Option<Event> {
        self.inbox.pop()
    }

    /// Nobody will take events any more.
    pub(crate) fn abandon_events(&mut self) {
        self.inbox.abandon();
    }

    // What the driver asks.

    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether the socket is to be read: not while the application has too much to read already.
    pub(crate) fn wants_to_read(&self) -> bool {
        !self.inbox.is_full()
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// How many connections and attempts were lost.
    pub(crate) fn losses(&self) -> u64 {
        self.losses
    }

    /// Why the last one was.
    pub(crate) fn last_loss(&self) -> Option<Error> {
        self.last_loss.clone()
    }

    /// How it ended, once it did.
    pub(crate) fn end(&self) -> Option<&Closed> {
        match &self.phase {
            Phase::Closed(end) => Some(end),
            _ => None,
        }
    }

    /// Whether no message waits, neither to be written nor for its acknowledgement.
    pub(crate) fn is_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    pub(crate) fn status(&self, now: Duration) -> Status {
        Status {
            state: self.state,
            queued: self.outbox.waiting(),
            in_flight: self.outbox.in_flight(),
            rtt: self.rtt.rtt(),
            session: self.identity.as_ref().map(|(session, _)| session.clone()),
            subject: self.identity.as_ref().map(|(_, subject)| subject.clone()),
            retry_in: match &self.phase {
                Phase::Waiting { until } => Some(until.saturating_sub(now)),
                _ => None,
            },
        }
    }

    /// When [`Session::tick`] is due next.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let phase = match &self.phase {
            Phase::Idle | Phase::Closed(_) => None,
            Phase::Asking { deadline } | Phase::Dialling { deadline, .. } => Some(*deadline),
            Phase::Waiting { until } => Some(*until),
            Phase::Open(live) => live.deadline(self.wants_to_read(), self.settings.reconnect.is_some()),
        };
        phase.into_iter().chain(self.outbox.deadline()).min()
    }

    // What happened outside.

    /// A deadline has come. Harmless when none has.
    pub(crate) fn tick(&mut self, now: Duration) {
        if self.outbox.expire(now, &mut settle(&mut self.effects)) {
            // There may be room in the window.
            self.flush();
        }
        match &self.phase {
            Phase::Asking { deadline } | Phase::Dialling { deadline, .. } if *deadline <= now => {
                if self.asking {
                    self.asking = false;
                    self.effects.push_back(Effect::ForgetToken);
                }
                self.leave(LEFT, String::new());
                let error = Error::new(Code::ConnectionLost, "no welcome in time");
                self.lost(now, End::failed(error, Reconnect::BackOff));
            }
            Phase::Waiting { until } if *until <= now => self.connect(now),
            Phase::Open(_) => self.tick_open(now),
            _ => {}
        }
    }

    /// The provider has answered.
    pub(crate) fn token(&mut self, now: Duration, answer: Result<Token, TokenError>) {
        self.asking = false;
        let answer = answer.map_err(|TokenError { source, forbidden }| {
            let error = if forbidden {
                Error::server(ErrorCode::Forbidden, "the token provider says that there will be no token")
            } else {
                Error::new(Code::TokenFailed, "the token provider failed")
            };
            let error = source.map_or(error.clone(), |source| error.with_source(source));
            (error, if forbidden { Reconnect::Never } else { Reconnect::BackOff })
        });
        let header = matches!(self.settings.auth, Auth::Bearer | Auth::Subprotocol | Auth::Ticket);
        let answer = answer.and_then(|token| {
            let unfit = || (Error::new(Code::TokenFailed, "a header cannot carry the token"), Reconnect::Never);
            if header && !token.fits_header() { Err(unfit()) } else { Ok(token) }
        });
        match (&self.phase, answer) {
            (Phase::Asking { deadline }, Ok(token)) => {
                let deadline = *deadline;
                let last_seq = self.last_seq;
                let resume = self.resume_token.clone().map(|token| Resume { token, last_seq });
                self.effects.push_back(Effect::Dial { token: token.clone(), resume: resume.clone() });
                self.phase = Phase::Dialling { deadline, token, resume };
            }
            (Phase::Asking { .. }, Err((error, reconnect))) => self.lost(now, End::failed(error, reconnect)),
            (Phase::Open(_), Ok(token)) if self.refreshing => self.write(wire::refresh(token.expose())),
            // The token in use is good for a while; its end is the server's to tell.
            (Phase::Open(_), Err((error, _))) if self.refreshing => self.inbox.push(Event::Fault(error)),
            _ => {}
        }
        self.refreshing = false;
    }

    /// The server has upgraded.
    pub(crate) fn opened(&mut self) {
        if let Phase::Dialling { token, resume, .. } = &self.phase
            && self.settings.auth == Auth::FirstMessage
        {
            let resume_token = resume.as_ref().map(|resume| resume.token.expose());
            let frame = wire::auth(token.expose(), resume_token, resume.as_ref().map_or(0, |resume| resume.last_seq));
            self.write(frame);
        }
    }

    /// The attempt failed.
    pub(crate) fn failed(&mut self, now: Duration, Failure { error, reconnect }: Failure) {
        if matches!(self.phase, Phase::Dialling { .. }) {
            self.lost(now, End::failed(error, reconnect));
        }
    }

    /// The connection broke: there was no close frame.
    pub(crate) fn broken(&mut self, now: Duration, error: Error) {
        if matches!(self.phase, Phase::Dialling { .. } | Phase::Open(_)) {
            // What is too large to be received would be sent again after a resume.
            let reconnect = match error.code() {
                Code::Server(ErrorCode::TooLarge) => Reconnect::Never,
                _ => Reconnect::BackOff,
            };
            self.lost(now, End::failed(error, reconnect));
        }
    }

    /// The server has closed the connection.
    pub(crate) fn closed(&mut self, now: Duration, code: u16, reason: String) {
        if matches!(self.phase, Phase::Dialling { .. } | Phase::Open(_)) {
            let error = self.error_of_close(code);
            self.lost(now, End { code, reason, error, reconnect: after_close(code) });
        }
    }

    /// Something was received, whatever it was.
    pub(crate) fn heard(&mut self, now: Duration) {
        if let Phase::Open(live) = &mut self.phase {
            live.heard(now);
        }
    }

    /// Something was received that is not text.
    pub(crate) fn binary(&mut self) {
        self.fault("the server sent a binary message");
    }

    /// A text was received.
    pub(crate) fn text(&mut self, now: Duration, text: &str) {
        self.heard(now);
        let welcomed = match self.phase {
            Phase::Open(_) => true,
            Phase::Dialling { .. } => false,
            _ => return,
        };
        match wire::read(text) {
            Err(fault) => self.inbox.push(Event::Fault(fault)),
            Ok(Frame::Welcome(welcome)) if !welcomed => self.welcome(now, welcome),
            Ok(Frame::Error { id, error }) => self.refused(now, id.as_ref(), error),
            Ok(_) if !welcomed => self.fault("the server sent something before its welcome"),
            Ok(Frame::Welcome(_)) => self.fault("the server sent a second welcome"),
            Ok(frame) => self.frame(now, frame),
        }
    }

    fn frame(&mut self, now: Duration, frame: Frame) {
        match frame {
            Frame::Ack(Some(Id::Number(id))) => {
                self.outbox.end(id, Ok(()), &mut settle(&mut self.effects));
                self.flush();
            }
            Frame::Csrf(token) => self.csrf_token(&token),
            Frame::Expiring => self.refresh(),
            Frame::Pong(Some(t)) => {
                if let Phase::Open(live) = &mut self.phase
                    && let Some(sample) = live.answered(now, t)
                {
                    self.rtt.add(sample);
                }
            }
            Frame::Draining { reconnect_after } => self.drain(now, reconnect_after),
            Frame::Message(message) => {
                // What was received already comes again after a resume; what is left out of a replay leaves a gap.
                if let Some(seq) = message.seq {
                    if seq <= self.last_seq {
                        return;
                    }
                    self.last_seq = seq;
                    if let Phase::Open(live) = &mut self.phase {
                        live.received(now);
                    }
                }
                self.inbox.push(Event::Message(message));
            }
            Frame::Ack(_) | Frame::Pong(None) | Frame::Refreshed | Frame::Welcome(_) | Frame::Error { .. } => {}
        }
    }

    fn connect(&mut self, now: Duration) {
        self.phase = Phase::Asking { deadline: now.saturating_add(self.settings.connect_timeout) };
        self.ask(self.token_reason);
    }

    /// Ends the connection or the attempt, where there is one.
    fn leave(&mut self, code: u16, reason: String) {
        if matches!(self.phase, Phase::Dialling { .. } | Phase::Open(_)) {
            self.effects.push_back(Effect::Leave(code, reason));
        }
    }

    /// Asks for a token, unless an answer is on its way already: a login never opens twice.
    fn ask(&mut self, reason: TokenReason) {
        if !self.asking {
            self.asking = true;
            self.effects.push_back(Effect::AskToken(reason));
        }
    }

    fn welcome(&mut self, now: Duration, welcome: Welcome) {
        self.csrf_token(&welcome.csrf_token);
        self.message_bytes_max = welcome.max_message_bytes;
        let missed = self.identity.is_some() && !welcome.resumed;
        if !welcome.resumed {
            self.last_seq = 0;
            if self.settings.on_lost == OnLost::Reject {
                self.outbox.lose(self.last_loss.as_ref(), &mut settle(&mut self.effects));
            }
        }
        // Resumed, or the application said that repetition does no harm: in their order, before what is new.
        self.outbox.requeue();
        self.token_reason = TokenReason::Connect;
        self.identity = Some((welcome.session.clone(), welcome.subject.clone()));
        self.resume_token = welcome.resume_token.map(Token::from);
        let stable_after = self.settings.reconnect.map_or(Duration::ZERO, |reconnect| reconnect.stable_after);
        let heartbeat = Duration::from_millis(welcome.heartbeat_ms);
        self.phase = Phase::Open(Live::new(now, stable_after, heartbeat, self.settings.pings));
        self.state = State::Open;
        let Welcome { session, subject, resumed, .. } = welcome;
        self.inbox.push(Event::Opened(Opened { session, subject, resumed, missed }));
        // The first ping.
        self.tick_open(now);
        self.flush();
    }

    fn csrf_token(&mut self, token: &str) {
        // A string can always be written as JSON.
        self.csrf = (serde_json::to_string(token).unwrap_or_default(), self.csrf.1.saturating_add(1));
    }

    fn refused(&mut self, now: Duration, id: Option<&Id>, error: Error) {
        self.last_error = Some(error.clone());
        let ours = match id {
            Some(Id::Number(id)) => *id,
            _ => 0,
        };
        if error.code() == Code::Server(ErrorCode::RateLimited) {
            // Not every message that was too many is answered: all that has no answer is written again, after a while, and
            // the server recognises what it has handled.
            self.outbox.requeue();
            self.slow = true;
            if let Phase::Open(live) = &mut self.phase {
                live.hold_until(now.saturating_add(error.retry_after().unwrap_or_default().max(SILENCE)));
            }
            self.inbox.push(Event::Fault(error));
            return;
        }
        let stale = error.code() == Code::Server(ErrorCode::CsrfInvalid) && self.outbox.renew(ours, self.csrf.1);
        if !stale && !self.outbox.end(ours, Err(error.clone()), &mut settle(&mut self.effects)) {
            self.inbox.push(Event::Fault(error));
        }
        self.flush();
    }

    /// Writes what waits, as far as the window goes.
    fn flush(&mut self) {
        if !matches!(&self.phase, Phase::Open(live) if live.takes_messages()) {
            return;
        }
        let window = if self.slow { 1 } else { IN_FLIGHT_MAX };
        while let Some((id, entry)) = self.outbox.next(window) {
            if let Some(error) = self.size_error(&entry.body) {
                self.outbox.end(id, Err(error), &mut settle(&mut self.effects));
                continue;
            }
            let acked = entry.acked;
            let text = wire::message(&entry.body, &self.csrf.0);
            self.effects.push_back(Effect::Write(text));
            self.outbox.written(id, self.csrf.1);
            if !acked {
                self.outbox.end(id, Ok(()), &mut settle(&mut self.effects));
            }
        }
        self.slow &= self.outbox.waiting() > 0;
    }

    fn write(&mut self, frame: String) {
        self.effects.push_back(Effect::Write(frame));
    }

    fn fault(&mut self, what: &'static str) {
        self.inbox.push(Event::Fault(Error::new(Code::Protocol, what)));
    }

    /// A message beyond the limit would cost the connection (1009, and no way back): it is refused here.
    fn size_error(&self, body: &str) -> Option<Error> {
        let fits = wire::message_bytes(body, &self.csrf.0) <= self.message_bytes_max;
        (!fits).then(|| Error::server(ErrorCode::TooLarge, "the message is larger than the server takes"))
    }

    /// The connection ended, or could not be made: come back, or close for good.
    fn lost(&mut self, now: Duration, end: End) {
        let Some(delay) = self.retry_delay(now, &end) else {
            self.finish(end.code, end.reason, Some(end.error));
            return;
        };
        let End { code, reason, error, .. } = end;
        self.phase = Phase::Waiting { until: now.saturating_add(delay) };
        self.last_error = None;
        self.last_loss = Some(error.clone());
        self.losses = self.losses.saturating_add(1);
        self.state = State::Reconnecting;
        self.inbox.push(Event::Lost(Lost { code, reason, error, retry_in: delay }));
    }

    /// The wait before the next attempt, or none to stay away.
    fn retry_delay(&mut self, now: Duration, end: &End) -> Option<Duration> {
        self.settings.reconnect?;
        match end.reconnect {
            Reconnect::Never => return None,
            Reconnect::OnceWithFreshToken => {
                // The same token would be refused again.
                if self.tried_fresh_token || !self.settings.renewable {
                    return None;
                }
                self.tried_fresh_token = true;
                self.token_reason = TokenReason::Rejected;
            }
            Reconnect::BackOff | Reconnect::AfterRetryAfter => {}
        }
        if let Phase::Open(live) = &self.phase
            && let Some(at) = live.move_at()
        {
            return Some(at.saturating_sub(now));
        }
        let wait = end.error.retry_after().unwrap_or_default();
        Some(wait.saturating_add(self.back_off()))
    }

    fn back_off(&mut self) -> Duration {
        let random = (self.random)();
        self.backoff.next(random)
    }

    fn finish(&mut self, code: u16, reason: String, error: Option<Error>) {
        if self.asking {
            self.asking = false;
            self.effects.push_back(Effect::ForgetToken);
        }
        let settled = &mut settle(&mut self.effects);
        self.outbox.lose(error.as_ref(), settled);
        self.outbox.clear(&error.clone().unwrap_or_else(|| closed(None)), settled);
        let end = Closed { code, reason, error };
        self.phase = Phase::Closed(end.clone());
        self.state = State::Closed;
        self.inbox.push(Event::Closed(end));
    }

    fn error_of_close(&self, code: u16) -> Error {
        // An earlier refusal has nothing to do with a cable that was pulled.
        if (code >= 4_400 || code == CloseCode::PolicyViolation.number())
            && let Some(error) = &self.last_error
        {
            return error.clone();
        }
        let known = match CloseCode::ALL.into_iter().find(|known| known.number() == code) {
            Some(CloseCode::Unauthenticated) => Code::Server(ErrorCode::Unauthenticated),
            Some(CloseCode::Forbidden) => Code::Server(ErrorCode::Forbidden),
            Some(CloseCode::RateLimited) => Code::Server(ErrorCode::RateLimited),
            Some(CloseCode::TooBig) => Code::Server(ErrorCode::TooLarge),
            _ => Code::ConnectionLost,
        };
        Error::new(known, format!("the connection ended with {code}"))
    }
}

/// What to do after a close code, those that only a proxy makes included.
fn after_close(code: u16) -> Reconnect {
    match CloseCode::ALL.into_iter().find(|known| known.number() == code) {
        Some(known) => known.reconnect(),
        // An unknown 44xx is a refusal that this version cannot know; coming back would only provoke it again.
        None if (4_400..4_500).contains(&code) => Reconnect::Never,
        None => Reconnect::BackOff,
    }
}

fn closed(cause: Option<&Error>) -> Error {
    let error = Error::new(Code::Closed, "the client is closed");
    match cause {
        Some(cause) => error.with_source(std::sync::Arc::new(cause.clone())),
        None => error,
    }
}

/// Makes an effect of each message that has ended.
fn settle(effects: &mut VecDeque<Effect>) -> impl FnMut(Settled) {
    |settled| effects.push_back(Effect::Settle(settled))
}
