//! A connection as somebody sees it who watches: what each control took, and how the session stands.

use std::fmt::Write as _;
use std::time::Instant;

use wsguard_core::effect::Effects;
use wsguard_core::guard::{Connection, Snapshot};
use wsguard_core::probe::Probe;
use wsguard_core::time::Now;
use wsguard_core::verdict::{ControlId, Refusal, Verdict};

/// Times controls, for a connection that somebody watches.
pub(super) struct Laps {
    last: Instant,
    pub(super) taken: Vec<(ControlId, u64)>,
}

impl Laps {
    pub(super) fn start() -> Self {
        Self { last: Instant::now(), taken: Vec::with_capacity(10) }
    }
}

impl Probe for Laps {
    fn lap(&mut self, control: ControlId) {
        let now = Instant::now();
        let nanos = u64::try_from(now.duration_since(self.last).as_nanos()).unwrap_or(u64::MAX);
        self.taken.push((control, nanos));
        self.last = now;
    }
}

/// What a watcher is told of a message, taken before the application runs.
pub(super) struct Told {
    kind: String,
    /// JSON text.
    id: Option<String>,
    bytes: usize,
    verdict: &'static str,
    refusal: Option<Refusal>,
    reference: Option<String>,
    neutralised: u32,
}

pub(super) fn told_of(connection: &Connection, verdict: &Verdict, text: &str, effects: &Effects) -> Told {
    let refusal = match verdict {
        Verdict::Refuse(refusal) => Some(refusal.clone()),
        Verdict::Close(closure) => closure.refusal.clone(),
        Verdict::Allow | Verdict::Answered => None,
    };
    let message = (*verdict == Verdict::Allow).then(|| connection.message(text, effects));
    let recorded = effects.records.last().and_then(|record| record.message_type.as_deref());
    Told {
        kind: message.map_or_else(|| recorded.unwrap_or_default().to_owned(), |message| message.kind.to_owned()),
        id: match message {
            Some(message) => message.id.map(str::to_owned),
            None => effects.records.last().and_then(|record| record.message_id.as_deref()).map(str::to_owned),
        },
        bytes: text.len(),
        verdict: verdict.as_str(),
        reference: effects.records.last().and_then(|record| record.reference).map(|reference| reference.to_string()),
        neutralised: message.map_or(0, |message| message.neutralised),
        refusal,
    }
}

pub(super) fn event_of(now: Now, told: &Told, laps: &[(ControlId, u64)], snapshot: Option<&Snapshot>) -> String {
    let quoted = |text: Option<&str>| serde_json::to_string(&text).unwrap_or_else(|_| "null".into());
    let refusal = told.refusal.as_ref();
    let total = laps.iter().fold(0_u64, |sum, (_, nanos)| sum.saturating_add(*nanos));
    let mut event = String::with_capacity(1_024);
    let _ = write!(
        event,
        r#"{{"at":{},"session":{},"type":{},"id":{},"bytes":{},"verdict":"{}","control":{},"code":{},"reason":{},"detail":{},"ref":{},"neutralised":{},"ns":{{"total":{total},"controls":["#,
        now.unix.0,
        quoted(snapshot.map(|snapshot| snapshot.session.to_string()).as_deref()),
        quoted(Some(&told.kind)),
        told.id.as_deref().unwrap_or("null"),
        told.bytes,
        told.verdict,
        quoted(refusal.map(|refusal| refusal.control.as_str())),
        quoted(refusal.map(|refusal| refusal.code.as_str())),
        quoted(refusal.map(|refusal| refusal.reason.word)),
        quoted(refusal.and_then(|refusal| refusal.reason.detail.as_deref())),
        quoted(told.reference.as_deref()),
        told.neutralised,
    );
    for (index, (control, nanos)) in laps.iter().enumerate() {
        let name = if *control == ControlId::Application { "deliver" } else { control.as_str() };
        let _ = write!(event, r#"{}["{name}",{nanos}]"#, if index == 0 { "" } else { "," });
    }
    event.push_str("]},\"state\":");
    match snapshot {
        None => event.push_str("null"),
        Some(snapshot) => write_state(now, snapshot, &mut event),
    }
    event.push('}');
    event
}

pub(super) fn write_state(now: Now, snapshot: &Snapshot, event: &mut String) {
    let subject = serde_json::to_string(&*snapshot.subject).unwrap_or_else(|_| "\"\"".into());
    let _ = write!(
        event,
        r#"{{"subject":{subject},"sessionStartedAt":{},"authExpiresAt":{},"csrfExpiresAt":{},"buckets":["#,
        now.unix.0.saturating_sub(snapshot.age.0),
        snapshot.auth_expires_at.0,
        snapshot.csrf_expires_at.0,
    );
    for (index, (name, quota, used)) in snapshot.buckets.iter().enumerate() {
        let unit = if name.starts_with("bytes") { "bytes" } else { "messages" };
        let _ = write!(
            event,
            r#"{}{{"name":"{name}","used":{used:.3},"burst":{},"perSecond":{},"unit":"{unit}"}}"#,
            if index == 0 { "" } else { "," },
            quota.burst(),
            quota.per_second(),
        );
    }
    let ladder = &snapshot.ladder;
    let [slow, drop, close] = ladder.begins_at;
    let _ = write!(
        event,
        r#"],"expiring":{},"frames":{},"kept":{},"ladder":{{"rung":"{}","weight":{},"slowAt":{slow},"dropAt":{drop},"closeAt":{close},"offences":{}}},"anomaly":{}}}"#,
        snapshot.is_expiring,
        snapshot.seq,
        snapshot.kept_frames.map_or_else(|| "null".to_owned(), |kept| kept.to_string()),
        ladder.rung,
        ladder.weight,
        ladder.offences,
        snapshot.anomaly.to_json(),
    );
}
