//! The order of a run: find out how the target is spoken to, then the checks by their turn, with a look at the target's
//! health between them.

mod credential;
mod obstacle;
mod order;

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::CHECKS;
use crate::check::{Check, Severity, Turn};
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
pub(crate) use credential::{find_token, without_secrets};
use obstacle::obstacle;
use order::{
    AT_THE_DOOR, BESIDE_EACH_OTHER, BRIEF, COMES_BACK, DEAR, ROOM_MIN, SHORT, batches, deadliness, guesses, is_light,
    locks, parted, places, rank, spread, waiting_max,
};

/// How long the search for a cap of connections takes at most, in seconds.
const KNOCKING_SECONDS: f64 = 4.0;

/// Connections that it opens at most.
const KNOCKS_MAX: usize = 8;

/// How often something is looked at that nobody announces.
const STEP: Duration = Duration::from_millis(20);

/// A wait of a check, in seconds, that must fit into what is left of the run; and of those that are shorter.
const WAIT_SECONDS: f64 = 68.0;
const WAIT_SECONDS_BRIEF: f64 = 38.0;

/// How often it is looked whether checks that wait leave room for the others.
const ROOM_STEP: Duration = Duration::from_millis(200);

/// What is kept for the checks that end the session, in seconds.
const ENDING_SECONDS: f64 = 12.0;

/// What is kept for the checks that provoke limits, in seconds, once the target has limited the audit: from then on
/// connections are few, and what has not been asked by then is asked behind those checks.
const PROVOKING_SECONDS: f64 = 50.0;

/// Of that, for those that must not run beside the checks that wait, in seconds.
const CROWDING_SECONDS: f64 = 19.0;

/// What is kept for the checks that may be locked out, and behind checks that wait last, in seconds.
const LOCKING_SECONDS: f64 = 10.0;

/// Until then a target that locks the audit out loses it no time: checks that need no handshake wait, in seconds.
const LOCKED_SECONDS: f64 = 64.0;

/// From then on nothing that waits needs another handshake, in seconds; and where tickets are kept until they end.
const DOORS_SECONDS: f64 = 42.0;
const DOORS_SECONDS_TICKETS: f64 = 74.0;

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
    /// Checks that show bad credentials.
    postponed: VecDeque<Vec<&'static Check>>,
    /// A good connection to a target that allows few of them, to be asked in place of a new one.
    kept: Mutex<Option<Box<Session>>>,
}

impl Runner<'_> {
    async fn run(&mut self, wanted: &[&'static Check], has_baseline: bool) {
        let mut ready: Vec<&'static Check> = Vec::new();
        for check in wanted {
            match obstacle(&self.shared, self.untrusted.as_deref(), check, has_baseline) {
                Some(outcome) => self.finish(check, outcome),
                None => ready.push(*check),
            }
        }
        ready.sort_by_key(|check| rank(check));
        let has_own = self.shared.options.logout_token.is_some();
        let is_intrusive = self.shared.options.intrusive;
        let turn = |check: &Check| match check.meta.turn {
            Turn::Ending if has_own && check.meta.id == COMES_BACK => Turn::Provoking,
            Turn::Ending if has_own => Turn::Waiting,
            // What is perilous of it is not sent.
            Turn::Perilous if !is_intrusive => Turn::Quiet,
            turn => turn,
        };
        let (mut deadly, ready) = parted(ready, |check| deadliness(check).is_some());
        deadly.sort_by_key(|check| deadliness(check));
        let of = |wanted: Turn| ready.iter().copied().filter(|check| turn(check) == wanted).collect::<Vec<_>>();
        let ending = of(Turn::Ending);
        if !ending.is_empty() {
            self.reserve = self.shared.pace.seconds(ENDING_SECONDS);
        }
        let mut waiting = Waiting { queue: of(Turn::Waiting).into(), running: JoinSet::new(), handles: Vec::new() };
        self.begin(&mut waiting).await;
        let one_by_one = |checks: Vec<&'static Check>| checks.into_iter().map(|check| vec![check]);
        let is_dear = |check: &Check| DEAR.contains(&check.meta.id);
        let is_grave = |check: &Check| check.meta.severity >= Severity::High;
        let (guesses, quiet) = parted(of(Turn::Quiet), guesses);
        self.postponed = one_by_one(guesses).collect();
        let (dear, cheap) = parted(quiet, is_dear);
        let (grave, light) = parted(cheap, is_grave);
        let (dear_alone, mut alone) = parted(of(Turn::Alone), is_dear);
        let mut provoking = of(Turn::Provoking);
        let mut queue: VecDeque<_> = batches(&grave).collect();
        self.work_off(&mut queue, &mut waiting, &mut provoking).await;
        if self.shared.budget.used().limited > 0 {
            queue.extend(one_by_one(alone.extract_if(.., |check| is_grave(check)).collect()));
        }
        queue.extend(batches(&light));
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
        queue.extend(one_by_one(alone).chain(batches(&dear)));
        // A login that fails is counted for longer than a handshake.
        if self.shared.budget.used().limited > 0 && !self.is_asked_at_the_door() {
            self.postponed.extend(one_by_one(dear_alone));
        } else {
            queue.append(&mut self.postponed);
            queue.extend(one_by_one(dear_alone));
        }
        self.work_off(&mut queue, &mut waiting, &mut provoking).await;
        // One or two wait longer than all others, and open nothing any more.
        let has_tickets = self.shared.options.ticket_url.is_some();
        let doors = self.shared.pace.seconds(if has_tickets { DOORS_SECONDS_TICKETS } else { DOORS_SECONDS });
        while self.shared.budget.elapsed() < doors && self.join_until(&mut waiting, doors).await {
            self.look_after(&mut waiting, LOCKING_SECONDS);
        }
        for check in provoking.extract_if(.., |check| AT_THE_DOOR.contains(&check.meta.id)).collect::<Vec<_>>() {
            self.batch(&[check], None).await;
        }
        if self.is_free() {
            for check in
                provoking.extract_if(.., |check| locks(check) && check.meta.id != COMES_BACK).collect::<Vec<_>>()
            {
                self.batch(&[check], None).await;
            }
        }
        while self.join(&mut waiting).await {
            self.look_after(&mut waiting, LOCKING_SECONDS);
        }
        for check in waiting.queue {
            let why = "the target allows so few connections at a time that there was no place for one that waits";
            self.finish(check, Outcome::unknown(why).settled_by(format!("--only {}", check.meta.id)));
        }
        drop(self.kept().take());
        drop(self.shared.take_spare());
        let is_hurried = self.is_short_of(CROWDING_SECONDS);
        let is_in_handshake = self.is_asked_at_the_door();
        // One of these sends messages alone and the other none.
        let is_crowd = |check: &Check| ["WSA-RATE-01", "WSA-RATE-03"].contains(&check.meta.id);
        let (both, one) = parted(provoking, |check| is_hurried && is_in_handshake && is_crowd(check));
        let (mut locks, others) = parted(one, locks);
        // A single handshake, before the many.
        locks.sort_by_key(|check| check.meta.id != COMES_BACK);
        let (late, early) = parted(of(Turn::Perilous), |check| check.meta.intrusive);
        queue.append(&mut self.postponed);
        let mut last: VecDeque<_> = if is_hurried {
            // What is left comes by what it can find.
            let (informs, others) = parted(others, |check| check.meta.severity == Severity::Info);
            let gravest = |batch: &Vec<&'static Check>| batch.iter().map(|check| check.meta.severity).max();
            queue.make_contiguous().sort_by_key(|batch| Reverse(gravest(batch)));
            queue.extend(one_by_one(informs));
            let others = [others, std::mem::take(&mut locks)].concat();
            one_by_one(early).chain([both]).chain(one_by_one(others)).collect()
        } else {
            [both].into_iter().chain(one_by_one([others, early].concat())).chain(deadly).collect()
        };
        last.extend(queue);
        while let Some(batch) = last.pop_front() {
            let is_deadly = batch.iter().any(|check| deadliness(check).is_some());
            if is_deadly && self.shared.budget.left() < self.shared.pace.seconds(LOCKING_SECONDS) {
                for check in locks.drain(..) {
                    self.batch(&[check], None).await;
                }
            }
            self.batch(&batch, None).await;
        }
        for check in [locks, of(Turn::Last), late].concat() {
            self.batch(&[check], None).await;
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
        // Beside those that wait there is nothing better to do.
        let is_over = |runner: &Self, waiting: &Waiting| {
            runner.is_short_of(CROWDING_SECONDS) && waiting.handles.iter().all(|(_, handle)| handle.is_finished())
        };
        while !queue.is_empty() && !is_over(self, waiting) {
            let is_due = |check: &mut &Check| AT_THE_DOOR.contains(&check.meta.id);
            let due = if self.is_short_of(PROVOKING_SECONDS) { provoking.extract_if(.., is_due).next() } else { None };
            let is_due = due.is_some();
            let mut batch = due.map_or_else(|| queue.pop_front().unwrap_or_default(), |check| vec![check]);
            if self.shared.budget.used().limited > 0 && !is_due {
                spread(&mut batch, queue);
            }
            // There may be no time for them later.
            let budget = &self.shared.budget;
            let is_even = budget.counts_handshakes() && !budget.is_puzzled();
            if self.is_asked_at_the_door() && is_even && is_light(&batch) {
                let places = batch.len().div_ceil(BESIDE_EACH_OTHER).min(self.postponed.len());
                batch.extend(self.postponed.drain(..places).flatten());
            }
            self.batch(&batch, Some(waiting)).await;
            self.look_after(waiting, 0.0);
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

    /// The target limited the audit while more connections were open than ever before: are they too many at a time, or
    /// the handshakes in time? Then it refuses another as long as these are held, and lets one in as soon as one of them
    /// is given up.
    async fn find_cap(&self, waiting: &mut Waiting) {
        let budget = &self.shared.budget;
        budget.keep_off(KNOCKING_SECONDS).await;
        let probe = Probe::new(Arc::clone(&self.shared), "discovery");
        // A limit in time that lets one in now and then has its chance.
        probe.wait(1.0).await;
        let mut held = Vec::new();
        while held.len() < KNOCKS_MAX
            && let Some(session) = knock(&probe).await
        {
            held.push(session);
        }
        let most = budget.settled();
        // Otherwise more were let in before, or all that came.
        let is_full = held.len() < KNOCKS_MAX && most >= budget.let_in() && {
            match held.pop() {
                Some(session) => session.close().await,
                None => self.give_up_one(waiting).await,
            }
            probe.wait(0.3).await;
            budget.settled() < most && knock(&probe).await.is_some()
        };
        if is_full {
            budget.is_full_at(most);
        } else {
            budget.is_not_full();
        }
    }

    /// Checks that began to wait last give up theirs until a connection less is open.
    async fn give_up_one(&self, waiting: &mut Waiting) {
        let before = self.shared.budget.settled();
        while self.shared.budget.settled() >= before && !waiting.handles.is_empty() {
            self.give_up(waiting).await;
        }
    }

    /// Of a target that allows few connections at a time, the checks that began to wait last give theirs up, until there
    /// is room for those that do not wait.
    async fn make_room(&self, waiting: &mut Waiting) {
        if self.shared.budget.may_be_full() {
            self.find_cap(waiting).await;
        }
        while self.shared.budget.cap().is_some_and(|cap| self.shared.budget.waiting() > waiting_max(cap)) {
            if waiting.handles.is_empty() {
                break;
            }
            self.give_up(waiting).await;
        }
    }

    /// The check that began to wait last gives its connections up, and waits for another time to begin.
    async fn give_up(&self, waiting: &mut Waiting) {
        while let Some((check, handle)) = waiting.handles.pop() {
            if handle.is_finished() {
                continue;
            }
            handle.abort();
            waiting.queue.push_front(check);
            tokio::task::yield_now().await;
            tokio::time::sleep(STEP).await;
            return;
        }
    }

    /// The handshake carries the credential.
    fn is_asked_at_the_door(&self) -> bool {
        self.shared.way.get().is_some_and(|way| way.placement.is_in_handshake())
    }

    /// No limit of handshakes was met, though one was looked for, and there is time to be locked out.
    fn is_free(&self) -> bool {
        let budget = &self.shared.budget;
        let is_unlimited = self.shared.notes().burst.is_some_and(|burst| !burst.is_limited);
        is_unlimited && budget.used().limited == 0 && budget.elapsed() < self.shared.pace.seconds(LOCKED_SECONDS)
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

    /// The same, for as long as the run has not lasted so long.
    async fn join_until(&mut self, waiting: &mut Waiting, elapsed: Duration) -> bool {
        let left = elapsed.saturating_sub(self.shared.budget.elapsed());
        tokio::time::timeout(left, self.join(waiting)).await.unwrap_or(true)
    }

    /// Takes what waited long enough, and lets others wait in its place where so many seconds are left behind them.
    fn look_after(&mut self, waiting: &mut Waiting, reserve: f64) {
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
            let needed = places(check, &waiting.handles);
            let seconds = if is_brief { WAIT_SECONDS_BRIEF } else { WAIT_SECONDS };
            budget.left() > self.shared.pace.seconds(seconds + reserve)
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
}

/// A good handshake at once, if it is let in.
async fn knock(probe: &Probe) -> Option<Box<Session>> {
    let handshake = probe.handshake_at_once(&probe.request().anew()).await;
    match probe.admit_behind(handshake, probe.way(), probe.options().token.as_deref()).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => Some(session),
        _ => None,
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
