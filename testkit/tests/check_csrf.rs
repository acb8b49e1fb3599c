//! WSA-CSRF-03 to 10 against scripted peers: good, bad, silent, and the trap. 01 and 02 are in `check_models.rs`.

use testkit::scripted::{Ask, Greet, Out, Script, TOKEN, answer, verdict, verdict_with};
use wsguard_audit::Options;
use wsguard_audit::Status::{self, Fail, Pass, Skipped, Unknown, Warn};

fn refuse(status: u16) -> Greet {
    Greet::Refuse(status, Vec::new(), String::new())
}

/// A server whose credential is a cookie, and which decides by the Origin as `may` does.
fn cookie(may: impl Fn(&Ask) -> bool + Send + Sync + 'static) -> Script {
    Script::good().on_request(move |ask| match ask.value("Cookie") {
        Some(held) if held.contains(TOKEN) && may(ask) => Greet::Open,
        Some(held) if held.contains(TOKEN) => refuse(403),
        _ => refuse(401),
    })
}

/// A server whose credential is a bearer token, and which decides by the Origin as `may` does.
fn bearer(may: impl Fn(&Ask) -> bool + Send + Sync + 'static) -> Script {
    Script::good().on_request(move |ask| match ask.bearer() {
        Some(TOKEN) if may(ask) => Greet::Open,
        Some(TOKEN) => refuse(403),
        _ => refuse(401),
    })
}

fn with_cookie(options: &mut Options) {
    options.token = None;
    options.cookie = Some(format!("sid={TOKEN}"));
}

fn origin(ask: &Ask) -> &str {
    ask.value("Origin").unwrap_or_default()
}

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_origin() {
    let id = "WSA-CSRF-03";
    let strict = |ask: &Ask| ask.value("Origin").is_some() && ask.is_own_origin();
    is("good", &verdict_with(cookie(strict), id, with_cookie).await, Pass);
    is("bad", &verdict_with(cookie(Ask::is_own_origin), id, with_cookie).await, Fail);
    is("silent", &verdict_with(Script::silent(), id, with_cookie).await, Unknown);
    is("trap: programs bring a token", &verdict(bearer(Ask::is_own_origin), id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn look_alikes() {
    let id = "WSA-CSRF-04";
    is("good", &verdict(Script::good(), id).await, Pass);
    let begins = |ask: &Ask| origin(ask).starts_with("http://127.0.0.1");
    is("bad: beginning", &verdict_with(cookie(begins), id, with_cookie).await, Fail);
    let ends = |ask: &Ask| origin(ask).ends_with(&format!("127.0.0.1:{}", ask.address.port()));
    is("bad: end", &verdict_with(cookie(ends), id, with_cookie).await, Fail);
    is("bad, but by script", &verdict(bearer(begins), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: every Origin is let in", &verdict(bearer(|_| true), id).await, Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn scheme_and_port() {
    let any_scheme = |ask: &Ask| origin(ask).ends_with(&format!("//{}", ask.address));
    let any_port = |ask: &Ask| origin(ask).starts_with("http://127.0.0.1:") && !origin(ask).contains("invalid");
    for (id, bad) in [("WSA-CSRF-05", bearer(any_scheme)), ("WSA-CSRF-06", bearer(any_port))] {
        is("good", &verdict(Script::good(), id).await, Pass);
        is("bad", &verdict(bad, id).await, Warn);
        is("silent", &verdict(Script::silent(), id).await, Unknown);
        is("trap: every Origin is let in", &verdict(bearer(|_| true), id).await, Skipped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_domains() {
    let id = "WSA-CSRF-07";
    let at_app = |options: &mut Options| options.origin = Some("https://app.example.org".into());
    let exact = bearer(|ask| origin(ask) == "https://app.example.org");
    is("good", &verdict_with(exact, id, at_app).await, Pass);
    let below = bearer(|ask| origin(ask).ends_with(".example.org"));
    is("bad: a wildcard", &verdict_with(below, id, at_app).await, Warn);
    let parent = bearer(|ask| ["https://app.example.org", "https://example.org"].contains(&origin(ask)));
    is("bad: the parent", &verdict_with(parent, id, at_app).await, Warn);
    is("silent", &verdict_with(Script::silent(), id, at_app).await, Unknown);
    is("trap: an address", &verdict(Script::good(), id).await, Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn cookie_flags() {
    let id = "WSA-CSRF-08";
    let sets = |cookie: &'static str| {
        Script::good().on_request(move |ask| match ask.bearer() {
            Some(TOKEN) => Greet::OpenWith(vec![("Set-Cookie".into(), cookie.into())], Vec::new()),
            _ => refuse(401),
        })
    };
    is("good", &verdict(sets("sid=1; HttpOnly; SameSite=Strict"), id).await, Pass);
    is("bad", &verdict(sets("sid=1; SameSite=None"), id).await, Fail);
    is("no word about sites", &verdict(sets("sid=1; HttpOnly"), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: a load balancer's", &verdict(sets("AWSALB=1"), id).await, Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn hijack() {
    let id = "WSA-CSRF-09";
    is("good", &verdict_with(cookie(Ask::is_own_origin), id, with_cookie).await, Pass);
    is("bad", &verdict_with(cookie(|_| true), id, with_cookie).await, Fail);
    is("silent", &verdict_with(Script::silent(), id, with_cookie).await, Unknown);
    is("trap: nothing ambient", &verdict(Script::good(), id).await, Skipped);
    let everybody = Script::good().on_request(|_| Greet::Open);
    is("trap: everybody gets the answer", &verdict_with(everybody, id, with_cookie).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_host() {
    let id = "WSA-CSRF-10";
    let own_host = |ask: &Ask| ask.value("Host") == Some(ask.address.to_string().as_str());
    let same = |ask: &Ask| origin(ask).ends_with(&format!("//{}", ask.value("Host").unwrap_or_default()));
    is("good", &verdict_with(cookie(move |ask| own_host(ask) && ask.is_own_origin()), id, with_cookie).await, Pass);
    is("bad: Origin compared with Host", &verdict_with(cookie(same), id, with_cookie).await, Fail);
    is("silent", &verdict_with(Script::silent(), id, with_cookie).await, Unknown);
    is("trap: the page has no token", &verdict(bearer(same), id).await, Warn);
    let late = Script::good()
        .on_request(|ask| if ask.bearer() == Some(TOKEN) { Greet::Open } else { refuse(401) })
        .on_text(move |ask, text| if own_host(ask) { answer(text) } else { vec![Out::Close(4403)] });
    is("refused behind the upgrade", &verdict(late, id).await, Pass);
}
