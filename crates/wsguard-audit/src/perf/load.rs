//! Messages on one connection as fast as they are answered.

use std::time::Duration;

use tokio::time::Instant;

use super::Throughput;
use crate::discover::dialect::is_refusal;
use crate::probe::Probe;
use crate::probe::session::{Message, is_limit};
use crate::probe::socket::Event;

/// Small messages are the template as it is; large ones have its marker grown.
pub(super) const NAMES: [&str; 2] = ["small", "large"];

/// Why a measurement ended that the target did not cut short.
pub(super) const DONE: &str = "all answered";
pub(super) const LATE: &str = "the time was up";

/// Messages that wait for an answer at a time.
const WINDOW: usize = 16;

/// Of each kind at most, and for so many seconds.
const SMALL_MAX: u64 = 2_000;
const LARGE_MAX: u64 = 200;
const SECONDS_MAX: f64 = 5.0;

/// What a large message has more than a small one, in bytes: far below the 64 KiB of many servers.
const GROWN_BYTES: usize = 16 * 1024;

/// `None` where the language, or what is known of it, has no such message.
pub(super) async fn throughput(probe: &Probe, name: &str) -> Option<Throughput> {
    let template = probe.way().template.clone()?;
    let is_large = name == "large";
    if is_large && !template.echoes {
        return None;
    }
    let mut session = probe.session().await.ok()?;
    let most = if is_large { LARGE_MAX } else { SMALL_MAX };
    let mut out = Throughput {
        name: name.to_owned(),
        message_bytes: 0,
        sent: 0,
        answered: 0,
        seconds: 0.0,
        messages_per_second: 0.0,
        mebibytes_per_second: 0.0,
        stopped: String::new(),
    };
    let mut waiting: Vec<Message> = Vec::new();
    let mut bytes = 0_usize;
    let since = Instant::now();
    let mut last = Duration::ZERO;
    let ends = probe.shared().later(probe.shared().pace.seconds(SECONDS_MAX).max(Duration::from_secs(1)));
    loop {
        while waiting.len() < WINDOW && out.sent < most && Instant::now() < ends {
            let message = session.message()?;
            let text = if is_large { grown(&message) } else { message.text.clone() };
            if session.say(&text).await.is_err() {
                "the budget is used up".clone_into(&mut out.stopped);
                break;
            }
            out.message_bytes = text.len() as u64;
            out.sent = out.sent.saturating_add(1);
            bytes = bytes.saturating_add(text.len());
            waiting.push(message);
        }
        if waiting.is_empty() || !out.stopped.is_empty() {
            break;
        }
        let shared = session.socket.shared();
        let patience = probe.in_seconds(shared.pace.seconds(3.0).max(Duration::from_secs(1)));
        let text = match session.hear(patience).await {
            Event::Text(text) => text,
            Event::Binary(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Event::Quiet => {
                out.stopped = format!("{} messages without an answer", waiting.len());
                break;
            }
            event if event.is_end() => {
                out.stopped = event.to_string();
                break;
            }
            _ => continue,
        };
        if let Some(place) = waiting.iter().position(|message| belongs(&text, message)) {
            waiting.swap_remove(place);
            bytes = bytes.saturating_add(text.len());
            out.answered = out.answered.saturating_add(1);
            last = since.elapsed();
        } else if is_limit(&text) {
            out.stopped = format!("limited: {}", crate::probe::shortened(&text));
        } else if is_refusal(&text) {
            out.stopped = format!("refused: {}", crate::probe::shortened(&text));
        }
    }
    if out.stopped.is_empty() {
        if out.sent < most { LATE } else { DONE }.clone_into(&mut out.stopped);
    }
    let seconds = last.as_secs_f64().max(0.000_001);
    let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
    out.seconds = rounded(last.as_secs_f64());
    if out.answered > 0 {
        out.messages_per_second = rounded(f64::from(u32::try_from(out.answered).unwrap_or(u32::MAX)) / seconds);
        let mebi = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1_048_576.0;
        out.mebibytes_per_second = rounded(mebi / seconds);
    }
    session.close().await;
    Some(out)
}

/// The message with a long marker, whose beginning is the true one.
fn grown(message: &Message) -> String {
    let long = format!("{}{}", message.marker, "x".repeat(GROWN_BYTES));
    message.text.replace(&message.marker, &long)
}

/// A marker is unique, and cheaper to look for than an expression.
fn belongs(text: &str, message: &Message) -> bool {
    if message.template.echoes {
        text.contains(&message.marker) && !is_refusal(text)
    } else {
        message.template.is_answer(text, &message.id, &message.marker)
    }
}
