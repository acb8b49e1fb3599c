//! Values of keys as types: times, sizes, origins, hosts.
//!
//! The types of origins and hosts are the core's, which compares them. Here they are read more strictly: an entry that no
//! browser sends would never match, and its writer would not learn why.

use std::net::{Ipv4Addr, Ipv6Addr};

use wsguard_core::control::host::HostPattern;
use wsguard_core::control::origin::Origin;

use super::limit::Unit;

/// Longest DNS name in bytes (RFC 1035 section 2.3.4, without the root's dot).
const NAME_BYTES_MAX: usize = 253;

/// Longest label of a DNS name in bytes (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Reads an origin; `None` when `text` is not exactly what a browser would send (RFC 6454 section 6.2).
pub(super) fn origin(text: &str) -> Option<Origin> {
    let (scheme, rest) = text.split_once("://")?;
    let (name, port) = host_and_port(rest)?;
    if !is_host(name) || port.is_some() && default_port(scheme) == port {
        return None;
    }
    Origin::parse(text).ok()
}

/// Reads the nearest origin to a text that is none, to be suggested: case, path, user, white space and default port aside,
/// and `ws` taken for the `http` of its page.
pub(super) fn nearest_origin(text: &str) -> Option<Origin> {
    let lower = text.trim().to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let (name, port) = host_and_port(host)?;
    let scheme = match scheme {
        "ws" => "http",
        "wss" => "https",
        other => other,
    };
    match port {
        Some(port) if default_port(scheme) != Some(port) => origin(&format!("{scheme}://{name}:{port}")),
        _ => origin(&format!("{scheme}://{name}")),
    }
}

/// Makes the origin of pages that come from `host` at `port`; `None` for port 0 and for what is no host.
pub(super) fn listener_origin(https: bool, host: &str, port: u16) -> Option<Origin> {
    let scheme = if https { "https" } else { "http" };
    if default_port(scheme) == Some(port) {
        origin(&format!("{scheme}://{host}"))
    } else {
        origin(&format!("{scheme}://{host}:{port}"))
    }
}

/// Whether pages of this origin travel without TLS from another machine.
pub(super) fn is_plain_and_far(origin: &Origin) -> bool {
    origin.as_str().strip_prefix("http://").and_then(host_and_port).is_some_and(|(name, _)| {
        name != "localhost" && name != "[::1]" && !name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Reads `name`, `name:port`, `192.0.2.1`, `[2001:db8::1]:443`; upper case counts as lower (RFC 9110 section 4.2.3).
pub(super) fn host(text: &str) -> Option<HostPattern> {
    let lower = text.to_ascii_lowercase();
    let (name, _) = host_and_port(&lower)?;
    is_host(name).then(|| HostPattern::parse(&lower).ok())?
}

/// Reads a time or a size: a number and its unit, nothing between them. `None` for other text, also for what overflows.
pub(super) fn quantity(unit: Unit, text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let factor = match (unit, suffix) {
        (Unit::Count, "") | (Unit::Bytes, "" | "B") | (Unit::Time, "ms") => 1,
        (Unit::Bytes, "KiB") => 1_024,
        (Unit::Bytes, "MiB") => 1_048_576,
        (Unit::Bytes, "GiB") => 1_073_741_824,
        (Unit::Time, "s") => 1_000,
        (Unit::Time, "m") => 60_000,
        (Unit::Time, "h") => 3_600_000,
        (Unit::Time, "d") => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Splits `host[:port]`; the port in its only form, without leading zeros.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let port = match port {
        Some(digits) => {
            let port: u16 = digits.parse().ok()?;
            if port == 0 || port.to_string() != digits {
                return None;
            }
            Some(port)
        }
        None => None,
    };
    Some((name, port))
}

/// Whether `name` is a host as browsers write it: a DNS name in lower case, an IPv4 address, or `[IPv6]` in RFC 5952 form.
fn is_host(name: &str) -> bool {
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok_and(|address| address.to_string() == inner);
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return false;
    }
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    // The WHATWG URL Standard takes a host whose last label is a number for an IPv4 address, and 127.1 for 127.0.0.1.
    let last_is_number = name
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()) || label.starts_with("0x"));
    name.split('.').all(is_label) && (!last_is_number || name.parse::<Ipv4Addr>().is_ok())
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_serialisation_of_an_origin_is_one() {
        for (text, good, nearest) in [
            ("https://app.example", true, Some("https://app.example")),
            ("https://app.example:8443", true, Some("https://app.example:8443")),
            ("http://localhost:3000", true, Some("http://localhost:3000")),
            ("http://127.0.0.1:3000", true, Some("http://127.0.0.1:3000")),
            ("http://[::1]:3000", true, Some("http://[::1]:3000")),
            ("https://xn--mnchen-3ya.example", true, Some("https://xn--mnchen-3ya.example")),
            ("chrome-extension://abcdefgh", false, None),
            ("https://app.example/", false, Some("https://app.example")),
            ("https://App.Example", false, Some("https://app.example")),
            ("HTTPS://app.example", false, Some("https://app.example")),
            ("https://app.example:443", false, Some("https://app.example")),
            ("http://app.example:80", false, Some("http://app.example")),
            ("https://user@app.example", false, Some("https://app.example")),
            (" https://app.example", false, Some("https://app.example")),
            ("wss://app.example", false, Some("https://app.example")),
            ("https://app.example/chat?x#y", false, Some("https://app.example")),
            ("https://*.app.example", false, None),
            ("*", false, None),
            ("null", false, None),
            ("app.example", false, None),
            ("https://", false, None),
            ("https://münchen.example", false, None),
            ("https://127.1", false, None),
            ("https://[::0001]", false, None),
            ("https://app.example:0443", false, None),
            ("https://app.example:0", false, None),
            ("https://app..example", false, None),
        ] {
            assert_eq!(origin(text).is_some(), good, "{text}");
            assert_eq!(nearest_origin(text).as_ref().map(Origin::as_str), nearest, "nearest of {text}");
        }
    }

    #[test]
    fn hosts_have_a_port_or_none() {
        for (text, want) in [
            ("app.example", Some("app.example")),
            ("App.Example:443", Some("app.example:443")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[::1]:3000", Some("[::1]:3000")),
            ("::1", None),
            ("app.example:", None),
            ("app.example:99999", None),
            ("app.example/", None),
            ("https://app.example", None),
            ("*.example", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(host(text).map(|host| host.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn quantities_need_their_unit() {
        for (unit, text, want) in [
            (Unit::Time, "250ms", Some(250)),
            (Unit::Time, "30s", Some(30_000)),
            (Unit::Time, "15m", Some(900_000)),
            (Unit::Time, "24h", Some(86_400_000)),
            (Unit::Time, "1d", Some(86_400_000)),
            (Unit::Time, "15", None),
            (Unit::Time, "15 m", None),
            (Unit::Time, "-15m", None),
            (Unit::Time, "1.5h", None),
            (Unit::Time, "m", None),
            (Unit::Time, "99999999999999999d", None),
            (Unit::Bytes, "64KiB", Some(65_536)),
            (Unit::Bytes, "65536", Some(65_536)),
            (Unit::Bytes, "1GiB", Some(1_073_741_824)),
            (Unit::Bytes, "64KB", None),
            (Unit::Bytes, "64kib", None),
            (Unit::Count, "20", Some(20)),
            (Unit::Count, "20s", None),
            (Unit::Count, "", None),
            (Unit::Count, "٣", None),
        ] {
            assert_eq!(quantity(unit, text), want, "{text:?}");
        }
    }

    #[test]
    fn default_ports_are_left_out_of_a_listeners_origin() {
        for (https, port, want) in [
            (false, 3_000, "http://localhost:3000"),
            (false, 80, "http://localhost"),
            (true, 443, "https://localhost"),
            (true, 80, "https://localhost:80"),
        ] {
            assert_eq!(listener_origin(https, "localhost", port).unwrap().as_str(), want);
        }
    }

    #[test]
    fn plain_origins_are_far_unless_they_are_loopback() {
        for (text, want) in [
            ("http://app.example", true),
            ("https://app.example", false),
            ("http://localhost:3000", false),
            ("http://127.0.0.1", false),
            ("http://[::1]:1", false),
        ] {
            assert_eq!(is_plain_and_far(&origin(text).unwrap()), want, "{text}");
        }
    }
}
