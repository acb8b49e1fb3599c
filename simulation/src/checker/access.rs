//! Who may have what handled: authentication, CSRF, roles, revocation, hostile vectors.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Sent, Violation};
use crate::trace::{Entry, Event, Tag, Target};

/// The leeway of [`wsguard_core::token::TokenPolicy`].
const LEEWAY_MS: u64 = 5_000;

/// Time in which a revocation must have reached everybody.
const REVOKED_AFTER_MS: u64 = 1_000;

struct Token<'t> {
    subject: &'t str,
    roles: &'t [String],
    key: u32,
    expires_at: u64,
    genuine: bool,
}

struct Revoked<'t> {
    at: u64,
    generation: u32,
    target: &'t Target,
    kept: bool,
}

pub(super) fn check(trace: &[Entry], sent: &Sent, found: &mut Vec<Violation>) {
    let mut tokens = BTreeMap::new();
    let mut presented = BTreeSet::new();
    let mut owners = BTreeMap::new();
    let mut redeemed = BTreeMap::new();
    let mut used = BTreeSet::new();
    let (mut keys, mut admit): (&[u32], &[String]) = (&[], &[]);
    let mut revoked = Vec::new();
    // When a token is shown is known when the server has it: what a client noted later counts from the beginning.
    for entry in trace {
        match &entry.event {
            Event::Presented { link, token, .. } => {
                presented.insert((*link, *token));
            }
            Event::Minted { token, subject, roles, key, expires_at, genuine } => {
                let (key, expires_at, genuine) = (*key, *expires_at, *genuine);
                tokens.insert(*token, Token { subject, roles, key, expires_at, genuine });
            }
            Event::Redeemed { link, ticket } => {
                redeemed.insert(*link, ticket);
            }
            _ => {}
        }
    }
    for entry in trace {
        let mut wrong = |checker, what: String| found.push(Violation { checker, at: entry.at, what });
        match &entry.event {
            Event::Keys { in_force } => keys = in_force,
            Event::Roles { admit: roles } => admit = roles,
            Event::Revoked { generation, target, kept } => {
                revoked.push(Revoked { at: entry.at, generation: *generation, target, kept: *kept });
            }
            Event::StillOpen { sessions, .. } => {
                wrong(Checker::Revocation, format!("sessions of a revoked identity are still open: {sessions:?}"));
            }
            Event::Welcomed { link, session, subject, .. } => {
                let is_shown = |(at, token): &&(u32, u32)| {
                    *at == *link && tokens.get(token).is_some_and(|token| token.genuine && token.subject == subject)
                };
                if !presented.iter().any(|shown| is_shown(&shown)) {
                    wrong(Checker::Authentication, format!("a welcome for {subject}, whose token was not shown"));
                }
                let owner = *owners.entry(session).or_insert(subject);
                if owner != subject {
                    wrong(Checker::Authentication, format!("the session of {owner} is given to {subject}"));
                }
                if let Some(ticket) = redeemed.get(link)
                    && !used.insert(ticket)
                {
                    wrong(Checker::Authentication, "a ticket opened a second connection".to_owned());
                }
            }
            Event::Handled { generation, session, subject, token, kind, text, unix, .. } => {
                let Some(links) = Tag::of(text).and_then(|tag| sent.get(&tag)) else {
                    wrong(Checker::Hostile, format!("a {kind} that nobody meant to send is handled: {text:?}"));
                    continue;
                };
                let Some((number, token)) = token.and_then(|number| Some((number, tokens.get(&number)?))) else {
                    wrong(Checker::Authentication, format!("{text:?} is handled without a token"));
                    continue;
                };
                if !token.genuine || token.subject != subject {
                    wrong(Checker::Authentication, format!("{text:?} is handled under a token that nobody issued"));
                }
                if !links.iter().any(|(link, _)| presented.contains(&(*link, number))) {
                    wrong(Checker::Authentication, format!("{text:?} is handled under a token of somebody else"));
                }
                if *unix >= token.expires_at + LEEWAY_MS {
                    wrong(Checker::Authentication, format!("{text:?} is handled after the end of its token"));
                }
                if token.genuine && !keys.contains(&token.key) {
                    wrong(Checker::Authentication, format!("{text:?} is handled under a key that was withdrawn"));
                }
                if !links.iter().any(|(_, well)| *well) {
                    wrong(Checker::Csrf, format!("{text:?} is handled without its CSRF token"));
                }
                if kind == "admin" && !token.roles.iter().any(|role| admit.contains(role)) {
                    wrong(Checker::Roles, format!("{text:?} of {subject} is handled, whose roles do not allow it"));
                }
                for revoked in &revoked {
                    let is_meant = match revoked.target {
                        Target::Token(target) => *target == number,
                        Target::Subject(target) => target == subject,
                        Target::Session(target) => target == session,
                        Target::Address(_) => false,
                    };
                    let is_in_force =
                        *generation == revoked.generation || (revoked.kept && *generation > revoked.generation);
                    if is_meant && is_in_force && entry.at > revoked.at + REVOKED_AFTER_MS {
                        let (target, at) = (revoked.target, revoked.at);
                        wrong(Checker::Revocation, format!("{text:?} is handled; {target:?} was revoked at {at}"));
                    }
                }
            }
            _ => {}
        }
    }
}
