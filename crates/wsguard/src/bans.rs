//! Bans as an operator handles them, and what follows from one: a line in the log, closed sockets, a row in the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wsguard_core::control::penalty::{Ban, BanKey, News};
use wsguard_core::effect::Record;
use wsguard_core::time::{Millis, Now, UnixMs};
use wsguard_core::verdict::{ControlId, Reason};

use crate::clock;
use crate::guard::{GuardHandle, Shared};
use crate::ledger::{Change, LedgerError, Row, Shelf};

/// Time between two tries to write to a ledger that cannot be written.
const AGAIN: Duration = Duration::from_secs(1);

/// Rows of the ledger: value by key.
type Rows = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// How a ban stands in the ledger, under its key's text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    begun: u64,
    until: u64,
    offences: u8,
    why: String,
}

fn row_of(ban: &Ban) -> (Box<[u8]>, Box<[u8]>) {
    let Ban { key, begun, until, offences, why } = ban;
    let stored = Stored { begun: begun.0, until: until.0, offences: *offences, why: why.to_string() };
    // A struct of strings and numbers has a JSON form.
    (key.to_string().into_bytes().into(), serde_json::to_vec(&stored).unwrap_or_default().into())
}

/// Reads a row of [`Shelf::Ban`].
pub(crate) fn read(row: &Row) -> Result<Ban, LedgerError> {
    let wrong = |what: String| LedgerError(format!("read a ban: {what}"));
    let key = std::str::from_utf8(&row.key).ok().and_then(|key| key.parse().ok());
    let key = key.ok_or_else(|| wrong("its key names nobody".to_owned()))?;
    let Stored { begun, until, offences, why } =
        serde_json::from_slice(&row.value).map_err(|error| wrong(error.to_string()))?;
    Ok(Ban { key, begun: UnixMs(begun), until: UnixMs(until), offences, why: why.into() })
}

impl Shared {
    /// Tells the log what began and ended, and closes what a ban reaches. One relaxed load where there is nothing to tell.
    pub(crate) fn tell_bans(&self, now: Now) {
        let all = self.cx.penalties().take_news();
        if !all.is_empty() {
            self.bans_changed.notify_one();
        }
        for news in all {
            let (action, ban) = match &news {
                News::Begun(ban) => ("ban_begun", ban),
                News::Lifted(ban) => ("ban_lifted", ban),
                News::Ended(ban) => ("ban_ended", ban),
            };
            let mut record = Record::new(action);
            record.control = Some(ControlId::Penalty);
            match &ban.key {
                BanKey::Session(id) => record.session = Some(id.to_string()),
                BanKey::Subject(subject) => record.subject = Some(subject.clone()),
                BanKey::Prefix(network) => record.client = Some(*network),
            }
            let left = ban.until.since(now.unix);
            let detail = format!("{}: {left} left, offence {}, {}", ban.key, ban.offences, ban.why);
            record.note = Some(Reason::with(ban.key.kind(), detail));
            self.record(now.unix, record);
            if matches!(news, News::Begun(_)) {
                self.wake_banned(&ban.key);
            }
        }
    }

    /// Wakes the open sockets of a banned identity, so that they find themselves kept out. A prefix has none: whoever is
    /// authenticated answers for itself, and a neighbour behind the same address has done nothing.
    fn wake_banned(&self, key: &BanKey) {
        if matches!(key, BanKey::Prefix(_)) {
            return;
        }
        // A session that is just being opened is in no list yet: it sees the epoch at its first message.
        self.cx.advance_epoch();
        self.sessions.for_each(|id, session| {
            let reached = match key {
                BanKey::Session(banned) => *banned == id,
                BanKey::Subject(banned) => *banned == session.identity.claims.subject,
                BanKey::Prefix(_) => false,
            };
            if reached {
                session.outbox.reconsider();
            }
        });
    }
}

impl GuardHandle {
    /// The bans in force, those that last longest first.
    pub fn bans(&self) -> Vec<Ban> {
        self.0.0.cx.penalties().bans(clock::now())
    }

    /// Keeps `key` out for `length`, 30 days at most, and closes its open sockets with 4429. `why` is a word for the log.
    /// A ban of the same key that lasts longer stays as it is.
    pub fn ban(&self, key: BanKey, length: Millis, why: &str) {
        let now = clock::now();
        self.0.0.cx.penalties().ban(now, key, length, why);
        self.0.0.tell_bans(now);
    }

    /// Ends a ban and forgets the standing behind it; `false` when there is none in force.
    pub fn lift_ban(&self, key: &BanKey) -> bool {
        let now = clock::now();
        let lifted = self.0.0.cx.penalties().lift(now, key);
        self.0.0.tell_bans(now);
        lifted
    }

    /// The bans in force with their ends by the wall clock: what a store keeps over a restart.
    pub fn export_bans(&self) -> Vec<Ban> {
        self.bans()
    }

    /// Keeps the bans in the ledger, each as soon as it begins or ends; a guard that is built on the same ledger has them
    /// before its first handshake. Runs until it is dropped: give it a task of its own. `failed` hears of each try that
    /// did not succeed; the next follows after a second.
    pub async fn keep_bans(&self, mut failed: impl FnMut(LedgerError)) {
        let mut kept: Option<Rows> = None;
        loop {
            match self.keep_bans_once(kept.take()).await {
                Ok(now) => {
                    kept = Some(now);
                    self.0.0.bans_changed.notified().await;
                }
                Err(error) => {
                    failed(error);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Writes the bans in force to the ledger: kept when it returns `Ok`. [`GuardHandle::keep_bans`] does so by itself, a
    /// moment later.
    ///
    /// # Errors
    /// They are in force, but a restart forgets them.
    pub async fn write_bans(&self) -> Result<(), LedgerError> {
        self.keep_bans_once(None).await.map(|_| ())
    }

    /// Writes what differs from `kept`, or from the ledger where that is not known, and returns what it holds then.
    async fn keep_bans_once(&self, kept: Option<Rows>) -> Result<Rows, LedgerError> {
        let kept = match kept {
            Some(kept) => kept,
            None => self.kept(Shelf::Ban).await?.into_iter().map(|row| (row.key, row.value)).collect(),
        };
        let wanted: BTreeMap<_, _> = self.bans().iter().map(row_of).collect();
        let put = wanted
            .iter()
            .filter(|(key, value)| kept.get(*key) != Some(value))
            .map(|(key, value)| Row { shelf: Shelf::Ban, key: key.clone(), value: value.clone() })
            .collect::<Vec<_>>();
        let remove = kept
            .keys()
            .filter(|key| !wanted.contains_key(*key))
            .map(|key| (Shelf::Ban, key.clone()))
            .collect::<Vec<_>>();
        if !put.is_empty() || !remove.is_empty() {
            self.keep(Change { put, remove }).await?;
        }
        Ok(wanted)
    }

    /// Takes over what [`GuardHandle::export_bans`] gave, of this run or another, and returns how many of them are in force
    /// now. To be called before the first handshake; `now` says what is over.
    pub fn import_bans(&self, bans: Vec<Ban>, now: Now) -> usize {
        self.0.0.cx.penalties().import(bans, now)
    }

    /// Lets go of bans that are over and logs it. To be called now and then; a ban ends by itself.
    pub fn sweep_bans(&self) {
        let now = clock::now();
        self.0.0.cx.penalties().sweep(now);
        self.0.0.tell_bans(now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Guard, MemoryLedger};

    /// A ban that the ladder made is in the ledger without anybody's doing, and in force in the next run.
    #[tokio::test]
    async fn bans_are_kept_as_they_begin_and_end() {
        let ledger = Arc::new(MemoryLedger::default());
        let guard = || {
            Guard::builder()
                .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
                .hosts(["localhost"])
                .message("greet", "{}")
                .ledger(Arc::clone(&ledger))
                .build()
                .unwrap()
                .handle()
        };
        let (first, key) = (guard(), "subject:ann".parse::<BanKey>().unwrap());
        let keeper = first.clone();
        let keeping = tokio::spawn(async move { keeper.keep_bans(|error| panic!("{error}")).await });
        first.ban(key.clone(), Millis(60_000), "rate");
        let holds = async |count| {
            while first.kept(Shelf::Ban).await.unwrap().len() != count {
                tokio::task::yield_now().await;
            }
        };
        holds(1).await;
        let keys = |handle: &GuardHandle| handle.bans().into_iter().map(|ban| ban.key).collect::<Vec<_>>();
        assert_eq!(keys(&guard()), keys(&first));
        assert!(first.lift_ban(&key));
        holds(0).await;
        assert_eq!(guard().bans(), []);
        keeping.abort();
    }

    #[test]
    fn an_operator_bans_lifts_and_carries_bans_over() {
        let guard = || {
            Guard::builder()
                .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
                .hosts(["localhost"])
                .message("greet", "{}")
                .build()
                .unwrap()
                .handle()
        };
        let (handle, next) = (guard(), guard());
        let key: BanKey = "subject:ann".parse().unwrap();
        handle.ban(key.clone(), Millis(60_000), "operator");
        handle.ban(key.clone(), Millis(1_000), "operator");
        let bans = handle.export_bans();
        assert_eq!(bans.len(), 1);
        let ban = bans.first().unwrap();
        assert!((59_000..=60_000).contains(&ban.until.since(clock::now().unix).0), "the longer one stays: {ban:?}");
        assert_eq!(next.import_bans(bans, clock::now()), 1);
        assert!(next.lift_ban(&key) && !next.lift_ban(&key));
        assert_eq!((next.bans().len(), handle.bans().len()), (0, 1));
    }
}
