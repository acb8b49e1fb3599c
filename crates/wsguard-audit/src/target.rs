//! Whom the audit looks at, and what it was given for that.

use std::net::{IpAddr, SocketAddr};

use http::Uri;
use thiserror::Error;
use tokio::net::lookup_host;

use crate::pace::Pace;

/// What an audit is asked to do.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line and independent of the others")]
pub struct Options {
    /// `ws://` or `wss://`, with path and query. May hold `{token}`.
    pub url: String,
    /// The credential.
    pub token: Option<String>,
    /// A credential of somebody else.
    pub token_b: Option<String>,
    /// A credential that has ended.
    pub expired_token: Option<String>,
    /// A good credential that is meant for another service.
    pub foreign_token: Option<String>,
    /// A good credential that ends within minutes.
    pub short_token: Option<String>,
    /// A good credential that the audit may end, in place of `token`.
    pub logout_token: Option<String>,
    /// The value of a `Cookie` header. May hold `{token}`.
    pub cookie: Option<String>,
    /// Further headers of every handshake. Values may hold `{token}`.
    pub headers: Vec<(String, String)>,
    /// The origin of the page that uses this server; its own origin otherwise.
    pub origin: Option<String>,
    /// What a handshake offers in `Sec-WebSocket-Protocol`. May hold `{token}`.
    pub subprotocols: Vec<String>,
    /// The first message of a connection, when that is how one logs in. Holds `{token}`.
    pub login: Option<String>,
    /// A message that the server answers. May hold `{id}`, `{csrf}`, `{marker}`.
    pub send: Option<String>,
    /// A regular expression that a valid answer to `send` matches. May hold `{id}`, `{marker}`.
    pub expect: Option<String>,
    /// Where a `POST` or `GET` with the credential ends the session.
    pub logout_url: Option<String>,
    /// Where a `POST` with the credential gives a ticket.
    pub ticket_url: Option<String>,
    /// Where a `POST` of `login_data` logs in and sets the session cookie.
    pub login_url: Option<String>,
    /// What is posted there.
    pub login_data: Option<String>,
    /// A login that fails: a message, or what is posted to `bad_login_url`. Holds `{user}` and `{password}`.
    pub bad_login: Option<String>,
    /// Where it is posted, if it is no message.
    pub bad_login_url: Option<String>,
    /// An account that exists, and is the auditor's own.
    pub known_user: Option<String>,
    /// The message that resumes a session. Holds `{session}`: what the target called the session when it began.
    pub resume: Option<String>,
    /// A second address of this machine to come from, of the same network as the first.
    pub source_b: Option<IpAddr>,
    /// PEM of further authorities to trust.
    pub ca_pem: Option<Vec<u8>>,
    /// Certificates are not judged.
    pub insecure: bool,
    /// The server is meant for everybody.
    pub public: bool,
    /// With the longer waits.
    pub full: bool,
    /// With what might hurt a weak server.
    pub intrusive: bool,
    /// More load than a stranger may bring.
    pub own_target: bool,
    /// Ids, or beginnings of ids, of the checks to run; all when empty.
    pub only: Vec<String>,
    /// Ids, or beginnings of ids, of the checks to leave out.
    pub skip: Vec<String>,
    /// How fast time passes.
    pub pace: Pace,
}

impl Options {
    /// An audit of `url` with nothing but a token.
    pub fn new(url: &str, token: Option<&str>) -> Self {
        Self {
            url: url.to_owned(),
            token: token.map(str::to_owned),
            token_b: None,
            expired_token: None,
            foreign_token: None,
            short_token: None,
            logout_token: None,
            cookie: None,
            headers: Vec::new(),
            origin: None,
            subprotocols: Vec::new(),
            login: None,
            send: None,
            expect: None,
            logout_url: None,
            ticket_url: None,
            login_url: None,
            login_data: None,
            bad_login: None,
            bad_login_url: None,
            known_user: None,
            resume: None,
            source_b: None,
            ca_pem: None,
            insecure: false,
            public: false,
            full: false,
            intrusive: false,
            own_target: false,
            only: Vec::new(),
            skip: Vec::new(),
            pace: Pace::REAL,
        }
    }

    /// Whether the check of this id was asked for.
    pub fn wants(&self, id: &str) -> bool {
        let names = |list: &[String]| {
            list.iter().any(|name| {
                let (id, name) = (id.to_ascii_uppercase(), name.to_ascii_uppercase());
                id.starts_with(&name) || id.strip_prefix("WSA-").is_some_and(|rest| rest.starts_with(&name))
            })
        };
        (self.only.is_empty() || names(&self.only)) && !names(&self.skip)
    }

    /// Everything that must not stand in a report.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets: Vec<String> = [
            &self.token,
            &self.token_b,
            &self.expired_token,
            &self.foreign_token,
            &self.short_token,
            &self.logout_token,
        ]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
        if let Some(cookie) = &self.cookie {
            secrets.extend(cookie.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned())));
        }
        secrets.extend(
            self.headers
                .iter()
                .filter(|(name, _)| is_secret_header(name))
                .map(|(_, value)| value.split_once(' ').map_or(value.as_str(), |(_, rest)| rest).to_owned()),
        );
        // Short words would mask half of the report.
        secrets.retain(|secret| secret.len() >= 6 && !secret.contains("{token}"));
        // Longest first: one may hold another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        secrets
    }
}

/// Whether a header of this name carries a credential.
fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "token", "key", "secret", "auth"].iter().any(|word| name.contains(word))
}

/// What is wrong with a URL, or with the way to it.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Not a URL of a WebSocket server.
    #[error("read the URL {0:?}: expected ws://HOST[:PORT][/PATH] or wss://…")]
    Url(String),
    /// The name has no address.
    #[error("find the address of {0}: {1}")]
    Name(String, std::io::Error),
}

/// Where the server is.
#[derive(Clone, Debug)]
pub struct Target {
    /// `wss://` rather than `ws://`.
    pub tls: bool,
    /// Name or address, without port and brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, as given.
    pub path: String,
    /// What the name stands for; never empty.
    pub addresses: Vec<SocketAddr>,
}

impl Target {
    /// Reads a URL and looks its name up.
    ///
    /// # Errors
    /// When it is no URL of a WebSocket server, or its name has no address.
    pub async fn find(url: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError::Url(url.to_owned());
        // `{` and `}` are no characters of a URI; they come back for the template.
        let uri: Uri = url.replace('{', "%7B").replace('}', "%7D").parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).replace("%7B", "{").replace("%7D", "}");
        let addresses: Vec<SocketAddr> =
            lookup_host((host.as_str(), port)).await.map_err(|error| TargetError::Name(host.clone(), error))?.collect();
        if addresses.is_empty() {
            return Err(TargetError::Name(host, std::io::Error::other("it has none")));
        }
        Ok(Self { tls, host, port, path, addresses })
    }

    /// The value of `Host`.
    pub fn authority(&self) -> String {
        let host = self.bracketed();
        if self.port == self.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// The origin of a page that this server serves itself.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }

    /// The URL, with the path but without the query, which may hold a secret.
    pub fn shown(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{}://{}{path}", if self.tls { "wss" } else { "ws" }, self.authority())
    }

    /// Only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|address| address.ip().is_loopback())
    }

    /// Not an address of the public internet.
    pub fn is_private(&self) -> bool {
        self.addresses.iter().all(|address| match address.ip() {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        })
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    fn default_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urls_are_read() {
        for (url, want) in [
            ("ws://127.0.0.1:3000/ws", Some(("127.0.0.1:3000", "/ws", "http://127.0.0.1:3000"))),
            ("wss://127.0.0.1", Some(("127.0.0.1", "/", "https://127.0.0.1"))),
            ("wss://[::1]:8443/a?token={token}", Some(("[::1]:8443", "/a?token={token}", "https://[::1]:8443"))),
            ("ws://127.0.0.1:80/x", Some(("127.0.0.1", "/x", "http://127.0.0.1"))),
            ("ftp://127.0.0.1/", None),
            ("ws://user@127.0.0.1/", None),
            ("127.0.0.1:3000", None),
            ("", None),
        ] {
            let found = Target::find(url).await.ok();
            let found = found.map(|target| (target.authority(), target.path.clone(), target.origin()));
            let found = found.as_ref().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()));
            assert_eq!(found, want, "{url}");
        }
    }

    #[test]
    fn checks_are_selected_by_the_beginning_of_their_id() {
        let options = |only: &[&str], skip: &[&str]| Options {
            only: only.iter().map(|&name| name.to_owned()).collect(),
            skip: skip.iter().map(|&name| name.to_owned()).collect(),
            ..Options::new("ws://localhost/", None)
        };
        for (name, only, skip, want) in [
            ("all", &[][..], &[][..], true),
            ("its id", &["WSA-CSRF-01"], &[], true),
            ("its category", &["csrf"], &[], true),
            ("another", &["WSA-TLS"], &[], false),
            ("left out", &[], &["CSRF-01"], false),
            ("left out of its category", &["csrf"], &["WSA-CSRF-01"], false),
        ] {
            assert_eq!(options(only, skip).wants("WSA-CSRF-01"), want, "{name}");
        }
    }

    #[test]
    fn secrets_are_known_longest_first() {
        let options = Options {
            cookie: Some("sid=abcdefgh; lang=en".into()),
            headers: vec![("Authorization".into(), "Bearer abcdefghijk".into()), ("X-Mode".into(), "whatever".into())],
            ..Options::new("ws://localhost/", Some("token-a"))
        };
        assert_eq!(options.secrets(), ["abcdefghijk", "abcdefgh", "token-a"]);
    }
}
