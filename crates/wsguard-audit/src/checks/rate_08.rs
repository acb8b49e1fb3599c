//! Many pings.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Opcode};
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-08",
    title: "Control frames limited",
    category: Category::RateLimiting,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[400], asvs: &["2.4.1"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.5.2" },
    what: "Sends 20 pongs that nobody asked for and 60 pings (with `--full` 500) on a good connection, and counts the \
           answers.",
    why: "A ping costs the server an answer and passes limits that count messages alone.",
    remedy: "Count control frames, and close with 1008 above some ten in 10 s.",
    traps: "RFC 6455 asks for a pong: that all come is never a failure, only worth a word.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let pings = if probe.options().full { 500_u32 } else { 60 };
    let mut frames: Vec<Frame> = (0..20).map(|_| Frame::new(Opcode::PONG, "")).collect();
    frames.extend((0..pings).map(|number| Frame::ping(number.to_be_bytes())));
    for part in frames.chunks(20) {
        if let Err(spent) = session.socket.send_all(part).await {
            return Outcome::unknown(spent.to_string());
        }
    }
    let mut answered = 0_u32;
    let shared = probe.shared();
    let deadline = shared.patience(5.0);
    loop {
        match session.socket.next_until(deadline).await {
            Event::Pong(_) => {
                answered = answered.saturating_add(1);
                if answered == pings {
                    // Whoever closes for it does so at once.
                    match session.socket.until_end(0.7).await {
                        end if end.is_end() => return Outcome::pass(format!("after {answered} pongs: {end}")),
                        _ => return told(probe, answered, pings),
                    }
                }
            }
            // Only the latest ping need be answered: few pongs are merged ones as likely as dropped ones.
            Event::Quiet if answered == 0 => return Outcome::unknown("no ping is answered at all"),
            Event::Quiet if answered < pings => {
                return Outcome::pass(format!("{answered} of {pings} pings are answered, the rest ignored")).probable();
            }
            end if end.is_end() => return Outcome::pass(format!("after {answered} pongs: {end}")),
            Event::Text(_) | Event::Binary(_) | Event::Ping(_) => {}
            _ => return told(probe, answered, pings),
        }
    }
}

fn told(probe: &Probe, answered: u32, pings: u32) -> Outcome {
    let outcome = Outcome::warn(format!("{answered} of {pings} pings are answered"));
    if probe.options().full { outcome } else { outcome.at(Severity::Info) }
}
