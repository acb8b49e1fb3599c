//! What a change outside does to a connection that is open: frames, records and verdicts as peer and operator see them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the helpers of a test fail it where something is not as it should be"
)]

mod peer;

use std::sync::Arc;

use wsguard_core::control::authorization::Access;
use wsguard_core::control::host::HostPattern;
use wsguard_core::control::origin::Origin;
use wsguard_core::control::revocation::{Revocation, Target};
use wsguard_core::control::session::OnCap;
use wsguard_core::effect::Effects;
use wsguard_core::guard::Connection;
use wsguard_core::handshake::{Entry, HandshakeRequest, Header, Step, admit};
use wsguard_core::in_force::InForce;
use wsguard_core::policy::{Context, MessageType, Policy};
use wsguard_core::time::Millis;
use wsguard_core::token::{Key, KeyRing, fingerprint};
use wsguard_core::verdict::Verdict;

use wsguard_protocol::CloseCode;

use peer::{Peer, SECRET, admitted, at, context, policy, token, token_with};

const ECHO: &str = r#"{"type":"echo","csrfToken":"CSRF","payload":1}"#;
const CHAT: &str = r#"{"type":"chat","csrfToken":"CSRF","payload":{"message":"hi"}}"#;

fn reload(cx: &Context, mut policy: Policy) {
    policy.keep_numbers_of(&cx.policy()).unwrap();
    let _ = cx.replace_policy(InForce::new(policy));
}

/// The code of the close frame among what the peer got.
fn closed(peer: &mut Peer) -> Option<u64> {
    peer.frames().iter().find_map(|frame| frame["close"].as_u64())
}

fn from_page(cx: &Arc<Context>) -> Peer {
    let authorization = format!("Bearer {}", token("ann", 600_000));
    let request = HandshakeRequest {
        authorization: Header::One(&authorization),
        origin: Header::One("http://localhost:3000"),
        ..peer::request()
    };
    Peer::open(cx, at(0), admitted(admit(cx, at(0), &request)))
}

type Change = fn(&mut Policy);

#[test]
fn only_what_a_new_policy_refuses_is_closed() {
    let other_key = || {
        let text = String::from_utf8(SECRET.to_vec()).unwrap().replace("AAECAwQF", "BBECAwQF");
        Key::parse("other", text.as_bytes()).unwrap()
    };
    let cases: [(&str, Change, Option<u64>); 13] = [
        ("nothing", |_| {}, None),
        ("another limit", |policy| policy.rate.prefix_factor = 7, None),
        ("one host more", |policy| policy.hosts.insert(0, HostPattern::parse("app.example").unwrap()), None),
        ("the host with its port", |policy| policy.hosts = vec![HostPattern::parse("localhost:3000").unwrap()], None),
        ("another port", |policy| policy.hosts = vec![HostPattern::parse("localhost:4000").unwrap()], Some(4403)),
        ("one origin more", |policy| policy.origins.insert(0, Origin::parse("https://app.example").unwrap()), None),
        ("another origin", |policy| policy.origins = vec![Origin::parse("https://app.example").unwrap()], Some(4403)),
        ("no tickets", |policy| policy.methods.ticket = false, None),
        ("no bearer", |policy| policy.methods.bearer = false, Some(4403)),
        ("no development token", |policy| policy.static_token = None, None),
        ("no key", |policy| policy.keys = KeyRing::default(), Some(4401)),
        ("an audience", |policy| policy.tokens.audience = Some("chat".into()), Some(4401)),
        ("an issuer", |policy| policy.tokens.issuer = Some("https://id.example".into()), Some(4401)),
    ];
    for (name, change, want) in cases {
        for silent in [true, false] {
            let cx = context(|_| {});
            let mut peer = from_page(&cx);
            assert_eq!(peer.refusal(at(1), ECHO), None);
            reload(&cx, policy(change));
            if silent {
                let _ = peer.connection.reconsider(at(2), &mut peer.effects);
            } else {
                let _ = peer.say(at(2), ECHO);
            }
            let frames = peer.frames();
            let close = frames.iter().find_map(|frame| frame["close"].as_u64());
            assert_eq!(close, want, "{name}, silent: {silent}");
            assert_eq!(frames.iter().any(|frame| frame["type"] == "error"), want.is_some(), "{name}: {frames:?}");
            assert_eq!(peer.connection.is_closing(), want.is_some(), "{name}");
        }
    }
    // Rotation: the new key beside the old one touches nobody; when the old one goes, its tokens go with it.
    let cx = context(|_| {});
    let mut peer = from_page(&cx);
    let ring = |keys| KeyRing::new(keys).unwrap();
    reload(&cx, policy(|policy| policy.keys = ring(vec![other_key(), Key::parse("test", SECRET).unwrap()])));
    assert_eq!(peer.refusal(at(1), ECHO), None);
    reload(&cx, policy(|policy| policy.keys = ring(vec![other_key()])));
    assert_eq!(peer.refusal(at(2), ECHO).as_deref(), Some("session_expired"));
}

#[test]
fn keys_that_change_without_the_policy_reach_open_sockets_too() {
    let cx = context(|_| {});
    let (mut peer, keys) = (from_page(&cx), cx.keys());
    cx.replace_keys(&keys);
    assert_eq!(peer.refusal(at(1), ECHO), None, "the same keys");
    cx.replace_keys(&KeyRing::default());
    assert_eq!(peer.refusal(at(2), ECHO).as_deref(), Some("session_expired"));
}

#[test]
fn a_key_that_took_over_an_id_is_another_key() {
    let named = |fill: &str| {
        let secret = String::from_utf8(SECRET.to_vec()).unwrap().replace("AAECAwQF", fill);
        KeyRing::new(vec![Key::parse("named", format!("kid: main\n{secret}").as_bytes()).unwrap()]).unwrap()
    };
    let cx = context(|policy| policy.keys = named("AAECAwQF"));
    let mut peer = from_page(&cx);
    reload(&cx, policy(|policy| policy.keys = named("AAECAwQF")));
    assert_eq!(peer.refusal(at(1), ECHO), None, "the same key, read again");
    reload(&cx, policy(|policy| policy.keys = named("BBECAwQF")));
    assert_eq!(peer.refusal(at(2), ECHO).as_deref(), Some("session_expired"));
}

#[test]
fn rights_follow_the_policy_and_the_token() {
    let only = |role: &str| Access::Any { roles: vec![role.into()], scopes: Vec::new() };
    let chat_for = |access: Access| {
        policy(|policy| {
            let chat = MessageType::new("admin.say", "true").unwrap().access(access);
            policy.declare(chat).unwrap();
        })
    };
    let say = r#"{"type":"admin.say","csrfToken":"CSRF"}"#;
    let cx = context(|_| {});
    let roles = ["editor".to_owned()];
    let mut peer = Peer::with_token(&cx, &token_with("ann", 600_000, |claims| claims.roles = &roles));
    assert_eq!(peer.refusal(at(1), say).as_deref(), Some("unknown_type"));
    assert!(!peer.connection.take_rights_changed());
    for (name, access, want) in [
        ("for editors", only("editor"), None),
        ("for others", only("admin"), Some("forbidden")),
        ("for all", Access::Authenticated, None),
        ("for editors again", only("editor"), None),
    ] {
        reload(&cx, chat_for(access));
        assert_eq!(peer.refusal(at(2), say).as_deref(), want, "{name}");
        assert!(peer.connection.take_rights_changed(), "{name}");
        assert_eq!(peer.refusal(at(2), say).as_deref(), want, "{name}: said twice");
        assert!(!peer.connection.take_rights_changed(), "{name}: told once");
    }
    let refresh = format!(r#"{{"type":"auth.refresh","payload":{{"token":"{}"}}}}"#, token("ann", 900_000));
    assert_eq!(peer.refusal(at(3), &refresh), None);
    assert!(peer.connection.take_rights_changed());
    assert_eq!(peer.refusal(at(4), say).as_deref(), Some("forbidden"), "the fresh token has no role");
}

#[test]
fn a_number_means_one_type_whatever_comes_and_goes() {
    let of = |names: &[&str]| {
        let mut policy = Policy::new(KeyRing::default());
        for name in names {
            policy.declare(MessageType::new(name, "true").unwrap()).unwrap();
        }
        policy
    };
    let mut known: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    let mut old = of(&["a", "b"]);
    for names in [&["a", "b"][..], &["b", "a"], &["c"], &["a", "d", "b"], &["d", "c", "b", "a"], &["a"]] {
        let mut new = of(names);
        new.keep_numbers_of(&old).unwrap();
        for (number, message) in new.messages().iter().enumerate() {
            assert_eq!(*known.entry(message.name().to_owned()).or_insert(number), number, "{names:?}");
        }
        old = new;
    }
    // What is gone is unknown, not forbidden: its place is nobody's.
    let cx = context(|_| {});
    let mut peer = Peer::with_token(&cx, &token("ann", 600_000));
    assert_eq!(peer.refusal(at(1), CHAT), None);
    let mut without = Policy::new(KeyRing::new(vec![Key::parse("test", SECRET).unwrap()]).unwrap());
    without.hosts = vec![HostPattern::parse("localhost").unwrap()];
    without.declare(MessageType::new("new", "true").unwrap()).unwrap();
    reload(&cx, without);
    assert_eq!(peer.refusal(at(2), CHAT).as_deref(), Some("unknown_type"));
    assert_eq!(peer.refusal(at(2), r#"{"type":"new","csrfToken":"CSRF"}"#), None);
    assert_eq!(peer.message().kind, "new");
    reload(&cx, policy(|_| {}));
    assert_eq!(peer.refusal(at(3), CHAT), None);
    assert_eq!(peer.message().kind, "chat");

    let mut many = of(&[]);
    for number in 0..127 {
        many.declare(MessageType::new(&format!("t{number}"), "true").unwrap()).unwrap();
    }
    assert!(of(&["x", "y"]).keep_numbers_of(&many).is_err(), "more types than there are numbers");
}

#[test]
fn limits_of_the_new_policy_hold_for_the_open_connection() {
    let cx = context(|_| {});
    let mut peer = Peer::with_token(&cx, &token("ann", 600_000));
    assert_eq!(peer.refusal(at(1), ECHO), None);
    reload(&cx, policy(|policy| policy.sessions.max = Millis(60_000)));
    let _ = peer.connection.reconsider(at(10), &mut peer.effects);
    assert!(peer.connection.deadline() <= at(60_000).tick, "the driver arms its timer by the new policy");
    assert_eq!(peer.refusal(at(59_999), ECHO), None);
    let _ = peer.connection.on_deadline(at(60_000), &mut peer.effects);
    assert_eq!(closed(&mut peer), Some(4401));
}

#[test]
fn a_handshake_that_is_under_way_is_judged_again_when_it_opens() {
    let cx = context(|_| {});
    let authorization = format!("Bearer {}", token("ann", 600_000));
    let request = HandshakeRequest { authorization: Header::One(&authorization), ..peer::request() };
    for (name, change, want) in [
        ("nothing", (|_| {}) as fn(&Context), None),
        ("revoked", |cx| revoke(cx, 1, Target::Subject("ann".into())), Some(CloseCode::Forbidden)),
        (
            "keys withdrawn",
            |cx| reload(cx, policy(|policy| policy.keys = KeyRing::default())),
            Some(CloseCode::Unauthenticated),
        ),
    ] {
        let admission = admitted(admit(&cx, at(0), &request));
        change(&cx);
        let (connection, verdict) = Connection::open(Arc::clone(&cx), at(5), admission, &mut Effects::default());
        assert_eq!(code_of(&verdict), want, "{name}");
        assert_eq!(connection.session().is_none(), want.is_some(), "{name}");
        let _ = cx.revocations().lift(1);
    }
}

fn code_of(verdict: &Verdict) -> Option<CloseCode> {
    match verdict {
        Verdict::Close(closure) => Some(closure.code),
        _ => None,
    }
}

fn opened(cx: &Arc<Context>, request: &HandshakeRequest<'_>) -> Option<CloseCode> {
    let admission = admitted(admit(cx, at(1), request));
    code_of(&Connection::open(Arc::clone(cx), at(1), admission, &mut Effects::default()).1)
}

fn revoke(cx: &Context, id: u64, target: Target) {
    let now = at(0).unix;
    let _ = cx.revocations().revoke(now, &Revocation { id, target, at: now, ends_at: None });
    cx.advance_epoch();
}

/// A token of ann's with `iat` and `jti`, as issuers make them.
fn issued(id: &str, ms: u64) -> String {
    token_with("ann", 600_000, |claims| {
        claims.id = Some(Box::leak(id.to_owned().into_boxed_str()));
        claims.issued_at = Some(at(ms).unix);
    })
}

#[test]
fn what_is_revoked_is_closed_with_4403_and_the_rest_goes_on() {
    for (name, target, want) in [
        ("its token", Target::Token("j1".into()), true),
        ("another token", Target::Token("j2".into()), false),
        ("its subject", Target::Subject("ann".into()), true),
        ("another subject", Target::Subject("bob".into()), false),
        ("issued before", Target::IssuedBefore { subject: "ann".into(), before: at(1).unix }, true),
        ("issued just then", Target::IssuedBefore { subject: "ann".into(), before: at(0).unix }, false),
    ] {
        for silent in [true, false] {
            let cx = context(|_| {});
            let mut peer = Peer::with_token(&cx, &issued("j1", 0));
            revoke(&cx, 1, target.clone());
            if silent {
                let _ = peer.connection.reconsider(at(2), &mut peer.effects);
            } else {
                assert_eq!(peer.say(at(2), ECHO) == Verdict::Allow, !want, "{name}");
            }
            let frames = peer.frames();
            assert_eq!(frames.iter().find_map(|frame| frame["close"].as_u64()), want.then_some(4403), "{name}");
            let error = frames.iter().find(|frame| frame["type"] == "error");
            assert_eq!(error.map(|error| &error["payload"]["code"] == "forbidden"), want.then_some(true), "{name}");
            assert_eq!(peer.say(at(3), ECHO) == Verdict::Allow, !want, "{name}: nothing is handled any more");
        }
    }
    let cx = context(|_| {});
    let mut peers = [Peer::with_token(&cx, &issued("j1", 0)), Peer::with_token(&cx, &issued("j1", 0))];
    revoke(&cx, 1, Target::Session(peers[0].connection.session().unwrap()));
    assert_eq!(peers[0].refusal(at(1), ECHO).as_deref(), Some("forbidden"));
    assert_eq!(peers[1].refusal(at(1), ECHO), None, "the other session of the same token is not concerned");
}

#[test]
fn a_revoked_token_opens_nothing() {
    let cx = context(|_| {});
    let page = Header::One("http://localhost:3000");
    let (revoked, good) = (issued("j1", 0), issued("j2", 0));
    let bearer = format!("Bearer {revoked}");
    let protocols = format!("wsguard.v1, wsguard.bearer.{revoked}");
    let cookie = format!("__Host-wsguard={revoked}");
    let first_message = || Peer::open(&cx, at(0), admitted(admit(&cx, at(0), &peer::request())));
    let mut waiting = first_message();
    let mut refreshing = Peer::with_token(&cx, &good);
    let request = HandshakeRequest { cookie: Header::One(&cookie), origin: page, ..peer::request() };
    let mut proving = Peer::open(&cx, at(0), admitted(admit(&cx, at(0), &request)));
    let proof = cx.pre_session_proof(at(0), &fingerprint(&revoked));
    revoke(&cx, 1, Target::Token("j1".into()));

    let request = HandshakeRequest { authorization: Header::One(&bearer), ..peer::request() };
    let Step::Refuse(refused) = admit(&cx, at(1), &request) else { panic!("a revoked bearer is admitted") };
    assert_eq!((refused.status, refused.refusal.code.as_str()), (401, "unauthenticated"), "as every bad credential");
    assert_eq!(refused.refusal.reason.word, "token_revoked", "the operator learns more");

    let request = HandshakeRequest { protocols: Header::One(&protocols), origin: page, ..peer::request() };
    assert_eq!(opened(&cx, &request), Some(CloseCode::Forbidden), "a browser is told over the socket");

    let request = HandshakeRequest { cookie: Header::One(&cookie), origin: page, ..peer::request() };
    let admission = admitted(admit(&cx, at(1), &request));
    assert!(matches!(admission.entry, Entry::FirstMessage), "a cookie that is not good counts as absent");

    let auth = format!(r#"{{"type":"auth","payload":{{"token":"{revoked}"}}}}"#);
    for (name, peer, text) in [
        ("auth", &mut waiting, auth),
        ("proof", &mut proving, format!(r#"{{"type":"auth","csrfToken":"{}"}}"#, proof.as_str())),
        ("refresh", &mut refreshing, format!(r#"{{"type":"auth.refresh","payload":{{"token":"{revoked}"}}}}"#)),
    ] {
        let _ = peer.say(at(2), &text);
        let frames = peer.frames();
        assert_eq!(frames.iter().find_map(|frame| frame["close"].as_u64()), Some(4403), "{name}: {frames:?}");
        assert!(frames.iter().any(|frame| frame["payload"]["code"] == "forbidden"), "{name}: {frames:?}");
        assert_eq!(peer.connection.session(), None, "{name}");
    }
}

#[test]
fn refreshing_moves_the_end_of_the_token_but_not_that_of_the_session() {
    let cx = context(|policy| policy.sessions.max = Millis(60_000));
    let mut peer = Peer::with_token(&cx, &token("ann", 20_000));
    for ms in [10_000, 30_000, 50_000] {
        let refresh = format!(r#"{{"type":"auth.refresh","payload":{{"token":"{}"}}}}"#, token("ann", ms + 20_000));
        assert_eq!(peer.refusal(at(ms), &refresh), None, "{ms}");
        let _ = peer.connection.on_deadline(at(ms + 10_000 - 1), &mut peer.effects);
        assert_eq!(closed(&mut peer), None, "{ms}: the old end no longer counts");
    }
    assert!(peer.connection.deadline() <= at(60_000).tick);
    assert_eq!(peer.refusal(at(59_999), ECHO), None);
    assert_eq!(peer.refusal(at(60_000), ECHO).as_deref(), Some("session_expired"));
    // Without a message the timer does it.
    let mut silent = Peer::with_token(&cx, &token("bob", 900_000));
    let _ = silent.connection.on_deadline(at(60_000), &mut silent.effects);
    assert_eq!(closed(&mut silent), Some(4401));
}

#[test]
fn the_oldest_session_makes_room_also_while_it_is_silent() {
    let cx = context(|policy| {
        policy.sessions.per_subject = 2;
        policy.sessions.on_cap = OnCap::CloseOldest;
    });
    let join = || Peer::with_token(&cx, &token("ann", 600_000));
    let (mut first, mut second) = (join(), join());
    let authorization = format!("Bearer {}", token("ann", 600_000));
    let request = HandshakeRequest { authorization: Header::One(&authorization), ..peer::request() };
    let admission = admitted(admit(&cx, at(0), &request));
    assert_eq!(admission.displaced, first.connection.session(), "the driver knows whom to wake");
    let mut third = Peer::open(&cx, at(0), admission);
    let _ = first.connection.reconsider(at(1), &mut first.effects);
    assert_eq!(closed(&mut first), Some(4409));
    for peer in [&mut second, &mut third] {
        assert_eq!(peer.refusal(at(1), ECHO), None);
    }
}
