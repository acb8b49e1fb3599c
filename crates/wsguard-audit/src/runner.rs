//! The order of a run: find out how the target is spoken to, then the checks by their turn, with a look at the target's
//! health between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::CHECKS;
use crate::check::{Check, Need, Severity, Turn};
use crate::discover::dialect::{Dialect, Template};
use crate::discover::discover;
use crate::outcome::{Outcome, Status};
use crate::perf;
use crate::probe::budget::{Budget, Limits};
use crate::probe::entry::Entry;
use crate::probe::link::Unreached;
use crate::probe::session::Session;
use crate::probe::{Probe, Shared, tls};
use crate::report::{Report, Run};
use crate::target::{Options, Target, TargetError};

/// Checks that run beside each other, those that wait not counted.
const BESIDE_EACH_OTHER: usize = 6;

/// Checks that open many connections: the last but for those that provoke limits.
const DEAR: [&str; 7] =
    ["WSA-AUTH-13", "WSA-CSRF-04", "WSA-DISC-04", "WSA-ERR-05", "WSA-IN-11", "WSA-PROTO-10", "WSA-PROTO-11"];

/// Checks that show credentials which are not good. Many targets count those, and forget them at the next good one: one
/// of these checks at a time, and a look at the target's health after it.
const GUESSING: [&str; 9] = [
    "WSA-AUTH-01",
    "WSA-AUTH-03",
    "WSA-AUTH-04",
    "WSA-AUTH-05",
    "WSA-AUTH-06",
    "WSA-AUTH-07",
    "WSA-AUTH-08",
    "WSA-AUTH-14",
    "WSA-DISC-05",
];

/// Checks whose messages end programs that expect no such thing: the last, as long as there is time for that, so that a
/// death leaves little open.
const DEADLY: [&str; 6] = ["WSA-ERR-03", "WSA-ERR-05", "WSA-IN-01", "WSA-IN-05", "WSA-IN-07", "WSA-IN-11"];

/// Checks that wait on servers that do nothing, and seldom otherwise.
const SHORT: [&str; 4] = ["WSA-AUTH-09", "WSA-ERR-04", "WSA-PROTO-09", "WSA-RES-01"];

/// How often something is looked at that nobody announces.
const STEP: Duration = Duration::from_millis(20);

/// Places that must be left for the checks that do not wait.
const ROOM_MIN: u32 = 2;

/// A wait of a check, in seconds, that must fit into what is left of the run; and of those that are shorter.
const WAIT_SECONDS: f64 = 68.0;
const WAIT_SECONDS_BRIEF: f64 = 38.0;

/// Checks whose wait is one of the shorter ones.
const BRIEF: [&str; 5] = ["WSA-AUTH-09", "WSA-ERR-04", "WSA-PROTO-09", "WSA-RES-01", "WSA-RES-08"];

/// Checks that wait on two connections at once.
const TWOFOLD: [&str; 2] = ["WSA-MON-01", "WSA-SESS-01"];

/// How often it is looked whether checks that wait leave room for the others.
const ROOM_STEP: Duration = Duration::from_millis(200);

/// What is kept for the checks that end the session, in seconds.
const ENDING_SECONDS: f64 = 12.0;

/// What is kept for the checks that provoke limits, in seconds, once the target has limited the audit: from then on
/// connections are few, and what has not been asked by then is asked behind those checks.
const PROVOKING_SECONDS: f64 = 50.0;

/// Of that, for those that must not run beside the checks that wait, in seconds.
const CROWDING_SECONDS: f64 = 19.0;

/// From then on nothing that waits needs another handshake, in seconds.
const DOORS_SECONDS: f64 = 74.0;

/// Checks that provoke limits and touch nobody's open connection.
const AT_THE_DOOR: [&str; 4] = ["WSA-RATE-02", "WSA-RATE-04", "WSA-RATE-05", "WSA-RATE-08"];

/// Where the death of the target is reported.
const SURVIVAL: &str = "WSA-ERR-05";

/// Why there is no report.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The URL is wrong or its name unknown.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A name of `--only` or `--skip` that no check has.
    #[error("find a check whose id begins with {0:?}")]
    NoSuchCheck(String),
    /// Nobody answers.
    #[error("reach {url}: {why}")]
    Unreached {
        /// Where.
        url: String,
        /// What happened.
        why: String,
    },
}

/// Who watches the run.
pub trait Progress: Send + Sync {
    /// What is known before the first check: how the target is spoken to, and the budget.
    fn begins(&self, target: &str, spoken: &str, limits: Limits, checks: usize);
    /// A check begins.
    fn started(&self, check: &Check);
    /// A check is done; so many are.
    fn finished(&self, check: &Check, outcome: &Outcome, done: usize);
    /// Behind the checks, with `--full`: what is being measured.
    fn measuring(&self, _what: &str) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begins(&self, _: &str, _: &str, _: Limits, _: usize) {}
    fn started(&self, _: &Check) {}
    fn finished(&self, _: &Check, _: &Outcome, _: usize) {}
}

/// Audits a server.
///
/// # Errors
/// When the options name no target or no check, or the target cannot be reached. A target that is reached and then
/// fails in any way is a report.
pub async fn audit(mut options: Options, progress: &dyn Progress) -> Result<Report, AuditError> {
    let started_at = SystemTime::now();
    let started = Instant::now();
    for name in options.only.iter().chain(&options.skip) {
        let one = Options { only: vec![name.clone()], ..Options::new("", None) };
        if !CHECKS.iter().any(|check| one.wants(check.meta.id)) && !one.wants(perf::ID) {
            return Err(AuditError::NoSuchCheck(name.clone()));
        }
    }
    find_token(&mut options);
    let secrets = options.secrets();
    let target = Target::find(&options.url).await?;
    let limits = if options.full { Limits::FULL } else { Limits::DEFAULT };
    let budget = Budget::new(limits, options.pace);
    let mut shared = Arc::new(Shared::new(target, options, budget));
    let untrusted = reach(&shared).await?;
    if let Some(why) = &untrusted {
        shared = without_secrets(&shared, limits, why);
    }
    let way = discover(&shared).await;
    let spoken = format!("{}, credential: {}", way.dialect.name(), way.placement.name());
    let baseline = way.baseline.clone();
    let _ = shared.way.set(way);
    let wanted: Vec<&'static Check> = CHECKS.iter().filter(|check| shared.options.wants(check.meta.id)).collect();
    progress.begins(&shared.target.shown(), &spoken, limits, wanted.len());

    let mut runner = Runner {
        shared: Arc::clone(&shared),
        progress,
        outcomes: BTreeMap::new(),
        dead: None,
        untrusted,
        reserve: Duration::ZERO,
        postponed: VecDeque::new(),
        kept: Mutex::default(),
    };
    runner.run(&wanted, baseline.is_some()).await;
    let Runner { outcomes, dead, .. } = runner;
    let is_measured = shared.options.full && shared.options.wants(perf::ID) && baseline.is_some() && dead.is_none();
    let performance = if is_measured { perf::measure(&shared, &|what| progress.measuring(what)).await } else { None };
    let duration = started.elapsed();
    Ok(Report::new(Run { shared: &shared, started_at, duration, outcomes, secrets, performance }))
}

/// Where the credential was given in a header, the cookie or the URL, remembers its places as `{token}`.
pub(crate) fn find_token(options: &mut Options) {
    if options.token.is_none() {
        let bearer = options.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let from_header = bearer.and_then(|(_, value)| value.split_once(' ')).map(|(_, token)| token.trim().to_owned());
        // Of several cookies the one with the longest value is the credential; what is no pair is one as a whole.
        let from_cookie = options.cookie.as_ref().map(|cookie| {
            let values = cookie.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned()));
            values.max_by_key(String::len).unwrap_or_else(|| cookie.trim().to_owned())
        });
        options.token = from_header.or(from_cookie).filter(|token| !token.is_empty() && !token.contains("{token}"));
    }
    let Some(token) = options.token.clone() else { return };
    let places = options.headers.iter_mut().map(|(_, value)| value).chain(options.cookie.as_mut());
    for place in places.chain(&mut options.subprotocols) {
        *place = place.replace(&token, "{token}");
    }
    // A short token may stand in a host or a path by chance: there it counts as a whole part alone.
    let is_mark = |letter: char| "/?&=:@".contains(letter);
    options.url = options
        .url
        .split_inclusive(is_mark)
        .map(|part| {
            let word = part.trim_end_matches(is_mark);
            let rest = part.strip_prefix(word).unwrap_or_default();
            let is_name = rest.starts_with([':', '@']) || !rest.is_empty() && rest.starts_with('=');
            if word == token && !is_name { format!("{{token}}{rest}") } else { part.to_owned() }
        })
        .collect();
}

/// Connects once. The answer is why the certificate must not be trusted, if so.
async fn reach(shared: &Arc<Shared>) -> Result<Option<String>, AuditError> {
    let probe = Probe::new(Arc::clone(shared), "discovery");
    let unreached = |why: String| AuditError::Unreached { url: shared.target.shown(), why };
    let link = match probe.connect().await {
        Ok(link) => link,
        // Somebody is there, and what is wrong with his TLS is a finding.
        Err(Unreached::Tls(why)) => return Ok(Some(why)),
        Err(why) => return Err(unreached(why.to_string())),
    };
    let Some(facts) = &link.tls else { return Ok(None) };
    if shared.options.insecure {
        return Ok(None);
    }
    let judged = shared.trust.judge(&facts.chain, &shared.target.host, tls::now());
    Ok(judged.err().map(|error| error.to_string()))
}

/// A server that may be an impostor is not shown a credential.
pub(crate) fn without_secrets(shared: &Arc<Shared>, limits: Limits, _why: &str) -> Arc<Shared> {
    let mut options = shared.options.clone();
    options.token = None;
    options.token_b = None;
    options.expired_token = None;
    options.foreign_token = None;
    options.cookie = None;
    options.headers.retain(|(_, value)| !value.contains("{token}"));
    options.subprotocols.retain(|entry| !entry.contains("{token}"));
    let budget = Budget::new(limits, options.pace);
    Arc::new(Shared::new(shared.target.clone(), options, budget))
}

/// What the look at the target's health found.
enum Health {
    /// As at the beginning.
    Good,
    /// It refuses what it let in at the beginning.
    Refuses(String),
    /// It does not answer any more.
    Dead,
}

/// The checks that wait on connections of their own.
struct Waiting {
    queue: VecDeque<&'static Check>,
    running: JoinSet<(&'static Check, Outcome)>,
    handles: Vec<(&'static Check, AbortHandle)>,
}

struct Runner<'a> {
    shared: Arc<Shared>,
    progress: &'a dyn Progress,
    outcomes: BTreeMap<&'static str, Outcome>,
    /// Why nothing more can be asked.
    dead: Option<String>,
    /// Why no credential was shown.
    untrusted: Option<String>,
    /// Kept at the end of the run for checks that come last.
    reserve: Duration,
    /// Checks that show bad credentials to a target that may have limited the audit for those.
    postponed: VecDeque<Vec<&'static Check>>,
    /// A good connection to a target that allows few of them, to be asked in place of a new one.
    kept: Mutex<Option<Box<Session>>>,
}

impl Runner<'_> {
    async fn run(&mut self, wanted: &[&'static Check], has_baseline: bool) {
        let mut ready: Vec<&'static Check> = Vec::new();
        for check in wanted {
            match self.obstacle(check, has_baseline) {
                Some(outcome) => self.finish(check, outcome),
                None => ready.push(*check),
            }
        }
        ready.sort_by_key(|check| rank(check));
        let has_own = self.shared.options.logout_token.is_some();
        let turn = |check: &Check| match check.meta.turn {
            Turn::Ending if has_own => Turn::Waiting,
            turn => turn,
        };
        let (deadly, ready) = parted(ready, |check| DEADLY.contains(&check.meta.id));
        let of = |wanted: Turn| ready.iter().copied().filter(|check| turn(check) == wanted).collect::<Vec<_>>();
        let ending = of(Turn::Ending);
        if !ending.is_empty() {
            self.reserve = self.shared.pace.seconds(ENDING_SECONDS);
        }
        let mut waiting = Waiting { queue: of(Turn::Waiting).into(), running: JoinSet::new(), handles: Vec::new() };
        self.begin(&mut waiting).await;
        let is_dear = |check: &Check| DEAR.contains(&check.meta.id);
        let (dear, cheap) = parted(of(Turn::Quiet), is_dear);
        let (dear_alone, alone) = parted(of(Turn::Alone), is_dear);
        let one_by_one = |checks: Vec<&'static Check>| checks.into_iter().map(|check| vec![check]);
        let mut provoking = of(Turn::Provoking);
        let mut queue: VecDeque<_> = batches(cheap).into();
        self.work_off(&mut queue, &mut waiting, &mut provoking).await;
        // What rarely waits for long need not wait for a place.
        let (short, long): (Vec<_>, Vec<_>) = waiting.queue.drain(..).partition(|check| SHORT.contains(&check.meta.id));
        waiting.queue.extend(long);
        for batch in short.chunks(2) {
            for (check, outcome) in self.at_once(batch, Some(&mut waiting)).await {
                self.finish(check, outcome);
            }
        }
        // What weighs on the target one by one still costs less than what opens many connections.
        let mut deadly: VecDeque<_> = one_by_one(deadly).collect();
        if self.shared.budget.used().limited > 0 {
            queue.append(&mut deadly);
        }
        queue.extend(one_by_one(alone).chain(batches(dear)).chain(one_by_one(dear_alone)));
        queue.append(&mut self.postponed);
        self.work_off(&mut queue, &mut waiting, &mut provoking).await;
        // One or two wait longer than all others, and open nothing any more.
        while self.shared.budget.elapsed() < self.shared.pace.seconds(DOORS_SECONDS) && self.join(&mut waiting).await {}
        for check in provoking.extract_if(.., |check| AT_THE_DOOR.contains(&check.meta.id)).collect::<Vec<_>>() {
            self.batch(&[check], None).await;
        }
        while self.join(&mut waiting).await {}
        for check in waiting.queue {
            let why = "the target allows so few connections at a time that there was no place for one that waits";
            self.finish(check, Outcome::unknown(why).settled_by(format!("--only {}", check.meta.id)));
        }
        drop(self.kept().take());
        drop(self.shared.take_spare());
        let is_hurried = self.is_short_of(CROWDING_SECONDS);
        let is_in_handshake = self.shared.way.get().is_some_and(|way| way.placement.is_in_handshake());
        // One of these sends messages alone and the other none.
        let is_crowd = |check: &Check| ["WSA-RATE-01", "WSA-RATE-03"].contains(&check.meta.id);
        let (both, one) = parted(provoking, |check| is_hurried && is_in_handshake && is_crowd(check));
        let (locks, others) = parted(one, locks);
        let (late, early) = parted(of(Turn::Perilous), |check| check.meta.intrusive);
        let mut last: VecDeque<_> = if is_hurried {
            // What is left comes by what it can find.
            let (informs, others) = parted(others, |check| check.meta.severity == Severity::Info);
            let gravest = |batch: &Vec<&'static Check>| batch.iter().map(|check| check.meta.severity).max();
            queue.make_contiguous().sort_by_key(|batch| Reverse(gravest(batch)));
            queue.extend(one_by_one(informs));
            one_by_one(early).chain([both]).chain(one_by_one([others, locks].concat())).collect()
        } else {
            let (early, locks) = (one_by_one([others, early].concat()), one_by_one(locks));
            [both].into_iter().chain(early).chain(deadly).chain(locks).collect()
        };
        last.extend(queue);
        last.extend(one_by_one([of(Turn::Last), late].concat()));
        for batch in last {
            self.batch(&batch, None).await;
        }
        drop(self.shared.take_spare());
        // The credential is gone afterwards: there is no health to look at, and nothing to be seen twice.
        self.reserve = Duration::ZERO;
        for (check, outcome) in self.at_once(&ending, None).await {
            let outcome = self.too_late(outcome);
            self.finish(check, outcome);
        }
    }

    /// Runs batches one after the other. Of a target that limits the audit it leaves some for later, so that there is time
    /// for the checks that provoke limits.
    async fn work_off(
        &mut self,
        queue: &mut VecDeque<Vec<&'static Check>>,
        waiting: &mut Waiting,
        provoking: &mut Vec<&'static Check>,
    ) {
        while !queue.is_empty() && !self.is_short_of(CROWDING_SECONDS) {
            let is_due = |check: &mut &Check| AT_THE_DOOR.contains(&check.meta.id);
            let due = if self.is_short_of(PROVOKING_SECONDS) { provoking.extract_if(.., is_due).next() } else { None };
            let mut batch = due.map_or_else(|| queue.pop_front().unwrap_or_default(), |check| vec![check]);
            if self.shared.budget.used().limited > 0 {
                spread(&mut batch, queue);
            }
            if self.shared.budget.is_puzzled() && batch.len() > 1 {
                let guesses = batch.extract_if(.., |check| GUESSING.contains(&check.meta.id));
                self.postponed.extend(guesses.map(|check| vec![check]));
            }
            self.batch(&batch, Some(waiting)).await;
            self.look_after(waiting);
        }
    }

    /// Begins the checks that wait, one after the other: their connections are many, and where they are too many for
    /// the target, the last of them make room for the others.
    async fn begin(&self, waiting: &mut Waiting) {
        let limited = self.shared.budget.used().limited;
        while let Some(check) = waiting.queue.pop_front() {
            self.wait_with(waiting, check);
            if waiting.queue.is_empty() {
                break;
            }
            // Until it is in, or not: the next one might be too many.
            let (before, since) = (self.shared.budget.settled(), Instant::now());
            let is_in = || self.shared.budget.settled() > before;
            while !is_in() && since.elapsed() < self.shared.pace.seconds(0.5) {
                tokio::time::sleep(STEP).await;
            }
            if self.shared.budget.used().limited > limited {
                break;
            }
        }
        self.make_room(waiting).await;
    }

    /// Of a target that allows few connections at a time, the checks that began to wait last give theirs up, until there
    /// is room for those that do not wait.
    async fn make_room(&self, waiting: &mut Waiting) {
        while self.shared.budget.cap().is_some_and(|cap| self.shared.budget.waiting() > waiting_max(cap)) {
            let Some((check, handle)) = waiting.handles.pop() else { break };
            if !handle.is_finished() {
                handle.abort();
                waiting.queue.push_front(check);
                tokio::task::yield_now().await;
                tokio::time::sleep(STEP).await;
            }
        }
    }

    /// The target limits the audit, and no more than so many seconds are left.
    fn is_short_of(&self, seconds: f64) -> bool {
        let budget = &self.shared.budget;
        budget.used().limited > 0 && budget.left() < self.shared.pace.seconds(seconds)
    }

    fn wait_with(&self, waiting: &mut Waiting, check: &'static Check) {
        self.progress.started(check);
        let (probe, ends_at) = (self.probe(check).waiting(), self.shared.budget.ends_at());
        let handle = waiting.running.spawn(in_time(probe, check, ends_at));
        waiting.handles.push((check, handle));
    }

    /// Takes the next that waited long enough. Whether there was one.
    async fn join(&mut self, waiting: &mut Waiting) -> bool {
        match waiting.running.join_next().await {
            Some(Ok((check, outcome))) => {
                let outcome = self.too_late(outcome);
                self.finish(check, outcome);
                true
            }
            Some(Err(_)) => true,
            None => false,
        }
    }

    /// Takes what waited long enough, and lets others wait in its place.
    fn look_after(&mut self, waiting: &mut Waiting) {
        while let Some(done) = waiting.running.try_join_next() {
            if let Ok((check, outcome)) = done {
                let outcome = self.too_late(outcome);
                self.finish(check, outcome);
            }
        }
        let budget = &self.shared.budget;
        let mut taken = budget.waiting();
        while let Some(check) = waiting.queue.pop_front_if(|check| {
            let is_brief = BRIEF.contains(&check.meta.id);
            let needed = if TWOFOLD.contains(&check.meta.id) { 2 } else { 1 };
            budget.left() > self.shared.pace.seconds(if is_brief { WAIT_SECONDS_BRIEF } else { WAIT_SECONDS })
                && match budget.cap() {
                    Some(cap) => taken.saturating_add(needed) <= waiting_max(cap),
                    None => budget.room() > ROOM_MIN,
                }
                && {
                    taken = taken.saturating_add(needed);
                    true
                }
        }) {
            self.wait_with(waiting, check);
        }
    }

    /// What is seen of a target that died proves nothing, but for what a check itself calls a failure.
    fn too_late(&self, outcome: Outcome) -> Outcome {
        match &self.dead {
            Some(why) if outcome.status != Status::Fail => Outcome::unknown(why.clone()).and_all(outcome.evidence),
            _ => outcome,
        }
    }

    fn probe(&self, check: &Check) -> Probe {
        Probe::new(Arc::clone(&self.shared), check.meta.id)
    }

    fn finish(&mut self, check: &Check, outcome: Outcome) {
        // A target that died is worse than what the check itself could say.
        let is_known = self.outcomes.contains_key(check.meta.id);
        let outcome = match self.outcomes.remove(check.meta.id) {
            // What the check itself saw says best what it was.
            Some(held) if held.status == Status::Fail && outcome.status == Status::Fail => {
                Outcome { evidence: [outcome.evidence, held.evidence].concat(), ..held }
            }
            Some(held) if held.status == Status::Fail => held,
            _ => outcome,
        };
        self.outcomes.insert(check.meta.id, outcome);
        if !is_known && let Some(outcome) = self.outcomes.get(check.meta.id) {
            self.progress.finished(check, outcome, self.outcomes.len());
        }
    }

    /// Runs checks beside each other, looks at the target's health, and runs again what needs it: failures, to be
    /// sure, and what a limit of the target spoiled.
    async fn batch(&mut self, batch: &[&'static Check], mut waiting: Option<&mut Waiting>) {
        if batch.is_empty() {
            return;
        }
        if let Some(why) = self.dead.clone() {
            for check in batch {
                self.finish(check, Outcome::unknown(why.clone()));
            }
            return;
        }
        let since = Instant::now();
        let mut results = self.at_once(batch, waiting.as_deref_mut()).await;
        let mut health = self.health(batch, waiting.as_deref_mut()).await;
        let was_limited = self.shared.budget.limited_since(since).is_some();
        let again: Vec<&'static Check> = results
            .iter()
            .filter(|(_, outcome)| match outcome.status {
                Status::Fail => !outcome.is_repeated,
                Status::Unknown => was_limited,
                _ => false,
            })
            .map(|(check, _)| *check)
            .collect();
        if matches!(health, Health::Good) && !again.is_empty() {
            for (check, second) in self.at_once(&again, waiting.as_deref_mut()).await {
                if let Some((_, first)) = results.iter_mut().find(|(held, _)| held.meta.id == check.meta.id) {
                    *first = agreed(first, second);
                }
            }
            health = self.health(batch, waiting).await;
        }
        for (check, outcome) in results {
            let outcome = match &health {
                // What provokes a limit may well have left one behind.
                Health::Refuses(how) if outcome.status == Status::Pass && check.meta.turn == Turn::Quiet => {
                    Outcome::unknown(format!(
                        "the good handshake is refused by now as well ({how}): a refusal proves nothing"
                    ))
                    .and_all(outcome.evidence)
                    .settled_by("another run, later")
                }
                Health::Dead => self.too_late(outcome),
                _ => outcome,
            };
            self.finish(check, outcome);
        }
    }

    async fn at_once(
        &self,
        checks: &[&'static Check],
        mut waiting: Option<&mut Waiting>,
    ) -> Vec<(&'static Check, Outcome)> {
        let mut running = JoinSet::new();
        let ends_at = self.shared.budget.ends_at();
        let ends_at = ends_at.checked_sub(self.reserve).unwrap_or(ends_at);
        for check in checks {
            self.progress.started(check);
            // What only reads what was said needs no time of its own.
            let more = if check.meta.turn == Turn::Last { Duration::from_secs(1) } else { Duration::ZERO };
            running.spawn(in_time(self.probe(check), check, ends_at.checked_add(more).unwrap_or(ends_at)));
        }
        let mut results = Vec::with_capacity(checks.len());
        loop {
            match tokio::time::timeout(ROOM_STEP, running.join_next()).await {
                Ok(Some(done)) => results.extend(done.ok()),
                Ok(None) => break,
                Err(_) => {
                    if let Some(waiting) = waiting.as_deref_mut() {
                        self.make_room(waiting).await;
                    }
                }
            }
        }
        results.sort_by_key(|(check, _)| check.meta.id);
        results
    }

    /// The good handshake again; where connections are few, and no check looked at who is let in, the good message again.
    async fn health(&mut self, after: &[&'static Check], mut waiting: Option<&mut Waiting>) -> Health {
        let way = self.probe_way();
        if way.is_none() {
            return Health::Good;
        }
        let is_alone = after.iter().all(|check| check.meta.turn == Turn::Alone);
        let kept = self.kept().take_if(|_| is_alone);
        if let Some(mut session) = kept
            && session.still_serves().await
        {
            *self.kept() = Some(session);
            return Health::Good;
        }
        let probe = Probe::new(Arc::clone(&self.shared), "health");
        let credential = self.shared.options.token.clone();
        let mut how = String::new();
        for attempt in 0..3 {
            if let Some(waiting) = waiting.as_deref_mut() {
                self.make_room(waiting).await;
            }
            match probe.admit(&probe.request(), credential.as_deref()).await {
                Entry::Open { session, .. } | Entry::Served { session, .. } => {
                    let budget = &self.shared.budget;
                    let is_asked = self.shared.way.get().is_some_and(|way| way.template.is_some());
                    if is_alone && is_asked && budget.used().limited > 0 && budget.room() > ROOM_MIN {
                        *self.kept() = Some(session);
                    } else {
                        session.close().await;
                    }
                    return Health::Good;
                }
                // The budget's own pause comes before the next handshake.
                Entry::Limited(why) => how = format!("Limited: {why}"),
                Entry::Denied(denial) => {
                    how = denial.to_string();
                    probe.wait(if attempt == 0 { 3.0 } else { 10.0 }).await;
                }
                Entry::Unreached(why) => {
                    if Instant::now() >= self.shared.budget.ends_at() {
                        return Health::Good;
                    }
                    how = format!("Unreached: {why}");
                    probe.wait(3.0).await;
                }
            }
        }
        match how.strip_prefix("Unreached: ") {
            Some(why) if !why.contains("used up") && !why.contains("again and again") => self.died(after, why),
            _ => Health::Refuses(how),
        }
    }

    fn kept(&mut self) -> &mut Option<Box<Session>> {
        self.kept.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn probe_way(&self) -> Option<()> {
        self.shared.way.get().filter(|way| way.baseline.is_some()).map(|_| ())
    }

    /// The target is gone: reported, with what it was asked last.
    fn died(&mut self, after: &[&'static Check], why: &str) -> Health {
        let ids: Vec<&str> = after.iter().map(|check| check.meta.id).collect();
        let what = format!("the target stopped answering ({why}) after {}", ids.join(", "));
        if let Some(check) = CHECKS.iter().find(|check| check.meta.id == SURVIVAL) {
            self.finish(check, Outcome::fail(what.clone()));
        }
        // Of several that ran beside each other nobody knows which it was, unless one of them saw it.
        if let [check] = after {
            self.finish(check, Outcome::fail(what.clone()).probable().at(Severity::High));
        }
        self.dead = Some(what);
        Health::Dead
    }

    /// Why a check cannot run, if so.
    fn obstacle(&self, check: &Check, has_baseline: bool) -> Option<Outcome> {
        let options = &self.shared.options;
        let way = self.shared.way.get()?;
        if check.meta.intrusive && !options.intrusive {
            return Some(Outcome::skipped("not sent without --intrusive").settled_by("--intrusive"));
        }
        let missing = |what: &str, settle: &str| Some(Outcome::unknown(format!("needs {what}")).settled_by(settle));
        for need in check.meta.needs {
            let found = match need {
                Need::Baseline if !has_baseline => {
                    let why = self.untrusted.as_ref().map_or_else(
                        || way.trouble.clone(),
                        |why| format!("no credential is shown to a server whose certificate is not trusted ({why})"),
                    );
                    let settle = if self.untrusted.is_some() {
                        "--ca FILE or --insecure"
                    } else {
                        "--token, --origin, --header"
                    };
                    Some(Outcome::unknown(format!("no good handshake: {why}")).settled_by(settle))
                }
                Need::Template if way.template.is_none() => {
                    missing("a message that the target answers", "--send and --expect")
                }
                Need::Credential if !way.asks_credential && options.public => {
                    Some(Outcome::skipped("the target is meant for everybody (--public)"))
                }
                Need::Credential if !way.asks_credential => missing(
                    "a target that treats peers with and without the credential differently",
                    "--token, --login, --send and --expect",
                ),
                Need::Token | Need::Jwt if options.token.is_none() => missing("a token", "--token"),
                Need::Jwt if options.token.as_deref().is_some_and(|token| !crate::probe::jwt::is_jwt(token)) => {
                    Some(Outcome::skipped("the token is not a JWT"))
                }
                Need::TokenB if options.token_b.is_none() => missing("a second identity", "--token-b"),
                Need::ExpiredToken if options.expired_token.is_none() => {
                    missing("a token that has ended", "--expired-token")
                }
                Need::ForeignToken if options.foreign_token.is_none() => {
                    missing("a good token of another audience", "--foreign-token")
                }
                Need::SendGiven if options.send.is_none() => {
                    missing("a message that only the first identity may send", "--send")
                }
                Need::Cookie if options.cookie.is_none() => missing("a cookie", "--cookie"),
                Need::LogoutUrl if options.logout_url.is_none() => {
                    missing("an address that ends the session", "--logout-url")
                }
                Need::TicketUrl if options.ticket_url.is_none() => {
                    missing("an address that gives tickets", "--ticket-url")
                }
                Need::Tls if !self.shared.target.tls => {
                    Some(Outcome::skipped("the target does not use TLS (WSA-TLS-01 says so)"))
                }
                Need::Json
                    if !(way.dialect.is_json()
                        || matches!(way.dialect, Dialect::SocketIo(_) | Dialect::EngineIo(_))
                        || (options.send.is_some() && way.template.as_ref().is_some_and(Template::is_json))) =>
                {
                    Some(Outcome::skipped(format!("the messages of the target are not JSON: {}", way.dialect.name())))
                }
                Need::Full if !options.full => missing("more time", "--full"),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Two runs of a check that failed or was spoiled.
fn agreed(first: &Outcome, second: Outcome) -> Outcome {
    match (first.status, second.status) {
        (Status::Fail, Status::Fail) => Outcome { evidence: first.evidence.clone(), ..second }.and("seen twice"),
        // It could not be tried again: what was seen was seen, once.
        (Status::Fail, Status::Unknown) => {
            let second = second.evidence.into_iter().next().unwrap_or_default();
            first.clone().probable().and(format!("seen once; then: {second}"))
        }
        (Status::Fail, _) => Outcome::unknown("failed once and not again")
            .and_all(first.evidence.clone())
            .and_all(second.evidence)
            .settled_by("another run"),
        _ => second,
    }
}

/// A target that locks out who guesses locks out the audit.
fn locks(check: &Check) -> bool {
    check.meta.turn == Turn::Provoking && check.meta.id.starts_with("WSA-AUTH")
}

/// How many connections checks may hold that wait, where the target allows so many at a time.
fn waiting_max(cap: u32) -> u32 {
    cap.saturating_sub(ROOM_MIN).max(1)
}

/// What comes first among checks of one turn: what is grave and cheap.
fn rank(check: &Check) -> impl Ord + use<> {
    let id = check.meta.id;
    // What is for information only provokes a limit last.
    let informs = check.meta.turn == Turn::Provoking && check.meta.severity == Severity::Info;
    let by_severity = match check.meta.turn {
        Turn::Waiting | Turn::Quiet => Some(Reverse(check.meta.severity.max(Severity::Medium))),
        _ => None,
    };
    (informs, locks(check), DEAR.contains(&id), by_severity, id)
}

/// Those that fit, and the others.
fn parted(checks: Vec<&'static Check>, fits: impl Fn(&Check) -> bool) -> (Vec<&'static Check>, Vec<&'static Check>) {
    checks.into_iter().partition(|check| fits(check))
}

/// Groups of checks that run beside each other, in their order, with at most one that shows bad credentials in each.
fn batches(checks: Vec<&'static Check>) -> Vec<Vec<&'static Check>> {
    let mut rest: VecDeque<_> = checks.into();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let (mut batch, mut left) = (Vec::new(), VecDeque::new());
        let mut guesses = false;
        for check in rest {
            let is_guess = GUESSING.contains(&check.meta.id);
            if batch.len() < BESIDE_EACH_OTHER && !(is_guess && guesses) {
                guesses |= is_guess;
                batch.push(check);
            } else {
                left.push_back(check);
            }
        }
        batches.push(batch);
        rest = left;
    }
    batches
}

/// A batch for a target that limits the audit: larger, for fewer looks at its health, but still with one behind all that
/// shows bad credentials; and one check alone of those that open many connections, so that the time is kept.
fn spread(batch: &mut Vec<&'static Check>, queue: &mut VecDeque<Vec<&'static Check>>) {
    if batch.len() > 1 && batch.iter().all(|check| DEAR.contains(&check.meta.id)) {
        for check in batch.drain(1..).rev() {
            queue.push_front(vec![check]);
        }
        return;
    }
    let is_light =
        |batch: &[&Check]| batch.iter().all(|check| check.meta.turn == Turn::Quiet && !DEAR.contains(&check.meta.id));
    let guesses = |batch: &[&Check]| batch.iter().filter(|check| GUESSING.contains(&check.meta.id)).count();
    if is_light(batch)
        && let Some(next) =
            queue.pop_front_if(|next| is_light(next) && guesses(next).saturating_add(guesses(batch)) <= 1)
    {
        batch.extend(next);
    }
}

/// Runs a check until the time is over.
async fn in_time(probe: Probe, check: &'static Check, ends_at: Instant) -> (&'static Check, Outcome) {
    let is_full = probe.options().full;
    if let Ok(done) = timeout_at(ends_at, guarded(probe, check)).await {
        return done;
    }
    let settle = if is_full { format!("--only {}", check.meta.id) } else { "--full".to_owned() };
    (check, Outcome::unknown("the time of the audit was used up").settled_by(settle))
}

/// Runs a check; one that breaks reports itself as `unknown`.
async fn guarded(probe: Probe, check: &'static Check) -> (&'static Check, Outcome) {
    let task = tokio::spawn(async move { (check.run)(&probe).await });
    let guard = AbortOnDrop(task.abort_handle());
    let outcome = match task.await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::unknown(format!("{} itself broke: {error}", check.meta.id)),
    };
    drop(guard);
    (check, outcome)
}

/// A check whose time is over does not go on in the background.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
