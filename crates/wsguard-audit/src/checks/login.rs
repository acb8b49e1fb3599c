//! Whether a login tells names that exist from names that do not.

use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::probe::session::{Session, is_limit};
use crate::probe::socket::Event;
use crate::probe::{Handshake, Probe, marker, shortened};

/// Failed logins with each kind of name; with `--full` more, whose times are compared as well.
const PAIRS: usize = 3;
const PAIRS_FULL: usize = 30;

/// Fewest of each from which anything follows.
const PAIRS_MIN: usize = 2;

/// A difference of times must be so many times what they scatter, and at least so long.
const SCATTER: f64 = 3.0;
const DIFFERENCE_MS_MIN: f64 = 2.0;

/// What failed logins tell.
pub(super) enum Told {
    /// Nobody said how one logs in, or too few attempts were answered.
    Unknown(String),
    /// The same of both.
    Alike(String),
    /// Which names exist.
    Apart(Outcome),
}

/// A failed login.
#[derive(Clone)]
struct Attempt {
    said: String,
    millis: f64,
}

/// Fails to log in under the known name and under invented ones by turns, until there are enough or a limit is met.
pub(super) async fn told(probe: &Probe) -> Told {
    let options = probe.options();
    let (Some(template), Some(known)) = (&options.bad_login, &options.known_user) else {
        return Told::Unknown(
            "whether a login tells known names from unknown ones: needs --bad-login and --known-user".into(),
        );
    };
    let pairs = if options.full { PAIRS_FULL } else { PAIRS };
    let mut way_in = WayIn { probe, template, session: None };
    let (mut of_known, mut of_unknown) = (Vec::new(), Vec::new());
    let mut stopped = String::new();
    for _ in 0..pairs {
        let (one, other) = (way_in.attempt(known).await, way_in.attempt(&marker()).await);
        match (one, other) {
            (Ok(one), Ok(other)) => {
                of_known.push(one);
                of_unknown.push(other);
            }
            (Err(why), _) | (_, Err(why)) => {
                stopped = format!("; then: {why}");
                break;
            }
        }
    }
    let count = of_known.len();
    if count < PAIRS_MIN {
        return Told::Unknown(format!("{count} pairs of failed logins are too few to compare{stopped}"));
    }
    judge(&of_known, &of_unknown, &stopped)
}

fn judge(of_known: &[Attempt], of_unknown: &[Attempt], stopped: &str) -> Told {
    let count = of_known.len();
    let only = |attempts: &[Attempt]| {
        let first = attempts.first()?.said.clone();
        attempts.iter().all(|attempt| attempt.said == first).then_some(first)
    };
    if let (Some(known), Some(unknown)) = (only(of_known), only(of_unknown))
        && known != unknown
    {
        let seen = format!(
            "{count} failed logins under the known name: {}; {count} under invented ones: {}{stopped}",
            shortened(&known),
            shortened(&unknown)
        );
        return Told::Apart(Outcome::warn(seen));
    }
    let ((known, known_scatter), (unknown, unknown_scatter)) = (times(of_known), times(of_unknown));
    let apart = (known - unknown).abs();
    let seen = format!(
        "{count} failed logins each: {known:.1} ms under the known name, {unknown:.1} ms under invented ones{stopped}"
    );
    if count >= PAIRS_FULL && apart > SCATTER * known_scatter.max(unknown_scatter) && apart > DIFFERENCE_MS_MIN {
        return Told::Apart(Outcome::warn(seen).probable());
    }
    Told::Alike(format!("known and unknown names are answered alike: {seen}"))
}

/// The median, and the median distance from it.
fn times(attempts: &[Attempt]) -> (f64, f64) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let middle = median(attempts.iter().map(|attempt| attempt.millis).collect());
    (middle, median(attempts.iter().map(|attempt| (attempt.millis - middle).abs()).collect()))
}

/// How one logs in: by a `POST`, or by a message.
struct WayIn<'a> {
    probe: &'a Probe,
    template: &'a str,
    session: Option<Session>,
}

impl WayIn<'_> {
    /// What a login under this name and an invented password is answered, without what was sent and without numbers.
    async fn attempt(&mut self, user: &str) -> Result<Attempt, String> {
        let password = marker();
        let text = self.template.replace("{user}", user).replace("{password}", &password);
        let (said, since) = match &self.probe.options().bad_login_url {
            Some(url) => {
                let since = Instant::now();
                let answer =
                    self.probe.fetch_url("POST", url, None, Some(&text)).await.map_err(|why| why.to_string())?;
                if answer.is_limit() {
                    return Err(answer.to_string());
                }
                (format!("HTTP {} {}", answer.status, answer.text()), since.elapsed())
            }
            None => self.say(&text).await?,
        };
        if is_limit(&said) || said.contains("close 4429") || said.contains("close 1013") {
            return Err(said);
        }
        let said = said.replace(user, "USER").replace(&password, "PASSWORD");
        let said =
            said.split(|letter: char| letter.is_ascii_digit()).filter(|part| !part.is_empty()).collect::<Vec<_>>();
        Ok(Attempt { said: said.join("#"), millis: since.as_secs_f64() * 1_000.0 })
    }

    async fn say(&mut self, text: &str) -> Result<(String, Duration), String> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.enter().await?,
        };
        let since = Instant::now();
        session.say(text).await.map_err(|spent| spent.to_string())?;
        let event = loop {
            match session.hear(3.0).await {
                Event::Ping(_) | Event::Pong(_) => {}
                event => break event,
            }
        };
        let took = since.elapsed();
        match event {
            Event::Text(text) => {
                self.session = Some(session);
                Ok((text, took))
            }
            Event::Quiet => Err("a failed login is not answered".into()),
            event => Ok((event.to_string(), took)),
        }
    }

    /// A connection on which one can log in.
    async fn enter(&mut self) -> Result<Session, String> {
        let probe = self.probe;
        if probe.way().placement.is_in_handshake() {
            return probe.session().await.map_err(|outcome| outcome.evidence.join("; "));
        }
        let mut session = match probe.handshake(&probe.request_as(None)).await {
            Handshake::Opened(socket) => Session::unready(socket, probe.way()),
            Handshake::Refused(response) | Handshake::Limited(response) => return Err(response.to_string()),
            Handshake::Dropped(end) => return Err(end.to_string()),
            Handshake::Unreached(why) => return Err(why.to_string()),
        };
        // A greeting is no answer to a login.
        let _ = session.until_end(0.3).await;
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(said: &str, millis: impl Iterator<Item = f64>) -> Vec<Attempt> {
        millis.map(|millis| Attempt { said: said.into(), millis }).collect()
    }

    #[test]
    fn words_and_times_tell() {
        let around = |middle: f64| (0..30_i32).map(move |turn| middle + f64::from(turn % 5) / 10.0);
        let alike = attempts("no", around(5.0));
        assert!(matches!(judge(&alike, &attempts("no", around(5.2)), ""), Told::Alike(_)));
        assert!(matches!(judge(&alike, &attempts("who?", around(5.0)), ""), Told::Apart(_)));
        assert!(matches!(judge(&alike, &attempts("no", around(60.0)), ""), Told::Apart(_)));
        let few = attempts("no", [5.0, 5.1].into_iter());
        assert!(
            matches!(judge(&few, &attempts("no", [60.0, 61.0].into_iter()), ""), Told::Alike(_)),
            "too few for times"
        );
        let mixed = [attempts("no", [5.0].into_iter()), attempts("busy", [5.0].into_iter())].concat();
        assert!(matches!(judge(&mixed, &few, ""), Told::Alike(_)), "not the same each time");
    }
}
