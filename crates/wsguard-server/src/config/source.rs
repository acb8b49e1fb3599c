//! Collects settings from flags, environment and file, by key, each with its place. What they mean is [`super::read`]'s.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Lines, Place, quoted};
use super::limit::LIMITS;

/// Longest configuration file in bytes; far beyond any.
pub const FILE_BYTES_MAX: u64 = 1_048_576;

/// Most entries of a list or table; lists are searched at each handshake.
pub const LIST_ENTRIES_MAX: usize = 1_024;

const ENVIRONMENT_PREFIX: &str = "WSGUARD_";

/// How a key's value is written in the environment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    /// Comma-separated.
    List,
    /// Comma-separated `name=value`.
    Table,
}

pub(super) struct Key {
    pub(super) name: &'static str,
    shape: Shape,
    /// Names a file with a secret: the value is never repeated in an error, and `…_FILE` is a second name of its variable.
    secret: bool,
    /// What a value looks like.
    pub(super) form: &'static str,
    /// What holds where it is not set.
    pub(super) default: &'static str,
    pub(super) meaning: &'static str,
    /// Why the default is what it is.
    pub(super) reason: &'static str,
}

macro_rules! keys {
    ($($name:literal, $shape:ident, $secret:literal, $form:literal, $default:literal, $meaning:literal, $reason:literal;)*) => {
        /// The keys that are no limits; [`LIMITS`] has the others.
        pub(super) const KEYS: &[Key] = &[$(Key {
            name: $name, shape: Shape::$shape, secret: $secret, form: $form, default: $default, meaning: $meaning,
            reason: $reason,
        }),*];
    };
}

keys! {
    "server.listen", One, false, "address and port", "127.0.0.1:3000",
        "the public listener",
        "nobody from outside reaches a server that was only tried out";
    "server.admin", One, false, "address and port", "127.0.0.1:3001",
        "the admin listener; off loopback it needs `tls.*` and `admin.key_file`",
        "health, metrics and revocation are the operator's alone";
    "server.workers", One, false, "count from 1 to 1024", "one per core",
        "worker threads",
        "the work is never blocking";
    "tls.cert", One, false, "path of a PEM file", "none",
        "the server's certificate first, then its issuers; TLS 1.2 and 1.3",
        "without TLS here `proxy.trusted` must be set, or production does not start";
    "tls.key", One, true, "path of a PEM file", "none",
        "the certificate's private key, without a password",
        "as `tls.cert`; each asks for the other";
    "proxy.trusted", List, false, "networks or addresses", "none",
        "whose forwarding headers are believed; without `tls.*` they must send `X-Forwarded-Proto: https`",
        "a client that may say where it comes from has as many quotas as it likes";
    "admin.key_file", One, true, "path of a file", "none",
        "the bearer key of `/api`: one line of 32 characters or more",
        "without it `/api` can be read on loopback, and changes nothing";
    "origin.allow", List, false, "origins as browsers send them", "none: required",
        "the pages that may connect",
        "only you know them; a default would let foreign pages in";
    "host.allow", List, false, "names, with or without a port", "none: required",
        "the names of this server; without a port any port",
        "only you know them; a default would let a rebound name in";
    "auth.keys", List, true, "paths of PEM, JWK or `wsguard keygen` files", "none: required without `auth.jwks`",
        "the keys that verify tokens",
        "a built-in key would be everybody's";
    "auth.jwks", One, false, "`https://` address, or `http://` on loopback", "none",
        "where the issuer publishes its keys as a JWK set",
        "files need no network";
    "auth.jwks_ca", One, false, "path of a PEM file", "the system's authorities",
        "the authorities to trust for `auth.jwks`",
        "an issuer inside has an authority of its own";
    "auth.issuer", One, false, "1 to 256 characters", "not compared",
        "what `iss` must be",
        "the key already says who issued a token, where an issuer has a key of its own";
    "auth.audience", One, false, "1 to 256 characters", "a token with `aud` is refused",
        "what `aud` must contain",
        "a token with an audience is meant for another service (RFC 7519 section 4.1.3)";
    "auth.methods", List, false, "`bearer`, `subprotocol`, `ticket`, `cookie`, `first-message`", "all five",
        "the ways to bring a credential",
        "each is safe by itself; switch off what no client of yours uses";
    "auth.allow_query_token", One, false, "`true` or `false`", "false",
        "whether `?token=` and `?access_token=` are read",
        "addresses stand in access logs and histories (CWE-598)";
    "rate.mode", One, false, "`enforce` or `shadow`", "enforce",
        "whether quotas refuse, or only count and log",
        "a protection that is off until somebody remembers it is none";
    "penalty.mode", One, false, "`enforce` or `shadow`", "enforce",
        "whether the ladder acts, or only counts and logs",
        "as `rate.mode`";
    "shadow.controls", List, false,
        "`handshake_rate`, `session_cap`, `rate`, `csrf`, `rate_type`, `schema`, `content`", "none",
        "controls that only count and log",
        "the others decide who speaks and what can be read at all, and cannot be shadowed";
    "anomaly.mode", One, false, "`enforce` or `shadow`", "enforce",
        "whether a high score is charged to the ladder, or only counted and logged",
        "measured: no honest connection was slowed (docs/anomaly.md)";
    "messages.dir", One, false, "path of a folder", "the built-in types",
        "JSON Schemas 2020-12, one file a message type: `chat.json` is the type `chat`",
        "`echo`, rooms and chat are there to be tried";
    "session.on_cap", One, false, "`refuse` or `close-oldest`", "refuse",
        "what becomes of one session more than `session.per_subject`",
        "a stolen token cannot push its owner out";
    "store.path", One, false, "path of a file, or `memory`", "wsguard.redb beside the configuration; with `--dev` memory",
        "where revocations and bans outlive the process",
        "what was revoked stays revoked after a restart";
    "log.format", One, false, "`human` or `json`", "human on a terminal, else json",
        "how log lines look",
        "people read terminals, programs read files";
    "log.security", One, false, "`stderr` or a path", "stderr",
        "where security events go",
        "process managers collect it";
    "log.key_file", One, true, "path of a file", "security.key beside security.jsonl",
        "the key that signs the log's checkpoints; made at the first start where the log is a file",
        "a chain without signatures can be written anew";
    "log.checkpoints", One, false, "`stdout` or a path", "none",
        "where checkpoints go besides the log",
        "only you know a place that the server cannot change afterwards";
}

/// A value before it is given a type.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Setting>),
    Table(Vec<(String, Setting)>),
    /// A float, a date, or an integer beyond 64 bits: no key takes it. As it stands in the file.
    Other(String),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// What was set, by key; the strongest source won.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) by_key: BTreeMap<&'static str, Setting>,
    pub(super) errors: Vec<ConfigError>,
}

impl Setting {
    /// Quotes the value for an error.
    pub(super) fn shown(&self) -> String {
        match &self.raw {
            Raw::Text(text) => quoted(text),
            Raw::Integer(number) => number.to_string(),
            Raw::Boolean(value) => value.to_string(),
            Raw::List(_) => "a list".to_owned(),
            Raw::Table(_) => "a table".to_owned(),
            Raw::Other(text) => text.clone(),
        }
    }

    /// The whole value, the same from whatever source it came.
    pub(super) fn text(&self) -> String {
        match &self.raw {
            Raw::Text(text) | Raw::Other(text) => text.clone(),
            Raw::Integer(number) => number.to_string(),
            Raw::Boolean(value) => value.to_string(),
            Raw::List(items) => items.iter().map(Self::text).collect::<Vec<_>>().join(", "),
            Raw::Table(members) => {
                members.iter().map(|(name, value)| format!("{name}={}", value.text())).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Whether the value came as text because its source has no types.
    pub(super) fn is_untyped(&self) -> bool {
        !matches!(self.place, Place::File { .. })
    }
}

/// Whether errors may repeat the value of this key.
pub(super) fn is_secret(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name && key.secret)
}

/// Whether a change of this key counts only after a restart: listeners, threads, files that are opened once, and the task
/// that asks an issuer. Certificates are read again; whether there is TLS at all belongs to the listeners.
pub(super) fn needs_restart(name: &str) -> bool {
    let sections = ["server.", "proxy.", "admin.", "log.", "store.", "auth.jwks"];
    sections.iter().any(|section| name.starts_with(section))
}

impl Settings {
    /// Adds what a flag of the command line says.
    pub(super) fn add_flag(&mut self, key: &'static str, flag: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.by_key.insert(key, Setting { raw: Raw::Text(value.to_owned()), place: Place::Flag(flag) });
        }
    }

    /// Adds the variables `WSGUARD_SECTION__KEY` for keys that no stronger source set.
    ///
    /// Variables with the prefix and without `__` are not ours to judge: a process manager may set `WSGUARD_HOME`.
    pub(super) fn add_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut ours: Vec<_> = variables
            .filter(|(name, _)| name.strip_prefix(ENVIRONMENT_PREFIX).is_some_and(|rest| rest.contains("__")))
            .collect();
        ours.sort();
        let mut seen: BTreeMap<&'static str, String> = BTreeMap::new();
        for (name, value) in ours {
            let rest = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or_default();
            let written = rest.to_ascii_lowercase().replacen("__", ".", 1);
            let place = Place::Environment(name.clone());
            let of_file = written.strip_suffix("_file").filter(|stem| is_secret(stem));
            let Some((key, shape)) = find(&written).or_else(|| of_file.and_then(find)) else {
                self.errors.push(unknown(place, &written));
                continue;
            };
            if let Some(other) = seen.insert(key, name) {
                let message = format!("expected one variable for this key, got also {other}");
                self.errors.push(ConfigError { place, key: key.to_owned(), message });
                continue;
            }
            let raw = match shape {
                Shape::One => Raw::Text(value),
                Shape::List => Raw::List(
                    entries(&value)
                        .map(|entry| Setting { raw: Raw::Text(entry.to_owned()), place: place.clone() })
                        .collect(),
                ),
                Shape::Table => Raw::Table(
                    entries(&value)
                        .map(|entry| {
                            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                            (
                                name.trim().to_owned(),
                                Setting { raw: Raw::Text(value.trim().to_owned()), place: place.clone() },
                            )
                        })
                        .collect(),
                ),
            };
            self.by_key.entry(key).or_insert(Setting { raw, place });
        }
    }

    /// Adds the keys of a file that no stronger source set. Every syntax error and unknown key is noted; says whether there
    /// was no syntax error.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> bool {
        let lines = Lines { path, text };
        let (root, faults) = DeTable::parse_recoverable(text);
        let is_whole = faults.is_empty();
        for fault in faults {
            let place = fault.span().map_or(Place::Whole, |span| lines.place(span.start));
            let message = format!("expected TOML: {}", fault.message().replace('\n', "; "));
            self.errors.push(ConfigError { place, key: String::new(), message });
        }
        for (section, value) in root.get_ref() {
            let name: &str = section.get_ref();
            let place = lines.place(section.span().start);
            let Some(table) = value.get_ref().as_table() else {
                if is_section(name) {
                    let message = format!("expected a section, [{name}]");
                    self.errors.push(ConfigError { place, key: name.to_owned(), message });
                } else {
                    self.errors.push(unknown(place, name));
                }
                continue;
            };
            if !is_section(name) {
                self.errors.push(unknown(place, name));
                continue;
            }
            for (key, value) in table {
                let written = format!("{name}.{}", key.get_ref());
                match find(&written) {
                    Some((key, _)) => {
                        self.by_key.entry(key).or_insert_with(|| setting(&lines, value.span().start, value.get_ref()));
                    }
                    None => self.errors.push(unknown(lines.place(key.span().start), &written)),
                }
            }
        }
        is_whole
    }
}

fn setting(lines: &Lines<'_>, offset: usize, value: &DeValue<'_>) -> Setting {
    let raw = match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Raw::Other(number.as_str().to_owned()),
        DeValue::Datetime(time) => Raw::Other(time.to_string()),
        DeValue::Array(items) => {
            Raw::List(items.iter().map(|item| setting(lines, item.span().start, item.get_ref())).collect())
        }
        DeValue::Table(members) => Raw::Table(
            members
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), setting(lines, value.span().start, value.get_ref())))
                .collect(),
        ),
    };
    Setting { raw, place: lines.place(offset) }
}

/// Splits a comma-separated value; an empty value is an empty list.
fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name).chain(LIMITS.iter().map(|limit| limit.key))
}

fn is_section(name: &str) -> bool {
    names().any(|key| key.split_once('.').is_some_and(|(section, _)| section == name))
}

fn find(name: &str) -> Option<(&'static str, Shape)> {
    KEYS.iter()
        .map(|key| (key.name, key.shape))
        .chain(
            LIMITS.iter().map(|limit| (limit.key, if limit.key == "rate.types" { Shape::Table } else { Shape::One })),
        )
        .find(|(known, _)| *known == name)
}

fn unknown(place: Place, written: &str) -> ConfigError {
    let section = names().filter_map(|key| key.split_once('.').map(|(section, _)| section));
    let candidates: Vec<&str> = if written.contains('.') { names().collect() } else { section.collect() };
    let suffix = written.rsplit('.').next().unwrap_or(written);
    let nearest = candidates
        .iter()
        .map(|known| (distance(known, written), *known))
        .min()
        .filter(|(distance, known)| distance.saturating_mul(4) <= known.len())
        .map(|(_, known)| known)
        .or_else(|| candidates.iter().copied().find(|known| known.rsplit('.').next() == Some(suffix)));
    let message = match nearest {
        Some(known) => format!("expected a known key; did you mean {known}?"),
        None => "expected a known key".to_owned(),
    };
    ConfigError { place, key: quoted(written).trim_matches('"').to_owned(), message }
}

/// Levenshtein's distance in characters.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index.saturating_add(1);
        let mut next = vec![left];
        for (above, theirs) in row.iter().skip(1).zip(&other) {
            let change = diagonal.saturating_add(usize::from(letter != *theirs));
            diagonal = *above;
            left = change.min(above.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (one, other, want) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("rate.burst", "rate.brust", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), want, "{one} {other}");
        }
    }

    #[test]
    fn no_key_is_listed_twice() {
        let mut all: Vec<_> = names().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
