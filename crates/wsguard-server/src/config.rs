//! The configuration of the standalone server: `wsguard.toml`, environment and flags as one typed value.
//!
//! A [`Config`] is valid by construction: it comes only from [`Config::load`], which reports every mistake at once, each
//! with its place and with what was expected. Flags beat the environment, the environment beats the file, the file beats
//! the defaults.
//!
//! Attack: an insecure deployment that starts anyway (CWE-1188). Production without allowlists, keys or TLS does not
//! start, development does not leave loopback, and a key that is misspelt is an error, never a default in silence.
//!
//! ```
//! use wsguard_server::config::{Config, Overrides};
//!
//! let dev = Overrides { dev: true, ..Overrides::default() };
//! let loaded = Config::load(None, std::iter::empty(), &dev)?;
//! assert_eq!(loaded.config.origins[0].as_str(), "http://localhost:3000");
//!
//! let production = Config::load(None, std::iter::empty(), &Overrides::default());
//! assert!(production.unwrap_err().to_string().contains("origin.allow"));
//! # Ok::<(), wsguard_server::config::ConfigErrors>(())
//! ```

mod admin_key;
mod anomaly;
mod check;
mod error;
mod limit;
mod penalty;
mod read;
mod reference;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use wsguard_core::control::anomaly::AnomalyPolicy;
use wsguard_core::control::host::HostPattern;
use wsguard_core::control::origin::Origin;
use wsguard_core::control::penalty::PenaltyPolicy;
pub use wsguard_core::control::rate::Mode;
pub use wsguard_core::control::session::OnCap;
use wsguard_core::control::shadow::ShadowSet;
use wsguard_core::time::Millis;
use wsguard_protocol::limits as protocol;

pub use admin_key::{ADMIN_KEY_CHARS_MAX, ADMIN_KEY_CHARS_MIN, AdminKey};
pub use error::{ConfigError, ConfigErrors, Place, Warning};
pub use limit::{LimitRow, Unit};
use read::Reader;
pub use reference::{KeyRow, reference};
use source::Settings;
pub use source::{FILE_BYTES_MAX, LIST_ENTRIES_MAX};

use crate::jwks::{Address, JwksSource};

/// The file that commands read when none is named and it exists in the working directory.
pub const FILE_NAME: &str = "wsguard.toml";

/// Most worker threads.
const WORKERS_MAX: u32 = 1_024;

/// Longest `auth.issuer` and `auth.audience`, in characters: as long as the claims of a token may be.
const CLAIM_CHARS_MAX: usize = 256;

/// What the flags of the command line say.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`, as typed.
    pub listen: Option<String>,
    /// `--admin`, as typed.
    pub admin: Option<String>,
    /// `--dev`.
    pub dev: bool,
}

/// A configuration that holds together, and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What weakens a protection or has no effect; to be printed at start.
    pub warnings: Vec<Warning>,
    /// The file that was read.
    pub source: Option<PathBuf>,
    settings: Vec<(&'static str, String)>,
}

impl Loaded {
    /// What differs between this configuration and `next`, key by key in the order of the keys. Of keys that name files
    /// with secrets only the names are compared, and neither is shown.
    pub fn changes(&self, next: &Self) -> Vec<SettingChange> {
        let value = |of: &Self, key: &str| {
            let limit = of.config.limits.iter().find(|row| row.key == key).map(|row| row.value.clone());
            limit.or_else(|| of.settings.iter().find(|(known, _)| *known == key).map(|(_, text)| text.clone()))
        };
        let mut keys: Vec<&'static str> = [self, next]
            .into_iter()
            .flat_map(|of| of.settings.iter().map(|(key, _)| *key).chain(of.config.limits.iter().map(|row| row.key)))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
            .filter_map(|key| {
                let (old, new) = (value(self, key), value(next, key));
                (old != new).then(|| SettingChange {
                    key,
                    old: shown(key, old),
                    new: shown(key, new),
                    needs_restart: source::needs_restart(key),
                })
            })
            .collect()
    }
}

/// One key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// The key.
    pub key: &'static str,
    /// The value before; `default` where it was not set.
    pub old: String,
    /// The value after.
    pub new: String,
    /// Whether only a restart makes it count.
    pub needs_restart: bool,
}

fn shown(key: &str, value: Option<String>) -> String {
    match value {
        None => "default".to_owned(),
        Some(_) if source::is_secret(key) => "(set)".to_owned(),
        Some(text) => text,
    }
}

/// Everything that the server can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Development: a fresh key, `test_token`, the demo page; loopback only.
    pub dev: bool,
    /// `server.*`
    pub server: Server,
    /// `tls.*`; `None` serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// `proxy.trusted`: networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `admin.key_file`: the bearer key of `/api`.
    pub admin_key: Option<AdminKey>,
    /// `origin.allow`
    pub origins: Vec<Origin>,
    /// `host.allow`
    pub hosts: Vec<HostPattern>,
    /// `auth.*`
    pub auth: Auth,
    /// `csrf.rotate_every`: 15 min by default.
    pub csrf_rotate_every: Millis,
    /// `session.*`
    pub session: Session,
    /// `rate.*`
    pub rate: Rate,
    /// `penalty.*`
    pub penalty: PenaltyPolicy,
    /// `shadow.controls`
    pub shadow: ShadowSet,
    /// `anomaly.*`
    pub anomaly: AnomalyPolicy,
    /// `heartbeat.interval`: between two pings; 25 s by default.
    pub heartbeat_interval: Millis,
    /// `heartbeat.timeout`: from ping to pong; 10 s by default.
    pub heartbeat_timeout: Millis,
    /// `message.deadline`: from a message's first byte to its last; 15 s by default.
    pub message_deadline: Millis,
    /// `messages.dir`: JSON Schemas, one file a message type. `None`: the built-in ones.
    pub messages_dir: Option<PathBuf>,
    /// `store.path`: where revocations and bans outlive the process; `wsguard.redb` beside the configuration by default.
    /// `None`, which is the default under `--dev` and `"memory"` otherwise, keeps them in memory.
    pub store: Option<PathBuf>,
    /// `log.*`
    pub log: Log,
    origins_are_defaults: bool,
    limits: Vec<LimitRow>,
}

/// `server.*`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Server {
    /// Public listener; `127.0.0.1:3000` by default.
    pub listen: SocketAddr,
    /// Admin listener; `127.0.0.1:3001` by default.
    pub admin: SocketAddr,
    /// Worker threads; one per core by default.
    pub workers: u32,
    /// Open connections; 16,384 by default.
    pub connections_max: u32,
    /// From SIGTERM to the end of the last connection; 30 s by default.
    pub drain: Millis,
    /// Bytes waiting for one slow reader; 256 KiB by default.
    pub send_queue_bytes: usize,
    /// Messages waiting for one slow reader; 256 by default.
    pub send_queue_messages: u32,
}

/// `tls.*`: readable when the configuration was loaded.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM, the server's certificate first, then its issuers.
    pub cert: PathBuf,
    /// PEM, one private key without a password.
    pub key: PathBuf,
}

/// `auth.*`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Auth {
    /// Key files, readable when the configuration was loaded. Empty only under `--dev`, or with `jwks`.
    pub keys: Vec<PathBuf>,
    /// Where the issuer publishes its keys; `None`: those of `keys` alone.
    pub jwks: Option<JwksSource>,
    /// The only `iss` accepted; `None` accepts any.
    pub issuer: Option<String>,
    /// What `aud` must contain; with `None` a token that has an `aud` is meant for another service and refused.
    pub audience: Option<String>,
    /// The ways to bring a credential; all five by default, never empty.
    pub methods: Vec<AuthMethod>,
    /// From the upgrade to the `auth` message; 5 s by default.
    pub first_message_timeout: Millis,
    /// Whether a token in the query is read. False by default: it would stand in access logs.
    pub allow_query_token: bool,
    /// Clock difference forgiven; 5 s by default and at most.
    pub leeway: Millis,
}

/// The ways to bring a credential, as `auth.methods` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// `bearer`: the `Authorization` header.
    Bearer,
    /// `subprotocol`: an entry of `Sec-WebSocket-Protocol`.
    Subprotocol,
    /// `ticket`: `?ticket=`, single use.
    Ticket,
    /// `cookie`: `__Host-wsguard`.
    Cookie,
    /// `first-message`: an `auth` message.
    FirstMessage,
}

/// `session.*`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Session {
    /// Without a message of the client; 30 min by default.
    pub idle: Millis,
    /// Life of a session; 24 h by default.
    pub max: Millis,
    /// Attached sessions of one subject; 32 by default.
    pub per_subject: u32,
    /// Time in which a lost connection can be resumed; 2 min by default.
    pub resume_window: Millis,
    /// Sessions of one subject that wait to be resumed; 4 by default.
    pub detached_per_subject: u32,
    /// Sessions of the server that wait to be resumed; 8,192 by default.
    pub detached_max: u32,
    /// Bytes kept to be replayed to one session; 64 KiB by default.
    pub replay_bytes: usize,
    /// Bytes kept to be replayed to all sessions; 64 MiB by default.
    pub replay_bytes_total: usize,
    /// What becomes of one session more: refused by default.
    pub on_cap: OnCap,
}

/// `rate.*`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rate {
    /// `rate.mode`
    pub mode: Mode,
    /// Messages of one subject a second; 20 by default.
    pub messages_per_second: u32,
    /// Messages of one subject at once; 60 by default.
    pub burst: u32,
    /// Message bytes of one session a second; 256 KiB by default.
    pub bytes_per_second: usize,
    /// Handshakes of one address prefix in a window; 30 by default.
    pub handshakes: u32,
    /// Window of `handshakes`; 10 s by default.
    pub handshake_window: Millis,
    /// Times the subject's and session's rates that one address prefix may use; 4 by default.
    pub prefix_factor: u32,
    /// Messages of the whole server a second; 100,000 by default.
    pub global_messages_per_second: u32,
    /// Messages of one subject a second, by message type; none by default.
    pub types: Vec<(Box<str>, u32)>,
}

/// `log.*`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Log {
    /// `None`: human on a terminal, else JSON.
    pub format: Option<LogFormat>,
    /// Where security events go.
    pub security: LogTarget,
    /// The key that signs checkpoints of the chain. `None`: for a log in a file, the key beside it, made when it is missing.
    pub key_file: Option<PathBuf>,
    /// Where checkpoints go besides the log.
    pub checkpoints: Option<CheckpointTarget>,
    /// Size in bytes at which a file is rotated.
    pub rotate_bytes: u64,
    /// Rotated files that are kept.
    pub keep_files: u32,
}

/// Where checkpoints of the security log go besides the log itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointTarget {
    /// `stdout`
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `human`: a readable line an event.
    Human,
    /// `json`: a JSON object a line.
    Json,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// `stderr`
    Stderr,
    /// A path; lines are appended.
    File(PathBuf),
}

impl Config {
    /// Loads the configuration from `overrides`, the variables `env` and `file`, in this order of strength.
    ///
    /// Reads the file and looks whether the files that it names can be opened; nothing else is touched.
    ///
    /// # Errors
    /// Every mistake that was found, at least one.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Loaded, ConfigErrors> {
        let mut settings = Settings::default();
        settings.add_flag("server.listen", "--listen", overrides.listen.as_deref());
        settings.add_flag("server.admin", "--admin", overrides.admin.as_deref());
        settings.add_environment(env);
        let mut is_unread = false;
        if let Some(path) = file {
            match read_file(path) {
                Ok(text) => is_unread = !settings.add_file(path, &text),
                Err(fault) => {
                    is_unread = true;
                    settings.errors.push(ConfigError {
                        place: Place::File { path: path.to_owned(), line: 1, column: 1 },
                        key: String::new(),
                        message: format!("expected a readable file of UTF-8 text ({fault})"),
                    });
                }
            }
        }
        let mut reader = Reader::new(settings, file);
        let mut config = Self::read(&mut reader, overrides.dev);
        let warnings = check::check(&config, &mut reader);
        let settings = reader.texts();
        config.limits = std::mem::take(&mut reader.limits);
        let mut errors = reader.into_errors();
        if is_unread {
            // What is missing may stand where nothing could be read.
            errors.retain(|error| error.place != Place::Whole || error.key.is_empty());
        }
        if errors.is_empty() {
            Ok(Loaded { config, warnings, source: file.map(Path::to_owned), settings })
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// Sets the development defaults of `origin.allow` for the port that the listener got. Where port 0 was asked for there
    /// are none before, so that no Origin passes by mistake. A list that was configured stays as it is.
    pub fn settle_port(&mut self, port: u16) {
        if self.origins_are_defaults {
            self.origins = dev_origins(self.tls.is_some(), port);
        }
    }

    /// Every limit in force: key, value, meaning and reason, those of the protocol at the end.
    pub fn limits_table(&self) -> Vec<LimitRow> {
        let mut rows = self.limits.clone();
        rows.extend(self.rate.types.iter().map(|(name, per_second)| LimitRow {
            key: "rate.types",
            value: format!("{name} {per_second}"),
            meaning: limit::TYPE_PER_SECOND.meaning,
            reason: "set by the configuration",
        }));
        rows.extend([
            LimitRow {
                key: "MESSAGE_BYTES_MAX",
                value: limit::show(Unit::Bytes, u64::try_from(protocol::MESSAGE_BYTES_MAX).unwrap_or(u64::MAX)),
                meaning: "a message after reassembly; then 1009",
                reason: "part of the protocol",
            },
            LimitRow {
                key: "FIRST_MESSAGE_BYTES_MAX",
                value: limit::show(Unit::Bytes, u64::try_from(protocol::FIRST_MESSAGE_BYTES_MAX).unwrap_or(u64::MAX)),
                meaning: "the first message of a connection that is not authenticated yet",
                reason: "part of the protocol",
            },
        ]);
        rows
    }

    fn read(reader: &mut Reader, dev: bool) -> Self {
        let server = Server {
            listen: address(reader, "server.listen", 3_000),
            admin: address(reader, "server.admin", 3_001),
            workers: workers(reader),
            connections_max: reader.count(&limit::CONNECTIONS_MAX),
            drain: reader.time(&limit::DRAIN),
            send_queue_bytes: reader.bytes(&limit::SEND_QUEUE_BYTES),
            send_queue_messages: reader.count(&limit::SEND_QUEUE_MESSAGES),
        };
        let (cert, key) = (reader.file("tls.cert"), reader.file("tls.key"));
        let tls = cert.zip(key).map(|(cert, key)| TlsFiles { cert, key });
        let trusted_proxies = reader.list(
            "proxy.trusted",
            "a network such as \"10.0.0.0/8\" or an address",
            |text| text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)),
            |_| None,
        );
        let origins = reader.list(
            "origin.allow",
            "an origin as a browser sends it, such as \"https://app.example\"",
            value::origin,
            |text| value::nearest_origin(text).map(|origin| format!("write \"{origin}\"")),
        );
        let hosts =
            reader.list("host.allow", "a host with or without a port, such as \"app.example\"", value::host, |_| None);
        let origins_are_defaults = dev && !reader.is_given("origin.allow");
        let https = tls.is_some();
        Self {
            dev,
            tls,
            trusted_proxies: trusted_proxies.unwrap_or_default(),
            admin_key: admin_key::read(reader),
            origins: if origins_are_defaults {
                dev_origins(https, server.listen.port())
            } else {
                origins.unwrap_or_default()
            },
            hosts: if dev && !reader.is_given("host.allow") { dev_hosts() } else { hosts.unwrap_or_default() },
            auth: Auth::read(reader),
            csrf_rotate_every: reader.time(&limit::CSRF_ROTATE_EVERY),
            session: Session {
                idle: reader.time(&limit::SESSION_IDLE),
                max: reader.time(&limit::SESSION_MAX),
                per_subject: reader.count(&limit::SESSION_PER_SUBJECT),
                resume_window: reader.time(&limit::SESSION_RESUME_WINDOW),
                detached_per_subject: reader.count(&limit::SESSION_DETACHED_PER_SUBJECT),
                detached_max: reader.count(&limit::SESSION_DETACHED_MAX),
                replay_bytes: reader.bytes(&limit::SESSION_REPLAY_BYTES),
                replay_bytes_total: reader.bytes(&limit::SESSION_REPLAY_BYTES_TOTAL),
                on_cap: on_cap(reader),
            },
            rate: Rate::read(reader),
            penalty: penalty::read(reader),
            shadow: penalty::read_shadow(reader),
            anomaly: anomaly::read(reader),
            heartbeat_interval: reader.time(&limit::HEARTBEAT_INTERVAL),
            heartbeat_timeout: reader.time(&limit::HEARTBEAT_TIMEOUT),
            message_deadline: reader.time(&limit::MESSAGE_DEADLINE),
            messages_dir: reader.directory("messages.dir"),
            store: store(reader, dev),
            log: log(reader),
            server,
            origins_are_defaults,
            limits: Vec::new(),
        }
    }
}

/// The name of the store's file where no other is given.
const STORE_NAME: &str = "wsguard.redb";

/// What stands in `store.path` for no file.
const STORE_IN_MEMORY: &str = "memory";

fn store(reader: &mut Reader, dev: bool) -> Option<PathBuf> {
    if !reader.is_given("store.path") {
        return (!dev).then(|| reader.beside_file(STORE_NAME));
    }
    let word = reader.text("store.path", "a path or \"memory\"", |text| (!text.is_empty()).then(|| text.to_owned()))?;
    if word == STORE_IN_MEMORY { None } else { reader.path("store.path") }
}

fn on_cap(reader: &mut Reader) -> OnCap {
    let word = reader.text("session.on_cap", "\"refuse\" or \"close-oldest\"", |text| match text {
        "refuse" => Some(OnCap::Refuse),
        "close-oldest" => Some(OnCap::CloseOldest),
        _ => None,
    });
    word.unwrap_or_default()
}

impl Auth {
    fn read(reader: &mut Reader) -> Self {
        let claim = |text: &str| (1..=CLAIM_CHARS_MAX).contains(&text.chars().count()).then(|| text.to_owned());
        let expected = "one of bearer, subprotocol, ticket, cookie, first-message";
        Self {
            keys: reader.files("auth.keys"),
            jwks: jwks(reader),
            issuer: reader.text("auth.issuer", "1 to 256 characters", claim),
            audience: reader.text("auth.audience", "1 to 256 characters", claim),
            methods: reader
                .list("auth.methods", expected, AuthMethod::from_name, |_| None)
                .unwrap_or_else(|| AuthMethod::ALL.to_vec()),
            first_message_timeout: reader.time(&limit::FIRST_MESSAGE_TIMEOUT),
            allow_query_token: reader.boolean("auth.allow_query_token", false),
            leeway: reader.time(&limit::LEEWAY),
        }
    }

    /// Whether credentials may come in this way.
    pub fn allows(&self, method: AuthMethod) -> bool {
        self.methods.contains(&method)
    }
}

fn jwks(reader: &mut Reader) -> Option<JwksSource> {
    let expected = "an address such as \"https://login.example/jwks.json\" (http:// only for loopback)";
    let address = reader.text("auth.jwks", expected, |text| text.parse::<Address>().ok());
    let authority = reader.file("auth.jwks_ca");
    let (refresh, stale_max) = (reader.time(&limit::JWKS_REFRESH), reader.time(&limit::JWKS_STALE_MAX));
    Some(JwksSource { address: address?, authority, refresh, stale_max })
}

impl AuthMethod {
    /// All of them, in the contract's order.
    pub const ALL: [Self; 5] = [Self::Bearer, Self::Subprotocol, Self::Ticket, Self::Cookie, Self::FirstMessage];

    /// The name in `auth.methods`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Subprotocol => "subprotocol",
            Self::Ticket => "ticket",
            Self::Cookie => "cookie",
            Self::FirstMessage => "first-message",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

impl Rate {
    fn read(reader: &mut Reader) -> Self {
        let is_type = |name: &str| {
            (1..=protocol::TYPE_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        Self {
            mode: mode(reader, "rate.mode"),
            messages_per_second: reader.count(&limit::MESSAGES_PER_SECOND),
            burst: reader.count(&limit::BURST),
            bytes_per_second: reader.bytes(&limit::BYTES_PER_SECOND),
            handshakes: reader.count(&limit::HANDSHAKES),
            handshake_window: reader.time(&limit::HANDSHAKE_WINDOW),
            prefix_factor: reader.count(&limit::PREFIX_FACTOR),
            global_messages_per_second: reader.count(&limit::GLOBAL_MESSAGES_PER_SECOND),
            types: reader.counts(
                &limit::TYPE_PER_SECOND,
                is_type,
                "a message type of 1 to 64 visible ASCII characters",
            ),
        }
    }
}

/// Reads a time as the configuration writes it: `250ms`, `30s`, `15m`, `24h`, `7d`. `None` for anything else.
pub fn time_from_text(text: &str) -> Option<Millis> {
    value::quantity(Unit::Time, text).map(Millis)
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX.saturating_add(1)).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err(format!("it is longer than {FILE_BYTES_MAX} bytes"))
    }
}

fn address(reader: &mut Reader, key: &str, port: u16) -> SocketAddr {
    let expected = "an IP address and a port, such as \"127.0.0.1:3000\" or \"[::1]:3000\"";
    let found = reader.text(key, expected, |text| text.parse().ok());
    found.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn workers(reader: &mut Reader) -> u32 {
    let cores =
        std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(WORKERS_MAX));
    let limit = limit::Limit {
        key: "server.workers",
        unit: Unit::Count,
        default: u64::from(cores.min(WORKERS_MAX)),
        min: 1,
        max: u64::from(WORKERS_MAX),
        meaning: "worker threads",
        reason: "one per core: the work is never blocking",
    };
    reader.count(&limit)
}

fn mode(reader: &mut Reader, key: &str) -> Mode {
    let mode = reader.text(key, "enforce or shadow", |text| match text {
        "enforce" => Some(Mode::Enforce),
        "shadow" => Some(Mode::Shadow),
        _ => None,
    });
    mode.unwrap_or_default()
}

fn log(reader: &mut Reader) -> Log {
    let format = reader.text("log.format", "human or json", |text| match text {
        "human" => Some(LogFormat::Human),
        "json" => Some(LogFormat::Json),
        _ => None,
    });
    let target = reader.text("log.security", "stderr or a path", |text| (!text.is_empty()).then(|| text.to_owned()));
    let security = match target.as_deref() {
        None | Some("stderr") => LogTarget::Stderr,
        Some(path) => LogTarget::File(reader.resolve(PathBuf::from(path), &reader.place("log.security"))),
    };
    let checkpoints =
        reader.text("log.checkpoints", "stdout or a path", |text| (!text.is_empty()).then(|| text.to_owned()));
    let checkpoints = checkpoints.map(|target| match target.as_str() {
        "stdout" => CheckpointTarget::Stdout,
        path => CheckpointTarget::File(reader.resolve(PathBuf::from(path), &reader.place("log.checkpoints"))),
    });
    Log {
        format,
        security,
        key_file: reader.file("log.key_file"),
        checkpoints,
        rotate_bytes: reader.limit(&limit::LOG_ROTATE_BYTES),
        keep_files: reader.count(&limit::LOG_KEEP_FILES),
    }
}

fn dev_origins(https: bool, port: u16) -> Vec<Origin> {
    let hosts = ["localhost", "127.0.0.1"];
    hosts.into_iter().filter_map(|host| value::listener_origin(https, host, port)).collect()
}

fn dev_hosts() -> Vec<HostPattern> {
    ["localhost", "127.0.0.1", "[::1]"].into_iter().filter_map(value::host).collect()
}
