//! Asks the admin listener of a running server: one request a connection.
//!
//! Attack: the admin key on a wire that others read (CWE-319). Over plain HTTP it goes to loopback only; anywhere else TLS
//! is needed, with the certificate authority named.

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::cmd::Exit;

/// Time to connect, and for each part of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer in bytes: a page of a thousand sessions with the longest subjects takes less than half of it.
const ANSWER_BYTES_MAX: u64 = 4 * 1_048_576;

/// Longest key file in bytes.
const KEY_BYTES_MAX: u64 = 8_192;

/// Where the admin listener is, and the key to it.
#[derive(Debug, Args)]
pub(crate) struct AdminArguments {
    /// The admin listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3001", env = "WSGUARD_ADMIN_URL")]
    admin: String,
    /// The file with the admin key, as in the server's `admin.key_file`.
    #[arg(long, value_name = "FILE", env = "WSGUARD_ADMIN__KEY_FILE")]
    key_file: Option<PathBuf>,
    /// The certificate authority (PEM) that vouches for an https admin listener.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Why there is no answer, and what the command ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn usage(text: impl Into<String>) -> Failure {
    Failure { exit: Exit::Usage, text: text.into() }
}

struct Target {
    is_https: bool,
    /// What stands in `Host`.
    authority: String,
    name: String,
    port: u16,
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        if authority.is_empty() || !authority.bytes().all(plain) {
            return None;
        }
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
            _ => (authority, if is_https { 443 } else { 80 }),
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        (!name.is_empty()).then(|| Self { is_https, authority: authority.to_owned(), name: name.to_owned(), port })
    }

    fn is_loopback(&self) -> bool {
        self.name == "localhost" || self.name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Sends `method path` with the JSON `body` and returns the JSON of a good answer.
pub(crate) fn ask(to: &AdminArguments, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let expected = || usage(format!("use --admin {}: expected a URL such as http://127.0.0.1:3001", to.admin));
    let target = Target::parse(&to.admin).ok_or_else(expected)?;
    if !target.is_https && !target.is_loopback() {
        return Err(usage(format!(
            "use --admin {}: plain http would show the key to others, use https for what is not loopback",
            to.admin
        )));
    }
    let key = to.key_file.as_deref().map(read_key).transpose()?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let media = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{key}{media}Content-Length: {}\r\n\r\n{body}",
        target.authority,
        body.len(),
    );
    let answer = exchange(&target, to.ca.as_deref(), request.as_bytes())?;
    judge(&answer, &to.admin)
}

fn read_key(path: &Path) -> Result<String, Failure> {
    let unreadable = |error| usage(format!("read the admin key {}: {error}", path.display()));
    let mut key = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(KEY_BYTES_MAX).read_to_string(&mut key).map_err(unreadable)?;
    let key = key.trim_end();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(usage(format!("read the admin key {}: expected one line of visible ASCII", path.display())));
    }
    Ok(key.to_owned())
}

fn exchange(target: &Target, ca: Option<&Path>, request: &[u8]) -> Result<Vec<u8>, Failure> {
    let unreached = |error: &dyn fmt::Display| Failure {
        exit: Exit::Unreached,
        text: format!("reach the admin listener at {}: {error}", target.authority),
    };
    let addresses = (target.name.as_str(), target.port).to_socket_addrs().map_err(|error| unreached(&error))?;
    let mut last = None;
    let mut connected = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(error) => last = Some(error),
        }
    }
    let Some(mut stream) = connected else {
        return Err(match last {
            Some(error) => unreached(&error),
            None => unreached(&"the name has no address"),
        });
    };
    for set in [stream.set_read_timeout(Some(PATIENCE)), stream.set_write_timeout(Some(PATIENCE))] {
        set.map_err(|error| unreached(&error))?;
    }
    if target.is_https {
        let name = ServerName::try_from(target.name.clone()).map_err(|error| usage(format!("use --admin: {error}")))?;
        let connection =
            ClientConnection::new(client_config(ca)?, name).map_err(|error| usage(format!("use --ca: {error}")))?;
        return talk(StreamOwned::new(connection, stream), request).map_err(|error| unreached(&error));
    }
    talk(&mut stream, request).map_err(|error| unreached(&error))
}

fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    let Some(path) = ca else {
        return Err(usage("use an https admin listener: name the authority that vouches for it with --ca FILE"));
    };
    let unfit = |error: &dyn fmt::Display| usage(format!("read --ca {}: {error}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unfit(&error))? {
        roots.add(certificate.map_err(|error| unfit(&error))?).map_err(|error| unfit(&error))?;
    }
    if roots.is_empty() {
        return Err(unfit(&"no certificate in it"));
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

fn talk(mut stream: impl Read + Write, request: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    // Who closes TLS without saying so has still said everything where the length fits, which is looked at later.
    match read {
        Err(error) if answer.is_empty() || error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(answer),
    }
}

/// Reads status and body of `answer`; what is no whole answer of an admin listener counts as not reached.
fn judge(answer: &[u8], admin: &str) -> Result<Value, Failure> {
    let foreign = || Failure {
        exit: Exit::Unreached,
        text: format!("reach the admin listener at {admin}: what answers there is none"),
    };
    let text = std::str::from_utf8(answer).map_err(|_| foreign())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(foreign)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse::<u16>().ok());
    let status = status.ok_or_else(foreign)?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length != Some(body.len()) {
        return Err(foreign());
    }
    let value: Value = serde_json::from_str(body).map_err(|_| foreign())?;
    if status == 200 {
        return Ok(value);
    }
    let code = value.pointer("/error/code").and_then(Value::as_str).unwrap_or("no code");
    let reference = value.pointer("/error/ref").and_then(Value::as_str);
    let hint = match (status, code) {
        (401, _) => "the key is missing or wrong, give it with --key-file",
        (403, "admin_key_not_set") => "the server has no admin.key_file, and changes need one",
        (403, _) => "the server does not know this name as its admin listener",
        (404, _) => "there is none of that id",
        (507, _) => "the index of revocations is full of subjects, lift some",
        _ => "the server's log says more",
    };
    let reference = reference.map(|reference| format!(", ref {reference}")).unwrap_or_default();
    Err(Failure {
        exit: Exit::Failed,
        text: format!("ask the admin listener at {admin}: {status} {code}{reference}: {hint}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_plain_ones_stay_at_home() {
        for (url, want) in [
            ("http://127.0.0.1:3001", Some(("127.0.0.1", 3001, true))),
            ("http://localhost:3001/", Some(("localhost", 3001, true))),
            ("http://[::1]:3001", Some(("::1", 3001, true))),
            ("https://admin.example", Some(("admin.example", 443, false))),
            ("http://10.0.0.1:3001", Some(("10.0.0.1", 3001, false))),
            ("http://127.0.0.1:x", None),
            ("http://user@127.0.0.1", None),
            ("http://127.0.0.1/api", None),
            ("ftp://127.0.0.1", None),
            ("127.0.0.1:3001", None),
            ("http://", None),
        ] {
            let target = Target::parse(url);
            let got = target.as_ref().map(|target| (target.name.as_str(), target.port, target.is_loopback()));
            assert_eq!(got, want, "{url}");
        }
        let to = AdminArguments { admin: "http://10.0.0.1:3001".to_owned(), key_file: None, ca: None };
        assert_eq!(ask(&to, "GET", "/api/sessions", None).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn only_a_whole_answer_is_one() {
        let answer = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        for (name, answer, want) in [
            ("good", answer("200 OK", "{}"), None),
            ("wrong key", answer("401 Unauthorized", r#"{"error":{"code":"unauthenticated"}}"#), Some(Exit::Failed)),
            ("no JSON", answer("200 OK", "<html>"), Some(Exit::Unreached)),
            ("cut", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".to_vec(), Some(Exit::Unreached)),
            ("no HTTP", b"SSH-2.0-x\r\n\r\n".to_vec(), Some(Exit::Unreached)),
            ("nothing", Vec::new(), Some(Exit::Unreached)),
        ] {
            assert_eq!(judge(&answer, "x").err().map(|failure| failure.exit), want, "{name}");
        }
    }
}
