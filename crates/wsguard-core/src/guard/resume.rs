//! How a session outlives its connection: announced, suspended, taken over, replayed.
//!
//! A connection of a client that announced a resume does not end its session when the network does: the driver takes it
//! out with [`Connection::take_suspended`], keeps it for [`Suspended::ends_at`] and hands it to the connection that asks
//! for it ([`Connection::wanted`], [`Connection::resume`]). A connection that is still there when another takes its
//! session over is fenced first ([`Connection::give_up`]): after that nothing it sends is handled.

use std::sync::Arc;

use wsguard_protocol::{CloseCode, ErrorCode};

use super::penalty::Held;
use super::reconsider::still_identified;
use super::{Aftermath, Connection, Passed, Phase, Refused, Session, reply};
use crate::control::authorization;
use crate::control::delivery::{Claim, Delivery, Encoded, Look, Replay, ReplayLimits, ResumeRequest, resume_token};
use crate::control::rate::Bucket;
use crate::control::session::{Seat, SessionId, Taken};
use crate::effect::{Accepted, Effects};
use crate::fault::{self, Fault};
use crate::handshake::{claim_of, too_many_sessions};
use crate::in_force::InForce;
use crate::json::Value;
use crate::policy::{Context, Identity, Policy};
use crate::time::{Millis, Now, Tick};
use crate::verdict::{ControlId, Reason, Refusal, Verdict};

/// Time that a connection waits for the session it asked for: an older connection gives it up within one turn of its
/// task, so this is only met when something is wrong.
const WAIT_MAX: Millis = Millis(5_000);

/// A connection that waits for its session.
#[derive(Debug)]
pub(super) struct Resuming {
    identity: Arc<Identity>,
    seat: Option<Seat>,
    claim: Claim,
    last_seq: u64,
    until: Tick,
}

impl Resuming {
    pub(super) const fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(super) const fn until(&self) -> Tick {
        self.until
    }
}

/// How a connection that asked for a session got one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// The session goes on; so many frames were sent again.
    Resumed {
        /// How many.
        replayed: usize,
    },
    /// A new session began, since nothing was found.
    Unknown,
    /// A new session began, since frames that the client lacks are no longer kept.
    OutOfReach,
    /// The connection is over: the subject has too many sessions, or the session was revoked.
    Refused,
}

impl Resumption {
    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resumed { .. } => "resumed",
            Self::Unknown => "unknown",
            Self::OutOfReach => "out_of_reach",
            Self::Refused => "refused",
        }
    }
}

/// A session without a connection. What the application does meanwhile is done to it.
#[derive(Debug)]
pub struct Suspended {
    cx: Arc<Context>,
    policy: Arc<InForce>,
    session: Box<Session>,
    /// The bucket of bytes goes along: a reconnect does not refill it.
    bytes: Bucket,
    held: Held,
    /// The number of the last frame that a connection wrote.
    written: u64,
}

/// A suspended session lost a frame: nobody could go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more was sent to the session than is kept")]
pub struct Overflowed;

pub(super) fn limits_of(policy: &Policy) -> ReplayLimits {
    let sessions = &policy.sessions;
    ReplayLimits { bytes: sessions.replay_bytes, total: sessions.replay_bytes_total, window: sessions.resume_window }
}

impl Session {
    pub(super) fn replay(&self) -> Option<&Replay> {
        self.delivery.as_ref()?.replay.as_deref()
    }

    /// Frames that are kept, where the client announced a resume.
    pub(super) fn kept_frames(&self) -> Option<usize> {
        self.replay().map(|replay| replay.frames().count())
    }

    pub(super) fn replay_mut(&mut self) -> Option<&mut Replay> {
        self.delivery.as_mut()?.replay.as_deref_mut()
    }

    fn delivery_mut(&mut self) -> &mut Delivery {
        self.delivery.get_or_insert_default()
    }

    /// From now on frames are kept: the client said that it will come back.
    pub(super) fn announce(&mut self, cx: &Context, policy: &Policy) {
        if policy.sessions.resume_window > Millis(0) {
            let seq = self.seq;
            let pool = &cx.replays;
            self.delivery_mut().replay.get_or_insert_with(|| Box::new(Replay::new(Arc::clone(pool), seq)));
        }
    }

    /// The client has everything up to `seq`; who says so once is kept frames for from then on.
    pub(super) fn acknowledged(&mut self, cx: &Context, policy: &Policy, seq: u64) {
        self.announce(cx, policy);
        if let Some(replay) = self.replay_mut() {
            replay.acknowledged(seq);
        }
    }

    /// A message arrived, and so its client has the welcome: the token before it is worth nothing any more.
    pub(super) fn settle(&mut self) {
        if let Some(replay) = self.replay_mut() {
            replay.settle();
        }
    }

    /// The token for the next welcome.
    pub(super) fn resume_token(&self, cx: &Context, policy: &Policy) -> Option<String> {
        let generation = self.replay().map_or(0, Replay::generation);
        let subject = &self.identity.claims.subject;
        (policy.sessions.resume_window > Millis(0)).then(|| resume_token(&cx.csrf, self.id, generation, subject))
    }

    /// Numbers a frame and keeps it, where the client may ask for it again.
    pub(super) fn number(&mut self, policy: &Policy, now: Tick, frame: &Encoded) -> u64 {
        self.seq = self.seq.saturating_add(1);
        let seq = self.seq;
        if let Some(replay) = self.replay_mut() {
            let limits = limits_of(policy);
            replay.forget_old(&limits, now);
            replay.push(&limits, now, seq, frame);
        }
        seq
    }

    pub(super) fn handled(&mut self, cx: &Context, now: Tick, id: &str) {
        self.delivery_mut().seen.handled(&cx.ids, now, id);
    }

    pub(super) fn refused(&mut self, cx: &Context, id: &str) {
        if let Some(delivery) = &mut self.delivery {
            delivery.seen.refused(&cx.ids, id);
        }
    }

    /// Purges what was sent in rooms that the identity may no longer enter.
    pub(super) fn purge_rooms(&mut self, policy: &Policy) -> usize {
        let identity = Arc::clone(&self.identity);
        let may_read = |frame: &Encoded| {
            frame.room().is_none_or(|room| authorization::may_enter(&policy.rooms, &identity.claims, room))
        };
        self.replay_mut().map_or(0, |replay| replay.purge(may_read))
    }
}

/// Answers a message whose `id` is known instead of handling it, or says that it is new.
pub(super) fn deduplicate<'t>(
    cx: &Context,
    delivery: &Delivery,
    id: Option<Value<'t>>,
    effects: &mut Effects,
) -> Result<Option<Passed>, Refused<'t>> {
    let Some(text) = effects.accepted.as_deref().and_then(Accepted::id) else {
        return Ok(None);
    };
    match delivery.seen.look(&cx.ids, text) {
        Look::Fresh => return Ok(None),
        Look::Handled => reply::write_ack(&mut effects.out, text),
        // The `ack` of the first one is still to come.
        Look::UnderWay => {}
        Look::Crowded => {
            return Err(Refused::new(ControlId::Delivery, ErrorCode::RateLimited, "messages_under_way", id));
        }
    }
    effects.duplicates = effects.duplicates.saturating_add(1);
    Ok(Some(Passed::Answered))
}

impl Connection {
    /// The identity is known: begins its session, or waits for the one that it asks for.
    pub(super) fn begin(
        &mut self,
        now: Now,
        identity: Arc<Identity>,
        seat: Option<Seat>,
        request: Option<&ResumeRequest>,
        effects: &mut Effects,
    ) -> Verdict {
        if let Some(claim) = claim_of(&self.cx, &self.judged.policy, request, &identity) {
            let last_seq = request.map_or(0, |request| request.last_seq);
            let until = now.tick.after(WAIT_MAX);
            self.phase = Phase::Resuming(Box::new(Resuming { identity, seat, claim, last_seq, until }));
            return Verdict::Answered;
        }
        self.begin_fresh(now, identity, seat, request.is_some(), effects)
    }

    fn begin_fresh(
        &mut self,
        now: Now,
        identity: Arc<Identity>,
        seat: Option<Seat>,
        announced: bool,
        effects: &mut Effects,
    ) -> Verdict {
        let Some(seat) = seat.or_else(|| self.sit_down(&identity, effects)) else {
            return self.close(CloseCode::Replaced, Some(too_many_sessions()), effects);
        };
        self.begin_session(now, identity, seat, announced, effects);
        Verdict::Allow
    }

    /// A seat for `identity`; another session of the same subject may lose its own for it.
    fn sit_down(&self, identity: &Identity, effects: &mut Effects) -> Option<Seat> {
        let Taken { seat, displaced, .. } = self.cx.take_seat(identity.print, &self.judged.policy)?;
        effects.displaced = displaced;
        Some(seat)
    }

    /// The session that this connection waits for. While it does, bring it no message; find the session, suspended or on
    /// another connection, and call [`Connection::resume`].
    pub fn wanted(&self) -> Option<&Claim> {
        match &self.phase {
            Phase::Resuming(resuming) => Some(&resuming.claim),
            _ => None,
        }
    }

    /// Goes on with the session that was found, or begins a new one. The first frames stand in `effects.out`: the welcome,
    /// then what the client lacks, each frame once and in order.
    ///
    /// Does nothing where no session is [`wanted`](Connection::wanted).
    pub fn resume(&mut self, now: Now, found: Option<Suspended>, effects: &mut Effects) -> Option<Resumption> {
        self.wanted()?;
        let Phase::Resuming(resuming) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return None;
        };
        let Resuming { identity, seat, claim, last_seq, .. } = *resuming;
        let found = found.filter(|found| found.accepts(&claim, &identity));
        let otherwise = match found {
            None => Resumption::Unknown,
            Some(found) if !found.reaches(last_seq) => Resumption::OutOfReach,
            Some(found) => return Some(self.go_on(now, found, identity, seat, &claim, last_seq, effects)),
        };
        match self.begin_fresh(now, identity, seat, true, effects) {
            Verdict::Allow => Some(otherwise),
            _ => Some(Resumption::Refused),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one step, named at its one caller")]
    fn go_on(
        &mut self,
        now: Now,
        found: Suspended,
        identity: Arc<Identity>,
        seat: Option<Seat>,
        claim: &Claim,
        last_seq: u64,
        effects: &mut Effects,
    ) -> Resumption {
        let Suspended { mut session, bytes, held, .. } = found;
        let (cx, policy) = (Arc::clone(&self.cx), Arc::clone(&self.judged.policy));
        // The seat of the session itself where it kept one: it is counted once.
        let kept = session.seat.take();
        session.seat = kept.or(seat).or_else(|| self.sit_down(&identity, effects));
        let Some(seat) = &session.seat else {
            let _ = self.close(CloseCode::Replaced, Some(too_many_sessions()), effects);
            return Resumption::Refused;
        };
        seat.begin(session.id);
        session.identity = identity;
        session.last_message = now.tick;
        // Authorised anew: the credential may be another one, and the policy too.
        session.permissions = policy.permissions_of(&session.identity.claims);
        session.schedule_end(now, &policy);
        session.move_conduct(&cx, now.tick, self.prefixes);
        let purged = session.purge_rooms(&policy);
        self.rights_changed = true;
        if now.tick >= session.csrf.rotates_at {
            session.csrf.rotate(&cx.csrf, session.id, now, policy.csrf_rotate_every);
        }
        if let Some(replay) = session.replay_mut() {
            replay.acknowledged(last_seq);
            replay.rotate(claim);
        }
        // The session may have been revoked while it waited.
        self.phase = Phase::Open(session);
        if let Err(closure) = self.still_good(now) {
            let _ = self.close(closure.code, closure.refusal, effects);
            return Resumption::Refused;
        }
        let Phase::Open(session) = &self.phase else {
            return Resumption::Refused;
        };
        let token = session.resume_token(&cx, &policy);
        reply::write_welcome(&mut effects.out, now, session, &policy, token.as_deref(), true);
        let mut replayed = 0_usize;
        for kept in session.replay().into_iter().flat_map(Replay::frames) {
            reply::write_application(&mut effects.out, kept.seq, &kept.frame);
            replayed = replayed.saturating_add(1);
        }
        self.bytes = bytes;
        self.held.go_on_with(held);
        let mut record = self.about("session_resumed");
        record.control = Some(ControlId::Delivery);
        record.note = Some(Reason::with("session_resumed", format!("{replayed} frames replayed, {purged} purged")));
        effects.records.push(record);
        Resumption::Resumed { replayed }
    }

    pub(super) fn wait_is_over(&self, now: Tick) -> bool {
        matches!(&self.phase, Phase::Resuming(resuming) if now >= resuming.until)
    }

    /// Another connection takes the session over: this one is told, closed with 4409, and handles nothing more. `false`
    /// where `claim` is not good for its session, and then nothing happens.
    pub fn give_up(&mut self, claim: &Claim, effects: &mut Effects) -> bool {
        let Phase::Open(session) = &self.phase else {
            return false;
        };
        if session.id != claim.session || !session.replay().is_some_and(|replay| replay.accepts(claim)) {
            return false;
        }
        self.aftermath = Aftermath::Kept;
        let refusal = Refusal::new(ControlId::Delivery, ErrorCode::SessionExpired, "resumed_elsewhere");
        let _ = self.close(CloseCode::Replaced, Some(refusal), effects);
        true
    }

    /// The socket is gone without a close frame: the network, or the process at its other end.
    pub fn on_lost(&mut self, effects: &mut Effects) {
        if self.closing {
            return;
        }
        let mut record = self.about("connection_closed_by_peer");
        record.note = self.untold_at_end();
        effects.records.push(record);
        self.aftermath = Aftermath::Kept;
        self.finish();
    }

    /// The peer does not take what is sent to it.
    pub fn on_stalled(&mut self, effects: &mut Effects) -> Verdict {
        // A network that swallows everything looks the same as a reader that stopped.
        self.aftermath = Aftermath::Kept;
        let refusal = Refusal::new(ControlId::Heartbeat, ErrorCode::RateLimited, "peer_does_not_read");
        self.close(CloseCode::TryLater, Some(refusal), effects)
    }

    /// The connection is over; its session stays for a client that announced to come back, where the end was not one that
    /// somebody wanted.
    pub(super) fn finish(&mut self) {
        self.closing = true;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open(session) if self.aftermath == Aftermath::Kept && session.replay().is_some() => {
                Phase::Suspended(session)
            }
            _ => Phase::Closed,
        };
    }

    /// The session of a connection that is over, where a client may come back for it.
    pub fn take_suspended(&mut self) -> Option<Suspended> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Suspended(session) => {
                let (cx, policy) = (Arc::clone(&self.cx), Arc::clone(&self.judged.policy));
                let held = std::mem::take(&mut self.held);
                Some(Suspended { cx, policy, written: session.seq, session, bytes: self.bytes, held })
            }
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// The application has the message of this `id` and answers later: until then it is neither acknowledged nor handled
    /// again.
    pub fn defer(&mut self, id: &str) {
        if let Phase::Open(session) = &mut self.phase {
            session.delivery_mut().seen.begin(&self.cx.ids, id);
        }
    }

    /// Lets go of frames that were kept to be replayed and that `keep` refuses; says how many. A replay passes over their
    /// numbers.
    pub fn purge(&mut self, keep: impl FnMut(&Encoded) -> bool) -> usize {
        match &mut self.phase {
            Phase::Open(session) => session.replay_mut().map_or(0, |replay| replay.purge(keep)),
            _ => 0,
        }
    }

    /// As [`Connection::purge`], for the rooms that the identity may no longer enter.
    pub fn purge_rooms(&mut self) -> usize {
        let policy = &self.judged.policy;
        match &mut self.phase {
            Phase::Open(session) => session.purge_rooms(policy),
            _ => 0,
        }
    }
}

impl Suspended {
    /// The session.
    pub fn session(&self) -> SessionId {
        self.session.id
    }

    /// Who it speaks for.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.session.identity
    }

    /// When nobody can go on with it any more: after the window, at the end of its token, at its greatest age.
    pub fn ends_at(&self, now: Now) -> Tick {
        let sessions = &self.policy.sessions;
        now.tick
            .after(sessions.resume_window)
            .min(self.session.started().after(sessions.max))
            .min(now.tick.after(self.session.ends_at(&self.policy).since(now.unix)))
    }

    /// Gives the seat among the attached sessions of the subject back: it waits, and those who wait are counted apart.
    pub fn leave_seat(&mut self) {
        self.session.seat = None;
    }

    /// Whether `claim` is good for it.
    pub fn is_claimed_by(&self, claim: &Claim) -> bool {
        self.session.id == claim.session && self.session.replay().is_some_and(|replay| replay.accepts(claim))
    }

    fn accepts(&self, claim: &Claim, identity: &Identity) -> bool {
        self.is_claimed_by(claim)
            && (self.session.identity.claims.subject == identity.claims.subject || fault::is_on(Fault::ClaimOfAnybody))
    }

    fn reaches(&self, last_seq: u64) -> bool {
        self.session.replay().is_some_and(|replay| replay.reaches(last_seq, self.session.seq))
    }

    /// Numbers a frame of the application and keeps it for the client.
    ///
    /// # Errors
    /// A frame that the client cannot have was pushed out: the session is worth nothing any more.
    pub fn send(&mut self, now: Tick, frame: &Encoded) -> Result<(), Overflowed> {
        self.session.seq = self.session.seq.saturating_add(1);
        let (seq, written, limits) = (self.session.seq, self.written, limits_of(&self.policy));
        let replay = self.session.replay_mut().ok_or(Overflowed)?;
        replay.push(&limits, now, seq, frame);
        if replay.has_all_after(written) { Ok(()) } else { Err(Overflowed) }
    }

    /// The application handled the message of this `id`.
    pub fn acknowledge(&mut self, now: Tick, id: &str) {
        self.session.handled(&self.cx, now, id);
    }

    /// The application refused the message of this `id`.
    pub fn refuse(&mut self, id: &str) {
        self.session.refused(&self.cx, id);
    }

    /// As [`Connection::purge`].
    pub fn purge(&mut self, keep: impl FnMut(&Encoded) -> bool) -> usize {
        self.session.replay_mut().map_or(0, |replay| replay.purge(keep))
    }

    /// As [`Connection::purge_rooms`].
    pub fn purge_rooms(&mut self) -> usize {
        self.session.purge_rooms(&self.policy)
    }

    /// Looks again at what may have changed, as [`Connection::reconsider`]. `false` when the session is over.
    pub fn reconsider(&mut self, now: Now) -> bool {
        let Session { id, identity, seat, .. } = &*self.session;
        let is_displaced = seat.as_ref().is_some_and(Seat::is_displaced);
        let is_banned = {
            let penalties = &self.cx.penalties;
            penalties.banned(identity.print, now.tick).or(penalties.session_banned(*id, now.tick)).is_some()
        };
        let is_withdrawn = !identity.is_static && !self.cx.key_is_known(identity);
        if is_displaced
            || is_banned
            || is_withdrawn
            || self.cx.revocations.refuse(&identity.claims, Some(*id)).is_some()
        {
            return false;
        }
        let policy = self.cx.policy();
        if !Arc::ptr_eq(&policy, &self.policy) {
            if still_identified(&self.policy, &policy, identity).is_err() {
                return false;
            }
            self.policy = policy;
            self.session.purge_rooms(&self.policy);
        }
        true
    }
}
