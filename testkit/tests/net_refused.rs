//! Requests that are refused before the guard's controls: what the peer gets, what the operator reads.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::items_after_statements,
    reason = "tests"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::world::{PATIENCE, Scratch, TOKEN, World};

/// Writes `bytes` as they are and reads the answer to the end of the stream.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut got = Vec::new();
    // To the end, and not to a reset: a reset could have destroyed the answer.
    stream.read_to_end(&mut got).unwrap();
    String::from_utf8(got).unwrap()
}

/// Status, code and reference of an answer that is a refusal and nothing else.
fn refusal(name: &str, answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{name}: {answer:?}"));
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{name}: {answer:?}"));
    let text = |member| body["error"][member].as_str().unwrap().to_owned();
    let (code, reference) = (text("code"), text("ref"));
    assert_eq!(body, json!({"error": {"code": code, "ref": reference}}), "{name}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("content-type: application/json") && lower.contains("connection: close"), "{name}: {head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), code, reference)
}

#[test]
fn a_request_that_cannot_be_read_is_refused_with_a_reference() {
    let world = World::dev(&[]);
    let start = format!("GET /ws HTTP/1.1\r\nHost: localhost:{}\r\n", world.endpoint.port());
    let request = |fields: &str| format!("{start}{fields}\r\n").into_bytes();
    let fields = |count: usize| "X: a\r\n".repeat(count);
    let cases: [(&str, Vec<u8>, u16, &str); 12] = [
        ("a field of 100 KB", request(&format!("X: {}\r\n", "a".repeat(100_000))), 431, "too_large"),
        ("a head of 500 KB", request(&format!("X: {}\r\n", "a".repeat(5_000)).repeat(100)), 431, "too_large"),
        ("300 fields", request(&fields(300)), 431, "too_large"),
        ("a target of 70 KB", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)).into_bytes(), 431, "too_large"),
        (
            "no HTTP at all",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\r\n\r\n".to_vec(),
            400,
            "invalid_message",
        ),
        ("a word", b"hello\r\n\r\n".to_vec(), 400, "invalid_message"),
        ("HTTP/3.0", b"GET /ws HTTP/3.0\r\n\r\n".to_vec(), 400, "invalid_message"),
        ("a space in a name", request("X Y: a\r\n"), 400, "invalid_message"),
        ("no colon", request("nothing\r\n"), 400, "invalid_message"),
        ("a folded line", request("X: a\r\n b\r\n"), 400, "invalid_message"),
        ("NUL in a value", request("X: a\0b\r\n"), 400, "invalid_message"),
        ("two lengths", request("Content-Length: 1\r\nContent-Length: 2\r\n"), 400, "invalid_message"),
    ];
    for (name, bytes, status, code) in cases {
        let (got, said, reference) = refusal(name, &exchange(world.endpoint, &bytes));
        assert_eq!((got, &*said), (status, code), "{name}");
        let record = world.logged(&reference);
        assert_eq!(record["event.action"], "handshake_refused", "{name}: {record}");
        assert_eq!(record["http.response.status_code"], status, "{name}: {record}");
        assert_eq!(
            (&record["source.ip"], &record["wsguard.control"]),
            (&json!("127.0.0.1"), &json!("upgrade")),
            "{name}"
        );
    }
    let stats = world.ask_admin("/api/stats").json();
    assert_eq!(stats["handshakes"]["refused"]["431"], 4, "{stats}");
    // The server is unimpressed.
    let _ = world.join("dev");
}

#[test]
fn a_slow_head_and_a_flood_behind_a_refusal_have_an_end() {
    let world = World::dev(&[]);
    let began = Instant::now();
    let mut slow = TcpStream::connect(world.endpoint).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(b"GET /ws HTTP/1.1\r\nHost: loc").unwrap();
    // Refused, and goes on sending: after two seconds nobody listens any more.
    let mut flood = TcpStream::connect(world.endpoint).unwrap();
    flood.set_write_timeout(Some(PATIENCE)).unwrap();
    flood.write_all(b"hello\r\n\r\n").unwrap();
    while flood.write_all(&[b'a'; 1_024]).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(8), "the flood is still read");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    let waited = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&waited), "{waited:?}");
}

#[test]
fn a_refused_handshake_is_told_with_what_it_asked_for() {
    let world = World::dev(&[]);
    let lengthy = format!("http://{}.example", "a".repeat(3_000));
    for (name, request, status, path, origin) in [
        (
            "foreign page",
            world.upgrade().bearer(TOKEN).header("Origin", "https://evil.example"),
            403,
            "/ws",
            Some("https://evil.example"),
        ),
        ("null", world.upgrade().header("Origin", "null"), 403, "/ws", Some("null")),
        ("no origin", world.upgrade().bearer("bad"), 401, "/ws", None),
        ("a ticket in the query", world.upgrade().target("/ws?ticket=secret-of-ann"), 401, "/ws", None),
        ("elsewhere", world.upgrade().target("/admin/%1b[2J?token=secret-of-ann"), 404, "/admin/%1b[2J", None),
        ("quotes", world.request("GET", "/a%22b"), 404, "/a%22b", None),
        ("ticket route", world.request("POST", "/ws/ticket").bearer("bad"), 401, "/ws/ticket", None),
        (
            "bidi",
            world.upgrade().header("Origin", "http://\u{202e}moc.elpmaxe"),
            403,
            "/ws",
            Some("http://\u{202e}moc.elpmaxe"),
        ),
    ] {
        let response = request.send();
        assert_eq!(response.status, status, "{name}");
        let (_, reference) = response.refusal();
        let record = world.logged(&reference);
        assert_eq!(record["http.response.status_code"], status, "{name}: {record}");
        assert_eq!(record["url.path"], path, "{name}: {record}");
        assert_eq!(record.get("wsguard.origin").and_then(Value::as_str), origin, "{name}: {record}");
    }
    // Longer than anybody reads: cut, and says so.
    let response = world.upgrade().target(&format!("/{}", "b".repeat(2_000))).header("Origin", &lengthy).send();
    let record = world.logged(&response.refusal().1);
    for field in ["url.path", "wsguard.origin"] {
        let text = record[field].as_str().unwrap();
        assert!(text.chars().count() == 257 && text.ends_with('…'), "{field}: {text}");
    }
    let log = world.log();
    assert!(!log.contains("secret-of-ann"), "a query may hold a credential");
    assert!(!log.contains('\u{202e}') && log.contains("\\u202e"), "what turns the direction of text is escaped");
}

#[test]
fn the_log_for_people_escapes_too() {
    let world = World::start(Scratch::new(), &["--dev"], &[("WSGUARD_LOG__FORMAT", "human")]);
    let response = world.upgrade().header("Origin", "http://a\u{202e}b").send();
    let (_, reference) = response.refusal();
    let line = world.line(&reference);
    assert!(line.contains("status=403") && line.contains("path=/ws") && line.contains("\\u202eb"), "{line}");
}
