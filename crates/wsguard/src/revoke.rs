//! Revocations as an operator makes, lists and lifts them: in force at once, kept in the ledger, found after a restart.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use wsguard_core::control::revocation::{Revocation, Target};
use wsguard_core::control::session::SessionId;
use wsguard_core::fault::{self, Fault};
use wsguard_core::policy::Context;
use wsguard_core::time::{Now, UnixMs};
use wsguard_core::token::{CLAIM_CHARS_MAX, Leeway, SUBJECT_CHARS_MAX};

use crate::guard::{GuardHandle, Shared};
use crate::ledger::{Change, Ledger, LedgerError, Row, Shelf};
#[cfg(wsguard_simulation)]
use crate::simulation::off_the_thread;
use crate::{bans, clock};

/// Longest reason of a revocation, in characters.
pub const REASON_CHARS_MAX: usize = 256;

/// Key of the one row of [`Shelf::CutOff`].
const CUT_OFF_KEY: &[u8] = b"cut-off";

/// A revocation in force, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationInfo {
    /// What lifts it: [`GuardHandle::lift`].
    pub id: u64,
    /// What is revoked.
    pub target: Target,
    /// When.
    pub at: UnixMs,
    /// When everything that it refuses has ended, where that is known.
    pub ends_at: Option<UnixMs>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// What a revocation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationDone {
    /// Its id; the last of them where a session was revoked together with its token.
    pub id: u64,
    /// Open sessions that it reached: they are being closed with 4403.
    pub sessions: usize,
    /// Whether the session's token was revoked too ([`Target::Session`]): one without `jti` cannot be named.
    pub with_token: bool,
    /// The cut-off, where the index was full and it had to rise: tokens issued before it are refused.
    pub cut_off: Option<UnixMs>,
}

/// Why a revocation is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// It is in force, but after a restart it is not: the ledger could not be written.
    #[error("keep the revocation: {0}; it is in force until this process ends")]
    NotKept(LedgerError),
    /// There is no place for one more subject. Its tokens of now are refused by the cut-off, later ones are not.
    #[error("revoke one more subject: lift some first")]
    Full,
    /// The time of [`Target::IssuedBefore`] lies ahead: it would refuse tokens that are not issued yet.
    #[error("revoke what was issued before a time that lies ahead")]
    Ahead,
    /// The reason is longer than [`REASON_CHARS_MAX`], or a name is longer than a token may have it.
    #[error("revoke: a name or the reason is too long")]
    TooLong,
}

/// How a revocation stands in the ledger.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kind: Kind,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    before: Option<u64>,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ends_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Token,
    Session,
    Subject,
    IssuedBefore,
}

/// The revocations of a guard and where they are kept.
pub(crate) struct Kept {
    pub(crate) ledger: Arc<dyn Ledger>,
    /// The last id that was given; held while a revocation is made, so that ledger and index see the same order.
    last: Mutex<u64>,
}

impl Kept {
    /// Puts everything that `ledger` keeps in force in `cx`.
    pub(crate) fn load(ledger: Arc<dyn Ledger>, cx: &Context, now: Now) -> Result<Self, LedgerError> {
        let (mut last, mut bans) = (0, Vec::new());
        for row in ledger.load()? {
            match row.shelf {
                Shelf::Revocation => {
                    let RevocationInfo { id, target, at, ends_at, .. } = read(&row)?;
                    last = last.max(id);
                    // What this forgets is forgotten again at each start, until a revocation writes it down.
                    let _ = cx.revocations().revoke(now.unix, &Revocation { id, target, at, ends_at });
                }
                Shelf::CutOff => cx.revocations().raise_cut_off(UnixMs(number(&row.value)?)),
                Shelf::Ban => bans.push(bans::read(&row)?),
            }
        }
        let _ = cx.penalties().import(bans, now);
        Ok(Self { ledger, last: Mutex::new(last) })
    }

    async fn write(&self, change: Change) -> Result<(), LedgerError> {
        let ledger = Arc::clone(&self.ledger);
        if fault::is_on(Fault::RevocationNotKept) {
            return Ok(());
        }
        off_the_thread(move || ledger.write(&change)).await
    }

    async fn rows(&self) -> Result<Vec<Row>, LedgerError> {
        let ledger = Arc::clone(&self.ledger);
        off_the_thread(move || ledger.load()).await
    }
}

/// Calls a ledger on a thread that may block.
#[cfg(not(wsguard_simulation))]
async fn off_the_thread<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    let done = tokio::task::spawn_blocking(call).await;
    done.unwrap_or_else(|_| Err(LedgerError("the ledger panicked".to_owned())))
}

impl GuardHandle {
    /// Revokes `target`: handshakes, `auth` and `auth.refresh` refuse it from now on, and open sessions that it covers are
    /// closed with 4403, the silent ones too. When this returns `Ok`, the ledger has it.
    ///
    /// A session is revoked together with the token that it has now, where that has a `jti`; see
    /// [`GuardHandle::disconnect`] for the session alone.
    ///
    /// ```
    /// use wsguard::Guard;
    /// use wsguard::core::control::revocation::Target;
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let guard = Guard::builder()
    ///     .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
    ///     .hosts(["localhost"])
    ///     .message("greet", "true")
    ///     .build()?;
    /// let done = guard.handle().revoke(Target::Subject("ann".into()), Some("left the company")).await?;
    /// assert_eq!(done.sessions, 0);
    /// assert!(guard.handle().lift(done.id).await?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where it is not in force as asked for, or will not be after a restart.
    pub async fn revoke(&self, target: Target, reason: Option<&str>) -> Result<RevocationDone, RevokeError> {
        let shared = self.shared();
        let now = clock::now();
        check(&target, reason, now)?;
        let mut last = shared.kept.last.lock().await;
        let mut targets = Vec::with_capacity(2);
        match &target {
            Target::Session(session) => {
                let token = shared.sessions.with(*session, |open| {
                    let claims = &open.identity.claims;
                    claims.id.clone().map(|id| (Target::Token(id), Some(latest_end(claims.expires_at))))
                });
                targets.extend(token.flatten());
                // Sessions are of one process, and none lives longer than the policy lets it.
                targets.push((target.clone(), Some(now.unix.after(shared.cx.policy().sessions.max))));
            }
            Target::Token(id) => targets.push((target.clone(), shared.end_of_token(id))),
            Target::Subject(_) | Target::IssuedBefore { .. } => targets.push((target.clone(), None)),
        }
        let with_token = matches!(target, Target::Session(_)) && targets.len() > 1;
        let mut change = Change::default();
        let (mut cut_off, mut is_full) = (None, false);
        for (target, ends_at) in targets {
            // Ids follow the clock, so that none is given twice, also after a restart with an emptied ledger.
            *last = last.saturating_add(1).max(now.unix.0);
            let mut info =
                RevocationInfo { id: *last, target, at: now.unix, ends_at, reason: reason.map(str::to_owned) };
            let revocation = Revocation { id: *last, target: info.target.clone(), at: now.unix, ends_at };
            let applied = shared.cx.revocations().revoke(now.unix, &revocation);
            if let Some(stands) = applied.stands {
                info.ends_at = stands.ends_at;
                if let Target::IssuedBefore { before, .. } = &mut info.target {
                    *before = stands.before;
                }
            }
            change.put.push(row_of(&info));
            for id in applied.forgotten {
                change.put.retain(|row| *row.key != id.to_be_bytes());
                change.remove.push((Shelf::Revocation, id.to_be_bytes().into()));
            }
            cut_off = applied.cut_off.or(cut_off);
            is_full |= applied.is_full;
        }
        if let Some(to) = cut_off {
            let value = to.0.to_string().into_bytes().into();
            change.put.push(Row { shelf: Shelf::CutOff, key: CUT_OFF_KEY.into(), value });
        }
        let sessions = shared.reach_revoked();
        shared.kept.write(change).await.map_err(RevokeError::NotKept)?;
        if is_full {
            return Err(RevokeError::Full);
        }
        Ok(RevocationDone { id: *last, sessions, with_token, cut_off })
    }

    /// Lifts a revocation; `false` when there is none with this id.
    ///
    /// # Errors
    /// The ledger could not be written: the revocation stays.
    pub async fn lift(&self, id: u64) -> Result<bool, LedgerError> {
        let kept = &self.shared().kept;
        let _one_at_a_time = kept.last.lock().await;
        let remove = vec![(Shelf::Revocation, id.to_be_bytes().into())];
        kept.write(Change { put: Vec::new(), remove }).await?;
        Ok(self.shared().cx.revocations().lift(id))
    }

    /// The revocations in force, oldest first. Cost: reads the ledger.
    ///
    /// # Errors
    /// The ledger could not be read.
    pub async fn revocations(&self) -> Result<Vec<RevocationInfo>, LedgerError> {
        let rows = self.shared().kept.rows().await?;
        rows.iter().filter(|row| row.shelf == Shelf::Revocation).map(read).collect()
    }

    /// The rows of one shelf, for what keeps rows of its own, such as bans.
    ///
    /// # Errors
    /// The ledger could not be read.
    pub async fn kept(&self, of: Shelf) -> Result<Vec<Row>, LedgerError> {
        let mut rows = self.shared().kept.rows().await?;
        rows.retain(|row| row.shelf == of);
        Ok(rows)
    }

    /// Writes rows of [`Shelf::Ban`]. Kept when it returns `Ok`.
    ///
    /// # Errors
    /// Nothing of it was written.
    pub async fn keep(&self, mut change: Change) -> Result<(), LedgerError> {
        // Revocations are written by those who put them in force.
        change.put.retain(|row| row.shelf == Shelf::Ban);
        change.remove.retain(|(shelf, _)| *shelf == Shelf::Ban);
        self.shared().kept.write(change).await
    }
}

impl Shared {
    /// Moves the epoch and wakes the sessions that a revocation covers; says how many there are.
    pub(crate) fn reach_revoked(&self) -> usize {
        self.cx.advance_epoch();
        let mut reached = 0_usize;
        self.sessions.for_each(|id, session| {
            if self.cx.revocations().refuse(&session.identity.claims, Some(id)).is_some() {
                if !fault::is_on(Fault::RevocationWakesNobody) {
                    session.outbox.reconsider();
                }
                reached = reached.saturating_add(1);
            }
        });
        reached
    }

    /// When the token `id` ends, where an open session has it: a `jti` names one token (RFC 7519 section 4.1.7).
    fn end_of_token(&self, id: &str) -> Option<UnixMs> {
        let mut end = None;
        self.sessions.for_each(|_, session| {
            let claims = &session.identity.claims;
            if claims.id.as_deref() == Some(id) {
                end = end.max(Some(latest_end(claims.expires_at)));
            }
        });
        end
    }
}

/// The end of a token, with the longest leeway that any policy may give it.
fn latest_end(expires_at: UnixMs) -> UnixMs {
    expires_at.after(Leeway::MAX.as_millis())
}

fn check(target: &Target, reason: Option<&str>, now: Now) -> Result<(), RevokeError> {
    let fits = |text: &str, chars_max: usize| text.chars().count() <= chars_max;
    let named = match target {
        Target::Token(id) => fits(id, CLAIM_CHARS_MAX),
        Target::Session(_) => true,
        Target::Subject(subject) | Target::IssuedBefore { subject, .. } => fits(subject, SUBJECT_CHARS_MAX),
    };
    if !named || reason.is_some_and(|reason| !fits(reason, REASON_CHARS_MAX)) {
        return Err(RevokeError::TooLong);
    }
    match target {
        // Clocks differ by a leeway: an issuer that is ahead of us has issued tokens until then.
        Target::IssuedBefore { before, .. } if *before > now.unix.after(Leeway::MAX.as_millis()) => {
            Err(RevokeError::Ahead)
        }
        _ => Ok(()),
    }
}

fn row_of(info: &RevocationInfo) -> Row {
    let (kind, value, before) = match &info.target {
        Target::Token(id) => (Kind::Token, id.to_string(), None),
        Target::Session(id) => (Kind::Session, id.to_string(), None),
        Target::Subject(subject) => (Kind::Subject, subject.to_string(), None),
        Target::IssuedBefore { subject, before } => (Kind::IssuedBefore, subject.to_string(), Some(before.0)),
    };
    let stored = Stored {
        kind,
        value,
        before,
        at: info.at.0,
        ends_at: info.ends_at.map(|end| end.0),
        reason: info.reason.clone(),
    };
    // A struct of strings and numbers has a JSON form.
    let value = serde_json::to_vec(&stored).unwrap_or_default().into();
    Row { shelf: Shelf::Revocation, key: info.id.to_be_bytes().into(), value }
}

fn read(row: &Row) -> Result<RevocationInfo, LedgerError> {
    let wrong = |what: String| LedgerError(format!("read a revocation: {what}"));
    let id =
        <[u8; 8]>::try_from(&*row.key).map(u64::from_be_bytes).map_err(|_| wrong("its key is no id".to_owned()))?;
    let stored: Stored = serde_json::from_slice(&row.value).map_err(|error| wrong(error.to_string()))?;
    let target = match (stored.kind, stored.before) {
        (Kind::Token, None) => Target::Token(stored.value.into()),
        (Kind::Session, None) => {
            Target::Session(stored.value.parse::<SessionId>().map_err(|error| wrong(error.to_string()))?)
        }
        (Kind::Subject, None) => Target::Subject(stored.value.into()),
        (Kind::IssuedBefore, Some(before)) => {
            Target::IssuedBefore { subject: stored.value.into(), before: UnixMs(before) }
        }
        _ => return Err(wrong("its time does not fit its kind".to_owned())),
    };
    let (at, ends_at) = (UnixMs(stored.at), stored.ends_at.map(UnixMs));
    Ok(RevocationInfo { id, target, at, ends_at, reason: stored.reason })
}

fn number(value: &[u8]) -> Result<u64, LedgerError> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| LedgerError("read the cut-off: it is no number".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_are_written() {
        for target in [
            Target::Token("j\"1".into()),
            Target::Session(SessionId([7; 16])),
            Target::Subject("ann@example".into()),
            Target::IssuedBefore { subject: "ann".into(), before: UnixMs(5) },
        ] {
            for (ends_at, reason) in [(None, None), (Some(UnixMs(9)), Some("stolen laptop".to_owned()))] {
                let info = RevocationInfo { id: 77, target: target.clone(), at: UnixMs(3), ends_at, reason };
                assert_eq!(read(&row_of(&info)), Ok(info));
            }
        }
    }

    #[test]
    fn the_stronger_of_two_is_what_a_restart_finds() {
        let ledger = Arc::new(crate::MemoryLedger::default());
        let start = || {
            let guard = crate::Guard::builder()
                .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
                .hosts(["localhost"])
                .message("say", "true")
                .ledger(Arc::clone(&ledger));
            guard.build().unwrap().handle()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let handle = start();
            for before in [9_000, 5_000] {
                let target = Target::IssuedBefore { subject: "ann".into(), before: UnixMs(before) };
                let _ = handle.revoke(target, None).await.unwrap();
            }
            start().revocations().await.unwrap()
        });
        let targets: Vec<_> = found.into_iter().map(|info| info.target).collect();
        assert_eq!(targets, [Target::IssuedBefore { subject: "ann".into(), before: UnixMs(9_000) }]);
    }

    #[test]
    fn a_row_that_is_not_understood_is_a_fault_and_not_skipped() {
        let good = row_of(&RevocationInfo {
            id: 1,
            target: Target::Subject("ann".into()),
            at: UnixMs(3),
            ends_at: None,
            reason: None,
        });
        assert!(read(&good).is_ok());
        let text = String::from_utf8(good.value.to_vec()).unwrap();
        for (name, key, value) in [
            ("key", &b"x"[..], text.clone()),
            ("no JSON", &good.key, "{".to_owned()),
            ("kind", &good.key, text.replace("subject", "everybody")),
            ("member", &good.key, text.replace("\"at\"", "\"later\":1,\"at\"")),
            ("kind without its time", &good.key, text.replace("\"subject\"", "\"issued-before\"")),
            ("session", &good.key, text.replace("\"subject\"", "\"session\"")),
        ] {
            let row = Row { shelf: Shelf::Revocation, key: key.into(), value: value.into_bytes().into() };
            assert!(read(&row).is_err(), "{name}");
        }
    }
}
