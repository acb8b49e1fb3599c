//! Describes a client and starts it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use wsguard_protocol::ErrorCode;

use crate::address::Address;
use crate::client::{Client, Events};
use crate::connect;
use crate::error::{Code, ConfigError, ConnectError, Error};
use crate::event::State;
use crate::options::{Auth, OnLost, Pings, Queue, Reconnect, Settings};
use crate::session::Session;
use crate::shared::Shared;
use crate::token::{Provider, TokenProvider};
use crate::transport::Transport;

/// Largest message that is received unless another limit is chosen, in bytes. Servers answer with more than they take.
const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// Describes a client: [`Client::builder`]. Every method has a default that is good for a long-running program.
pub struct Builder {
    url: String,
    provider: Option<Provider>,
    settings: Settings,
    message_bytes_max: usize,
    trust: Trust,
}

/// Whose certificates are trusted.
enum Trust {
    /// Those that the operating system trusts.
    System,
    Pem(Vec<u8>),
    Config(Arc<ClientConfig>),
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            provider: None,
            settings: Settings::default(),
            message_bytes_max: MESSAGE_BYTES_MAX,
            trust: Trust::System,
        }
    }

    /// The token: a string that stays the same, or an async function that is asked before each connection, before the
    /// token in use ends, and after the server refused one. Required.
    #[must_use]
    pub fn token(mut self, provider: impl TokenProvider) -> Self {
        self.provider = Some(Provider::new(provider));
        self
    }

    /// How the token reaches the server. Default: [`Auth::Bearer`].
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.settings.auth = auth;
        self
    }

    /// When and how fast to come back. Default: [`Reconnect::default`], without an end.
    #[must_use]
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.settings.reconnect = Some(reconnect);
        self
    }

    /// The first lost connection is the end.
    #[must_use]
    pub fn no_reconnect(mut self) -> Self {
        self.settings.reconnect = None;
        self
    }

    /// Longest time from the start of an attempt to the server's welcome, the token provider included. Default: 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.settings.connect_timeout = time;
        self
    }

    /// Longest time from `send` to the acknowledgement. Default: 30 s.
    #[must_use]
    pub fn ack_timeout(mut self, time: Duration) -> Self {
        self.settings.ack_timeout = time;
        self
    }

    /// Limits of what waits for its acknowledgement. Default: 1,000 messages, 1 MiB, [`Overflow::Reject`].
    ///
    /// [`Overflow::Reject`]: crate::Overflow::Reject
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> Self {
        self.settings.queue = queue;
        self
    }

    /// What happens to messages in flight when the session was lost with the server's process. Default:
    /// [`OnLost::Reject`].
    #[must_use]
    pub fn on_lost(mut self, on_lost: OnLost) -> Self {
        self.settings.on_lost = on_lost;
        self
    }

    /// Pings, for the round trip and for finding connections that are only half there. Default: one with each
    /// heartbeat of the server, answered within 10 s.
    #[must_use]
    pub fn pings(mut self, pings: Pings) -> Self {
        self.settings.pings = Some(pings);
        self
    }

    /// Sends no pings. A connection on which nothing comes for two heartbeats of the server is lost all the same.
    #[must_use]
    pub fn no_pings(mut self) -> Self {
        self.settings.pings = None;
        self
    }

    /// Most events, and bytes of their messages, that wait in [`Events`]; beyond, the socket is not read. Default: 1,024
    /// and 1 MiB.
    #[must_use]
    pub fn incoming(mut self, events: usize, bytes: usize) -> Self {
        self.settings.inbox_messages = events;
        self.settings.inbox_bytes = bytes;
        self
    }

    /// Largest message that is received, in bytes; a larger one closes the client with `too_large`. Default: 1 MiB.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Trusts the certificates of `pem`, and no others. Default: those that the operating system trusts.
    ///
    /// The system's, because its operator decides there whom every program trusts, and keeps them up to date; a list
    /// inside this program would age with it, and would not know a company's own authority.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust = Trust::Pem(pem.into());
        self
    }

    /// A TLS configuration of your own, for client certificates for example. `h2` must not be among its protocols.
    #[must_use]
    pub fn tls_config(mut self, config: Arc<ClientConfig>) -> Self {
        self.trust = Trust::Config(config);
        self
    }

    /// Starts the client and returns at once; it connects by itself, and comes back until the server says that this is
    /// pointless. Messages can be sent right away: they wait.
    ///
    /// # Errors
    /// When what was configured cannot work at all, or outside of a tokio runtime.
    pub fn start(self) -> Result<(Client, Events), ConfigError> {
        let runtime = Handle::try_current().map_err(|_| ConfigError::Runtime)?;
        let provider = self.provider.ok_or(ConfigError::NoToken)?;
        let mut settings = self.settings;
        settings.renewable = provider.renewable;
        check(&settings, self.message_bytes_max)?;
        let address = Address::parse(&self.url)?;
        let tls = if address.is_tls() { Some(connector(&address, self.trust)?) } else { None };
        let auth = settings.auth;
        let transport = Transport { address, auth, tls, message_bytes_max: self.message_bytes_max };
        let shared = Arc::new(Shared::new(Session::new(settings, Box::new(random))));
        runtime.spawn(connect::run(Arc::clone(&shared), provider, transport));
        Ok(Client::new(shared))
    }

    /// [`Builder::start`], then waits until the first connection is open.
    ///
    /// # Errors
    /// When what was configured cannot work at all, and when the first attempt fails: a program learns at its start that
    /// the address is wrong or nobody is there. Only a refused token is replaced by a fresh one first. To go on trying,
    /// use [`Builder::start`].
    pub async fn connect(self) -> Result<(Client, Events), ConnectError> {
        let (client, events) = self.start()?;
        match client.first_connection().await {
            Ok(()) => Ok((client, events)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Holds the numbers against their limits.
fn check(settings: &Settings, message_bytes_max: usize) -> Result<(), ConfigError> {
    let positive = "more than 0";
    for (name, bad, expected) in [
        ("connect_timeout", settings.connect_timeout.is_zero(), positive),
        ("ack_timeout", settings.ack_timeout.is_zero(), positive),
        ("queue", settings.queue.messages_max == 0 || settings.queue.bytes_max == 0, positive),
        ("incoming", settings.inbox_messages == 0 || settings.inbox_bytes == 0, positive),
        ("message_bytes_max", message_bytes_max == 0, positive),
        (
            "pings",
            settings.pings.is_some_and(|pings| pings.interval == Some(Duration::ZERO) || pings.timeout.is_zero()),
            positive,
        ),
        (
            "reconnect",
            settings
                .reconnect
                .is_some_and(|reconnect| reconnect.delay_min.is_zero() || reconnect.delay_max < reconnect.delay_min),
            "a first delay of more than 0 and at most the longest",
        ),
    ] {
        if bad {
            return Err(ConfigError::Limit { name, expected });
        }
    }
    Ok(())
}

fn connector(address: &Address, trust: Trust) -> Result<(TlsConnector, ServerName<'static>), ConfigError> {
    let name = ServerName::try_from(address.host().to_owned()).map_err(|_| ConfigError::ServerName)?;
    let config = match trust {
        Trust::Config(config) => config,
        Trust::Pem(pem) => tls_config(pem_roots(&pem)?)?,
        Trust::System => tls_config(system_roots()?)?,
    };
    Ok((TlsConnector::from(config), name))
}

fn tls_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, ConfigError> {
    // Named here, so that it works whatever provider another crate of the program has made its default.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(ConfigError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A server that prefers HTTP/2 must not choose it: there is no upgrade in it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn pem_roots(pem: &[u8]) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| ConfigError::Ca)?).map_err(|_| ConfigError::Ca)?;
    }
    if roots.is_empty() { Err(ConfigError::Ca) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates may be beyond what rustls takes; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(ConfigError::NoRoots) } else { Ok(roots) }
}

/// A number from 0 (included) to 1 (excluded).
fn random() -> f64 {
    // Without randomness the longest delay is the safe one.
    let bits = getrandom::u32().unwrap_or(u32::MAX);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

impl Client {
    /// Waits for the first connection, or for the first reason why there is none.
    async fn first_connection(&self) -> Result<(), Error> {
        let mut states = self.states();
        loop {
            let (state, _) = *states.borrow_and_update();
            match state {
                State::Open => return Ok(()),
                State::Closed => {
                    let end = self.closed().await;
                    return Err(end.error.unwrap_or_else(|| Error::new(Code::Closed, "the client was closed")));
                }
                State::Reconnecting => {
                    // A refused token is replaced by a fresh one first: providers may give one that they kept.
                    if let Some(error) = self.last_loss()
                        && error.code() != Code::Server(ErrorCode::Unauthenticated)
                    {
                        return Err(error);
                    }
                }
                State::Connecting => {}
            }
            // The sender is part of what this handle holds.
            let _ = states.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Overflow;

    fn builder() -> Builder {
        Client::builder("ws://127.0.0.1:1/ws").token("t")
    }

    #[tokio::test]
    async fn what_cannot_work_is_told_at_once() {
        let zero = Duration::ZERO;
        let second = Duration::from_secs(1);
        for (name, builder, want) in [
            ("address", Client::builder("chat.example").token("t"), "use the address"),
            ("no token", Client::builder("ws://127.0.0.1/ws"), "no token was set"),
            ("connect_timeout", builder().connect_timeout(zero), "connect_timeout"),
            ("ack_timeout", builder().ack_timeout(zero), "ack_timeout"),
            ("queue", builder().queue(Queue::bounded(0, 1)), "queue"),
            ("queue bytes", builder().queue(Queue::bounded(1, 0).overflow(Overflow::DropOldest)), "queue"),
            ("incoming", builder().incoming(1, 0), "incoming"),
            ("message_bytes_max", builder().message_bytes_max(0), "message_bytes_max"),
            ("pings", builder().pings(Pings::every(second, zero)), "pings"),
            ("reconnect", builder().reconnect(Reconnect::full_jitter(second, zero)), "reconnect"),
            ("ca", Client::builder("wss://localhost/ws").token("t").ca_pem("none"), "PEM"),
        ] {
            let error = builder.start().map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(want), "{name}: {error}");
        }
    }

    #[test]
    fn it_needs_a_runtime() {
        assert!(matches!(builder().start(), Err(ConfigError::Runtime)));
    }

    #[test]
    fn random_numbers_are_in_their_range() {
        let all: Vec<f64> = (0..1_000).map(|_| random()).collect();
        assert!(all.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(all.iter().any(|number| *number < 0.1) && all.iter().any(|number| *number > 0.9));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let builder = Client::builder("wss://u.example/ws").token("hush".to_owned());
        assert!(!format!("{builder:?}").contains("hush"));
    }
}
