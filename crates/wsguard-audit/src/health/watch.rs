//! One connection that is asked again and again, and that comes back when it is lost.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use super::latency::{ping, spoken};
use crate::discover::{Way, discover};
use crate::measure::millis;
use crate::pace::Pace;
use crate::probe::budget::{Budget, Limits};
use crate::probe::entry::Entry;
use crate::probe::session::{Answer, Session};
use crate::probe::{Probe, Shared};
use crate::runner::find_token;
use crate::target::{Options, Target, TargetError};

/// One message a second has no end; what is bounded is what it may cost at a time.
const LIMITS: Limits = Limits {
    handshakes: u64::MAX,
    handshakes_per_10_s: 10,
    sockets: 3,
    messages: u64::MAX,
    frames: u64::MAX,
    bytes: u64::MAX,
    seconds: u32::MAX as u64,
};

/// Why there is nothing to watch.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The URL is wrong or its name unknown.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Nobody answers.
    #[error("reach {url}: {why}")]
    Unreached {
        /// Where.
        url: String,
        /// What happened.
        why: String,
    },
    /// Somebody answers and lets nobody in.
    #[error("be let in by {url}: {why}")]
    Refused {
        /// Where.
        url: String,
        /// What happened.
        why: String,
    },
}

/// What a second brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Beat {
    /// The answer came after so many milliseconds.
    Answered(f64),
    /// No answer in time.
    Late,
    /// The connection ended, and how.
    Lost(String),
    /// It is back, after so many milliseconds of connecting.
    Back(f64),
    /// It did not come back yet, and why.
    Away(String),
}

/// A connection under watch.
#[derive(Debug)]
pub struct Watch {
    probe: Probe,
    way: Way,
    session: Option<Box<Session>>,
    interval: Duration,
    next_at: Instant,
    /// Beats without a connection, for the pause before the next try.
    away: u32,
}

/// Longest pause between two tries to come back, in beats.
const AWAY_BEATS_MAX: u32 = 8;

impl Watch {
    /// Connects; then one beat every `interval`.
    ///
    /// # Errors
    /// When the first connection cannot be had.
    pub async fn begin(mut options: Options, interval: Duration) -> Result<Self, WatchError> {
        find_token(&mut options);
        let target = Target::find(&options.url).await?;
        let url = target.shown();
        options.pace = Pace::REAL;
        let shared = Arc::new(Shared::new(target, options, Budget::new(LIMITS, Pace::REAL)));
        let probe = Probe::new(Arc::clone(&shared), "watch");
        let link =
            probe.connect().await.map_err(|why| WatchError::Unreached { url: url.clone(), why: why.to_string() })?;
        if let Some(facts) = &link.tls
            && !shared.options.insecure
            && let Err(error) = shared.trust.judge(&facts.chain, &shared.target.host, crate::probe::tls::now())
        {
            let why = format!("its certificate is not trusted: {error} (--ca FILE, or --insecure)");
            return Err(WatchError::Refused { url, why });
        }
        drop(link);
        let way = discover(&shared).await;
        let _ = shared.way.set(way.clone());
        let way = spoken(&way);
        let mut watch = Self { probe, way, session: None, interval, next_at: Instant::now(), away: 0 };
        match watch.connect().await {
            Ok(_) => Ok(watch),
            Err(why) => Err(WatchError::Refused { url, why }),
        }
    }

    /// What is asked: `messages` or `pings`.
    pub fn asks(&self) -> &'static str {
        if self.way.template.is_some() { "messages" } else { "pings" }
    }

    /// The target, without its query.
    pub fn target(&self) -> String {
        self.probe.target().shown()
    }

    /// Waits for the next beat and says what it brought.
    pub async fn next(&mut self) -> Beat {
        sleep_until(self.next_at).await;
        let now = Instant::now();
        self.next_at = now.checked_add(self.interval).unwrap_or(now);
        let Some(session) = &mut self.session else {
            return match self.connect().await {
                Ok(took) => {
                    self.away = 0;
                    Beat::Back(millis(took))
                }
                Err(why) => {
                    self.away = self.away.saturating_add(1).min(AWAY_BEATS_MAX);
                    self.next_at = now.checked_add(self.interval.saturating_mul(self.away)).unwrap_or(now);
                    Beat::Away(why)
                }
            };
        };
        let beat = if self.way.template.is_some() {
            let since = Instant::now();
            match session.ask().await {
                Answer::Served(_) => Beat::Answered(millis(since.elapsed())),
                Answer::Silent(_) | Answer::Limited(_) | Answer::Refused(_) => Beat::Late,
                answer => Beat::Lost(answer.shown()),
            }
        } else {
            match ping(&mut session.socket).await {
                Ok(Some(took)) => Beat::Answered(millis(took)),
                Ok(None) => Beat::Late,
                Err(end) => Beat::Lost(end),
            }
        };
        if matches!(beat, Beat::Lost(_)) {
            self.session = None;
        }
        beat
    }

    async fn connect(&mut self) -> Result<Duration, String> {
        let since = Instant::now();
        let credential = self.probe.options().token.clone();
        match self.probe.admit_by(&self.way, &self.probe.request(), credential.as_deref()).await {
            Entry::Open { session, .. } | Entry::Served { session, .. } => {
                self.session = Some(session);
                Ok(since.elapsed())
            }
            other => Err(other.shown()),
        }
    }
}
