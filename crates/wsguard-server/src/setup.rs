//! From a configuration to a guard.

use std::sync::Arc;

use wsguard::core::control::authorization::{Access, RoomRule};
use wsguard::core::control::credential::Methods;
use wsguard::core::control::rate::Quota;
use wsguard::core::handshake::HandshakeRefusal;
use wsguard::core::policy::{Policy, StaticToken};
use wsguard::core::token::{Key, KeyRing, Leeway, SigningKey};
use wsguard::core::verdict::{ControlId, Refusal};
use wsguard::protocol::{COOKIE_NAME, COOKIE_NAME_DEV, ErrorCode};
use wsguard::{Builder, Guard, QueueLimits, Tokens};

use crate::config::{AuthMethod, Config};
use crate::journal::Journal;
use crate::keyholder::Keyholder;
use crate::keys::{self, KeysInvalid};
use crate::schemas::message_types;
use crate::serve::ServeError;
use crate::store::FileLedger;

/// The token that `--dev` accepts as it stands.
pub(crate) const DEV_TOKEN: &str = "test_token";

/// Who the development token stands for.
const DEV_SUBJECT: &str = "dev";

/// A guard, and under `--dev` the key that signs development tokens.
pub(crate) struct Prepared {
    pub(crate) guard: Guard,
    pub(crate) dev_key: Option<SigningKey>,
}

/// Builds the guard that `config` describes.
pub(crate) fn prepare(config: &Config, journal: &Arc<Journal>) -> Result<Prepared, ServeError> {
    let mut known = keys::load_keys(&config.auth.keys)?.keys().to_vec();
    // An issuer's tokens are the issuer's alone; beside keys of files there is room for one more.
    let dev_key = if config.dev && config.auth.jwks.is_none() {
        let fresh = keys::generate(wsguard::core::token::Algorithm::EdDsa)?;
        let key = SigningKey::parse("development key", fresh.private.as_bytes())?;
        known.push(key.verifying_key().clone());
        Some(key)
    } else {
        None
    };
    let mut builder = builder(config, KeyRing::new(known)?)?.journal(Journal::clone(journal));
    if let Some(path) = &config.store {
        let (ledger, is_new) = FileLedger::open(path)?;
        if is_new {
            tracing::info!(path = %path.display(), "a new store was made: nothing is revoked");
        }
        builder = builder.ledger(ledger);
    }
    Ok(Prepared { guard: builder.build()?, dev_key })
}

/// A refusal before the guard: of a client that is not who or where it must be.
pub(crate) fn refused(status: u16, reason: &'static str) -> HandshakeRefusal {
    let code = if status == 403 { ErrorCode::Forbidden } else { ErrorCode::InvalidMessage };
    HandshakeRefusal { status, refusal: Refusal::new(ControlId::Upgrade, code, reason) }
}

/// The policy that `config` describes now, and the keys of its files. The development key, which is made at the start,
/// stays; the keys of an issuer stay beside whatever the files hold.
pub(crate) fn policy(config: &Config, holder: &Keyholder) -> Result<(Policy, Vec<Key>), ServeError> {
    let mut files = keys::load_keys(&config.auth.keys)?.keys().to_vec();
    files.extend(holder.made_at_start().cloned());
    let ring = holder.ring_with(&files).map_err(KeysInvalid::from)?;
    Ok((builder(config, ring)?.policy()?, files))
}

fn builder(config: &Config, ring: KeyRing) -> Result<Builder<Tokens>, ServeError> {
    let messages = message_types(config).map_err(ServeError::Schemas)?;
    let settings = config.clone();
    let builder = Guard::builder().keys(ring);
    let builder = if config.auth.jwks.is_some() { builder.late_keys() } else { builder };
    let builder = builder
        .hosts(config.hosts.iter().map(ToString::to_string))
        .origins(config.origins.iter().map(|origin| origin.as_str().to_owned()))
        .messages(messages)
        .rooms([RoomRule { pattern: "*".into(), access: Access::Authenticated }])
        .send_queue(QueueLimits {
            messages: usize::try_from(config.server.send_queue_messages).unwrap_or(usize::MAX),
            bytes: config.server.send_queue_bytes,
        })
        .connections_max(u64::from(config.server.connections_max))
        .tune(move |policy| {
            let config = &settings;
            let on = |method| config.auth.methods.contains(&method);
            policy.methods = Methods {
                bearer: on(AuthMethod::Bearer),
                subprotocol: on(AuthMethod::Subprotocol),
                ticket: on(AuthMethod::Ticket),
                cookie: on(AuthMethod::Cookie),
                first_message: on(AuthMethod::FirstMessage),
            };
            policy.tokens.issuer = config.auth.issuer.as_deref().map(Into::into);
            policy.tokens.audience = config.auth.audience.as_deref().map(Into::into);
            policy.tokens.leeway = Leeway::new(config.auth.leeway).unwrap_or(Leeway::MAX);
            policy.allow_query_token = config.auth.allow_query_token;
            policy.cookie_name = if config.dev { COOKIE_NAME_DEV } else { COOKIE_NAME }.into();
            policy.static_token =
                config.dev.then(|| StaticToken { token: DEV_TOKEN.into(), subject: DEV_SUBJECT.into() });
            let rate = &config.rate;
            policy.rate.mode = rate.mode;
            policy.rate.messages = Quota::new(rate.messages_per_second, rate.burst);
            let bytes = u32::try_from(rate.bytes_per_second).unwrap_or(u32::MAX);
            policy.rate.bytes = Quota::new(bytes, bytes.max(65_536));
            policy.rate.handshakes = Quota::per(rate.handshakes, rate.handshake_window, rate.handshakes);
            policy.rate.prefix_factor = rate.prefix_factor;
            policy.rate.server = Quota::new(rate.global_messages_per_second, rate.global_messages_per_second);
            policy.penalty = config.penalty.clone();
            policy.anomaly = config.anomaly.clone();
            policy.shadow = config.shadow;
            policy.sessions.idle = config.session.idle;
            policy.sessions.max = config.session.max;
            policy.sessions.per_subject = config.session.per_subject;
            policy.sessions.resume_window = config.session.resume_window;
            policy.sessions.detached_per_subject = config.session.detached_per_subject;
            policy.sessions.detached_max = config.session.detached_max;
            policy.sessions.replay_bytes = config.session.replay_bytes;
            policy.sessions.replay_bytes_total = config.session.replay_bytes_total;
            policy.sessions.on_cap = config.session.on_cap;
            policy.heartbeat.interval = config.heartbeat_interval;
            policy.heartbeat.timeout = config.heartbeat_timeout;
            policy.heartbeat.message = config.message_deadline;
            policy.heartbeat.first_message = config.auth.first_message_timeout;
            policy.csrf_rotate_every = config.csrf_rotate_every;
        });
    Ok(builder)
}
