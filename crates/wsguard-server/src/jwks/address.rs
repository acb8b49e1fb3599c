//! Where an issuer publishes its keys: `https://`, or `http://` on this machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

/// Longest address in bytes.
const ADDRESS_BYTES_MAX: usize = 2_048;

/// The address of a JWK set. Whoever answers there says who may enter, so it must be proved by TLS, except on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: Box<str>,
    host: Box<str>,
    port: u16,
    tls: bool,
    target: Box<str>,
}

/// A text that is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as \"https://login.example/jwks.json\" (http:// only for loopback)")]
pub struct AddressInvalid;

impl Address {
    /// The host as a certificate names it: without brackets around an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// The value of the `Host` field.
    pub(super) fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl FromStr for Address {
    type Err = AddressInvalid;

    fn from_str(text: &str) -> Result<Self, AddressInvalid> {
        let uri: Uri = text.parse().map_err(|_| AddressInvalid)?;
        let authority = uri.authority().ok_or(AddressInvalid)?;
        // A user in the address is a secret in a log; a fragment is never sent.
        if text.len() > ADDRESS_BYTES_MAX || authority.as_str().contains('@') || text.contains('#') {
            return Err(AddressInvalid);
        }
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(AddressInvalid),
        };
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if bare.is_empty() || !(tls || loopback) {
            return Err(AddressInvalid);
        }
        let written = authority.as_str().strip_prefix(host).unwrap_or_default();
        let port = match written.strip_prefix(':') {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(AddressInvalid)?,
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self { text: text.into(), host: host.into(), port, tls, target: target.into() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proved_or_local_addresses_pass() {
        for (name, text, want) in [
            ("usual", "https://login.example/jwks.json", Some(("login.example", 443, "/jwks.json", "login.example"))),
            ("port", "https://login.example:8443/k?v=1", Some(("login.example", 8443, "/k?v=1", "login.example:8443"))),
            ("no path", "https://login.example", Some(("login.example", 443, "/", "login.example"))),
            ("loopback", "http://127.0.0.1:9/k", Some(("127.0.0.1", 9, "/k", "127.0.0.1:9"))),
            ("loopback of IPv6", "http://[::1]:9/k", Some(("::1", 9, "/k", "[::1]:9"))),
            ("localhost", "http://localhost/k", Some(("localhost", 80, "/k", "localhost"))),
            ("plain and far", "http://login.example/jwks.json", None),
            ("name that begins like loopback", "http://127.0.0.1.evil.test/k", None),
            ("name that begins like localhost", "http://localhost.evil.test/k", None),
            ("user", "https://ann:pw@login.example/k", None),
            ("user that looks like a host", "http://localhost@evil.test/k", None),
            ("other scheme", "file:///etc/keys", None),
            ("no scheme", "login.example/k", None),
            ("no host", "https:///k", None),
            ("port zero", "https://login.example:0/k", None),
            ("port too large", "https://login.example:65536/k", None),
            ("empty port", "https://login.example:/k", None),
            ("fragment", "https://login.example/k#x", None),
            ("nothing", "", None),
        ] {
            let got = text.parse::<Address>().ok();
            let got = got.as_ref().map(|got| (got.host(), got.port(), got.target(), got.authority()));
            assert_eq!(got, want.map(|(host, port, target, field)| (host, port, target, field.to_owned())), "{name}");
        }
        let long = format!("https://login.example/{}", "x".repeat(ADDRESS_BYTES_MAX));
        assert!(long.parse::<Address>().is_err());
    }
}
