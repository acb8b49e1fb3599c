//! The state of a connection for people to look at.

use super::{Connection, Ladder, Phase};
use crate::control::anomaly::Score;
use crate::control::rate::Quota;
use crate::control::session::SessionId;
use crate::time::{Millis, Now, Tick, UnixMs};

/// The state of a session, for people to look at.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The session.
    pub session: SessionId,
    /// Who.
    pub subject: Box<str>,
    /// How long it has lived.
    pub age: Millis,
    /// When its token ends.
    pub auth_expires_at: UnixMs,
    /// When its CSRF token rotates.
    pub csrf_expires_at: UnixMs,
    /// The client was told that its token ends, and has not brought another.
    pub is_expiring: bool,
    /// Application frames of the session so far.
    pub seq: u64,
    /// Of these, how many are kept for a resume; `None` where the client did not announce one.
    pub kept_frames: Option<usize>,
    /// Where it stands on the ladder.
    pub ladder: Ladder,
    /// What is unusual about it.
    pub anomaly: Score,
    /// Name, quota and used share of each bucket.
    pub buckets: [(&'static str, Quota, f32); 4],
}

impl Connection {
    /// The state for people to look at.
    pub fn snapshot(&self, now: Now) -> Option<Snapshot> {
        let Phase::Open(session) = &self.phase else {
            return None;
        };
        let policy = &self.judged.policy;
        let bytes = policy.rate.bytes;
        let levels = self.cx.limiter.levels(policy.quotas(), Some(session.identity.print), self.prefixes, now.tick);
        let [subject, prefix, prefix_bytes] = levels;
        Some(Snapshot {
            session: session.id,
            subject: session.identity.claims.subject.clone(),
            age: now.tick.since(session.started()),
            auth_expires_at: session.identity.claims.expires_at,
            csrf_expires_at: session.csrf.expires_at(now),
            is_expiring: session.expiring_at == Tick::NEVER,
            seq: session.seq,
            kept_frames: session.kept_frames(),
            ladder: self.ladder(now),
            anomaly: self.anomaly(now.tick).unwrap_or_default(),
            buckets: [
                subject,
                ("bytes of this session", bytes, bytes.used(self.bytes, now.tick)),
                prefix,
                prefix_bytes,
            ],
        })
    }
}
