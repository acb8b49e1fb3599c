//! Keys as a peer meets them: an issuer that publishes, rotates and withdraws them while the server runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use testkit::world::{PATIENCE, Scratch, World, run};

/// A fake issuer: answers every request with the set that it has now.
struct Issuer {
    url: String,
    set: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(set: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let issuer = Self { url, set: Arc::new(Mutex::new(set.to_owned())), asked: Arc::default() };
        let (set, asked) = (Arc::clone(&issuer.set), Arc::clone(&issuer.asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4_096]);
                let body = set.lock().unwrap().clone();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
            }
        });
        issuer
    }
}

/// A key of the issuer: its JWK, and a token that it signed.
fn key(directory: &Scratch, id: &str) -> (String, String) {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let file = format!("{id}.key");
    assert!(run(directory.path(), &["keygen", "--out", &file], &[]).status.success());
    let path = directory.path().join(&file);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("kid: {id}\n{text}")).unwrap();
    let minted = run(directory.path(), &["token", "--key", &file, "--sub", "ann", "--ttl", "15m"], &[]);
    let token = String::from_utf8(minted.stdout).unwrap().trim().to_owned();
    let pem = fs::read_to_string(directory.path().join(format!("{file}.pub"))).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let x = URL_SAFE_NO_PAD.encode(&STANDARD.decode(body).unwrap()[12..]);
    (format!(r#"{{"kty":"OKP","crv":"Ed25519","use":"sig","kid":"{id}","x":"{x}"}}"#), token)
}

fn set(keys: &[&str]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// Tries the token until it opens a socket.
fn open_until(world: &World, token: &str) {
    let until = Instant::now() + PATIENCE;
    while world.upgrade().bearer(token).send().status != 101 {
        assert!(Instant::now() < until, "the key never came: {}", world.log());
        thread::sleep(Duration::from_millis(5));
    }
}

fn hang_up(world: &World) {
    let id = world.id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
}

#[test]
fn keys_of_an_issuer_rotate_while_the_server_runs() {
    let keys = Scratch::new();
    let ((old, old_token), (new, new_token), (_, stranger)) =
        (key(&keys, "old"), key(&keys, "new"), key(&keys, "stranger"));
    let issuer = Issuer::start(&set(&[&old]));
    let world = World::dev(&[("WSGUARD_AUTH__JWKS", &issuer.url)]);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1, "before the first connection");
    let mut ann = world.upgrade().bearer(&old_token).open();
    assert_eq!(ann.welcomed()["subject"], "ann");

    *issuer.set.lock().unwrap() = set(&[&old, &new]);
    let refused = world.upgrade().bearer(&new_token).send();
    assert_eq!((refused.status, &*refused.refusal().0), (401, "unauthenticated"));
    open_until(&world, &new_token);
    assert_eq!(world.upgrade().bearer(&old_token).send().status, 101, "the old one goes on");

    // The next look comes with the next unknown key; it ends what the old key opened.
    *issuer.set.lock().unwrap() = set(&[&new]);
    assert_eq!(world.upgrade().bearer(&stranger).send().status, 401);
    let _ = ann.expect_refused("session_expired", 4401);
    assert_eq!(world.logged("token_key_withdrawn")["wsguard.close_code"], 4401);
    assert_eq!(world.upgrade().bearer(&old_token).send().status, 401, "also a token that was verified before");
    assert_eq!(world.upgrade().bearer(&new_token).send().status, 101);

    for _ in 0..200 {
        assert_eq!(world.upgrade().bearer(&stranger).send().status, 401);
    }
    let asked = issuer.asked.load(Ordering::SeqCst);
    assert!(asked <= 1 + 2, "{asked}: the first look, and two for unknown keys");
    let metrics = world.ask_admin("/metrics").body;
    for line in ["wsguard_jwks_keys 1", "wsguard_jwks_fetches_total{outcome=\"failure\"} 0", "wsguard_keys 1"] {
        assert!(metrics.lines().any(|got| got == line), "{line}\n{metrics}");
    }
    assert_eq!(world.logged("jwks_changed")["event.outcome"], "success");
}

#[test]
fn an_issuer_that_cannot_be_asked_opens_nothing() {
    let keys = Scratch::new();
    let (_, token) = key(&keys, "old");
    for (name, body) in [("garbage", "<html>".to_owned()), ("huge", " ".repeat(300_000)), ("no keys", set(&[]))] {
        let issuer = Issuer::start(&body);
        let world = World::dev(&[("WSGUARD_AUTH__JWKS", &issuer.url)]);
        assert_eq!(world.upgrade().bearer(&token).send().status, 401, "{name}");
        if name != "no keys" {
            let entry = world.logged("jwks_failed");
            assert!(entry["message"].as_str().unwrap().starts_with(&issuer.url), "{name}: {entry}");
        }
    }
}

#[test]
fn a_hangup_reads_key_files_again() {
    let keys = Scratch::new();
    let ((_, old_token), (_, new_token)) = (key(&keys, "old"), key(&keys, "new"));
    let path = keys.path().join("server.key");
    fs::copy(keys.path().join("old.key"), &path).unwrap();
    let world = World::dev(&[("WSGUARD_AUTH__KEYS", path.to_str().unwrap())]);
    assert_eq!(world.upgrade().bearer(&old_token).send().status, 101);
    fs::write(&path, "garbage").unwrap();
    hang_up(&world);
    let refused = world.logged("policy_refused");
    assert!(refused["message"].as_str().unwrap().contains("server.key"), "{refused}");
    assert_eq!(world.upgrade().bearer(&old_token).send().status, 101, "the old keys stay");

    fs::copy(keys.path().join("new.key"), &path).unwrap();
    let mut ann = world.upgrade().bearer(&old_token).open();
    let _ = ann.welcomed();
    hang_up(&world);
    assert_eq!(world.logged("policy_reloaded")["event.outcome"], "success");
    let _ = ann.expect_refused("session_expired", 4401);
    assert_eq!(world.upgrade().bearer(&new_token).send().status, 101);
    assert_eq!(world.upgrade().bearer(&old_token).send().status, 401, "also a token that was verified before");
}

#[test]
fn a_hangup_reads_the_certificate_again() {
    let files = Scratch::new();
    let at = |name: &str| files.path().join(name);
    let certified = || {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(at("cert.pem"), certified.cert.pem()).unwrap();
        fs::write(at("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    };
    let old = certified();
    let (cert, key) = (at("cert.pem").display().to_string(), at("key.pem").display().to_string());
    let world = World::dev(&[("WSGUARD_TLS__CERT", &cert), ("WSGUARD_TLS__KEY", &key)]);
    let mut ann = world.upgrade().tls(Arc::clone(&old)).bearer(testkit::world::TOKEN).open();
    let _ = ann.welcomed();
    let new = certified();
    hang_up(&world);
    assert_eq!(world.logged("certificate_changed")["event.outcome"], "success");
    let mut bob = world.upgrade().tls(new).bearer(testkit::world::TOKEN).open();
    assert_eq!(bob.welcomed()["subject"], "dev", "whoever trusts the new one alone is served");
    ann.say("echo", 1, &serde_json::json!("still here"));
    assert_eq!(ann.expect("echo"), "still here");
}

#[test]
fn the_welcome_comes_with_the_101() {
    let world = World::dev(&[]);
    let mut stream = std::net::TcpStream::connect(world.endpoint).unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
        testkit::world::TOKEN
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut first = vec![0; 8_192];
    let length = stream.read(&mut first).unwrap();
    let text = String::from_utf8_lossy(&first[..length]);
    assert!(text.starts_with("HTTP/1.1 101 ") && text.contains("\"type\":\"welcome\""), "{text}");
}
