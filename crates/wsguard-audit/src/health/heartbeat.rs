//! Signs of life that the server gives by itself, on a connection that says nothing.

use serde_json::Value;
use tokio::time::Instant;

use crate::discover::dialect::Dialect;
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::socket::Event;

/// What is added to an announced interval before a heartbeat counts as missing, in seconds.
const GRACE_SECONDS: f64 = 3.0;

/// Listens on a connection of its own for at most `wait` seconds, or for the announced interval if that is shorter.
pub(super) async fn listen(probe: Probe, wait: f64) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let dialect = probe.way().dialect;
    let announced = session.greeting.iter().find_map(|text| announced(text));
    let told = announced.map(|seconds| format!("announced every {seconds:.0} s"));
    if dialect == Dialect::SocketIo(3) || dialect == Dialect::EngineIo(3) {
        // Here the client is the one that pings.
        return client_led(&mut session, told).await;
    }
    let patience = announced.map_or(wait, |seconds| wait.min(seconds + GRACE_SECONDS));
    let since = Instant::now();
    let shared = session.socket.shared();
    let deadline = shared.later(shared.pace.seconds(patience));
    let passed = || shared.pace.in_seconds(since.elapsed());
    let and_told = |outcome: Outcome| match &told {
        Some(told) => outcome.and(told.clone()),
        None => outcome,
    };
    loop {
        let event = session.socket.next_until(deadline).await;
        let seen = match &event {
            Event::Ping(_) => "a ping",
            Event::Text(text) if is_ping(dialect, text) => "a ping of the language",
            Event::Text(_) | Event::Binary(_) | Event::Pong(_) => continue,
            Event::Quiet => break,
            end => {
                return and_told(Outcome::warn(format!("the silent connection ended after {:.1} s: {end}", passed())));
            }
        };
        return and_told(Outcome::pass(format!("{seen} after {:.1} s of silence", passed())));
    }
    match announced {
        Some(seconds) if seconds + GRACE_SECONDS <= patience => {
            Outcome::fail(format!("announced every {seconds:.0} s, and none came in {patience:.0} s"))
        }
        Some(seconds) => Outcome::unknown(format!("announced every {seconds:.0} s; none came in {patience:.0} s"))
            .settled_by(format!("--wait {:.0}", seconds + GRACE_SECONDS)),
        None => Outcome::unknown(format!("no sign of life in {patience:.0} s of silence, and none is announced"))
            .settled_by("a longer --wait"),
    }
}

/// The interval that a greeting names, in seconds.
fn announced(text: &str) -> Option<f64> {
    let body = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let value: Value = serde_json::from_str(body).ok()?;
    let ms = value.pointer("/payload/heartbeatMs").or_else(|| value.get("pingInterval"))?.as_f64()?;
    (ms > 0.0).then_some(ms / 1_000.0)
}

fn is_ping(dialect: Dialect, text: &str) -> bool {
    match dialect {
        Dialect::SocketIo(_) | Dialect::EngineIo(_) => text == "2",
        Dialect::SockJs => text == "h",
        _ => serde_json::from_str::<Value>(text).is_ok_and(|value| {
            let kind = value.get("type").and_then(Value::as_str);
            matches!(kind, Some("ping" | "ka" | "heartbeat"))
        }),
    }
}

async fn client_led(session: &mut crate::probe::session::Session, told: Option<String>) -> Outcome {
    if let Err(spent) = session.socket.send_text("2").await {
        return Outcome::unknown(spent.to_string());
    }
    let told = told.unwrap_or_else(|| "no interval is announced".to_owned());
    for _ in 0..4 {
        match session.socket.next(3.0).await {
            Event::Text(text) if text == "3" => {
                return Outcome::pass("in this language the client pings, and is answered").and(told);
            }
            Event::Text(_) | Event::Ping(_) => {}
            other => return Outcome::fail(format!("a ping of the language brought: {other}")).and(told),
        }
    }
    Outcome::unknown("other messages came in place of an answer to a ping of the language").and(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_announced_in_two_ways() {
        for (text, want) in [
            (r#"{"type":"welcome","payload":{"heartbeatMs":25000}}"#, Some(25.0)),
            (r#"0{"sid":"a","pingInterval":20000,"pingTimeout":5000}"#, Some(20.0)),
            (r#"{"type":"welcome","payload":{}}"#, None),
            (r#"0{"pingInterval":0}"#, None),
            ("hello", None),
        ] {
            assert_eq!(announced(text), want, "{text}");
        }
    }
}
