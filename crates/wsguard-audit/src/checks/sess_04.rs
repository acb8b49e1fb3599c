//! A credential that was ended.

use super::farewell::{come_back, farewell};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-SESS-04",
    title: "Ended credential refused",
    category: Category::Session,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Credential, Need::Token, Need::LogoutUrl],
    turn: Turn::Ending,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[613], asvs: &["7.4.1"], url: "https://cwe.mitre.org/data/definitions/613.html" },
    what: "After the logout of WSA-SESS-03, repeats the good handshake with the credential that was ended.",
    why: "A token that works after the logout is one that a thief keeps using, whatever its owner does.",
    remedy: "Keep a list of ended tokens until they would have ended by themselves, and look at it in the handshake.",
    traps: "That a token says of itself until when it is good is no excuse: ASVS asks for the list. The logout must have \
            been answered with success.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    match farewell(probe).await.1 {
        Ok(logout) => come_back(probe, &logout).await,
        Err(outcome) => outcome,
    }
}
