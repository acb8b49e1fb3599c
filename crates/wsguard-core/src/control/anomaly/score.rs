//! A score and what it is made of.

use std::fmt::Write as _;

use serde::Serialize;

/// What can be unusual about a session. The names appear in logs, metrics and admin answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Messages a second: against the session's own baseline, and against its role.
    Rate,
    /// Bytes of a message.
    Size,
    /// Messages at intervals more even than those of its role.
    Regularity,
    /// Payloads that were there before.
    Repetition,
    /// Steps from type to type that its role does not take.
    Transitions,
    /// Messages that are refused.
    Errors,
    /// Bytes to the peer for each byte from it.
    Asymmetry,
    /// Address prefixes of one subject.
    Prefixes,
    /// Time to the first message.
    FirstMessage,
    /// Credentials that were refused to the prefix before one was good.
    Credentials,
    /// What the subject's sessions before this one scored.
    Subject,
}

/// How many signals there are.
pub const SIGNALS: usize = 11;

impl Signal {
    /// Every signal.
    pub const ALL: [Self; SIGNALS] = [
        Self::Rate,
        Self::Size,
        Self::Regularity,
        Self::Repetition,
        Self::Transitions,
        Self::Errors,
        Self::Asymmetry,
        Self::Prefixes,
        Self::FirstMessage,
        Self::Credentials,
        Self::Subject,
    ];

    /// The name in logs, metrics and admin answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Size => "size",
            Self::Regularity => "regularity",
            Self::Repetition => "repetition",
            Self::Transitions => "transitions",
            Self::Errors => "errors",
            Self::Asymmetry => "asymmetry",
            Self::Prefixes => "prefixes",
            Self::FirstMessage => "first_message",
            Self::Credentials => "credentials",
            Self::Subject => "subject",
        }
    }

    /// The most that it adds to a score. No signal alone reaches what is charged by default: it takes two that agree.
    pub const fn most(self) -> u8 {
        match self {
            Self::Rate | Self::Errors | Self::Prefixes | Self::Subject => 40,
            Self::Repetition | Self::Transitions | Self::Asymmetry => 25,
            Self::Size => 20,
            Self::Regularity => 15,
            Self::FirstMessage => 8,
            Self::Credentials => 30,
        }
    }
}

/// One signal's share of a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The name of the signal.
    pub signal: &'static str,
    /// Points, 1 at least.
    pub points: u8,
    /// What was seen, such as `41/s`.
    pub seen: String,
    /// What is usual, such as `0.6/s`; `unknown` where nothing was learnt yet.
    pub usual: String,
}

/// A score that explains itself: the points of the parts add up to it, 100 at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// 0 to 100.
    pub score: u8,
    /// What it is made of, the largest first.
    pub parts: Vec<Part>,
}

impl Score {
    /// The score of `parts`, in order.
    pub(super) fn of(mut parts: Vec<Part>) -> Self {
        parts.sort_by_key(|part| std::cmp::Reverse(part.points));
        // Above 100 the last parts are left with what there is still room for.
        let mut room = 100_u8;
        parts.retain_mut(|part| {
            part.points = part.points.min(room);
            room = room.saturating_sub(part.points);
            part.points > 0
        });
        Self { score: 100_u8.saturating_sub(room), parts }
    }

    /// As JSON: `{"score":71,"parts":[{"signal":"rate","points":38,"seen":"41/s","usual":"0.6/s"}]}`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| r#"{"score":0,"parts":[]}"#.to_owned())
    }
}

impl std::fmt::Display for Score {
    /// For a log line: `71: rate 38 (41/s, usual 0.6/s), repetition 20 (88 %, usual 3 %)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.score)?;
        for (index, Part { signal, points, seen, usual }) in self.parts.iter().enumerate() {
            let between = if index == 0 { ": " } else { ", " };
            write!(f, "{between}{signal} {points} ({seen}, usual {usual})")?;
        }
        Ok(())
    }
}

/// A number for people: two digits that matter.
pub(super) fn shown(value: f32, unit: &str) -> String {
    let mut text = String::with_capacity(16);
    let _ = match value {
        small if small < 0.095 => write!(text, "{small:.3}{unit}"),
        small if small < 0.95 => write!(text, "{small:.2}{unit}"),
        small if small < 9.5 => write!(text, "{small:.1}{unit}"),
        large => write!(text, "{large:.0}{unit}"),
    };
    text
}

/// A share as a percentage.
pub(super) fn share(value: f32) -> String {
    format!("{:.0} %", value * 100.0)
}

/// Bytes in the largest unit that fits.
pub(super) fn bytes(value: f32) -> String {
    if value < 1_024.0 { format!("{value:.0} B") } else { shown(value / 1_024.0, " KiB") }
}

/// A length of time in ms.
pub(super) fn time(ms: f32) -> String {
    if ms < 1_000.0 { format!("{ms:.0} ms") } else { shown(ms / 1_000.0, " s") }
}
