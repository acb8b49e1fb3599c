//! Heads of answers, as they came.

use std::fmt;

/// Largest head, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The head of an answer, and what followed it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) phrase: String,
    pub(crate) headers: Vec<(String, String)>,
    /// At most [`BODY_BYTES_MAX`](super::link::BODY_BYTES_MAX) of it.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Reads a head that ends with an empty line; `None` when it is not one of HTTP/1.
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let mut first = lines.next()?.splitn(3, ' ');
        let version = first.next()?.to_owned();
        if !version.starts_with("HTTP/1") {
            return None;
        }
        let status = first.next()?.parse().ok()?;
        let phrase = first.next().unwrap_or_default().to_owned();
        let headers = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Some(Self { version, status, phrase, headers, body: Vec::new() })
    }

    /// The first value of a header.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every value of a header.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The connection serves another request: the body is whole, and nobody said that it ends.
    pub(crate) fn is_kept(&self) -> bool {
        let says = |word: &str| self.value("Connection").is_some_and(|value| value.to_ascii_lowercase().contains(word));
        let is_whole = self
            .value("Content-Length")
            .map_or(matches!(self.status, 204 | 304), |length| length.parse() == Ok(self.body.len()));
        is_whole && !says("close") && (self.version == "HTTP/1.1" || says("keep-alive"))
    }

    /// What limiters answer, and servers that are full.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if !self.phrase.is_empty() {
            write!(f, " {}", self.phrase)?;
        }
        Ok(())
    }
}

/// Where the head ends in `bytes`, the empty line included.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at.saturating_add(4))
}

/// The content of a chunked body (RFC 9112 section 7.1), as far as it came.
pub(crate) fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(at) = bytes.windows(2).position(|two| two == b"\r\n") {
        let (line, rest) = bytes.split_at(at);
        let size = String::from_utf8_lossy(line);
        let size = size.split(';').next().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        let rest = rest.get(2..).unwrap_or_default();
        let (chunk, rest) = rest.split_at(size.min(rest.len()));
        content.extend_from_slice(chunk);
        bytes = rest.get(2..).unwrap_or_default();
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        for (body, want) in
            [(&b"4\r\nwsgu\r\n3;x=1\r\nard\r\n0\r\n\r\n"[..], "wsguard"), (b"ff\r\ncut", "cut"), (b"no chunks", "")]
        {
            assert_eq!(String::from_utf8(unchunked(body)).unwrap(), want);
        }
    }

    #[test]
    fn heads_are_read() {
        let head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n";
        let response = Response::parse(head).unwrap();
        assert_eq!((response.status, response.value("retry-after")), (429, Some("3")));
        assert_eq!(response.values("Set-Cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(response.to_string(), "HTTP 429 Too Many Requests");
        assert!(response.is_limit());
        for (name, not_http) in [("TLS", &b"\x15\x03\x01"[..]), ("SSH", b"SSH-2.0-x\r\n"), ("nothing", b"")] {
            assert!(Response::parse(not_http).is_none(), "{name}");
        }
    }
}
