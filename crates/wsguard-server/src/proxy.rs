//! The address a client really has, behind proxies that are believed.
//!
//! Attack: a client that writes its own `X-Forwarded-For` escapes every limit per address, or blames somebody else
//! (CWE-348, CWE-290; OWASP ASVS 5.0 4.1.3). So the headers are read only from addresses of `proxy.trusted`, from the right,
//! and the first hop that is not trusted is the client: everything to its left is hearsay and is not looked at.
//! What is ambiguous is refused, never guessed.
//!
//! # Specification
//! RFC 7239 (`Forwarded`); `X-Forwarded-For` and `X-Forwarded-Proto` as proxies in use write them

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, VIA};
use ipnet::IpNet;

/// Most hops read before the client is found. A chain of more trusted proxies is a loop.
pub const HOPS_MAX: usize = 16;

/// Longest forwarding header in bytes: 16 IPv6 addresses with ports and parameters.
pub const HEADER_BYTES_MAX: usize = 2_048;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Whom to believe, and what to ask of it.
#[derive(Clone, Debug)]
pub struct ProxyPolicy {
    trusted: Box<[IpNet]>,
    transport: Transport,
}

/// How requests reach this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over TLS of our own, from clients and from proxies.
    OwnTls,
    /// In plain, and only from trusted proxies that vouch for TLS with `X-Forwarded-Proto: https`.
    ProxyTls,
    /// `--dev`: in plain, from this machine, through no proxy.
    Development,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client, IPv4-mapped IPv6 addresses as IPv4. What limits per address count.
    pub ip: IpAddr,
    /// The other end of the connection: the client itself, or the proxy nearest to us.
    pub peer: IpAddr,
}

/// Why a request is refused before anything else of it is looked at. The answer is 400, and 403 for
/// [`ProxyError::NotOverTls`] and [`ProxyError::ForwardedInDevelopment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// A forwarding header under `--dev`: a tunnel publishes the development server.
    #[error("a request that was forwarded, under --dev")]
    ForwardedInDevelopment,
    /// In plain from an address that is no trusted proxy, or without exactly `X-Forwarded-Proto: https` from one.
    #[error("a request that did not come over TLS")]
    NotOverTls,
    /// A forwarding header twice: which of the two the proxy wrote cannot be known.
    #[error("{0} twice")]
    Repeated(&'static str),
    /// Both `Forwarded` and `X-Forwarded-For`: the proxy writes one of them, the client could have written the other.
    #[error("both forwarded and x-forwarded-for")]
    Both,
    /// The part of a forwarding header that must be believed is not an address.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// A forwarding header beyond [`HEADER_BYTES_MAX`], or more than [`HOPS_MAX`] trusted hops.
    #[error("{0} is too long")]
    TooLong(&'static str),
}

impl ProxyError {
    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotOverTls | Self::ForwardedInDevelopment => 403,
            Self::Repeated(_) | Self::Both | Self::Malformed(_) | Self::TooLong(_) => 400,
        }
    }
}

impl ProxyPolicy {
    /// Makes a policy that believes `trusted`.
    pub fn new(trusted: &[IpNet], transport: Transport) -> Self {
        Self { trusted: trusted.into(), transport }
    }

    /// Finds the client of a request that came from `peer` with `headers`.
    ///
    /// # Errors
    /// What must not be guessed; the request is to be refused.
    pub fn resolve(&self, peer: IpAddr, headers: &HeaderMap) -> Result<ClientAddress, ProxyError> {
        let peer = peer.to_canonical();
        if self.transport == Transport::Development {
            let forwards = |name: &http::HeaderName| {
                *name == FORWARDED || *name == VIA || name.as_str().starts_with("x-forwarded-")
            };
            if headers.keys().any(forwards) {
                return Err(ProxyError::ForwardedInDevelopment);
            }
            return Ok(ClientAddress { ip: peer, peer });
        }
        let is_proxy = self.trusts(peer);
        if self.transport == Transport::ProxyTls {
            let proto = one(headers, X_FORWARDED_PROTO)?;
            if !is_proxy || proto.is_none_or(|proto| !proto.eq_ignore_ascii_case("https")) {
                return Err(ProxyError::NotOverTls);
            }
        }
        if !is_proxy {
            return Ok(ClientAddress { ip: peer, peer });
        }
        let ip = match (one(headers, FORWARDED.as_str())?, one(headers, X_FORWARDED_FOR)?) {
            (Some(_), Some(_)) => return Err(ProxyError::Both),
            (None, None) => peer,
            (Some(list), None) => self.client(list, "forwarded", forwarded_hop)?,
            (None, Some(list)) => self.client(list, X_FORWARDED_FOR, address)?,
        };
        Ok(ClientAddress { ip, peer })
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&ip))
    }

    /// Walks `list` from the right to the first hop that is not trusted. Where all are, the left-most is the client: a
    /// program in the trusted network.
    fn client(&self, list: &str, name: &'static str, hop: fn(&str) -> Option<IpAddr>) -> Result<IpAddr, ProxyError> {
        let mut left_most = None;
        for (count, element) in from_right(list).enumerate() {
            if count >= HOPS_MAX {
                return Err(ProxyError::TooLong(name));
            }
            let ip = hop(element).ok_or(ProxyError::Malformed(name))?.to_canonical();
            if !self.trusts(ip) {
                return Ok(ip);
            }
            left_most = Some(ip);
        }
        left_most.ok_or(ProxyError::Malformed(name))
    }
}

/// The one value of a header; `None` when it is absent.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ProxyError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ProxyError::Repeated(name));
    }
    if value.len() > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong(name));
    }
    value.to_str().map(Some).map_err(|_| ProxyError::Malformed(name))
}

/// The elements of a list, the last first. A comma inside quotes parts nothing; quotes of the hearsay at the left cannot
/// reach over, because the walk ends before it: a quote is looked for only inside the element that is read.
fn from_right(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let comma = text.bytes().rposition(|byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        let (left, element) = match comma {
            Some(at) => text.split_at_checked(at).map_or((None, text), |(left, right)| (Some(left), right)),
            None => (None, text),
        };
        rest = left;
        Some(element.trim_start_matches(',').trim_matches([' ', '\t']))
    })
}

/// Reads the hop of one `Forwarded` element: its `for`, which must be there once (RFC 7239 section 4).
fn forwarded_hop(element: &str) -> Option<IpAddr> {
    let mut hop = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        if name.eq_ignore_ascii_case("for") && hop.replace(value).is_some() {
            return None;
        }
    }
    let value = hop?;
    match value.strip_prefix('"') {
        // An IPv6 address or a port needs quotes; no address needs an escape in them.
        Some(rest) => address(rest.strip_suffix('"')?),
        None => value.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Reads an address, IPv6 with or without brackets, with or without a port. A zone is no address.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().ok().map(IpAddr::V6);
    }
    match text.parse::<SocketAddr>().ok()? {
        SocketAddr::V6(socket) if socket.scope_id() != 0 => None,
        socket => Some(socket.ip()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn resolve(transport: Transport, peer: &str, headers: &[(&str, &str)]) -> Result<String, ProxyError> {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "192.0.2.1/32", "2001:db8:1::/48"].iter().map(|net| net.parse().unwrap()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        ProxyPolicy::new(&trusted, transport).resolve(peer.parse().unwrap(), &map).map(|found| found.ip.to_string())
    }

    #[test]
    fn the_client_is_the_right_most_hop_that_is_not_trusted() {
        const FOR: &str = "X-Forwarded-For";
        for (name, peer, headers, want) in [
            ("no proxy", "198.51.100.7", &[][..], Ok("198.51.100.7")),
            ("spoofed without proxy", "198.51.100.7", &[(FOR, "203.0.113.9")], Ok("198.51.100.7")),
            (
                "spoofed Forwarded without proxy",
                "198.51.100.7",
                &[("Forwarded", "for=203.0.113.9")],
                Ok("198.51.100.7"),
            ),
            ("garbage without proxy", "198.51.100.7", &[(FOR, "x"), (FOR, "y")], Ok("198.51.100.7")),
            ("one proxy", "10.0.0.1", &[(FOR, "203.0.113.9")], Ok("203.0.113.9")),
            ("spoofed at the left", "10.0.0.1", &[(FOR, "1.1.1.1, 203.0.113.9")], Ok("203.0.113.9")),
            ("spoofed as a trusted one", "10.0.0.1", &[(FOR, "10.9.9.9, 203.0.113.9")], Ok("203.0.113.9")),
            ("garbage at the left", "10.0.0.1", &[(FOR, "unknown, <x>, 203.0.113.9")], Ok("203.0.113.9")),
            ("two proxies", "10.0.0.1", &[(FOR, "203.0.113.9, 192.0.2.1")], Ok("203.0.113.9")),
            ("all trusted", "10.0.0.1", &[(FOR, "10.0.0.3,10.0.0.2")], Ok("10.0.0.3")),
            ("proxy itself", "10.0.0.1", &[], Ok("10.0.0.1")),
            ("port", "10.0.0.1", &[(FOR, "203.0.113.9:1234")], Ok("203.0.113.9")),
            ("IPv6", "2001:db8:1::1", &[(FOR, "2001:db8:2::5")], Ok("2001:db8:2::5")),
            ("IPv6 in brackets", "10.0.0.1", &[(FOR, "[2001:db8:2::5]")], Ok("2001:db8:2::5")),
            ("IPv6 with port", "10.0.0.1", &[(FOR, "[2001:db8:2::5]:99")], Ok("2001:db8:2::5")),
            ("mapped peer", "::ffff:10.0.0.1", &[(FOR, "203.0.113.9")], Ok("203.0.113.9")),
            ("mapped client", "10.0.0.1", &[(FOR, "::ffff:203.0.113.9")], Ok("203.0.113.9")),
            ("mapped trusted hop", "10.0.0.1", &[(FOR, "203.0.113.9, ::ffff:10.0.0.2")], Ok("203.0.113.9")),
            ("Forwarded", "10.0.0.1", &[("Forwarded", "for=203.0.113.9;proto=https")], Ok("203.0.113.9")),
            ("Forwarded IPv6", "10.0.0.1", &[("Forwarded", "For=\"[2001:db8:2::5]:99\"")], Ok("2001:db8:2::5")),
            (
                "Forwarded chain",
                "10.0.0.1",
                &[("Forwarded", "for=1.1.1.1, for=203.0.113.9, for=10.0.0.2")],
                Ok("203.0.113.9"),
            ),
            (
                "Forwarded with quoted comma",
                "10.0.0.1",
                &[("Forwarded", "for=203.0.113.9;by=\"a,b\"")],
                Ok("203.0.113.9"),
            ),
            (
                "open quote at the left",
                "10.0.0.1",
                &[("Forwarded", "for=\"1.1.1.1, for=203.0.113.9")],
                Ok("203.0.113.9"),
            ),
            (
                "twice",
                "10.0.0.1",
                &[(FOR, "203.0.113.9"), (FOR, "1.1.1.1")],
                Err(ProxyError::Repeated(X_FORWARDED_FOR)),
            ),
            ("both headers", "10.0.0.1", &[(FOR, "203.0.113.9"), ("Forwarded", "for=1.1.1.1")], Err(ProxyError::Both)),
            ("empty", "10.0.0.1", &[(FOR, "")], Err(ProxyError::Malformed(X_FORWARDED_FOR))),
            ("empty hop", "10.0.0.1", &[(FOR, "203.0.113.9,")], Err(ProxyError::Malformed(X_FORWARDED_FOR))),
            ("a name", "10.0.0.1", &[(FOR, "client.example")], Err(ProxyError::Malformed(X_FORWARDED_FOR))),
            (
                "garbage before the client",
                "10.0.0.1",
                &[(FOR, "1.1.1.1, x, 10.0.0.2")],
                Err(ProxyError::Malformed(X_FORWARDED_FOR)),
            ),
            ("octal", "10.0.0.1", &[(FOR, "010.0.0.1")], Err(ProxyError::Malformed(X_FORWARDED_FOR))),
            ("zone", "10.0.0.1", &[(FOR, "fe80::1%1")], Err(ProxyError::Malformed(X_FORWARDED_FOR))),
            ("Forwarded unknown", "10.0.0.1", &[("Forwarded", "for=unknown")], Err(ProxyError::Malformed("forwarded"))),
            ("Forwarded hidden", "10.0.0.1", &[("Forwarded", "for=_a")], Err(ProxyError::Malformed("forwarded"))),
            (
                "Forwarded without for",
                "10.0.0.1",
                &[("Forwarded", "proto=https")],
                Err(ProxyError::Malformed("forwarded")),
            ),
            (
                "Forwarded with two for",
                "10.0.0.1",
                &[("Forwarded", "for=203.0.113.9;for=1.1.1.1")],
                Err(ProxyError::Malformed("forwarded")),
            ),
            (
                "IPv6 needs quotes",
                "10.0.0.1",
                &[("Forwarded", "for=[2001:db8:2::5]")],
                Err(ProxyError::Malformed("forwarded")),
            ),
        ] {
            assert_eq!(resolve(Transport::OwnTls, peer, headers).as_deref(), want.as_ref().copied(), "{name}");
        }
    }

    #[test]
    fn a_chain_and_a_header_have_an_end() {
        let hops = vec!["10.0.0.2"; HOPS_MAX].join(",");
        let long = "1".repeat(HEADER_BYTES_MAX + 1);
        for (name, value, want) in [
            ("longest chain", hops.clone(), Ok("10.0.0.2".to_owned())),
            ("one hop more", format!("{hops},10.0.0.3"), Err(ProxyError::TooLong(X_FORWARDED_FOR))),
            ("too many bytes", long, Err(ProxyError::TooLong(X_FORWARDED_FOR))),
        ] {
            assert_eq!(resolve(Transport::OwnTls, "10.0.0.1", &[("X-Forwarded-For", &value)]), want, "{name}");
        }
    }

    #[test]
    fn without_tls_of_our_own_a_trusted_proxy_must_vouch_for_it() {
        const PROTO: &str = "X-Forwarded-Proto";
        for (name, peer, headers, want) in [
            ("https", "10.0.0.1", &[(PROTO, "https")][..], Ok("10.0.0.1")),
            ("case", "10.0.0.1", &[(PROTO, "HTTPS")], Ok("10.0.0.1")),
            ("http", "10.0.0.1", &[(PROTO, "http")], Err(ProxyError::NotOverTls)),
            ("absent", "10.0.0.1", &[], Err(ProxyError::NotOverTls)),
            ("list", "10.0.0.1", &[(PROTO, "https, http")], Err(ProxyError::NotOverTls)),
            ("twice", "10.0.0.1", &[(PROTO, "https"), (PROTO, "http")], Err(ProxyError::Repeated(X_FORWARDED_PROTO))),
            ("not a proxy", "198.51.100.7", &[(PROTO, "https")], Err(ProxyError::NotOverTls)),
        ] {
            assert_eq!(resolve(Transport::ProxyTls, peer, headers).as_deref(), want.as_ref().copied(), "{name}");
        }
    }

    #[test]
    fn development_refuses_what_was_forwarded() {
        for (name, headers, want) in [
            ("direct", &[][..], Ok("127.0.0.1")),
            ("other header", &[("X-Real-Thing", "1")], Ok("127.0.0.1")),
            ("Forwarded", &[("Forwarded", "for=1.1.1.1")], Err(ProxyError::ForwardedInDevelopment)),
            ("X-Forwarded-For", &[("X-Forwarded-For", "1.1.1.1")], Err(ProxyError::ForwardedInDevelopment)),
            ("X-Forwarded-Host", &[("X-Forwarded-Host", "a")], Err(ProxyError::ForwardedInDevelopment)),
            ("Via", &[("Via", "1.1 tunnel")], Err(ProxyError::ForwardedInDevelopment)),
        ] {
            assert_eq!(
                resolve(Transport::Development, "127.0.0.1", headers).as_deref(),
                want.as_ref().copied(),
                "{name}"
            );
        }
    }
}
