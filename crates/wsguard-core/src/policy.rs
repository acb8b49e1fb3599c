//! The parsed, already valid configuration of a guard, and what all its connections share.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use wsguard_protocol::COOKIE_NAME;
use wsguard_protocol::frames::CLIENT_FRAMES;
use wsguard_protocol::limits::{CHAT_CHARS_MAX, MESSAGE_BYTES_MAX, ROOM_CHARS_MAX, TYPE_BYTES_MAX};

use crate::control::anomaly::{Anomalies, AnomalyPolicy};
use crate::control::authorization::{Access, Permissions, RoomRule, TYPES_MAX};
use crate::control::credential::Methods;
use crate::control::delivery::ReplayPool;
use crate::control::heartbeat::HeartbeatPolicy;
use crate::control::host::HostPattern;
use crate::control::origin::Origin;
use crate::control::penalty::{Penalties, PenaltyPolicy};
use crate::control::rate::{Limiter, Mode, Print, PrintKey, Quota, RatePolicy};
use crate::control::revocation::{REVOCATIONS_MAX, Revocations};
use crate::control::session::{Seats, SessionPolicy};
use crate::control::shadow::{ShadowCounts, ShadowSet};
use crate::frame::FrameLimits;
use crate::in_force::{InForce, Moment};
use crate::json::{ScanLimits, key_print};
use crate::schema::{CompiledSchema, ContentClass, SchemaError};
use crate::time::Millis;
use crate::token::{Claims, CsrfKey, KeyRing, TokenPolicy};
use crate::trust::Trust;
use crate::verdict::ControlId;

/// Randomness, given from outside: the core has none of its own, so that a run can be repeated.
pub trait Random: Send + Sync {
    /// Fills `bytes` from a cryptographically secure source.
    fn fill(&self, bytes: &mut [u8]);
}

/// One message type: its schema and who may send it.
#[derive(Debug)]
pub struct MessageType {
    name: Box<str>,
    print: u32,
    schema: CompiledSchema,
    access: Access,
    quota: Option<Quota>,
    /// It only holds the number of a type that is no more.
    is_retired: bool,
}

/// A message type that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum MessageTypeError {
    /// Its schema is wrong.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Its name is empty, too long, or belongs to the protocol.
    #[error(
        "message type {name:?}: expected 1 to {TYPE_BYTES_MAX} letters, digits, `.`, `_` or `-`, not a word of the protocol"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is one of that name already.
    #[error("message type {name:?} is declared twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// There are too many.
    #[error("more than {TYPES_MAX} message types")]
    TooMany,
}

impl MessageType {
    /// A type whose payload fits `schema` (JSON Schema 2020-12) and that everybody who is authenticated may send.
    pub fn new(name: &str, schema: &str) -> Result<Self, MessageTypeError> {
        Self::compiled(CompiledSchema::compile(name, schema)?)
    }

    /// A type named as `schema` is.
    pub fn compiled(schema: CompiledSchema) -> Result<Self, MessageTypeError> {
        let name = schema.name();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        let reserved = CLIENT_FRAMES.iter().any(|frame| frame.kind == name);
        if !plain || reserved || name.is_empty() || name.len() > TYPE_BYTES_MAX {
            return Err(MessageTypeError::Name { name: name.to_owned() });
        }
        let print = key_print(name.as_bytes());
        Ok(Self { name: name.into(), print, access: Access::Authenticated, quota: None, schema, is_retired: false })
    }

    fn retired(name: &str) -> Result<Self, MessageTypeError> {
        let schema = CompiledSchema::compile(name, "false")?;
        let print = key_print(name.as_bytes());
        Ok(Self { name: name.into(), print, access: Access::Nobody, quota: None, schema, is_retired: true })
    }

    /// Who may send it.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// A quota of its own, per subject.
    #[must_use]
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema.
    pub fn schema(&self) -> &CompiledSchema {
        &self.schema
    }

    fn who(&self) -> &Access {
        &self.access
    }

    pub(crate) fn own_quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }
}

/// The message types of the built-in application: `echo`, `join`, `leave`, `chat`.
pub fn built_in_messages() -> Result<Vec<MessageType>, MessageTypeError> {
    let room = format!(r#"{{"type":"string","minLength":1,"maxLength":{ROOM_CHARS_MAX},"wsguard:content":"reject"}}"#);
    let about_room = format!(
        r#"{{"type":"object","properties":{{"room":{room}}},"required":["room"],"additionalProperties":false}}"#
    );
    let chat = format!(
        r#"{{"type":"object","properties":{{"message":{{"type":"string","minLength":1,"maxLength":{CHAT_CHARS_MAX},"wsguard:content":"text"}},"room":{room}}},"required":["message"],"additionalProperties":false}}"#
    );
    Ok(vec![
        MessageType::new("echo", "true")?,
        MessageType::new("join", &about_room)?,
        MessageType::new("leave", &about_room)?,
        MessageType::new("chat", &chat)?,
    ])
}

/// A token that is accepted as it stands: the development token of `--dev`.
#[derive(Clone)]
pub struct StaticToken {
    /// The token.
    pub token: Box<str>,
    /// Who it stands for.
    pub subject: Box<str>,
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Everything a guard decides by.
#[derive(Debug)]
pub struct Policy {
    /// Names under which this server is reached.
    pub hosts: Vec<HostPattern>,
    /// Pages that may open a socket.
    pub origins: Vec<Origin>,
    /// Ways to bring a credential that are switched on.
    pub methods: Methods,
    /// Keys that verify tokens at the start; [`Context::keys`] are those in force.
    pub keys: KeyRing,
    /// What a token must fulfil.
    pub tokens: TokenPolicy,
    /// The development token.
    pub static_token: Option<StaticToken>,
    /// Whether `?token=` is accepted.
    pub allow_query_token: bool,
    /// Name of the cookie that carries a token.
    pub cookie_name: Box<str>,
    /// Limits of the frame layer.
    pub frames: FrameLimits,
    /// Limits of the JSON scan.
    pub scan: ScanLimits,
    /// Quotas.
    pub rate: RatePolicy,
    /// The ladder.
    pub penalty: PenaltyPolicy,
    /// When an unusual session is told and charged.
    pub anomaly: AnomalyPolicy,
    /// Controls that only say what they would have refused. The three rate controls are in shadow too where
    /// [`RatePolicy::mode`] says so.
    pub shadow: ShadowSet,
    /// Life of sessions.
    pub sessions: SessionPolicy,
    /// Pings and deadlines.
    pub heartbeat: HeartbeatPolicy,
    /// Life of a CSRF token. 15 minutes: one that leaked is soon worthless, and rotation costs one small frame.
    pub csrf_rotate_every: Millis,
    /// Markup in strings whose schema says nothing about it.
    pub content_default: ContentClass,
    /// Rooms by role and scope.
    pub rooms: Vec<RoomRule>,
    messages: Vec<MessageType>,
    /// Numbers of the types, sorted by the prints of their names.
    by_name: Vec<u16>,
}

impl Policy {
    /// The defaults with `keys`, without any host, origin or message type: nothing passes until they are given.
    pub fn new(keys: KeyRing) -> Self {
        Self {
            hosts: Vec::new(),
            origins: Vec::new(),
            methods: Methods::default(),
            keys,
            tokens: TokenPolicy::default(),
            static_token: None,
            allow_query_token: false,
            cookie_name: COOKIE_NAME.into(),
            frames: FrameLimits { message_bytes_max: MESSAGE_BYTES_MAX, ..FrameLimits::default() },
            scan: ScanLimits::default(),
            rate: RatePolicy::default(),
            penalty: PenaltyPolicy::default(),
            anomaly: AnomalyPolicy::default(),
            shadow: ShadowSet::default(),
            sessions: SessionPolicy::default(),
            heartbeat: HeartbeatPolicy::default(),
            csrf_rotate_every: Millis::from_secs(15 * 60),
            content_default: ContentClass::Text,
            rooms: Vec::new(),
            messages: Vec::new(),
            by_name: Vec::new(),
        }
    }

    /// Whether `control` only says what it would have refused.
    pub fn shadows(&self, control: ControlId) -> bool {
        let is_rate = matches!(control, ControlId::HandshakeRate | ControlId::Rate | ControlId::RateType);
        self.shadow.contains(control) || is_rate && self.rate.mode == Mode::Shadow
    }

    /// Adds a message type.
    pub fn declare(&mut self, message: MessageType) -> Result<(), MessageTypeError> {
        let number = u16::try_from(self.messages.len()).unwrap_or(u16::MAX);
        if usize::from(number) >= TYPES_MAX {
            return Err(MessageTypeError::TooMany);
        }
        match self.place(message.name()) {
            Ok(_) => Err(MessageTypeError::Twice { name: message.name.into_string() }),
            Err(place) => {
                self.by_name.insert(place, number);
                self.messages.push(message);
                Ok(())
            }
        }
    }

    /// Gives the message types that `old` knows the numbers that they have there, and to those that are gone a place that
    /// nobody may use. So a number means one type for as long as the process lives, in counters, in buckets and in
    /// connections that still hold the old policy.
    ///
    /// # Errors
    /// [`MessageTypeError::TooMany`] when old and new types together are more than [`TYPES_MAX`].
    pub fn keep_numbers_of(&mut self, old: &Self) -> Result<(), MessageTypeError> {
        let mut new = std::mem::take(&mut self.messages);
        let mut messages = Vec::with_capacity(new.len().max(old.messages.len()));
        for was in &old.messages {
            messages.push(match new.iter().position(|message| message.name == was.name) {
                Some(place) => new.remove(place),
                None => MessageType::retired(&was.name)?,
            });
        }
        messages.append(&mut new);
        if messages.len() > TYPES_MAX {
            return Err(MessageTypeError::TooMany);
        }
        self.messages = messages;
        self.by_name.clear();
        for (number, message) in (0_u16..).zip(&self.messages) {
            if !message.is_retired
                && let Err(place) = self.place(&message.name)
            {
                self.by_name.insert(place, number);
            }
        }
        Ok(())
    }

    /// The names of the message types that can be sent.
    pub fn message_names(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().filter(|message| !message.is_retired).map(MessageType::name)
    }

    /// The message types in the order of their numbers, with those that are no more
    /// ([`Policy::keep_numbers_of`]).
    pub fn messages(&self) -> &[MessageType] {
        &self.messages
    }

    /// The number and the type called `name`.
    pub(crate) fn message(&self, name: &str) -> Option<(u16, &MessageType)> {
        let number = *self.by_name.get(self.place(name).ok()?)?;
        Some((number, self.messages.get(usize::from(number))?))
    }

    /// The message type of this number, which [`Policy::message`] gave.
    #[inline]
    pub(crate) fn numbered(&self, number: u16) -> Option<(u16, &MessageType)> {
        Some((number, self.messages.get(usize::from(number))?))
    }

    /// What `claims` may send.
    pub(crate) fn permissions_of(&self, claims: &Claims) -> Permissions {
        Permissions::of(claims, self.messages.iter().map(MessageType::who))
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        let print = key_print(name.as_bytes());
        // Prints are compared first, since they are numbers; a client can make them coincide, so the names decide.
        self.by_name.binary_search_by(|number| {
            let message = self.messages.get(usize::from(*number));
            message.map_or(Ordering::Less, |message| message.print.cmp(&print).then_with(|| (*message.name).cmp(name)))
        })
    }
}

/// Who a connection speaks for.
#[derive(Debug)]
pub struct Identity {
    /// What the token says; shared by the connections that brought the same token.
    pub claims: Arc<Claims>,
    /// The token was [`Policy::static_token`], which no key signed.
    pub(crate) is_static: bool,
    pub(crate) print: Print,
}

/// Secrets of one run of the server, 32 random bytes each.
pub struct Secrets {
    /// Keys CSRF tokens.
    pub csrf: [u8; 32],
    /// Keys the prints in rate tables.
    pub prints: [u8; 16],
}

/// What all connections of a guard share: the policy of the moment, the buckets, the seats.
pub struct Context {
    moment: Moment,
    pub(crate) trust: Trust,
    pub(crate) limiter: Limiter,
    pub(crate) penalties: Penalties,
    pub(crate) anomalies: Anomalies,
    pub(crate) shadow: ShadowCounts,
    pub(crate) seats: Arc<Seats>,
    pub(crate) revocations: Revocations,
    pub(crate) csrf: CsrfKey,
    /// Keys the hashes of message ids.
    pub(crate) ids: PrintKey,
    pub(crate) replays: Arc<ReplayPool>,
    pub(crate) random: Box<dyn Random>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("moment", &self.moment).finish_non_exhaustive()
    }
}

impl Context {
    /// A context for `policy`.
    pub fn new(policy: Policy, secrets: &Secrets, random: Box<dyn Random>) -> Self {
        Self {
            penalties: Penalties::new(policy.penalty.table_keys, PrintKey::new(secrets.prints)),
            anomalies: Anomalies::new(policy.anomaly.table_keys),
            shadow: ShadowCounts::default(),
            limiter: Limiter::new(policy.rate.table_keys, PrintKey::new(secrets.prints)),
            csrf: CsrfKey::new(&secrets.csrf),
            ids: PrintKey::new(secrets.prints),
            replays: Arc::default(),
            seats: Arc::default(),
            trust: Trust::new(policy.keys.clone()),
            revocations: Revocations::new(PrintKey::new(secrets.prints), REVOCATIONS_MAX),
            random,
            moment: Moment::new(policy),
        }
    }

    /// The policy of the moment. A handshake and a connection take it once and are judged by it to their end; what is
    /// asked for again may be another one.
    pub fn policy(&self) -> Arc<InForce> {
        self.moment.policy()
    }

    /// How often something changed that may change a verdict on open connections.
    ///
    /// Read it before what the verdict depends on: then a change in between is seen at the next look.
    pub fn epoch(&self) -> u64 {
        self.moment.epoch()
    }

    /// Puts `policy` in force for handshakes and messages from now on and returns the one before. The types that both
    /// know must have the same numbers: see [`Policy::keep_numbers_of`].
    ///
    /// Its keys come into force in place of those before, as by [`Context::replace_keys`].
    pub fn replace_policy(&self, policy: InForce) -> Arc<InForce> {
        // Before the epoch moves: whoever looks again must see them.
        self.trust.replace_if_other(&policy.keys);
        self.moment.replace(Arc::new(policy))
    }

    /// Makes every connection look at itself again, at its next message or when its driver calls
    /// [`crate::guard::Connection::reconsider`]. To be called after the change is published.
    pub fn advance_epoch(&self) {
        self.moment.advance();
    }

    /// The buckets.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// What all replay buffers hold together.
    pub fn replays(&self) -> &ReplayPool {
        &self.replays
    }

    /// Standings and bans. Who adds a ban then calls [`Context::advance_epoch`].
    pub fn penalties(&self) -> &Penalties {
        &self.penalties
    }

    /// What is usual, and counts of what was not.
    pub fn anomalies(&self) -> &Anomalies {
        &self.anomalies
    }

    /// What controls in shadow would have refused.
    pub fn shadow(&self) -> &ShadowCounts {
        &self.shadow
    }

    /// The revocations. Who adds one then calls [`Context::advance_epoch`].
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// 16 random bytes: a session id, a ticket.
    pub fn random_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.random.fill(&mut id);
        id
    }

    /// A new reference: 50 random bits as ten letters and digits that cannot be mistaken for each other.
    pub fn reference(&self) -> Reference {
        const ALPHABET: [u8; 32] = *b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut random = [0; 10];
        self.random.fill(&mut random);
        Reference(random.map(|byte| ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'0')))
    }
}

/// What joins the peer's error with the operator's record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference([u8; 10]);

impl Reference {
    /// The text on the wire and in the log.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
