//! The seam between a connection and the scores of its session.

use super::{Connection, Phase, Session};
use crate::control::anomaly::{Conduct, Judged, Score};
use crate::control::penalty::Weight;
use crate::control::rate::{Mode, Prefixes, Print};
use crate::effect::Effects;
use crate::policy::{Context, Identity};
use crate::time::{Now, Tick};
use crate::verdict::{ControlId, Reason, Verdict};

impl Context {
    /// The print of the set of roles in a token, whatever their order.
    fn print_of_roles(&self, identity: &Identity) -> Print {
        let mut roles: Vec<&str> = identity.claims.roles.iter().map(AsRef::as_ref).collect();
        roles.sort_unstable();
        self.ids.print(b'o', roles.join("\0").as_bytes())
    }

    pub(super) fn begin_conduct(&self, now: Tick, identity: &Identity, prefixes: Prefixes, salt: [u8; 16]) -> Conduct {
        let salt = salt.first_chunk().map_or(0, |salt| u64::from_le_bytes(*salt));
        self.anomalies.begin(now, identity.print, self.print_of_roles(identity), prefixes, salt)
    }
}

impl Session {
    /// The identity or the place of the session may be another one.
    pub(super) fn move_conduct(&mut self, cx: &Context, now: Tick, prefixes: Prefixes) {
        let role = cx.print_of_roles(&self.identity);
        cx.anomalies.moved(now, &mut self.conduct, self.identity.print, role, prefixes);
    }
}

impl Connection {
    /// Counts a message that goes to the application, and judges the session where it is time to. Returns the verdict that
    /// takes the place of [`Verdict::Allow`], where the ladder ends there.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place, which takes apart what it returns")]
    pub(super) fn watch_passed(&mut self, now: Now, text: &str, effects: &mut Effects) -> Option<Verdict> {
        if let (Phase::Open(session), Some(accepted)) = (&mut self.phase, &effects.accepted) {
            let (number, payload) = accepted.number_and_payload(text);
            self.cx.anomalies.passed(now.tick, &mut session.conduct, number, text.len(), payload);
        }
        self.judge_conduct(now, effects)
    }

    /// Counts a message that was answered with `verdict`, as [`Self::watch_passed`] does. `duplicates` were known before it.
    #[inline(never)]
    pub(super) fn watch_answered(
        &mut self,
        now: Now,
        bytes: usize,
        duplicates: u32,
        verdict: &Verdict,
        effects: &mut Effects,
    ) -> Option<Verdict> {
        let Phase::Open(session) = &mut self.phase else {
            return None;
        };
        match verdict {
            Verdict::Refuse(_) => session.conduct.refused(now.tick, bytes),
            Verdict::Answered if effects.duplicates > duplicates => session.conduct.duplicate(now.tick, bytes),
            // The guard's own frames say nothing of whoever sends them; quotas bound them.
            Verdict::Allow | Verdict::Answered | Verdict::Close(_) => return None,
        }
        self.judge_conduct(now, effects)
    }

    #[inline]
    fn judge_conduct(&mut self, now: Now, effects: &mut Effects) -> Option<Verdict> {
        let Phase::Open(session) = &mut self.phase else {
            return None;
        };
        let policy = &self.judged.policy.anomaly;
        let judged = self.cx.anomalies.judge(policy, now.tick, session.identity.print, &mut session.conduct)?;
        if judged.tell || judged.charged_ms > 0 { self.suspect(now, judged, effects) } else { None }
    }

    /// The session scored high: tells the log, and charges the ladder.
    #[cold]
    fn suspect(&mut self, now: Now, judged: Judged, effects: &mut Effects) -> Option<Verdict> {
        let policy = &self.judged.policy.anomaly;
        let shadow = policy.mode == Mode::Shadow;
        let weight = Weight::per_second(policy.points_per_second, judged.charged_ms);
        if judged.tell
            && let Some(score) = self.anomaly(now.tick)
        {
            let mut record = self.about(if shadow { "anomaly_in_shadow" } else { "anomaly_detected" });
            record.control = Some(ControlId::Anomaly);
            record.note =
                Some(Reason::with(score.parts.first().map_or("score", |part| part.signal), score.to_string()));
            effects.records.push(record);
        }
        if judged.charged_ms == 0 {
            return None;
        }
        if shadow {
            self.cx.shadow.count(ControlId::Anomaly, "score_high");
            return None;
        }
        Some(self.charge_conduct(now, weight, ControlId::Anomaly, effects))
            .filter(|verdict| matches!(verdict, Verdict::Close(_)))
    }

    /// The score of the session and what it is made of.
    pub fn anomaly(&self, now: Tick) -> Option<Score> {
        match &self.phase {
            Phase::Open(session) => Some(self.cx.anomalies.explain(now, &session.conduct)),
            _ => None,
        }
    }
}
