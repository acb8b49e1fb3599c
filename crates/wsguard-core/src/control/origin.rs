//! Refuses a handshake from a page that is not on the allowlist.
//!
//! Attack: cross-site WebSocket hijacking (CWE-1385): browsers send cookies with a handshake from any page. Runs before
//! the credential control, so that a foreign page cannot learn whether a cookie is good.
//!
//! # Specification
//! RFC 6454 section 6.1 (serialisation), RFC 6455 section 10.2, OWASP ASVS 5.0 4.4.2

use std::fmt;

use crate::fault::{self, Fault};
use crate::handshake::Header;
use crate::verdict::{ControlId, Refusal};
use wsguard_protocol::ErrorCode;

/// An origin in its RFC 6454 serialisation: scheme, host in lower case, port unless it is the scheme's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Box<str>);

/// A text that is not the serialisation of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an origin such as https://app.example or http://localhost:3000, without path, slash or user")]
pub struct OriginInvalid;

impl Origin {
    /// Reads an allowlist entry.
    pub fn parse(text: &str) -> Result<Self, OriginInvalid> {
        let (scheme, authority) = text.split_once("://").ok_or(OriginInvalid)?;
        let default_port = match scheme {
            "http" => "80",
            "https" => "443",
            _ => return Err(OriginInvalid),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(OriginInvalid)?;
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(OriginInvalid);
                }
                let port = match port {
                    "" => None,
                    _ => Some(port.strip_prefix(':').ok_or(OriginInvalid)?),
                };
                (address, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let bracketed = authority.starts_with('[');
        let host_is_plain = !host.is_empty()
            && host.bytes().all(|byte| match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => true,
                b':' => bracketed,
                _ => false,
            });
        let port_is_plain = port.is_none_or(|port| {
            port.parse::<u16>().is_ok_and(|number| number != 0) && !port.starts_with(['0', '+']) && port != default_port
        });
        if host_is_plain && port_is_plain { Ok(Self(text.into())) } else { Err(OriginInvalid) }
    }

    /// The serialisation.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `header` holds an origin of the allowlist; `None` where the header is absent.
///
/// Compared byte for byte: a browser sends the one serialisation, whatever differs is not a browser's or not ours.
pub fn inspect(allowed: &[Origin], header: Header<'_>) -> Result<Option<usize>, Refusal> {
    let refuse = |reason: &'static str| Err(Refusal::new(ControlId::Origin, ErrorCode::Forbidden, reason));
    match header {
        Header::Absent => Ok(None),
        Header::Invalid => refuse("origin_malformed"),
        Header::One("null") => refuse("origin_null"),
        Header::One(origin) => match allowed.iter().position(|entry| entry.as_str() == origin) {
            Some(index) => Ok(Some(index)),
            None if fault::is_on(Fault::OriginUnchecked) => Ok(Some(0)),
            None => refuse("origin_foreign"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_compared_exactly() {
        let allowed = [Origin::parse("https://app.example").unwrap(), Origin::parse("http://localhost:3000").unwrap()];
        for (name, header, passes) in [
            ("same", Header::One("https://app.example"), true),
            ("second entry", Header::One("http://localhost:3000"), true),
            ("suffix trick", Header::One("https://app.example.evil.test"), false),
            ("prefix trick", Header::One("https://evilapp.example"), false),
            ("port differs", Header::One("https://app.example:8443"), false),
            ("default port spelt out", Header::One("https://app.example:443"), false),
            ("scheme differs", Header::One("http://app.example"), false),
            ("upper case", Header::One("https://APP.example"), false),
            ("trailing slash", Header::One("https://app.example/"), false),
            ("trailing dot", Header::One("https://app.example."), false),
            ("user", Header::One("https://app.example@evil.test"), false),
            ("null", Header::One("null"), false),
            ("empty", Header::One(""), false),
            ("two headers", Header::Invalid, false),
        ] {
            assert_eq!(inspect(&allowed, header).is_ok(), passes, "{name}");
        }
        assert_eq!(inspect(&allowed, Header::Absent), Ok(None), "absence is judged with the credential");
    }

    #[test]
    fn an_allowlist_entry_is_a_serialisation() {
        for good in ["https://app.example", "http://localhost:3000", "http://[::1]:3000", "https://10.0.0.1:8443"] {
            assert_eq!(Origin::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "null",
            "*",
            "https://*.example",
            "app.example",
            "https://",
            "https://app.example/",
            "https://App.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://u@app.example",
            "https://app.example:0",
            "https://app.example:99999",
            "https://app.example:",
            "https://app.example:08443",
            "https://[::1",
            "https://[zz]",
            "https://::1",
            "ftp://app.example",
            "https://app.example?x",
            " https://app.example",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }
}
