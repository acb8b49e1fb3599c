//! Tokens, sessions and subjects that are no longer good, although their tokens would still verify.
//!
//! Attack: a stolen token, a dismissed colleague, a logout that only forgets the cookie: a signature holds until `exp`
//! (CWE-613). A revocation is looked for at the handshake, at `auth`, at `auth.refresh`, and by open connections when the
//! epoch moved, so that it reaches them before their next message and, since they are woken, within moments.
//!
//! The index has a fixed size, and it never forgets in favour of a token. An entry goes when nothing that it refuses can
//! pass any more: a token whose `exp` is known has ended. How long other tokens live nobody has to state: where there is
//! no room left, the entry that is oldest goes, and instead of it the one *cut-off* rises over everything that was issued
//! up to its time. That refuses more than was asked for, never less; tokens without `iat` count as issued before all
//! times. Only a subject that is refused whatever its token cannot be replaced so, and is never forgotten.
//!
//! The index holds keyed prints. Two names that fall together by accident (once in 10^14 for a full index) are both
//! refused.
//!
//! # Specification
//! OWASP ASVS 5.0 7.4.1, 7.4.2, 7.4.5; RFC 7519 section 4.1.7; RFC 7009 section 2

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use super::rate::{Print, PrintKey};
use super::session::SessionId;
use crate::fault::{self, Fault};
use crate::time::UnixMs;
use crate::token::{Claims, Leeway};

/// Revocations in force at once. 65,536 take about 12 MiB; a server that revokes one token a minute keeps them for six
/// weeks, longer than tokens live.
pub const REVOCATIONS_MAX: usize = fault::bound(65_536, 96);

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The token with this `jti`.
    Token(Box<str>),
    /// The session with this id.
    Session(SessionId),
    /// Whoever has this subject, whenever the token was issued.
    Subject(Box<str>),
    /// Tokens of a subject that were issued (`iat`) before a time; those without `iat` count among them.
    IssuedBefore {
        /// The subject.
        subject: Box<str>,
        /// The time. A token that was issued at it is good.
        before: UnixMs,
    },
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Given by whoever keeps revocations; of two for the same target the later replaces the earlier.
    pub id: u64,
    /// What is revoked.
    pub target: Target,
    /// When.
    pub at: UnixMs,
    /// When everything that it refuses has ended, where that is known.
    pub ends_at: Option<UnixMs>,
}

/// What became of a revocation in the index; whoever keeps revocations keeps the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Ids that are no longer needed: ended, replaced, or covered by the cut-off.
    pub forgotten: Vec<u64>,
    /// The cut-off, where it rose.
    pub cut_off: Option<UnixMs>,
    /// What is in force instead of what was asked for, where an earlier revocation of the same target was stronger in
    /// something. It has the new id.
    pub stands: Option<Stands>,
    /// There is no place for it: everything kept refuses a subject whatever its token. Tokens that exist are refused by the
    /// cut-off, but tokens that this subject gets later are not.
    pub is_full: bool,
}

/// The stronger of two revocations of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stands {
    /// The later time of two [`Target::IssuedBefore`].
    pub before: UnixMs,
    /// The later end; `None` where one of the two has none.
    pub ends_at: Option<UnixMs>,
}

/// Why a token or session is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Its `jti` was revoked.
    Token,
    /// Its session was revoked.
    Session,
    /// Its subject was revoked.
    Subject,
    /// Tokens of its subject that were issued before a time were revoked.
    IssuedBefore,
    /// It was issued before the cut-off.
    CutOff,
}

impl Revoked {
    /// The word in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token_revoked",
            Self::Session => "session_revoked",
            Self::Subject => "subject_revoked",
            Self::IssuedBefore => "token_issued_before_revocation",
            Self::CutOff => "token_issued_before_cut_off",
        }
    }
}

/// The revocations in force.
#[derive(Debug)]
pub struct Revocations {
    key: PrintKey,
    entries_max: usize,
    /// Whether there is anything to look for: most servers have nothing.
    any: AtomicBool,
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    cut_off: UnixMs,
    /// The latest time of any revocation: the wall clock may go back, the cut-off may not.
    latest: UnixMs,
    held: HashMap<Key, Held>,
    ids: HashMap<u64, Key>,
    /// What the cut-off can replace, in the order in which it would have to rise.
    replaceable: BTreeSet<(UnixMs, u64)>,
    /// What ends by itself, in that order.
    ending: BTreeSet<(UnixMs, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Token(Print),
    Session(Print),
    Subject(Print),
    IssuedBefore(Print),
}

#[derive(Clone, Copy, Debug)]
struct Held {
    id: u64,
    /// Of [`Key::IssuedBefore`].
    before: UnixMs,
    /// How high the cut-off must be to refuse the same; `None` where none can.
    covered_by: Option<UnixMs>,
    ends_at: Option<UnixMs>,
}

impl Revocations {
    /// An empty index for `entries_max` revocations; `key` hashes what it holds.
    pub fn new(key: PrintKey, entries_max: usize) -> Self {
        Self { key, entries_max: entries_max.max(1), any: AtomicBool::new(false), index: RwLock::default() }
    }

    /// Puts `revocation` in force, at `now`. Whoever calls this then moves the epoch.
    pub fn revoke(&self, now: UnixMs, revocation: &Revocation) -> Applied {
        let (key, before) = self.key_of(&revocation.target);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let applied = index.revoke(now, key, before, revocation, self.entries_max);
        self.any.store(true, Ordering::Release);
        applied
    }

    /// Lifts the revocation with this id; whether there was one. What the cut-off took over is not lifted.
    pub fn lift(&self, id: u64) -> bool {
        self.index.write().unwrap_or_else(PoisonError::into_inner).forget(id)
    }

    /// Raises the cut-off to `to`; it never sinks. Tokens that were issued before it are refused.
    pub fn raise_cut_off(&self, to: UnixMs) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.cut_off = index.cut_off.max(to);
        self.any.store(true, Ordering::Release);
    }

    /// The cut-off; zero where it never rose.
    pub fn cut_off(&self) -> UnixMs {
        self.index.read().unwrap_or_else(PoisonError::into_inner).cut_off
    }

    /// How many revocations are in force.
    pub fn len(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).held.len()
    }

    /// Whether there is none; the cut-off may still have risen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether, and why, a token with `claims` is refused, and with it the `session` that it opened.
    pub fn refuse(&self, claims: &Claims, session: Option<SessionId>) -> Option<Revoked> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let subject = self.key.print(b'n', claims.subject.as_bytes());
        let token = claims.id.as_deref().map(|id| Key::Token(self.key.print(b'j', id.as_bytes())));
        let session = session.map(|id| Key::Session(self.key.print(b'i', &id.0)));
        let issued_before = |time: UnixMs| claims.issued_at.is_none_or(|issued| issued < time);

        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let holds = |key: Option<Key>| key.is_some_and(|key| index.held.contains_key(&key));
        if holds(Some(Key::Subject(subject))) {
            Some(Revoked::Subject)
        } else if holds(token) {
            Some(Revoked::Token)
        } else if holds(session) {
            Some(Revoked::Session)
        } else if index.held.get(&Key::IssuedBefore(subject)).is_some_and(|held| issued_before(held.before)) {
            Some(Revoked::IssuedBefore)
        } else if index.cut_off.0 > 0 && issued_before(index.cut_off) {
            Some(Revoked::CutOff)
        } else {
            None
        }
    }

    fn key_of(&self, target: &Target) -> (Key, UnixMs) {
        match target {
            Target::Token(id) => (Key::Token(self.key.print(b'j', id.as_bytes())), UnixMs(0)),
            Target::Session(id) => (Key::Session(self.key.print(b'i', &id.0)), UnixMs(0)),
            Target::Subject(subject) => (Key::Subject(self.key.print(b'n', subject.as_bytes())), UnixMs(0)),
            Target::IssuedBefore { subject, before } => {
                (Key::IssuedBefore(self.key.print(b'n', subject.as_bytes())), *before)
            }
        }
    }
}

impl Index {
    fn revoke(&mut self, now: UnixMs, key: Key, before: UnixMs, of: &Revocation, entries_max: usize) -> Applied {
        let mut applied = Applied::default();
        while let Some((_, id)) = self.ending.first().copied().filter(|(end, _)| *end <= now) {
            self.forget(id);
            applied.forgotten.push(id);
        }
        self.latest = self.latest.max(of.at);
        let mut held = Held {
            id: of.id,
            before,
            // A token is accepted from its `iat` less the leeway on, so one that was known at `latest` was issued before
            // this. A session that was revoked is closed, and with it what could be resumed by a later token.
            covered_by: match key {
                Key::Subject(_) => None,
                Key::IssuedBefore(_) => Some(before),
                Key::Token(_) | Key::Session(_) => {
                    Some(UnixMs(self.latest.after(Leeway::MAX.as_millis()).0.saturating_add(1)))
                }
            },
            ends_at: of.ends_at,
        };
        if let Some(old) = self.held.get(&key).copied() {
            // The same id comes again when revocations are loaded twice.
            if old.id != of.id {
                applied.forgotten.push(old.id);
            }
            self.forget(old.id);
            held.before = held.before.max(old.before);
            held.covered_by = held.covered_by.max(old.covered_by);
            held.ends_at = held.ends_at.zip(old.ends_at).map(|(new, old)| new.max(old));
            if (held.before, held.ends_at) != (before, of.ends_at) {
                applied.stands = Some(Stands { before: held.before, ends_at: held.ends_at });
            }
        }
        while self.held.len() >= entries_max && !fault::is_on(Fault::RevocationsUnbounded) {
            let Some((covered_by, id)) = self.replaceable.first().copied() else {
                // Everything that is kept refuses a subject for good.
                let to =
                    held.covered_by.unwrap_or(UnixMs(self.latest.after(Leeway::MAX.as_millis()).0.saturating_add(1)));
                self.raise(to, &mut applied);
                applied.is_full = held.covered_by.is_none();
                applied.forgotten.push(of.id);
                return applied;
            };
            self.forget(id);
            applied.forgotten.push(id);
            self.raise(covered_by, &mut applied);
        }
        self.hold(key, held);
        applied
    }

    /// Raises the cut-off, and forgets what it covers.
    fn raise(&mut self, to: UnixMs, applied: &mut Applied) {
        if to > self.cut_off && !fault::is_on(Fault::CutOffUnmoved) {
            self.cut_off = to;
            applied.cut_off = Some(to);
        }
        while let Some((_, id)) = self.replaceable.first().copied().filter(|(covered, _)| *covered <= self.cut_off) {
            self.forget(id);
            applied.forgotten.push(id);
        }
    }

    fn hold(&mut self, key: Key, held: Held) {
        self.held.insert(key, held);
        self.ids.insert(held.id, key);
        if let Some(covered_by) = held.covered_by {
            self.replaceable.insert((covered_by, held.id));
        }
        if let Some(end) = held.ends_at {
            self.ending.insert((end, held.id));
        }
    }

    fn forget(&mut self, id: u64) -> bool {
        let Some(held) = self.ids.remove(&id).and_then(|key| self.held.remove(&key)) else {
            return false;
        };
        if let Some(covered_by) = held.covered_by {
            self.replaceable.remove(&(covered_by, id));
        }
        if let Some(end) = held.ends_at {
            self.ending.remove(&(end, id));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;
    use proptest::prelude::*;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn claims(subject: &str, id: Option<&str>, issued_at: Option<u64>) -> Claims {
        let mut claims = Claims::development(subject, UnixMs(NOW.0 + 600_000));
        claims.id = id.map(Into::into);
        claims.issued_at = issued_at.map(UnixMs);
        claims
    }

    fn index(entries_max: usize) -> Revocations {
        Revocations::new(PrintKey::new([3; 16]), entries_max)
    }

    fn revoke(index: &Revocations, id: u64, target: Target) -> Applied {
        index.revoke(NOW, &Revocation { id, target, at: NOW, ends_at: None })
    }

    fn issued_before(subject: &str, before: u64) -> Target {
        Target::IssuedBefore { subject: subject.into(), before: UnixMs(before) }
    }

    #[test]
    fn each_kind_refuses_what_it_names() {
        let (session, other) = (SessionId([1; 16]), SessionId([2; 16]));
        let issued = NOW.0 - 5_000;
        let cases = [
            ("token", Target::Token("j1".into()), Some("ann"), Some(Revoked::Token)),
            ("another token", Target::Token("j2".into()), Some("ann"), None),
            ("the subject's name as a token", Target::Token("ann".into()), Some("ann"), None),
            ("subject", Target::Subject("ann".into()), Some("ann"), Some(Revoked::Subject)),
            ("another subject", Target::Subject("bob".into()), Some("ann"), None),
            ("the token's id as a subject", Target::Subject("j1".into()), Some("ann"), None),
            ("issued before now", issued_before("ann", NOW.0), Some("ann"), Some(Revoked::IssuedBefore)),
            ("issued a moment too early", issued_before("ann", issued + 1), Some("ann"), Some(Revoked::IssuedBefore)),
            ("issued at the time itself", issued_before("ann", issued), Some("ann"), None),
            ("issued before, of another", issued_before("bob", NOW.0), Some("ann"), None),
            ("without iat", issued_before("eve", 1), Some("eve"), Some(Revoked::IssuedBefore)),
            ("session", Target::Session(session), Some("ann"), Some(Revoked::Session)),
            ("another session", Target::Session(other), Some("ann"), None),
        ];
        for (name, target, subject, want) in cases {
            let subject = subject.unwrap_or_default();
            let claims = match subject {
                "eve" => claims("eve", None, None),
                _ => claims(subject, Some("j1"), Some(issued)),
            };
            let index = index(8);
            assert_eq!(index.refuse(&claims, Some(session)), None, "{name}: before");
            assert_eq!(revoke(&index, 1, target), Applied::default(), "{name}");
            assert_eq!(index.refuse(&claims, Some(session)), want, "{name}");
            if want == Some(Revoked::Session) {
                assert_eq!(index.refuse(&claims, None), None, "{name}: the token itself is good");
            }
            assert!(index.lift(1) && !index.lift(1), "{name}");
            assert_eq!(index.refuse(&claims, Some(session)), None, "{name}: lifted");
        }
    }

    #[test]
    fn the_stronger_of_two_for_one_target_stays() {
        let index = index(8);
        let token = |issued| claims("ann", None, Some(issued));
        assert_eq!(revoke(&index, 1, issued_before("ann", NOW.0)).forgotten, [0_u64; 0]);
        let applied = revoke(&index, 2, issued_before("ann", NOW.0 - 60_000));
        assert_eq!(applied.forgotten, [1]);
        assert_eq!(applied.stands, Some(Stands { before: NOW, ends_at: None }), "to be kept in its place");
        assert_eq!(index.refuse(&token(NOW.0 - 1), None), Some(Revoked::IssuedBefore), "the later time stays");
        assert_eq!(index.len(), 1);
        let end = |id, ends_at| Revocation { id, target: Target::Token("j".into()), at: NOW, ends_at };
        let _ = index.revoke(NOW, &end(3, Some(UnixMs(NOW.0 + 10))));
        let _ = index.revoke(NOW, &end(4, None));
        let _ = index.revoke(UnixMs(NOW.0 + 20), &end(5, Some(UnixMs(NOW.0 + 30))));
        let later = UnixMs(NOW.0 + 1_000_000);
        let _ =
            index.revoke(later, &Revocation { id: 6, target: Target::Subject("x".into()), at: later, ends_at: None });
        assert_eq!(index.refuse(&claims("a", Some("j"), None), None), Some(Revoked::Token), "an unknown end is none");
    }

    #[test]
    fn what_has_ended_is_forgotten_and_no_sooner() {
        let index = index(8);
        let end = UnixMs(NOW.0 + 1_000);
        let one = Revocation { id: 1, target: Target::Token("j".into()), at: NOW, ends_at: Some(end) };
        let _ = index.revoke(NOW, &one);
        let other = |id| Revocation { id, target: Target::Subject("x".into()), at: NOW, ends_at: None };
        assert_eq!(index.revoke(UnixMs(end.0 - 1), &other(2)).forgotten, [0_u64; 0]);
        assert_eq!(index.refuse(&claims("a", Some("j"), None), None), Some(Revoked::Token));
        assert_eq!(index.revoke(end, &other(3)).forgotten, [1, 2]);
        assert_eq!(index.refuse(&claims("a", Some("j"), None), None), None);
    }

    #[test]
    fn a_full_index_refuses_more_and_never_less() {
        let index = index(2);
        let token = |name: &str| Target::Token(name.into());
        let old = claims("ann", Some("a"), Some(NOW.0));
        let without_iat = claims("eve", Some("e"), None);
        let fresh = claims("bob", Some("b"), Some(NOW.0 + 5_001));
        let _ = revoke(&index, 1, token("a"));
        let _ = revoke(&index, 2, Target::Subject("x".into()));
        assert_eq!(index.refuse(&without_iat, None), None);
        let applied = revoke(&index, 3, token("c"));
        assert_eq!(applied, Applied { forgotten: vec![1], cut_off: Some(UnixMs(NOW.0 + 5_001)), ..Applied::default() });
        assert_eq!(index.refuse(&old, None), Some(Revoked::CutOff), "the forgotten token stays refused");
        assert_eq!(index.refuse(&without_iat, None), Some(Revoked::CutOff), "no iat counts as early");
        assert_eq!(index.refuse(&fresh, None), None, "what was issued afterwards passes");
        assert_eq!(index.refuse(&claims("x", None, Some(NOW.0 + 60_000)), None), Some(Revoked::Subject));

        // Subjects only: there is nothing that the cut-off could replace.
        let applied = revoke(&index, 4, Target::Subject("y".into()));
        assert_eq!(applied.forgotten, [3]);
        let applied = revoke(&index, 5, Target::Subject("z".into()));
        assert!(applied.is_full && applied.forgotten == [5], "{applied:?}");
        assert_eq!(index.refuse(&claims("z", None, Some(NOW.0)), None), Some(Revoked::CutOff));
        let applied = revoke(&index, 6, token("f"));
        assert!(!applied.is_full, "a token that exists is refused by the cut-off");
    }

    proptest! {
        /// Whatever is revoked, in whatever order and however small the index: nothing that was revoked passes.
        #[test]
        fn nothing_revoked_passes(
            entries_max in 1_usize..6,
            steps in proptest::collection::vec((0_u8..3, 0_u8..12, 0_u64..5_000, proptest::bool::ANY), 1..60),
        ) {
            let index = index(entries_max);
            let mut now = NOW;
            let mut revoked = Vec::new();
            for (id, (kind, name, passed, has_end)) in (1_u64..).zip(steps) {
                now = now.after(Millis(passed));
                let name = format!("n{name}");
                // A token that exists when it is revoked: issued at most a leeway ahead of our clock.
                let claims = claims(&name, Some(&name), Some(now.after(Millis(5_000)).0));
                let end = now.after(Millis(3_000));
                let (target, ends_at) = match kind {
                    0 => (Target::Token((&*name).into()), has_end.then_some(end)),
                    1 => (issued_before(&name, now.after(Millis(5_001)).0), None),
                    _ => (Target::Subject((&*name).into()), None),
                };
                let applied = index.revoke(now, &Revocation { id, target, at: now, ends_at });
                revoked.push((claims, ends_at));
                if !applied.is_full && kind == 2 {
                    let later = super::tests::claims(&name, None, Some(now.after(Millis(1_000_000)).0));
                    revoked.push((later, None));
                }
                prop_assert!(index.len() <= entries_max);
                for (claims, ends_at) in &revoked {
                    if ends_at.is_none_or(|end| end > now) {
                        prop_assert!(index.refuse(claims, None).is_some(), "{claims:?} passes at {now:?}");
                    }
                }
            }
        }
    }
}
