//! An address that the peer chooses himself.

use super::rate::{Door, HANDSHAKES, Stop, burst, knock, lockout, no_limit, unlimited};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-04",
    title: "Forwarded addresses not believed",
    category: Category::RateLimiting,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[348], asvs: &["4.1.3"], url: "https://www.rfc-editor.org/rfc/rfc7239#section-8.1" },
    what: "Goes up to the limit of handshakes, then repeats the refused handshake with an invented address in \
           X-Forwarded-For, X-Real-IP, Forwarded, CF-Connecting-IP, True-Client-IP and X-Client-IP. Where one is let in, \
           does so three times, with two handshakes without the header after each, which must be refused.",
    why: "Who can write the address that is counted is counted as somebody new each time: limits, bans and logs are \
          his to choose.",
    remedy: "Believe forwarding headers from the addresses of your own proxies alone, and let the proxy overwrite what \
             came from outside.",
    traps: "A limit that ends by itself looks alike: only a header that opens the door again and again, while it stays \
            shut without it, proves anything. Without a limit of handshakes nothing can be said.",
};

/// Headers in which proxies name the client, with what comes before the address.
const HEADERS: [(&str, &str); 6] = [
    ("X-Forwarded-For", ""),
    ("X-Real-IP", ""),
    ("Forwarded", "for="),
    ("CF-Connecting-IP", ""),
    ("True-Client-IP", ""),
    ("X-Client-IP", ""),
];

/// Times that a header must open the door.
const ROUNDS: usize = 3;

pub(super) async fn run(probe: &Probe) -> Outcome {
    if let Some(outcome) = unlimited(probe) {
        return outcome;
    }
    // Asked already, while another check was at the limit. Whoever asks a second time sees it a second time.
    if let Some(outcome) = probe.shared().notes().forwarded.take() {
        return outcome;
    }
    let outcome = match up_to_the_limit(probe).await {
        Ok(limit) => at_the_limit(probe, &limit).await,
        Err(outcome) => outcome,
    };
    if probe.shared().notes().burst.is_some_and(|burst| burst.is_limited) {
        lockout(probe).await;
    }
    outcome
}

/// Tries the headers while good handshakes are refused.
pub(super) async fn at_the_limit(probe: &Probe, limit: &str) -> Outcome {
    judge(probe, limit).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe, limit: &str) -> Result<Outcome, Outcome> {
    let mut shut = Vec::new();
    for (name, before) in HEADERS {
        let mut opened = opens(probe, name, before).await?;
        if opened == Some(false) {
            // The limit may have ended: up to it again, and once more.
            up_to_the_limit(probe).await?;
            opened = opens(probe, name, before).await?;
        }
        match opened {
            None => shut.push(name),
            Some(true) => {
                let seen = format!("{limit}; {name} lets it in {ROUNDS} times, and not without it");
                let outcome = Outcome::fail(seen).and("each time with another address of 203.0.113.0/24");
                let again = opens(probe, name, before).await?;
                return Ok(if again == Some(true) { outcome.twice() } else { outcome });
            }
            Some(false) => {
                return Err(Outcome::unknown(format!("{limit}; the limit ends before it can be tried"))
                    .settled_by("a target whose limit lasts longer"));
            }
        }
    }
    // Had the limit ended meanwhile, the last of them would prove nothing.
    match knock(probe, None, None).await {
        Door::Out { .. } => Ok(Outcome::pass(format!("{limit}; {} change nothing", shut.join(", ")))),
        Door::In => Ok(Outcome::pass(format!("{limit}; {} change nothing", shut.join(", ")))
            .and("behind them the limit was over")
            .probable()),
        Door::Nothing(outcome) => Err(outcome),
    }
}

async fn up_to_the_limit(probe: &Probe) -> Result<String, Outcome> {
    match burst(probe, HANDSHAKES, None).await {
        Stop::Limited { number, shown } => Ok(format!("limited at handshake {number} ({shown})")),
        Stop::Free => Err(no_limit(HANDSHAKES)),
        Stop::Nothing(outcome) => Err(outcome),
    }
}

/// Whether the header opens what is shut without it; `None`: it does not, `false`: nothing can be said.
async fn opens(probe: &Probe, name: &str, before: &str) -> Result<Option<bool>, Outcome> {
    for round in 0..ROUNDS {
        let [host] = crate::probe::random::<1>();
        let value = format!("{before}203.0.113.{}", host.max(1));
        match knock(probe, Some((name, &value)), None).await {
            Door::In => {}
            Door::Out { .. } => return Ok(if round == 0 { None } else { Some(false) }),
            Door::Nothing(outcome) => return Err(outcome),
        }
        // Twice, lest every other knock is let in.
        for _ in 0..2 {
            match knock(probe, None, None).await {
                Door::Out { .. } => {}
                Door::In => return Ok(Some(false)),
                Door::Nothing(outcome) => return Err(outcome),
            }
        }
    }
    Ok(Some(true))
}
