//! Requests as the check wants them: any header, any order, any case, twice or not at all.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What RFC 6455 section 1.3 appends to the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An HTTP/1.1 request in the making.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Bytes behind the head: a body, or frames that come too early.
    pub(crate) tail: Vec<u8>,
    /// What the server must prove that it read.
    pub(crate) key: String,
}

impl Request {
    /// A request with a Host alone.
    pub(crate) fn new(method: &str, target: &str, host: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: vec![("Host".to_owned(), host.to_owned())],
            tail: Vec::new(),
            key: String::new(),
        }
    }

    /// A proper upgrade (RFC 6455 section 4.1) with a fresh key.
    pub(crate) fn upgrade(target: &str, host: &str) -> Self {
        let key = STANDARD.encode(super::random::<16>());
        let mut request = Self::new("GET", target, host)
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", &key);
        request.key = key;
        request
    }

    /// The same request with a fresh key.
    pub(crate) fn anew(&self) -> Self {
        let mut request = self.clone();
        let key = STANDARD.encode(super::random::<16>());
        for (_, value) in request.headers.iter_mut().filter(|(_, value)| *value == self.key) {
            value.clone_from(&key);
        }
        request.key = key;
        request
    }

    /// One more header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The header with this value alone.
    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// None of this header.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(held, _)| !held.eq_ignore_ascii_case(name));
        self
    }

    /// `Origin` with this value alone.
    pub(crate) fn origin(self, origin: &str) -> Self {
        self.set("Origin", origin)
    }

    /// One more entry of `Sec-WebSocket-Protocol`, behind those that are there.
    pub(crate) fn offer(self, entry: &str) -> Self {
        let list = match self.value("Sec-WebSocket-Protocol") {
            Some(held) => format!("{held}, {entry}"),
            None => entry.to_owned(),
        };
        self.set("Sec-WebSocket-Protocol", &list)
    }

    /// One more `name=value` of the query; the value is escaped.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.push_str(&escaped(value));
        self
    }

    /// The first value of a header.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = format!("{} {} {}\r\n", self.method, self.target, self.version).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.tail);
        out
    }

    /// The `Sec-WebSocket-Accept` that proves that the server read the key.
    pub(crate) fn accept(&self) -> String {
        accept(&self.key)
    }
}

fn accept(key: &str) -> String {
    let mut text = key.as_bytes().to_vec();
    text.extend_from_slice(GUID.as_bytes());
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// `value` with everything but unreserved characters as `%XX`.
pub(crate) fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn requests_are_written_as_asked() {
        let request = Request::new("GET", "/ws", "a").header("X", "1").header("x", "2").query("t", "a b");
        let text = String::from_utf8(request.encode()).unwrap();
        assert_eq!(text, "GET /ws?t=a%20b HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\n\r\n");
        let offered = Request::upgrade("/", "a").offer("one").offer("two");
        assert_eq!(offered.value("sec-websocket-protocol"), Some("one, two"));
        let again = offered.anew();
        assert_ne!(again.key, offered.key);
        assert_eq!(again.value("Sec-WebSocket-Key"), Some(again.key.as_str()));
    }
}
