//! TLS handshakes by hand, as far as the server's first answer: what a TLS library refuses to ask, we ask.

use super::link::{Fill, Unreached};
use super::{Probe, random};

/// A ClientHello (RFC 5246 section 7.4.1.2) of TLS 1.0 to 1.2.
#[derive(Clone, Debug)]
pub(crate) struct Hello<'a> {
    /// 0x0301 is TLS 1.0, 0x0302 is 1.1, 0x0303 is 1.2.
    pub(crate) version: u16,
    /// The suites that are offered.
    pub(crate) suites: &'a [u16],
    /// DEFLATE is offered beside no compression.
    pub(crate) compression: bool,
}

/// What the server said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It agreed.
    Hello {
        /// The version that it chose.
        version: u16,
        /// The suite that it chose.
        suite: u16,
        /// It chose a compression other than none.
        compressed: bool,
        /// It knows secure renegotiation (RFC 5746).
        secure_renegotiation: bool,
    },
    /// It refused, with this description.
    Alert(u8),
    /// It ended the connection without an alert.
    Closed,
}

/// As reports call a version.
pub(crate) fn version_name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".into(),
        0x0301 => "TLS 1.0".into(),
        0x0302 => "TLS 1.1".into(),
        0x0303 => "TLS 1.2".into(),
        0x0304 => "TLS 1.3".into(),
        other => format!("version {other:#06x}"),
    }
}

impl Hello<'_> {
    /// The record that carries it.
    pub(crate) fn encode(&self, name: Option<&str>) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend_from_slice(&random::<32>());
        body.push(0);
        let mut suites: Vec<u8> = self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        // TLS_EMPTY_RENEGOTIATION_INFO_SCSV: servers that know it answer with the extension.
        suites.extend_from_slice(&[0x00, 0xff]);
        with_length_2(&mut body, &suites);
        let compressions: &[u8] = if self.compression { &[1, 0] } else { &[0] };
        with_length_1(&mut body, compressions);
        let mut extensions = Vec::new();
        if let Some(name) = name {
            let mut entry = vec![0];
            with_length_2(&mut entry, name.as_bytes());
            let mut list = Vec::new();
            with_length_2(&mut list, &entry);
            extension(&mut extensions, 0, &list);
        }
        // Groups: x25519, P-256, P-384, P-521. Without them there is no ECDHE.
        extension(&mut extensions, 10, &[0, 8, 0, 0x1d, 0, 0x17, 0, 0x18, 0, 0x19]);
        extension(&mut extensions, 11, &[1, 0]);
        if self.version >= 0x0303 {
            let algorithms =
                [0x04, 0x03, 0x05, 0x03, 0x08, 0x04, 0x08, 0x05, 0x04, 0x01, 0x05, 0x01, 0x02, 0x03, 0x02, 0x01];
            let mut list = Vec::new();
            with_length_2(&mut list, &algorithms);
            extension(&mut extensions, 13, &list);
        }
        with_length_2(&mut body, &extensions);
        let mut message = vec![1];
        let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
        message.extend_from_slice(length.get(1..).unwrap_or_default());
        message.extend_from_slice(&body);
        // The record's own version stays at 1.0, since old servers look at it (RFC 5246 appendix E).
        let mut record = vec![22, 3, 1];
        with_length_2(&mut record, &message);
        record
    }
}

fn extension(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    with_length_2(out, body);
}

fn with_length_1(out: &mut Vec<u8>, body: &[u8]) {
    out.push(u8::try_from(body.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(body);
}

fn with_length_2(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(body);
}

/// Reads the first record that is an answer; `None` while it is not whole. A warning, such as one about the name, is none:
/// the handshake goes on behind it.
fn parse(mut bytes: &[u8]) -> Option<Result<Reply, Unreached>> {
    loop {
        let [kind, major, _, high, low] = *bytes.first_chunk::<5>()?;
        if !matches!(kind, 21 | 22) || major != 3 {
            return Some(Err(Unreached::Tls("the answer is no TLS".into())));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (record, behind) = bytes.get(5..)?.split_at_checked(length)?;
        match (kind, record) {
            (22, _) => {
                return Some(server_hello(record).ok_or_else(|| Unreached::Tls("the answer is no ServerHello".into())));
            }
            (_, [WARNING, about]) if *about != CLOSE_NOTIFY => bytes = behind,
            _ => return Some(Ok(Reply::Alert(record.get(1).copied().unwrap_or(0)))),
        }
    }
}

/// The level of an alert that does not end the handshake (RFC 5246 section 7.2), and the one that ends it all the same.
const WARNING: u8 = 1;
const CLOSE_NOTIFY: u8 = 0;

fn server_hello(record: &[u8]) -> Option<Reply> {
    let (2, body) = (*record.first()?, record.get(4..)?) else { return None };
    let version = u16::from_be_bytes(*body.first_chunk::<2>()?);
    let session = usize::from(*body.get(34)?);
    let rest = body.get(35..)?.get(session..)?;
    let [high, low, compression] = *rest.first_chunk::<3>()?;
    let mut extensions = rest.get(5..).unwrap_or_default();
    let mut secure_renegotiation = false;
    while let Some([kind_high, kind_low, high, low]) = extensions.first_chunk::<4>().copied() {
        secure_renegotiation |= [kind_high, kind_low] == [0xff, 0x01];
        let length = usize::from(u16::from_be_bytes([high, low]));
        extensions = extensions.get(4..).and_then(|rest| rest.get(length..)).unwrap_or_default();
    }
    Some(Reply::Hello {
        version,
        suite: u16::from_be_bytes([high, low]),
        compressed: compression != 0,
        secure_renegotiation,
    })
}

impl Probe {
    /// Says hello on a connection of its own and reads the first answer.
    pub(crate) async fn say_hello(&self, hello: &Hello<'_>) -> Result<Reply, Unreached> {
        let target = self.target();
        let mut link = self.connect_with(false, target.port, &[]).await?;
        // An address is no name (RFC 6066 section 3).
        let name = (target.host.parse::<std::net::IpAddr>().is_err()).then_some(target.host.as_str());
        let deadline = self.shared().patience(8.0);
        let bytes = hello.encode(name);
        self.shared().budget.send(0, 0, bytes.len() as u64).map_err(|spent| Unreached::Spent(spent.to_string()))?;
        if link.write(&bytes, deadline).await.is_err() {
            return Ok(Reply::Closed);
        }
        loop {
            if let Some(reply) = parse(&link.buffer) {
                return reply;
            }
            match link.fill(deadline).await {
                Fill::Bytes(_) => {}
                Fill::Ended(_) => return Ok(Reply::Closed),
                Fill::Quiet => return Err(Unreached::Silent),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_add_up() {
        for (name, compression) in [(Some("chat.example"), false), (None, true)] {
            let record = Hello { version: 0x0301, suites: &[0x002f, 0x000a], compression }.encode(name);
            let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
            assert_eq!(length, record.len() - 5);
            let message = u32::from_be_bytes([0, record[6], record[7], record[8]]) as usize;
            assert_eq!(message, record.len() - 9);
        }
    }

    #[test]
    fn answers_are_read() {
        let mut body = vec![3, 1];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0x00, 0x2f, 1, 0, 5, 0xff, 0x01, 0, 1, 0]);
        let mut record =
            vec![22, 3, 1, 0, u8::try_from(body.len() + 4).unwrap(), 2, 0, 0, u8::try_from(body.len()).unwrap()];
        record.extend_from_slice(&body);
        let want = Reply::Hello { version: 0x0301, suite: 0x002f, compressed: true, secure_renegotiation: true };
        assert_eq!(parse(&record), Some(Ok(want)));
        assert_eq!(parse(&record[..20]), None);
        assert_eq!(parse(&[21, 3, 1, 0, 2, 2, 70]), Some(Ok(Reply::Alert(70))));
        assert!(matches!(parse(b"HTTP/1.1 400"), Some(Err(_))));
        let warned = [&[21, 3, 1, 0, 2, 1, 112][..], &record].concat();
        assert_eq!(parse(&warned), Some(Ok(want)), "behind a warning about the name");
        assert_eq!(parse(&warned[..7]), None);
        assert_eq!(parse(&[21, 3, 1, 0, 2, 1, 0]), Some(Ok(Reply::Alert(0))));
    }
}
