//! Refuses a handshake that names a host which is not this server's.
//!
//! Attack: DNS rebinding (CWE-350): a page of `evil.test` whose name suddenly resolves to this server reaches it with a
//! matching Origin and Host. Only the list of names that are really ours tells the two apart; "same origin" derived from
//! the Host header alone does not.
//!
//! # Specification
//! RFC 9110 section 7.2; docs/threat-model.md

use crate::handshake::Header;
use crate::verdict::{ControlId, Refusal};
use wsguard_protocol::ErrorCode;

/// A host name or address, with a port or for any port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    name: Box<str>,
    port: Option<u16>,
}

/// A text that is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a host name or address such as app.example, localhost:3000 or [::1], in lower case")]
pub struct HostInvalid;

impl HostPattern {
    /// Reads an allowlist entry: `name` (any port) or `name:port`.
    pub fn parse(text: &str) -> Result<Self, HostInvalid> {
        let (name, port) = split(text).ok_or(HostInvalid)?;
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(HostInvalid);
        }
        Ok(Self { name: name.into(), port })
    }

    /// The place of the entry of `allowed` that lets pass a header with `port` that this entry let pass.
    pub(crate) fn place_in(&self, port: Option<u16>, allowed: &[Self]) -> Option<usize> {
        allowed.iter().position(|entry| entry.covers(&self.name, port))
    }

    fn covers(&self, name: &str, port: Option<u16>) -> bool {
        self.name.eq_ignore_ascii_case(name) && (self.port.is_none() || self.port == port)
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Splits `host[:port]`; an IPv6 address keeps its brackets.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = if text.starts_with('[') {
        let end = text.find(']')?;
        let (name, rest) = text.split_at_checked(end.checked_add(1)?)?;
        name.get(1..end)?.parse::<std::net::Ipv6Addr>().ok()?;
        match rest {
            "" => (name, None),
            _ => (name, Some(rest.strip_prefix(':')?)),
        }
    } else {
        match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        }
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || (!name.starts_with('[') && !name.bytes().all(plain)) {
        return None;
    }
    match port {
        None => Some((name, None)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some((name, Some(digits.parse().ok()?))),
        Some(_) => None,
    }
}

/// Whether `header` names a host of the allowlist: the place of the entry, and the port in the header.
pub fn inspect(allowed: &[HostPattern], header: Header<'_>) -> Result<(usize, Option<u16>), Refusal> {
    let refuse = |reason: &'static str| Err(Refusal::new(ControlId::Host, ErrorCode::Forbidden, reason));
    let Header::One(text) = header else {
        return refuse("host_malformed");
    };
    let Some((name, port)) = split(text) else {
        return refuse("host_malformed");
    };
    match allowed.iter().position(|entry| entry.covers(name, port)) {
        Some(place) => Ok((place, port)),
        None => refuse("host_foreign"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_hosts_pass() {
        let allowed: Vec<_> = ["localhost", "127.0.0.1", "[::1]", "app.example:8443"]
            .iter()
            .map(|text| HostPattern::parse(text).unwrap())
            .collect();
        for (name, header, passes) in [
            ("name, any port", Header::One("localhost:3000"), true),
            ("name alone", Header::One("localhost"), true),
            ("case does not matter in a name", Header::One("LOCALHOST:1"), true),
            ("address", Header::One("127.0.0.1:3000"), true),
            ("IPv6", Header::One("[::1]:3000"), true),
            ("port fixed", Header::One("app.example:8443"), true),
            ("port differs", Header::One("app.example:443"), false),
            ("port missing", Header::One("app.example"), false),
            ("rebinding", Header::One("rebind.invalid"), false),
            ("looks like loopback", Header::One("127.attacker.example"), false),
            ("suffix", Header::One("localhost.evil.test"), false),
            ("user", Header::One("evil@localhost"), false),
            ("list", Header::One("localhost, evil"), false),
            ("bad port", Header::One("localhost:+3000"), false),
            ("broken IPv6", Header::One("[::1"), false),
            ("empty", Header::One(""), false),
            ("absent", Header::Absent, false),
            ("two headers", Header::Invalid, false),
        ] {
            assert_eq!(inspect(&allowed, header).is_ok(), passes, "{name}");
        }
    }
}
