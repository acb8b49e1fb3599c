use std::fs;
use std::path::PathBuf;

use ::aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConnection, SupportedProtocolVersion,
};

use super::*;

/// One DER element, shorter than 256 bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let header = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [&header, content].concat()
}

/// A certificate for `localhost` that its own key signed (RFC 5280 section 4.1), and the key as PKCS#8.
pub(crate) fn certificate() -> (Vec<u8>, Vec<u8>) {
    let pkcs8 = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref().to_vec();
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
    let ed25519 = der(0x30, &[0x06, 0x03, 0x2b, 0x65, 0x70]);
    let common_name = [&[0x06, 0x03, 0x55, 0x04, 0x03][..], &der(0x0c, b"localhost")].concat();
    let name = der(0x30, &der(0x31, &der(0x30, &common_name)));
    let validity = der(0x30, &[der(0x17, b"200101000000Z"), der(0x18, b"20991231235959Z")].concat());
    let key_bits = [&[0][..], pair.public_key().as_ref()].concat();
    let key_info = der(0x30, &[ed25519.clone(), der(0x03, &key_bits)].concat());
    let names = der(0x30, &der(0x82, b"localhost"));
    let extension = der(0x30, &[&[0x06, 0x03, 0x55, 0x1d, 0x11][..], &der(0x04, &names)].concat());
    let body = der(
        0x30,
        &[
            der(0xa0, &[0x02, 0x01, 0x02]),
            der(0x02, &[0x01]),
            ed25519.clone(),
            name.clone(),
            validity,
            name,
            key_info,
            der(0xa3, &der(0x30, &extension)),
        ]
        .concat(),
    );
    let signature = [&[0][..], pair.sign(&body).as_ref()].concat();
    (der(0x30, &[body, ed25519, der(0x03, &signature)].concat()), pkcs8)
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Runs `server_config` on two files of this content; with the certificate of the first, if there is one.
fn from_files(name: &str, cert: &str, key: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let path = |kind: &str| std::env::temp_dir().join(format!("wsguard-tls-{name}-{}-{kind}.pem", std::process::id()));
    let files = TlsFiles { cert: path("cert"), key: path("key") };
    fs::write(&files.cert, cert).unwrap();
    fs::write(&files.key, key).unwrap();
    let config = server_config(&files);
    fs::remove_file(&files.cert).unwrap();
    fs::remove_file(&files.key).unwrap();
    config
}

/// A handshake in memory: the version and application protocol, or the fault of the side that gave up first.
fn handshake(
    server: Arc<ServerConfig>,
    root: &[u8],
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<(ProtocolVersion, Option<Vec<u8>>), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec())).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &*wire).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &*wire).unwrap();
        client.process_new_packets()?;
    }
    Ok((server.protocol_version().unwrap(), server.alpn_protocol().map(<[u8]>::to_vec)))
}

#[test]
fn both_versions_speak_http_1_1_and_nothing_else() {
    let (cert, key) = certificate();
    let config = from_files("alpn", &pem("CERTIFICATE", &cert), &pem("PRIVATE KEY", &key)).unwrap();
    assert_eq!(config.max_early_data_size, 0);
    assert!(!config.ticketer.enabled());
    for (name, version, alpn, want) in [
        ("1.3", &TLS13, &[&b"http/1.1"[..]][..], Some((ProtocolVersion::TLSv1_3, Some(&b"http/1.1"[..])))),
        ("1.2", &TLS12, &[b"http/1.1"], Some((ProtocolVersion::TLSv1_2, Some(b"http/1.1")))),
        ("no ALPN", &TLS13, &[], Some((ProtocolVersion::TLSv1_3, None))),
        ("h2 as well", &TLS13, &[b"h2", b"http/1.1"], Some((ProtocolVersion::TLSv1_3, Some(b"http/1.1")))),
        ("h2 alone", &TLS13, &[b"h2"], None),
        ("other protocol", &TLS12, &[b"ftp"], None),
    ] {
        let found = handshake(Arc::clone(&config), &cert, &[version], alpn).ok();
        assert_eq!(found, want.map(|(version, alpn)| (version, alpn.map(<[u8]>::to_vec))), "{name}");
    }
}

#[test]
fn bad_files_are_named_with_what_was_expected() {
    let (cert, key) = certificate();
    let (_, other_key) = certificate();
    let (cert, key, other_key) = (pem("CERTIFICATE", &cert), pem("PRIVATE KEY", &key), pem("PRIVATE KEY", &other_key));
    for (index, (name, cert, key, want)) in [
        ("no certificate", "", &*key, "-cert.pem: expected PEM with at least one block CERTIFICATE"),
        ("key for certificate", &key, &key, "-cert.pem: expected PEM with at least one block CERTIFICATE"),
        ("damaged", "-----BEGIN CERTIFICATE-----\n!", &key, "-cert.pem: expected PEM with at least one"),
        ("no key", &cert, "", "-key.pem: expected PEM with one block PRIVATE KEY"),
        ("certificate for key", &cert, &cert, "-key.pem: expected PEM with one block PRIVATE KEY"),
        (
            "password",
            &cert,
            &*pem("ENCRYPTED PRIVATE KEY", b"x"),
            "-key.pem: expected a private key without a password",
        ),
        ("key of another", &cert, &other_key, "-cert.pem: "),
    ]
    .into_iter()
    .enumerate()
    {
        let error = from_files(&format!("bad-{index}"), cert, key).unwrap_err().to_string();
        assert!(error.contains(want), "{name}: {error}");
        assert!(!error.contains("BEGIN"), "{name}: {error}");
    }
    let nowhere = TlsFiles { cert: PathBuf::from("/nonexistent/cert.pem"), key: PathBuf::from("/nonexistent/key.pem") };
    assert!(server_config(&nowhere).unwrap_err().to_string().starts_with("read /nonexistent/cert.pem: "));
}

/// Handshakes of one client that keeps its sessions: the certificate it was shown, and whether the handshake was resumed.
fn shown(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<(Vec<u8>, bool), rustls::Error> {
    let mut client = ClientConnection::new(Arc::clone(client), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    // Once more behind the handshake: the ticket.
    for _ in 0..4 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &*wire).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &*wire).unwrap();
        client.process_new_packets()?;
    }
    let resumed = client.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    Ok((client.peer_certificates().unwrap()[0].to_vec(), resumed))
}

#[test]
fn a_new_certificate_is_served_from_the_next_handshake_on() {
    let ((first, first_key), (second, second_key)) = (certificate(), certificate());
    let path = |kind: &str| std::env::temp_dir().join(format!("wsguard-reload-{}-{kind}.pem", std::process::id()));
    let files = TlsFiles { cert: path("cert"), key: path("key") };
    let write = |cert: &str, key: &str| {
        fs::write(&files.cert, cert).unwrap();
        fs::write(&files.key, key).unwrap();
    };
    let (first_pem, second_pem) = (pem("CERTIFICATE", &first), pem("CERTIFICATE", &second));
    let (first_key, second_key) = (pem("PRIVATE KEY", &first_key), pem("PRIVATE KEY", &second_key));
    write(&first_pem, &first_key);
    let certificates = Certificates::load(&files).unwrap();
    let server = certificates.config().unwrap();
    let mut roots = RootCertStore::empty();
    for root in [&first, &second] {
        roots.add(CertificateDer::from(root.clone())).unwrap();
    }
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);

    assert_eq!(shown(&client, &server).unwrap(), (first.clone(), false), "at first");
    assert_eq!(shown(&client, &server).unwrap(), (first.clone(), true), "resumed");
    assert!(!certificates.reload(&files).unwrap(), "the same files");
    assert_eq!(shown(&client, &server).unwrap(), (first.clone(), true), "nothing was forgotten");
    for (name, cert, key, told) in [
        ("garbage", "garbage", &*second_key, "-cert.pem: expected PEM"),
        ("no key", &second_pem, "", "-key.pem: expected PEM"),
        ("half of a renewal", &second_pem, &first_key, "-key.pem with "),
    ] {
        write(cert, key);
        let error = certificates.reload(&files).unwrap_err().to_string();
        assert!(error.contains(told), "{name}: {error}");
        assert_eq!(shown(&client, &server).unwrap().0, first, "{name}: the old one stays");
    }
    write(&second_pem, &second_key);
    assert!(certificates.reload(&files).unwrap());
    assert_eq!(shown(&client, &server).unwrap(), (second.clone(), false), "a session of the old one is not resumed");
    assert_eq!(shown(&client, &server).unwrap(), (second, true));
    fs::remove_file(&files.cert).unwrap();
    fs::remove_file(&files.key).unwrap();
}
