//! The open connections for people to look at: what each was asked, counted and told.
//!
//! A connection keeps its own figures and answers for itself, between two messages: nobody else reads them, so that the
//! message path shares no counter and waits for no lock. Whoever looks pays, for the page that is looked at.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use wsguard_core::control::session::SessionId;
use wsguard_core::guard::Snapshot;
use wsguard_core::time::Millis;
use wsguard_core::verdict::ControlId;

use crate::guard::GuardHandle;
use crate::registry::SessionInfo;

/// Time that connections have to answer. Each answers within one turn of its task; only a stopped worker takes longer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// What a connection counts. 32 bytes: most connections are never refused anything.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    messages: u64,
    bytes: u64,
    round_trip_ms: Option<u32>,
    refusals: Option<Box<[u32; ControlId::ALL.len()]>>,
}

impl Figures {
    pub(crate) fn messages(&mut self, messages: u32, bytes: u32) {
        self.messages = self.messages.saturating_add(u64::from(messages));
        self.bytes = self.bytes.saturating_add(u64::from(bytes));
    }

    pub(crate) fn round_trip(&mut self, time: Millis) {
        self.round_trip_ms = Some(u32::try_from(time.0).unwrap_or(u32::MAX));
    }

    pub(crate) fn refused(&mut self, control: ControlId) {
        let place = ControlId::ALL.iter().position(|known| *known == control);
        let counts = self.refusals.get_or_insert_default();
        if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
            *count = count.saturating_add(1);
        }
    }

    /// What is told, with what the core knows of the connection.
    pub(crate) fn with(&self, snapshot: Snapshot) -> ConnectionState {
        let counts = self.refusals.iter().flat_map(|counts| ControlId::ALL.into_iter().zip(**counts));
        ConnectionState {
            messages: self.messages,
            bytes: self.bytes,
            round_trip: self.round_trip_ms.map(|time| Millis(u64::from(time))),
            refusals: counts.filter(|(_, count)| *count > 0).collect(),
            snapshot,
        }
    }
}

/// Asks a connection how it stands. A connection that ends drops it, and nobody waits for that one.
#[derive(Debug)]
pub struct Inquiry(mpsc::UnboundedSender<ConnectionState>);

impl Inquiry {
    pub(crate) fn to(sender: mpsc::UnboundedSender<ConnectionState>) -> Self {
        Self(sender)
    }

    pub(crate) fn answer(self, state: ConnectionState) {
        // Whoever asked may have gone.
        let _ = self.0.send(state);
    }
}

/// How a connection stands.
#[derive(Clone, Debug)]
pub struct ConnectionState {
    /// Messages that came over this connection.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last ping's way there and back; `None` before the first was answered.
    pub round_trip: Option<Millis>,
    /// What was refused, by the control that did; those that refused nothing are left out.
    pub refusals: Vec<(ControlId, u32)>,
    /// What the core knows: ladder, buckets, expiry.
    pub snapshot: Snapshot,
}

/// An open connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Whose it is.
    pub session: SessionInfo,
    /// How it stands; `None` where it did not say so within a second.
    pub state: Option<ConnectionState>,
}

/// Some of the open connections.
#[derive(Clone, Debug)]
pub struct ConnectionPage {
    /// In the order of their sessions' ids.
    pub connections: Vec<ConnectionInfo>,
    /// The last session that was looked at, where more come behind it.
    pub next: Option<SessionId>,
}

/// Whether a connection was asked.
pub(crate) enum Asked {
    /// It will answer.
    Open,
    /// There is none: the session waits for its client, or is over.
    Nobody,
}

impl GuardHandle {
    /// Up to `count` open connections of authenticated peers in the order of their sessions' ids, those after `after`, of
    /// `subject` where one is given.
    ///
    /// Cost: one look at every session, and one turn of the task of each connection of the page. Messages wait for neither.
    pub async fn connections(&self, after: Option<SessionId>, count: usize, subject: Option<&str>) -> ConnectionPage {
        let sessions = &self.shared().sessions;
        let mut page =
            sessions.page(after, count.saturating_add(1), subject, |id, open| (open.info(id), open.outbox.clone()));
        let next = if page.len() > count { count.checked_sub(1).and_then(|last| page.get(last)) } else { None };
        let next = next.map(|(info, _)| info.session);
        page.truncate(count);
        // Bounded by the page: one answer each.
        let (sender, mut answers) = mpsc::unbounded_channel();
        page.retain(|(_, outbox)| matches!(outbox.inquire(Inquiry::to(sender.clone())), Asked::Open));
        drop(sender);
        let mut states = HashMap::with_capacity(page.len());
        let _ = tokio::time::timeout(ANSWER_TIME_MAX, async {
            while let Some(state) = answers.recv().await {
                let state: ConnectionState = state;
                states.insert(state.snapshot.session, state);
            }
        })
        .await;
        let connections =
            page.into_iter().map(|(session, _)| ConnectionInfo { state: states.remove(&session.session), session });
        ConnectionPage { connections: connections.collect(), next }
    }

    /// Ends the connection of a session as a lost network does, without a close frame: to try what a client does then.
    /// `false` when there is none of that id.
    pub fn cut(&self, session: SessionId) -> bool {
        let sessions = &self.shared().sessions;
        sessions.with(session, |open| open.outbox.command(crate::mailbox::Command::Lose).is_ok()).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_refused_is_told() {
        let mut figures = Figures::default();
        assert!(figures.refusals.is_none(), "nothing is kept before the first refusal");
        for control in [ControlId::Rate, ControlId::Schema, ControlId::Rate] {
            figures.refused(control);
        }
        let counts = figures.refusals.as_deref().unwrap();
        let told: Vec<_> = ControlId::ALL.into_iter().zip(*counts).filter(|(_, count)| *count > 0).collect();
        assert_eq!(told, [(ControlId::Rate, 2), (ControlId::Schema, 1)]);
        figures.round_trip(Millis(u64::MAX));
        assert_eq!(figures.round_trip_ms, Some(u32::MAX), "a clock that jumps breaks nothing");
    }

    #[test]
    fn figures_stay_small() {
        assert!(size_of::<Figures>() <= 32, "{} bytes, for every connection", size_of::<Figures>());
    }
}
