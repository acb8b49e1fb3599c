//! A page whose name was made to point here.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-10",
    title: "Foreign Host refused",
    category: Category::Csrf,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[350], asvs: &["4.4.2"], url: "https://www.rfc-editor.org/rfc/rfc9110#section-7.2" },
    what: "Repeats the good handshake with `Host: rebind.invalid` and the Origin that a page of that name would have.",
    why: "A page can let its own name point to the visitor's machine or network (DNS rebinding). Host and Origin then \
          agree with each other, and a server that only compares the two lets the page in.",
    remedy: "Compare Host with the names under which the server is meant to be reached, on loopback too.",
    traps: "An exact list of origins refuses a rebound page as well, since its Origin carries its own name: that counts. A content delivery network routes by name and refuses in place of the server: a refusal counts all the same. \
            A public server with TLS cannot be rebound without a certificate for the foreign name: `warn` at `low`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let scheme = if probe.target().tls { "https" } else { "http" };
    let port = probe.target().authority().rsplit_once(':').map_or(String::new(), |(_, port)| format!(":{port}"));
    let host = format!("rebind.invalid{port}");
    let mut request = probe.request();
    for (name, value) in &mut request.headers {
        if name == "Host" {
            value.clone_from(&host);
        }
    }
    let entry = probe.enter_as_self(&request.origin(&format!("{scheme}://{host}"))).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("Host {host}, Origin {scheme}://{host}: {}", entry.shown());
    if !matches!(entry, Entry::Denied(_)) {
        return judged(probe, seen);
    }
    Outcome::pass(seen)
}

fn judged(probe: &Probe, seen: String) -> Outcome {
    let target = probe.target();
    let by_script = probe.way().asks_credential && !probe.way().is_ambient(probe.options());
    if target.tls && !target.is_private() {
        Outcome::warn(seen).at(Severity::Low).and("a rebound page would need a certificate for its own name here")
    } else if by_script {
        Outcome::warn(seen).and("the credential is one that a rebound page does not have")
    } else if target.is_private() {
        Outcome::fail(seen)
    } else {
        Outcome::warn(seen).and("a public address: rebinding gains nothing that the attacker could not reach himself")
    }
}
