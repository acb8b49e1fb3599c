//! The proof that the server read the key.

use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::discover::Placement;
use crate::outcome::Outcome;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-01",
    title: "Accept value right",
    category: Category::Protocol,
    severity: Severity::High,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2" },
    what: "Sends the good handshake twice with fresh random keys and computes what `Sec-WebSocket-Accept` must be; looks \
           at `Upgrade` and `Connection` of the answer as well.",
    why: "The value proves that a WebSocket server read this very handshake, rather than a cache or a server of \
          something else that was talked into answering 101.",
    remedy: "Answer base64(SHA-1(key + GUID)), `Upgrade: websocket` and `Connection: Upgrade`.",
    traps: "A target that refuses the handshake proves nothing either way.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let way = probe.way();
    // A target that answers no handshake as it should has no good one: then the credential goes where most want it.
    let request = match &probe.options().token {
        Some(token) if way.baseline.is_none() && way.placement == Placement::None => {
            probe.request_with(&Placement::Bearer, token)
        }
        _ => probe.request(),
    };
    let mut incomplete = None;
    for request in [request.clone(), request.anew()] {
        match probe.handshake(&request).await {
            Handshake::Opened(socket) => {
                let has = |name: &str, token: &str| {
                    let mut values = socket.head.values(name).flat_map(|value| value.split(','));
                    values.any(|value| value.trim().eq_ignore_ascii_case(token))
                };
                if !has("Upgrade", "websocket") || !has("Connection", "upgrade") {
                    incomplete = Some("101 without `Upgrade: websocket` and `Connection: Upgrade`");
                }
                socket.close().await;
            }
            Handshake::Refused(response) if response.status == 101 => {
                let came = response.value("Sec-WebSocket-Accept").unwrap_or("nothing");
                let what = if came == request.key { "the key itself" } else { came };
                return Outcome::fail(format!("101 with {what} in place of {}", request.accept()));
            }
            Handshake::Refused(response) | Handshake::Limited(response) => return undecided(&response.to_string()),
            Handshake::Dropped(end) => return undecided(&end.to_string()),
            Handshake::Unreached(why) => return undecided(&why.to_string()),
        }
    }
    match incomplete {
        Some(how) => Outcome::warn(how),
        None => Outcome::pass("two random keys, two right values"),
    }
}

fn undecided(how: &str) -> Outcome {
    Outcome::unknown(format!("no handshake was accepted: {how}")).settled_by("--token, --origin, --header")
}
