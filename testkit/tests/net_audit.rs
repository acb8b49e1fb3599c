//! The audit against the server itself: in production nothing to find; with a protection switched off, what is missing.

#![expect(clippy::unwrap_used, reason = "for tests: what does not come as expected is a failed test")]

use std::fs;
use std::time::Duration;

use serde_json::Value;
use testkit::world::{Scratch, World, run};
use wsguard_audit::Status::{Fail, Pass, Warn};
use wsguard_audit::{Options, Pace, Report, Silent, Status, audit, report};

const ORIGIN: &str = "https://app.example.org";

/// The server as it should be run, and what an audit of it is given.
fn production() -> (World, Options) {
    production_with(&[], "")
}

/// The same with other settings, and with `further` certificates behind its own.
fn production_with(more: &[(&str, &str)], further: &str) -> (World, Options) {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.path().join(name);
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(at("cert.pem"), certified.cert.pem() + further).unwrap();
    fs::write(at("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let made = run(scratch.path(), &["keygen", "--alg", "EdDSA", "--out", "signing.key"], &[]);
    assert!(made.status.success());
    let token = |subject: &str| {
        let signed = run(scratch.path(), &["token", "--key", "signing.key", "--sub", subject, "--ttl", "15m"], &[]);
        String::from_utf8(signed.stdout).unwrap().trim().to_owned()
    };
    let (ann, bob) = (token("ann"), token("bob"));
    let ca_pem = certified.cert.pem().into_bytes();
    let mut settings = vec![
        ("WSGUARD_TLS__CERT", "cert.pem"),
        ("WSGUARD_TLS__KEY", "key.pem"),
        ("WSGUARD_ORIGIN__ALLOW", ORIGIN),
        ("WSGUARD_HOST__ALLOW", "localhost"),
        ("WSGUARD_AUTH__KEYS", "signing.key.pub"),
    ];
    settings.extend_from_slice(more);
    let world = World::start(scratch, &[], &settings);
    let url = format!("wss://localhost:{}/ws", world.endpoint.port());
    let options = Options {
        token_b: Some(bob),
        origin: Some(ORIGIN.into()),
        ca_pem: Some(ca_pem),
        ..Options::new(&url, Some(&ann))
    };
    (world, options)
}

/// What an audit says about one check of `wsguard serve --dev` with these settings.
async fn found(settings: &[(&str, &str)], id: &str) -> (Status, String) {
    let world = World::dev(settings);
    let token = world.token("ann", "15m");
    let options = Options {
        only: vec![id.to_owned()],
        // A fifth of the time: the five seconds of the first message are twenty-five of the catalogue.
        pace: Pace::shortened(Duration::from_millis(200)),
        ..Options::new(&format!("ws://localhost:{}/ws", world.endpoint.port()), Some(&token))
    };
    let report = audit(options, &Silent).await.unwrap();
    let item = report.checks.into_iter().find(|item| item.id == id).unwrap();
    (item.status.0, item.evidence.join("; "))
}

fn assert_forms(report: &Report) {
    let schema: Value = serde_json::from_str(include_str!("../../docs/audit-report.schema.json")).unwrap();
    let json: Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let again: Report = serde_json::from_value(json).unwrap();
    assert_eq!(report::compare(&again, report).new, Vec::<String>::new());
    let html = report::html(report);
    assert!(html.contains("</html>") && !html.contains("{{") && !html.contains("<script"));
    assert_eq!(report::sarif(report), report::sarif(&again), "fingerprints stay the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn production_has_nothing_to_find() {
    let (_world, options) = production();
    let secrets = [options.token.clone().unwrap(), options.token_b.clone().unwrap()];
    let report = audit(options, &Silent).await.unwrap();
    let findings: Vec<String> =
        report.findings().iter().map(|item| format!("{}: {}", item.id, item.evidence.join("; "))).collect();
    assert!(report.summary.fail == 0, "{findings:#?}");
    let grade = report.grade.as_deref();
    assert!(matches!(grade, Some("A+" | "A")), "{grade:?}, coverage {}: {findings:#?}", report.coverage);
    assert_forms(&report);
    for text in [report.json().unwrap(), report::html(&report), report::markdown(&report)] {
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())), "a token is in a report");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_is_found() {
    for (what, settings, id, want) in [
        ("nothing", &[][..], "WSA-CSRF-09", Pass),
        ("CSRF tokens", &[("WSGUARD_SHADOW__CONTROLS", "csrf")], "WSA-CSRF-09", Fail),
        ("nothing", &[], "WSA-AUTH-07", Pass),
        ("the ban of tokens in the URL", &[("WSGUARD_AUTH__ALLOW_QUERY_TOKEN", "true")], "WSA-AUTH-07", Warn),
        ("nothing", &[], "WSA-AUTH-09", Pass),
        ("the deadline of the first message", &[("WSGUARD_AUTH__FIRST_MESSAGE_TIMEOUT", "1m")], "WSA-AUTH-09", Warn),
        ("nothing", &[("WSGUARD_RATE__HANDSHAKES", "30")], "WSA-RATE-02", Pass),
        ("the limit of handshakes", &[("WSGUARD_SHADOW__CONTROLS", "handshake_rate")], "WSA-RATE-02", Warn),
        // Failed attempts are not counted apart from handshakes, which is worth a word.
        ("nothing", &[("WSGUARD_RATE__HANDSHAKES", "200")], "WSA-AUTH-10", Warn),
        ("nothing", &[], "WSA-CSRF-10", Pass),
    ] {
        let (status, evidence) = found(settings, id).await;
        assert_eq!(status, want, "{what} switched off, {id}: {evidence}");
    }
}

/// What an audit says about one check of a server in production.
async fn said((_world, options): (World, Options), id: &str) -> (Status, String) {
    let only = Options { only: vec![id.to_owned()], pace: Pace::shortened(Duration::from_millis(200)), ..options };
    let report = audit(only, &Silent).await.unwrap();
    let item = report.checks.into_iter().find(|item| item.id == id).unwrap();
    (item.status.0, item.evidence.join("; "))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_production_has_is_found_where_it_is_missing() {
    let foreign = format!("{ORIGIN},https://wsguard-audit.invalid");
    let foreign = [("WSGUARD_ORIGIN__ALLOW", foreign.as_str())];
    let weak = include_str!("weak/rsa-1024.pem");
    for (what, server, id, want) in [
        ("nothing", production(), "WSA-TLS-01", Pass),
        ("nothing", production(), "WSA-TLS-07", Pass),
        ("the strength of a key of the chain", production_with(&[], weak), "WSA-TLS-07", Fail),
        ("nothing", production(), "WSA-CSRF-01", Pass),
        ("a foreign page in the list of origins", production_with(&foreign, ""), "WSA-CSRF-01", Warn),
        ("nothing", production(), "WSA-AUTH-14", Status::Skipped),
        ("the strength of the secret", with_secret("a-string-secret-at-least-256-bits-long"), "WSA-AUTH-14", Fail),
        ("nothing, with a secret", with_secret("q7Zk0vXw1pQe9sTb2mNc4rYd6uFg8hJk"), "WSA-AUTH-14", Pass),
    ] {
        let (status, evidence) = said(server, id).await;
        assert_eq!(status, want, "{what} missing, {id}: {evidence}");
    }
    let (status, evidence) = found(&[], "WSA-TLS-01").await;
    assert_eq!(status, Warn, "TLS missing, WSA-TLS-01: {evidence}");
}

/// A server that verifies tokens with this secret, and what an audit of it is given.
fn with_secret(secret: &str) -> (World, Options) {
    use base64::Engine as _;
    let scratch = Scratch::new();
    let line = format!("wsguard-hs256:{}\n", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret));
    fs::write(scratch.path().join("secret.key"), line).unwrap();
    let arguments = ["token", "--key", "secret.key", "--sub", "ann", "--ttl", "15m"];
    let token = String::from_utf8(run(scratch.path(), &arguments, &[]).stdout).unwrap().trim().to_owned();
    let world = World::start(scratch, &["--dev"], &[("WSGUARD_AUTH__KEYS", "secret.key")]);
    let options = Options::new(&format!("ws://localhost:{}/ws", world.endpoint.port()), Some(&token));
    (world, options)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_development_token_is_critical() {
    let world = World::dev(&[]);
    let url = format!("ws://localhost:{}/ws", world.endpoint.port());
    let options = Options { only: vec!["WSA-AUTH-13".into()], ..Options::new(&url, Some(testkit::world::TOKEN)) };
    let report = audit(options, &Silent).await.unwrap();
    let found = report.failures(wsguard_audit::Severity::Critical).next().unwrap();
    assert_eq!((found.id.as_str(), report.grade.as_deref()), ("WSA-AUTH-13", Some("F")));
}
