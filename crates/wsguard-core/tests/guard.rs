//! The order of the controls, seen as a peer and an operator see it: frames out, records, verdicts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::similar_names,
    reason = "the helpers of a test fail it where something is not as it should be"
)]

mod peer;

use wsguard_core::control::rate::Mode;
use wsguard_core::handshake::{Entry, HandshakeRequest, Header, Step, StoreUnavailable, TicketGrant, admit};
use wsguard_core::policy::MessageType;
use wsguard_core::time::{Millis, Tick};
use wsguard_core::token::fingerprint;
use wsguard_core::verdict::Verdict;

use peer::{Peer, UNIX, admitted, at, context, request, token};

#[test]
fn every_message_meets_the_controls_in_order() {
    let cx = context(|_| {});
    let mut peer = Peer::with_token(&cx, "test_token");
    let deep = format!(r#"{{"type":"echo","csrfToken":"CSRF","payload":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    for (index, (name, text, code)) in [
        ("chat", r#"{"type":"chat","id":1,"csrfToken":"CSRF","payload":{"message":"hi"}}"#, None),
        ("any order", r#"{"payload":{"message":"hi"},"csrfToken":"CSRF","id":"x","type":"chat"}"#, None),
        ("echo without payload", r#"{"type":"echo","csrfToken":"CSRF"}"#, None),
        ("ping needs no token", r#"{"type":"ping","payload":{"t":1}}"#, None),
        ("ack needs no token", r#"{"type":"ack","payload":{"seq":1}}"#, None),
        ("not JSON", "{", Some("invalid_json")),
        ("duplicate", r#"{"type":"chat","type":"echo"}"#, Some("invalid_json")),
        ("escaped duplicate", r#"{"type":"chat","\u0074ype":"echo"}"#, Some("invalid_json")),
        ("deep", &deep, Some("invalid_json")),
        ("member", r#"{"type":"chat","csrfToken":"CSRF","x":1}"#, Some("invalid_message")),
        ("prototype", r#"{"type":"echo","csrfToken":"CSRF","payload":{"__proto__":{}}}"#, Some("unsafe_content")),
        ("NUL", r#"{"type":"echo","csrfToken":"CSRF","payload":"\u0000"}"#, Some("unsafe_content")),
        ("no CSRF token", r#"{"type":"chat","payload":{"message":"hi"}}"#, Some("csrf_invalid")),
        ("CSRF before type", r#"{"type":"nothing"}"#, Some("csrf_invalid")),
        ("wrong CSRF token", r#"{"type":"chat","csrfToken":"AAAAAAAAAAAAAAAAAAAAAA"}"#, Some("csrf_invalid")),
        ("unknown type", r#"{"type":"nothing","csrfToken":"CSRF"}"#, Some("unknown_type")),
        ("schema", r#"{"type":"chat","csrfToken":"CSRF","payload":{"message":1}}"#, Some("invalid_message")),
        ("no payload", r#"{"type":"chat","csrfToken":"CSRF"}"#, Some("invalid_message")),
        (
            "markup in a room",
            r#"{"type":"join","csrfToken":"CSRF","payload":{"room":"<img>"}}"#,
            Some("unsafe_content"),
        ),
        ("markup in a key", r#"{"type":"echo","csrfToken":"CSRF","payload":{"<img src>":1}}"#, Some("unsafe_content")),
        ("second auth", r#"{"type":"auth","payload":{"token":"test_token"}}"#, Some("invalid_message")),
    ]
    .into_iter()
    .enumerate()
    {
        let now = at(u64::try_from(index).unwrap() * 1_000);
        assert_eq!(peer.refusal(now, text).as_deref(), code, "{name}");
    }
}

#[test]
fn what_is_handed_over_is_canonical() {
    let mut peer = Peer::with_token(&context(|_| {}), "test_token");
    for (text, payload) in [
        (
            r#"{ "type":"echo", "csrfToken":"CSRF", "payload": { "b" : 1.50, "a":"\u0041\/" } }"#,
            r#"{"b":1.50,"a":"A/"}"#,
        ),
        (r#"{"type":"echo","csrfToken":"CSRF","payload":"a < b"}"#, r#""a < b""#),
        (r#"{"type":"echo","csrfToken":"CSRF","payload":"<img src=x onerror=y>"}"#, r#""&lt;img src=x onerror=y>""#),
        (r#"{"type":"echo","csrfToken":"CSRF","payload":"\u003cscript>"}"#, r#""&lt;script>""#),
    ] {
        assert_eq!(peer.say(at(0), text), Verdict::Allow, "{text}");
        assert_eq!(peer.payload(), payload, "{text}");
    }
}

#[test]
fn markup_of_an_earlier_message_does_not_reappear() {
    let mut peer = Peer::with_token(&context(|_| {}), "test_token");
    assert_eq!(
        peer.say(at(0), r#"{"type":"echo","csrfToken":"CSRF","payload":"secret < of another"}"#),
        Verdict::Allow
    );
    assert_eq!(peer.say(at(0), r#"{"type":"echo","csrfToken":"CSRF","payload":"<svg>"}"#), Verdict::Allow);
    assert_eq!(peer.payload(), r#""&lt;svg>""#);
}

#[test]
fn the_cleaning_of_one_message_has_an_end() {
    let schema = r#"{"type":"array","items":{"type":"string","wsguard:content":"html"}}"#;
    let cx = context(|policy| policy.declare(MessageType::new("post", schema).unwrap()).unwrap());
    let mut peer = Peer::with_token(&cx, "test_token");
    for (strings, code) in [(256, None), (257, Some("unsafe_content"))] {
        // Text without markup costs nothing and is not counted.
        let items = [vec![r#""plain""#; 300], vec![r#""<b>x</b>""#; strings]].concat().join(",");
        let text = format!(r#"{{"type":"post","csrfToken":"CSRF","payload":[{items}]}}"#);
        assert_eq!(peer.refusal(at(0), &text).as_deref(), code, "{strings} strings");
    }
}

#[test]
fn a_flood_is_refused_with_the_time_to_wait() {
    let mut peer = Peer::with_token(&context(|_| {}), "test_token");
    let text = r#"{"type":"echo","id":7,"csrfToken":"CSRF"}"#;
    let passed = (0..200).filter(|_| peer.say(at(0), text) == Verdict::Allow).count();
    assert_eq!(passed, 60, "the burst");
    let frames = peer.frames();
    let error = frames.last().unwrap();
    assert_eq!(error["payload"]["code"], "rate_limited");
    assert_eq!(error["payload"]["retryAfterMs"], 50);
    assert_eq!(error["id"], 7);
    assert_eq!(peer.say(at(50), text), Verdict::Allow);
}

/// Messages 1 to 60 use the burst up and 61 and 62 are refused; then the quota has room for two while more are on their way.
#[test]
fn what_was_on_its_way_overtakes_what_was_refused_unless_order_is_asked_for() {
    for (protocols, passed_at_100, passed_at_1000) in [
        ("wsguard.v1", vec![63, 64], vec![61, 62, 65, 66]),
        ("wsguard.v1, wsguard.ordered", vec![], vec![61, 62, 63, 64, 65, 66]),
    ] {
        let authorization = Header::One("Bearer test_token");
        let request = HandshakeRequest { authorization, protocols: Header::One(protocols), ..request() };
        let cx = context(|_| {});
        let mut peer = Peer::open(&cx, at(0), admitted(admit(&cx, at(0), &request)));
        let mut passed = |now, ids: &mut dyn Iterator<Item = u64>| {
            ids.filter(|id| {
                let text = format!(r#"{{"type":"echo","id":{id},"csrfToken":"CSRF"}}"#);
                peer.say(at(now), &text) == Verdict::Allow
            })
            .collect::<Vec<_>>()
        };
        assert!(passed(0, &mut (1..=62)).into_iter().eq(1..=60), "{protocols}");
        assert_eq!(passed(100, &mut (63..=66)), passed_at_100, "{protocols}");
        let again = (61..=66).filter(|id| !passed_at_100.contains(id));
        assert_eq!(passed(1_000, &mut { again }), passed_at_1000, "{protocols}");
        let errors = peer.frames();
        assert_eq!(errors.len(), 1, "the others stay unanswered, as any within 250 ms: {errors:?}");
        assert_eq!(errors[0]["id"], 61, "the first is named");
    }
}

#[test]
fn reconnecting_does_not_reset_the_quota_of_a_subject() {
    let cx = context(|_| {});
    let text = r#"{"type":"echo","csrfToken":"CSRF"}"#;
    let mut passed = 0;
    for _ in 0..5 {
        let mut peer = Peer::with_token(&cx, "test_token");
        passed += (0..40).filter(|_| peer.say(at(0), text) == Verdict::Allow).count();
    }
    assert_eq!(passed, 60);
}

#[test]
fn a_token_ends_on_the_open_socket() {
    let cx = context(|_| {});
    let mut peer = Peer::with_token(&cx, &token("ann", 100_000));
    assert_eq!(peer.connection.deadline(), Tick(10_025_000), "the first ping");
    let _ = peer.connection.on_deadline(at(80_000), &mut peer.effects);
    assert!(peer.frames().iter().any(|frame| frame["type"] == "auth.expiring"), "a fifth of its life before");
    assert_eq!(peer.refusal(at(104_999), r#"{"type":"ping"}"#), None, "within the leeway");
    let _ = peer.say(at(105_000), r#"{"type":"ping"}"#);
    let frames = peer.frames();
    assert_eq!(frames[0]["payload"]["code"], "session_expired");
    assert_eq!(frames[1]["close"], 4401);
    assert!(peer.connection.is_closing());
}

#[test]
fn a_fresh_token_must_be_of_the_same_subject() {
    let cx = context(|_| {});
    let mut peer = Peer::with_token(&cx, &token("ann", 100_000));
    let refresh = |token: &str| format!(r#"{{"type":"auth.refresh","payload":{{"token":"{token}"}}}}"#);
    assert_eq!(peer.refusal(at(1), &refresh("garbage")), Some("unauthenticated".into()));
    assert_eq!(peer.say(at(2), &refresh(&token("ann", 900_000))), Verdict::Answered);
    assert_eq!(peer.frames()[0]["payload"]["authExpiresAt"], UNIX + 900_000);
    assert_eq!(peer.refusal(at(200_000), r#"{"type":"ping"}"#), None, "the old end has passed");
    let _ = peer.say(at(200_001), &refresh(&token("bob", 900_000)));
    assert_eq!(peer.frames()[1]["close"], 4403);
}

#[test]
fn refreshes_have_a_bucket_of_their_own() {
    let mut peer = Peer::with_token(&context(|_| {}), &token("ann", 100_000));
    let refresh = r#"{"type":"auth.refresh","payload":{"token":"garbage"}}"#;
    let codes: Vec<_> = (0..6).filter_map(|_| peer.refusal(at(1), refresh)).collect();
    assert_eq!(codes.iter().filter(|code| *code == "unauthenticated").count(), 4);
    assert_eq!(codes.iter().filter(|code| *code == "rate_limited").count(), 2);
}

#[test]
fn shadow_mode_counts_and_refuses_nothing() {
    let mut peer = Peer::with_token(&context(|policy| policy.rate.mode = Mode::Shadow), "test_token");
    peer.effects.records.clear();
    let passed =
        (0..200).filter(|_| peer.say(at(0), r#"{"type":"echo","csrfToken":"CSRF"}"#) == Verdict::Allow).count();
    assert_eq!((passed, peer.effects.shadowed), (200, 140));
    assert_eq!(peer.effects.records.len(), 1, "told once");
}

#[test]
fn a_csrf_token_rotates_and_the_old_one_stays_good_for_a_minute() {
    let mut peer = Peer::with_token(&context(|_| {}), "test_token");
    let old = peer.csrf.clone();
    let _ = peer.connection.on_deadline(at(900_000), &mut peer.effects);
    let frames = peer.frames();
    let rotated = frames.iter().find(|frame| frame["type"] == "csrf").unwrap();
    let fresh = rotated["payload"]["csrfToken"].as_str().unwrap().to_owned();
    assert_ne!(fresh, old);
    let with = |token: &str| format!(r#"{{"type":"echo","csrfToken":"{token}"}}"#);
    assert_eq!(peer.refusal(at(959_999), &with(&old)), None);
    assert_eq!(peer.refusal(at(960_000), &with(&old)), Some("csrf_invalid".into()));
    assert_eq!(peer.refusal(at(960_000), &with(&fresh)), None);
}

#[test]
fn the_first_message_has_one_try_and_five_seconds() {
    let cx = context(|_| {});
    let open = || Peer::open(&cx, at(0), admitted(admit(&cx, at(0), &request())));
    let large = format!(r#"{{"type":"auth","payload":{{"token":"{}"}}}}"#, "a".repeat(8_192));
    for (name, text, code) in [
        ("token", r#"{"type":"auth","payload":{"token":"test_token"}}"#.to_owned(), None),
        ("wrong token", r#"{"type":"auth","payload":{"token":"x"}}"#.to_owned(), Some(4401)),
        ("another message", r#"{"type":"ping"}"#.to_owned(), Some(4401)),
        ("too large", large, Some(4401)),
    ] {
        let mut peer = open();
        let _ = peer.say(at(1), &text);
        let frames = peer.frames();
        let close = frames.iter().find_map(|frame| frame.get("close").and_then(serde_json::Value::as_u64));
        assert_eq!(close, code, "{name}: {frames:?}");
        assert_eq!(frames.iter().any(|frame| frame["type"] == "welcome"), code.is_none(), "{name}");
    }
    let mut peer = open();
    let _ = peer.connection.on_deadline(at(4_999), &mut peer.effects);
    assert!(!peer.connection.is_closing());
    let _ = peer.connection.on_deadline(at(5_000), &mut peer.effects);
    assert_eq!(peer.frames().last().unwrap()["close"], 4408);
}

#[test]
fn a_cookie_alone_opens_nothing() {
    let cx = context(|policy| policy.cookie_name = "wsguard".into());
    let token = token("ann", 100_000);
    let cookie = format!("wsguard={token}");
    let with = |origin| HandshakeRequest { cookie: Header::One(&cookie), origin, ..request() };
    assert!(matches!(admit(&cx, at(0), &with(Header::Absent)), Step::Refuse(refusal) if refusal.status == 403));
    assert!(matches!(admit(&cx, at(0), &with(Header::One("https://evil.test"))), Step::Refuse(r) if r.status == 403));
    let bad = HandshakeRequest { cookie: Header::One("wsguard=garbage"), ..request() };
    assert!(matches!(admitted(admit(&cx, at(0), &bad)).entry, Entry::FirstMessage), "counts as absent");
    let open = || admitted(admit(&cx, at(0), &with(Header::One("http://localhost:3000"))));
    assert!(matches!(open().entry, Entry::Proof { .. }));

    let mut peer = Peer::open(&cx, at(0), open());
    assert!(peer.csrf.is_empty(), "no frame before the proof");
    let proof = cx.pre_session_proof(at(0), &fingerprint(&token)).as_str().to_owned();
    assert_eq!(peer.say(at(1), &format!(r#"{{"type":"auth","csrfToken":"{proof}"}}"#)), Verdict::Answered);
    assert_eq!(peer.frames()[0]["payload"]["subject"], "ann");

    for wrong in [r#"{"type":"auth"}"#, r#"{"type":"ping"}"#, r#"{"type":"auth","csrfToken":"AAAAAAAAAAAAAAAAAAAAAA"}"#]
    {
        let mut peer = Peer::open(&cx, at(0), open());
        let _ = peer.say(at(1), wrong);
        assert_eq!(peer.frames().last().unwrap()["close"], 4403, "{wrong}");
    }
}

#[test]
fn a_ticket_is_bound_to_its_origin_and_a_lost_store_refuses() {
    let cx = context(|_| {});
    let redeem = |reply| {
        let request = HandshakeRequest { query: Some("ticket=abc"), ..request() };
        match admit(&cx, at(0), &request) {
            Step::Redeem { ticket, waiting } => {
                assert_eq!(ticket, fingerprint("abc"), "the store sees only the hash");
                waiting.redeemed(&cx, at(0), reply)
            }
            other => panic!("{other:?}"),
        }
    };
    let grant =
        |origin: Option<&str>| TicketGrant { token: "test_token".into(), origin: origin.map(Into::into), resume: None };
    assert!(matches!(admitted(redeem(Ok(Some(grant(None))))).entry, Entry::Open(..)));
    for (name, reply, status) in [
        ("used", Ok(None), 401),
        ("another origin", Ok(Some(grant(Some("http://localhost:3000")))), 401),
        ("store lost", Err(StoreUnavailable), 503),
    ] {
        assert!(matches!(redeem(reply), Step::Refuse(refusal) if refusal.status == status), "{name}");
    }
}

#[test]
fn sessions_of_a_subject_are_capped() {
    let cx = context(|policy| policy.sessions.per_subject = 2);
    let _held = [Peer::with_token(&cx, "test_token"), Peer::with_token(&cx, "test_token")];
    let bearer = HandshakeRequest { authorization: Header::One("Bearer test_token"), ..request() };
    assert!(matches!(admit(&cx, at(0), &bearer), Step::Refuse(refusal) if refusal.status == 429));
    let browser = HandshakeRequest { protocols: Header::One("wsguard.v1, wsguard.bearer.test_token"), ..request() };
    let mut peer = Peer::open(&cx, at(0), admitted(admit(&cx, at(0), &browser)));
    assert!(peer.connection.is_closing(), "told over the socket, where a browser can see it");
    assert!(peer.frames().is_empty(), "taken by open");
}

#[test]
fn the_handshake_rate_is_charged_before_any_signature() {
    let cx = context(|_| {});
    let bad = HandshakeRequest { authorization: Header::One("Bearer garbage"), ..request() };
    let statuses: Vec<u16> = (0..40)
        .map(|_| match admit(&cx, at(0), &bad) {
            Step::Refuse(refusal) => refusal.status,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 30);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 10);
}

#[test]
fn a_session_ends_when_idle_and_when_too_old() {
    let cx = context(|policy| policy.sessions.max = Millis::from_secs(3_600));
    let mut peer = Peer::with_token(&cx, "test_token");
    peer.connection.on_sign_of_life(at(1_799_000));
    let _ = peer.connection.on_deadline(at(1_800_000), &mut peer.effects);
    assert_eq!(peer.frames().last().unwrap()["close"], 4408, "no message for half an hour, although it answered pings");
    let mut peer = Peer::with_token(&cx, "test_token");
    let _ = peer.say(at(3_599_999), r#"{"type":"ping"}"#);
    let _ = peer.say(at(3_600_000), r#"{"type":"ping"}"#);
    assert_eq!(peer.frames().last().unwrap()["close"], 4401);
}

#[test]
fn a_ping_brings_its_value_back_unchanged() {
    let mut peer = Peer::with_token(&context(|_| {}), "test_token");
    let long = format!(r#""{}""#, "é".repeat(64));
    let longer = format!(r#""{}""#, "a".repeat(65));
    for (index, (name, t, back)) in [
        ("whole", "42", Some("42")),
        ("performance.now()", "1234.5000000000001", Some("1234.5000000000001")),
        ("exponent", "1.50e+3", Some("1.50e+3")),
        ("negative zero", "-0", Some("-0")),
        ("beyond 2^53", "12345678901234567890", Some("12345678901234567890")),
        ("string", r#""a-1""#, Some(r#""a-1""#)),
        ("escapes", r#""\u0061\/""#, Some(r#""a/""#)),
        ("64 characters", &long, Some(&*long)),
        ("65 characters", &longer, None),
        ("true", "true", None),
        ("null", "null", None),
        ("object", "{}", None),
        ("array", "[1]", None),
    ]
    .into_iter()
    .enumerate()
    {
        let now = at(u64::try_from(index).unwrap() * 1_000);
        let _ = peer.say(now, &format!(r#"{{"type":"ping","payload":{{"t":{t}}}}}"#));
        let sent = String::from_utf8_lossy(&peer.effects.out).into_owned();
        match back {
            Some(back) => assert!(sent.contains(&format!(r#""payload":{{"t":{back},"serverTime":"#)), "{name}: {sent}"),
            None => assert!(sent.contains(r#""code":"invalid_message""#), "{name}: {sent}"),
        }
        peer.effects.out.clear();
    }
    assert_eq!(peer.refusal(at(60_000), r#"{"type":"ping","payload":{}}"#), None);
    assert_eq!(peer.refusal(at(60_000), r#"{"type":"ping","payload":{"x":1}}"#).as_deref(), Some("invalid_message"));
}

#[test]
fn an_ack_is_heard_every_200_ms_and_never_refused_for_its_rate() {
    let mut peer = Peer::with_token(&context(|_| {}), "test_token");
    let (good, bad) = (r#"{"type":"ack","payload":{"seq":1}}"#, r#"{"type":"ack","payload":{}}"#);
    // Only what is looked at is found wrong.
    for (ms, text, code) in [
        (0, bad, Some("invalid_message")),
        (0, good, None),
        (1, bad, None),
        (199, bad, None),
        (200, bad, Some("invalid_message")),
        (200, good, None),
        (399, bad, None),
        (400, bad, Some("invalid_message")),
    ] {
        assert_eq!(peer.refusal(at(ms), text).as_deref(), code, "{text} at {ms}");
    }
    for _ in 0..200 {
        assert_eq!(peer.refusal(at(500), good), None);
    }
    let flooded = peer.refusal(at(500), r#"{"type":"ping"}"#);
    assert_eq!(flooded.as_deref(), Some("rate_limited"), "they are counted all the same");
    assert_eq!(peer.refusal(at(500), good), None);
}

#[test]
fn an_ack_does_not_forgive_refusals() {
    let mut peer = Peer::with_token(&context(|policy| policy.rate.mode = Mode::Shadow), "test_token");
    let _ = peer.say(at(0), r#"{"type":"ack","payload":{"seq":1}}"#);
    let mut refused = 0;
    while !peer.connection.is_closing() {
        let _ = peer.say(at(1), "x");
        let _ = peer.say(at(1), r#"{"type":"ack","payload":{"seq":1}}"#);
        refused += 1;
        assert!(refused <= 256, "closed by then");
    }
    assert_eq!(peer.frames().last().unwrap()["close"], 1008);
}

#[test]
fn bidi_controls_pass_and_are_told_once_a_connection() {
    let mut peer = Peer::with_token(&context(|_| {}), "test_token");
    let text = "{\"type\":\"echo\",\"csrfToken\":\"CSRF\",\"payload\":\"a\u{202e}b\\u2066c\"}";
    let _ = peer.effects.records.drain(..);
    for _ in 0..3 {
        assert_eq!(peer.say(at(0), text), Verdict::Allow);
        assert_eq!(peer.payload(), "\"a\u{202e}b\u{2066}c\"", "nothing of it changes");
    }
    assert_eq!(peer.effects.bidi_controls, 6);
    let told: Vec<_> =
        peer.effects.records.iter().map(|record| (record.action, record.message_type.as_deref())).collect();
    assert_eq!(told, [("bidi_controls_passed", Some("echo"))]);
    // What is refused does not pass, and is not counted.
    let _ = peer.say(at(0), "{\"type\":\"echo\",\"payload\":\"\u{202e}\"}");
    assert_eq!(peer.effects.bidi_controls, 6);
}
