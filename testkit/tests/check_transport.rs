//! WSA-TLS checks against scripted peers: good, bad, silent, and the trap. 01 is in `check_models.rs`.

use rustls::version::{TLS12, TLS13};
use testkit::scripted::{Greet, Script, TOKEN, verdict, verdict_with};
use testkit::scripted_tls::{Answer, Certificate, Hello, Tls, current};
use wsguard_audit::Status::{self, Fail, Pass, Skipped, Unknown, Warn};

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

async fn speaking(tls: Tls, id: &str) -> (Status, String) {
    verdict(Script::good().tls(tls), id).await
}

async fn showing(certificate: Certificate, id: &str) -> (Status, String) {
    speaking(Tls::with(&certificate, rustls::ALL_VERSIONS), id).await
}

const GOOD: Certificate = Certificate::GOOD;

#[tokio::test(flavor = "multi_thread")]
async fn silence_proves_nothing() {
    // The first connection speaks, so that there is an audit at all.
    let ids = ["02", "03", "04", "05", "06", "07", "08", "09", "10"].map(|number| format!("WSA-TLS-{number}"));
    let mut running = tokio::task::JoinSet::new();
    for id in ids {
        running.spawn(async move { (speaking(Tls::good().silent(), &id).await, id) });
    }
    for (found, id) in running.join_all().await {
        is(&id, &found, Unknown);
    }
}

/// As [`current`], but for a hello of this version.
fn agrees(version: u16, chosen: u16) -> Tls {
    Tls::good().by_hand(move |hello| match hello.version {
        offered if offered == version => Answer::Hello(chosen, 0xc013, false, true),
        _ => current(hello),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions() {
    let id = "WSA-TLS-02";
    is("good", &speaking(Tls::good(), id).await, Pass);
    is("bad: TLS 1.0", &speaking(agrees(0x0301, 0x0301), id).await, Fail);
    is("bad: TLS 1.1", &speaking(agrees(0x0302, 0x0302), id).await, Fail);
    is("trap: answers an old hello with TLS 1.2", &speaking(agrees(0x0301, 0x0303), id).await, Pass);
    let other = Tls::good().by_hand(|_| Answer::Close);
    is("trap: ends every hello by hand", &speaking(other, id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_version() {
    let id = "WSA-TLS-03";
    is("good", &speaking(Tls::good(), id).await, Pass);
    is("bad", &speaking(Tls::with(&GOOD, &[&TLS12]), id).await, Warn);
    is("trap: 1.3 alone", &speaking(Tls::with(&GOOD, &[&TLS13]), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn chains() {
    let id = "WSA-TLS-04";
    is("good: of the authority of --ca", &showing(GOOD, id).await, Pass);
    is("bad: signed by itself", &showing(Certificate { is_trusted: false, ..GOOD }, id).await, Fail);
    let unnamed = verdict_with(Script::good().tls(Tls::good()), id, |options| options.ca_pem = None);
    let (status, told) = unnamed.await;
    // A machine without authorities of its own cannot judge.
    assert!(matches!(status, Fail | Unknown), "the authority is not named: {told}");
    is("trap: ended, which is another check's", &showing(Certificate { days: (-9, -2), ..GOOD }, id).await, Pass);
    is("trap: for another name, too", &showing(Certificate { name: "chat.example", ..GOOD }, id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn names() {
    let id = "WSA-TLS-05";
    is("good", &showing(GOOD, id).await, Pass);
    is("bad", &showing(Certificate { name: "chat.example", ..GOOD }, id).await, Fail);
    let by_address = |name| {
        let tls = Tls::with(&Certificate { name, ..GOOD }, rustls::ALL_VERSIONS);
        verdict_with(Script::good().tls(tls), id, |options| {
            options.url = options.url.replace("localhost", "127.0.0.1");
        })
    };
    is("trap: an address that it names", &by_address("127.0.0.1").await, Pass);
    is("an address that it does not name", &by_address("localhost").await, Fail);
}

#[tokio::test(flavor = "multi_thread")]
async fn dates() {
    let id = "WSA-TLS-06";
    is("good", &showing(GOOD, id).await, Pass);
    is("bad: ended", &showing(Certificate { days: (-9, -2), ..GOOD }, id).await, Fail);
    is("bad: not begun", &showing(Certificate { days: (2, 9), ..GOOD }, id).await, Fail);
    is("ends soon", &showing(Certificate { days: (-9, 9), ..GOOD }, id).await, Warn);
    is("trap: short-lived and new", &showing(Certificate { days: (0, 17), ..GOOD }, id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_signatures() {
    let id = "WSA-TLS-07";
    is("good", &showing(GOOD, id).await, Pass);
    let short = Certificate { chain: include_str!("weak/rsa-1024.pem"), ..GOOD };
    is("bad: a key of 1,024 bits", &showing(short, id).await, Fail);
    let old = Certificate { chain: include_str!("weak/sha-1.pem"), ..GOOD };
    is("bad: signed with SHA-1", &showing(old, id).await, Fail);
    let root = Certificate { chain: include_str!("weak/root-sha-1.pem"), ..GOOD };
    is("trap: a root, whose signature nobody verifies", &showing(root, id).await, Pass);
}

/// As [`current`], but for a hello that offers `suite`.
fn takes(suite: u16, chosen: u16) -> Tls {
    Tls::good().by_hand(move |hello| match hello {
        Hello { suites, .. } if suites.contains(&suite) => Answer::Hello(0x0303, chosen, false, true),
        hello => current(hello),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn weak_suites() {
    let id = "WSA-TLS-08";
    is("good", &speaking(Tls::good(), id).await, Pass);
    is("bad: RC4", &speaking(takes(0x0005, 0x0005), id).await, Fail);
    is("bad: no encryption", &speaking(takes(0x003b, 0x003b), id).await, Fail);
    is("CBC", &speaking(takes(0xc014, 0xc014), id).await, Warn);
    is("trap: chooses what was not offered", &speaking(takes(0x0005, 0xc02f), id).await, Pass);
}

/// Answers `GET /` with these header lines and this body.
fn page(status: u16, headers: &'static [(&'static str, &'static str)]) -> Script {
    Script::good().tls(Tls::good()).on_request(move |ask| match ask.value("Upgrade") {
        Some(_) if ask.bearer() == Some(TOKEN) => Greet::Open,
        Some(_) => Greet::Refuse(401, Vec::new(), String::new()),
        None => {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Greet::Refuse(status, headers, "<html>".into())
        }
    })
}

const HTML: (&str, &str) = ("Content-Type", "text/html");

#[tokio::test(flavor = "multi_thread")]
async fn transport_security_of_pages() {
    let id = "WSA-TLS-09";
    let year = page(200, &[HTML, ("Strict-Transport-Security", "max-age=31536000; includeSubDomains")]);
    is("good", &verdict(year, id).await, Pass);
    is("bad", &verdict(page(200, &[HTML]), id).await, Warn);
    let day = page(200, &[HTML, ("Strict-Transport-Security", "max-age=86400")]);
    is("a day", &verdict(day, id).await, Warn);
    is("trap: no page", &verdict(page(404, &[("Content-Type", "application/json")]), id).await, Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn shortcuts() {
    let id = "WSA-TLS-10";
    is("good", &speaking(Tls::good(), id).await, Pass);
    let deflates = Tls::good().by_hand(|hello| match hello {
        Hello { compression: true, .. } => Answer::Hello(0x0303, 0xc02f, true, true),
        hello => current(hello),
    });
    is("bad: compression", &speaking(deflates, id).await, Fail);
    is("early data", &speaking(Tls::good().early_data(), id).await, Warn);
    let renegotiates = Tls::good().by_hand(|hello| match current(hello) {
        Answer::Hello(version, suite, compressed, _) => Answer::Hello(version, suite, compressed, false),
        answer => answer,
    });
    is("old renegotiation", &speaking(renegotiates, id).await, Warn);
    is("trap: no TLS 1.2, which has them", &speaking(Tls::good().by_hand(|_| Answer::Alert(70)), id).await, Pass);
}
