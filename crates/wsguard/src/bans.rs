//! Bans as an operator handles them, and what follows from one: a line in the log, closed sockets.

use wsguard_core::control::penalty::{Ban, BanKey, News};
use wsguard_core::effect::Record;
use wsguard_core::time::{Millis, Now};
use wsguard_core::verdict::{ControlId, Reason};

use crate::clock;
use crate::guard::{GuardHandle, Shared};

impl Shared {
    /// Tells the log what began and ended, and closes what a ban reaches. One relaxed load where there is nothing to tell.
    pub(crate) fn tell_bans(&self, now: Now) {
        for news in self.cx.penalties().take_news() {
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
    use super::*;
    use crate::Guard;

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
