//! Large heads.

use std::time::Duration;

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::request::Request;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-RES-07",
    title: "Size of the handshake limited",
    category: Category::Resources,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770, 1333], asvs: &["2.4.1"], url: "https://www.rfc-editor.org/rfc/rfc6585#section-5" },
    what: "Repeats the good handshake with a header of 16 KiB and one of 64 KiB, and compares how long the answers take.",
    why: "A head is read before anybody is known. Without a limit it fills memory; a parser that begins anew with every \
          packet spends minutes on it.",
    remedy: "Limit the head to some 32 KiB and answer 431.",
    traps: "A network in front refuses large heads in place of the server: that counts. A slow answer must come twice, be \
            more than half a second, and more than eight times that for a quarter of the size.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let small = match timed(probe, &padded(probe, 16)).await {
        Ok(small) => small,
        Err(outcome) => return outcome,
    };
    let large = match timed(probe, &padded(probe, 64)).await {
        Ok(large) => large,
        Err(outcome) => return outcome,
    };
    let seen = format!("16 KiB: {}; 64 KiB: {}", small.shown, large.shown);
    let is_quadratic =
        large.took > Duration::from_millis(500) && large.took > small.took.saturating_mul(8) && small.is_in;
    match (large.is_in, is_quadratic) {
        (true, true) => Outcome::fail(format!("{seen}; {:?} and {:?}", small.took, large.took)).probable(),
        (true, false) => Outcome::warn(seen),
        (false, _) => Outcome::pass(seen),
    }
}

struct Timed {
    is_in: bool,
    shown: String,
    took: Duration,
}

fn padded(probe: &Probe, kibibytes: usize) -> Request {
    probe.request().anew().header("X-Padding", &"a".repeat(kibibytes.saturating_mul(1024)))
}

async fn timed(probe: &Probe, request: &Request) -> Result<Timed, Outcome> {
    Ok(match probe.handshake(request).await {
        Handshake::Opened(socket) => {
            let took = socket.link.timing.answer;
            socket.close().await;
            Timed { is_in: true, shown: "101".into(), took }
        }
        Handshake::Refused(response) => Timed { is_in: false, shown: response.to_string(), took: Duration::ZERO },
        Handshake::Dropped(end) => Timed { is_in: false, shown: end.to_string(), took: Duration::ZERO },
        Handshake::Limited(response) => {
            return Err(Outcome::unknown(format!("the target limits the audit: {response}")));
        }
        Handshake::Unreached(why) => return Err(Outcome::unknown(why.to_string())),
    })
}
