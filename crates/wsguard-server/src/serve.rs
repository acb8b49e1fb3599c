//! `wsguard serve`: from options to a running server, and to its end.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{self, Signal, SignalKind};
use tokio::task::JoinHandle;
use wsguard::core::policy::MessageTypeError;
use wsguard::core::time::Tick;
use wsguard::core::token::{KeyError, KeyRingError};
use wsguard::protocol::CloseCode;
use wsguard::{BuildError, Guard};

use crate::admin::{self, Admin};
use crate::config::{Config, ConfigErrors, Loaded, Overrides, Warning};
use crate::dev::Dev;
use crate::journal::{Entry, Journal, JournalError, Outcome};
use crate::jwks::{FetcherError, Jwks};
use crate::keyholder::Keyholder;
use crate::keys::{KeygenError, KeysInvalid};
use crate::listener;
use crate::pending::{Pending, Share};
use crate::proxy::{ProxyPolicy, Transport};
use crate::public::Public;
use crate::reload::{Reloadable, Reloader};
use crate::schemas::SchemasError;
use crate::setup::{self, Prepared};
use crate::store::StoreError;
use crate::tls::{Certificates, TlsError};

/// Turns of tasks after which the runtime looks which sockets are ready, however many tasks wait. Eight of the dearest, a
/// message of the largest size or a token's signature, take a millisecond at most; tokio's 61 would take eight.
const POLLS_BETWEEN_LOOKS: u32 = 8;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The configuration file; `None` runs with defaults and environment.
    pub config: Option<PathBuf>,
    /// `--dev`
    pub dev: bool,
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin`
    pub admin: Option<String>,
    /// Called once with what was loaded, when the addresses are bound: the caller prints warnings and limits.
    pub on_loaded: fn(&Loaded),
    /// Called once when connections are accepted.
    pub on_listening: fn(&Listening),
}

/// Where the server listens.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// The public listener.
    pub listen: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// Whether the public listener speaks TLS.
    pub tls: bool,
    /// `--dev`
    pub dev: bool,
}

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration has mistakes.
    #[error("load the configuration:\n{0}")]
    Config(#[from] ConfigErrors),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `tls.*` of a guard inside an application.
    #[error(
        "use tls.cert and tls.key: an embedded guard has no listener; end TLS in front, and name it in proxy.trusted"
    )]
    TlsEmbedded,
    /// Keys of `auth.keys` cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysInvalid),
    /// Message types, or their rates, cannot be used.
    #[error("load the message types:\n  {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    Schemas(Vec<SchemasError>),
    /// Keys of `auth.jwks` cannot be fetched at all.
    #[error("use auth.jwks: {0}")]
    Jwks(#[from] FetcherError),
    /// A message type cannot be.
    #[error(transparent)]
    Message(#[from] MessageTypeError),
    /// The guard cannot be built.
    #[error(transparent)]
    Guard(#[from] BuildError),
    /// The store of revocations cannot be used: without it nothing is served.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The development key cannot be made.
    #[error("make the development key: {0}")]
    DevKey(String),
    /// An address cannot be bound.
    #[error("listen on {address}: {error}{}", way_out(error))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The security log cannot be opened: without it nothing is served.
    #[error(transparent)]
    Log(JournalError),
    /// The runtime cannot start.
    #[error("start the runtime: {0}")]
    Runtime(std::io::Error),
}

/// What to do about an address that cannot be bound.
fn way_out(error: &std::io::Error) -> &'static str {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        "; stop the program that listens there, or choose another address with --listen or --admin \
         (WSGUARD_SERVER__LISTEN, WSGUARD_SERVER__ADMIN); port 0 is any that is free"
    } else {
        ""
    }
}

impl ServeError {
    /// Whether the configuration is at fault (exit code 2) rather than the course of events (1).
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::Tls(_)
            | Self::TlsEmbedded
            | Self::Keys(_)
            | Self::Jwks(_)
            | Self::Schemas(_)
            | Self::Message(_)
            | Self::Guard(_) => true,
            Self::Store(error) => error.is_lasting(),
            Self::DevKey(_) | Self::Bind { .. } | Self::Log(_) | Self::Runtime(_) => false,
        }
    }
}

impl From<KeygenError> for ServeError {
    fn from(error: KeygenError) -> Self {
        Self::DevKey(error.to_string())
    }
}

impl From<KeyError> for ServeError {
    fn from(error: KeyError) -> Self {
        Self::DevKey(error.to_string())
    }
}

impl From<KeyRingError> for ServeError {
    fn from(error: KeyRingError) -> Self {
        Self::DevKey(error.to_string())
    }
}

/// Runs the server until it is told to end. Blocks.
///
/// # Errors
/// A configuration, certificate, key or address that cannot be used: all of it before the first connection is accepted.
pub fn serve(options: ServeOptions) -> Result<(), ServeError> {
    let ServeOptions { config: config_file, dev, listen, admin, on_loaded, on_listening } = options;
    let overrides = Overrides { listen, admin, dev };
    let mut loaded = Config::load(config_file.as_deref(), environment(), &overrides)?;
    let (share, files) = Share::claim(loaded.config.server.connections_max);
    if share.connections < loaded.config.server.connections_max {
        let message = format!(
            "the process may open {files} files: {} connections are let in; raise that limit (LimitNOFILE=, ulimit -n)",
            share.connections
        );
        loaded.warnings.push(Warning { key: "server.connections_max", message });
        loaded.config.server.connections_max = share.connections;
    }
    let workers = usize::try_from(loaded.config.server.workers).unwrap_or(1).max(1);
    // One worker needs no scheduler that moves tasks between threads.
    let mut runtime = if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = runtime.worker_threads(workers).event_interval(POLLS_BETWEEN_LOOKS).enable_all().build();
    let runtime = runtime.map_err(ServeError::Runtime)?;
    runtime.block_on(async {
        // Before anybody can know that the server runs: a signal that comes early must drain too, not kill.
        let signals = Signals::new().map_err(ServeError::Runtime)?;
        let hangup = unix::signal(SignalKind::hangup()).map_err(ServeError::Runtime)?;
        let certificates = loaded.config.tls.as_ref().map(Certificates::load).transpose()?;
        let tls = certificates.as_ref().map(Certificates::config).transpose()?;
        let bind = |address: SocketAddr| listener::bind(address).map_err(|error| ServeError::Bind { address, error });
        let public_listener = bind(loaded.config.server.listen)?;
        let admin_listener = bind(loaded.config.server.admin)?;
        let at = |listener: &TcpListener, address| {
            listener.local_addr().map_err(|error| ServeError::Bind { address, error })
        };
        let listen = at(&public_listener, loaded.config.server.listen)?;
        let admin_address = at(&admin_listener, loaded.config.server.admin)?;
        loaded.config.settle_port(listen.port());
        on_loaded(&loaded);

        let config = &loaded.config;
        let journal = Arc::new(Journal::start(&config.log, std::io::stderr().is_terminal()).map_err(ServeError::Log)?);
        let Prepared { guard, dev_key } = setup::prepare(config, &journal)?;
        let made_at_start = dev_key.as_ref().map(|key| key.verifying_key().clone());
        let holder = Arc::new(Keyholder::new(guard.clone()).keeping(made_at_start));
        let jwks = match &config.auth.jwks {
            None => None,
            Some(source) => {
                let mut jwks = Jwks::new(source, &guard, Arc::clone(&holder), Arc::clone(&journal))?;
                // One look before the first connection. An issuer that cannot be reached does not stop the start: until
                // it answers, its tokens are refused.
                jwks.step(Tick(wsguard::monotonic_ms())).await;
                Some(jwks)
            }
        };
        let jwks_stats = jwks.as_ref().map(|jwks| Arc::clone(jwks.stats()));
        let keeping = jwks.map(|jwks| tokio::spawn(jwks.keep()));
        let transport = match (config.dev, &tls) {
            (true, _) => Transport::Development,
            (false, Some(_)) => Transport::OwnTls,
            (false, None) => Transport::ProxyTls,
        };
        let public = Arc::new(Public {
            guard: guard.clone(),
            rooms: Arc::default(),
            proxies: ProxyPolicy::new(&config.trusted_proxies, transport),
            dev: config.dev.then(|| Dev {
                key: dev_key,
                journal: Arc::clone(&journal),
                listen,
                crowded: AtomicBool::new(false),
            }),
        });
        let pending = Pending::new(share.pending, Arc::clone(&journal));
        let accepting = tokio::spawn(listener::accept(public_listener, tls.clone(), public, Arc::clone(&pending)));
        let routes = admin::routes(Admin {
            guard: guard.clone(),
            journal: Arc::clone(&journal),
            key: config.admin_key.clone(),
            address: admin_address,
            started: Instant::now(),
            jwks: jwks_stats,
            pending,
        });
        let administering = tokio::spawn(async move {
            admin::serve(admin_listener, tls.filter(|_| !admin_address.ip().is_loopback()), routes).await;
        });
        let shadows = tokio::spawn(crate::shadow::watch(guard.clone(), Arc::clone(&journal)));
        let (banning, bans_journal) = (guard.handle(), Arc::clone(&journal));
        let banning = tokio::spawn(async move {
            let failed = |error| {
                let detail = Some(format!("write the bans: {error}"));
                let now = wsguard::now().unix.0;
                bans_journal.record(Entry { detail, ..Entry::new(now, "bans_not_kept", Outcome::Failure) });
            };
            banning.keep_bans(failed).await;
        });
        let parts = Reloadable { guard: guard.clone(), holder, certificates, journal: Arc::clone(&journal) };
        let reloader = Reloader::new(parts, &loaded, config_file, overrides, listen.port());
        let reloading = tokio::spawn(reloader.run(hangup));
        on_listening(&Listening { listen, admin: admin_address, tls: config.tls.is_some(), dev: config.dev });
        until_told_to_end(signals, &guard, Duration::from_millis(config.server.drain.0), accepting).await;
        administering.abort();
        if let Some(keeping) = keeping {
            keeping.abort();
        }
        reloading.abort();
        shadows.abort();
        banning.abort();
        if !journal.end(Duration::from_secs(2)) {
            tracing::warn!("the security log was not written to its end");
        }
        Ok(())
    })
}

/// SIGTERM and SIGINT, from the time of [`Signals::new`] on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Waits for a signal, then drains; a second signal ends at once.
async fn until_told_to_end(mut signals: Signals, guard: &Guard, drain: Duration, accepting: JoinHandle<()>) {
    signals.next().await;
    let handle = guard.handle();
    tracing::info!(connections = handle.stats().connections_open(), "draining; a second signal ends at once");
    handle.drain();
    let drained = async {
        let began = Instant::now();
        while handle.stats().connections_open() > 0 && began.elapsed() < drain {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        handle.close_all(CloseCode::GoingAway);
        // The close frames leave; peers that do not answer are not waited for.
        for _ in 0..20 {
            if handle.stats().connections_open() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! { () = drained => {}, () = signals.next() => {} }
    accepting.abort();
}

/// The variables of this process. One that is not UTF-8 cannot be a setting; it is left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
