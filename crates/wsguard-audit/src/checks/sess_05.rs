//! Names of sessions that can be guessed.

use super::csrf_08::is_session;
use super::tickets::ticket;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::jwt::Jwt;
use crate::probe::response::Response;
use crate::probe::{Probe, secrets};

pub(super) const META: Meta = Meta {
    id: "WSA-SESS-05",
    title: "Session names not guessable",
    category: Category::Session,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[331, 330], asvs: &["7.2.3"], url: "https://cwe.mitre.org/data/definitions/331.html" },
    what: "Collects eight (with `--full` 20) session cookies of the page at `/`, or tickets of `--ticket-url`, and looks at \
           what of them changes: how many bits that could hold at most, and whether it counts up. Otherwise looks at the \
           given credential: its length, or whether a common secret signs it.",
    why: "Whoever can guess the name of a session is in it.",
    remedy: "128 random bits or more from the system's generator for everything that opens a session.",
    traps: "Eight samples show that a name is weak, never that it is strong: the pass names the upper bound that was seen. \
            Cookies of load balancers and of statistics are no sessions. Names that begin with the time are judged by the \
            rest: only small steps of the whole count as a sequence.",
};

/// Least that a name must be able to hold, in bits.
const BITS_MIN: f64 = 128.0;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let most = if probe.options().full { 20 } else { 8 };
    match cookies(probe, most).await {
        Ok(names) if names.len() >= 4 => return judge("session cookies", &names),
        Err(outcome) => return outcome,
        Ok(_) => {}
    }
    if probe.options().ticket_url.is_some() {
        let mut names = Vec::new();
        for _ in 0..most {
            match ticket(probe).await {
                Ok(name) => names.push(name),
                Err(outcome) => return outcome,
            }
        }
        return judge("tickets", &names);
    }
    let Some(token) = probe.options().token.clone().filter(|_| probe.way().asks_credential) else {
        return Outcome::unknown("the page at / sets no session cookie").settled_by("--ticket-url, --token");
    };
    given(&token)
}

/// The values of the session cookie that `/` sets, each for a visitor without one.
async fn cookies(probe: &Probe, most: usize) -> Result<Vec<String>, Outcome> {
    let mut names = Vec::new();
    let mut of_name = None;
    // A page without a session cookie has none the next time either.
    let first = probe.fetch_each(&[probe.get("/")]).await;
    let has_one = |page: &Response| page.values("Set-Cookie").any(is_session);
    let pages = if matches!(first.first(), Some(Ok(page)) if has_one(page) || page.is_limit()) {
        let requests: Vec<_> = (0..most).map(|_| probe.get("/")).collect();
        probe.fetch_each(&requests).await
    } else {
        first
    };
    for page in pages {
        let page = match page {
            Ok(page) if page.is_limit() => {
                return Err(Outcome::unknown(page.to_string()).settled_by("another run, later"));
            }
            Ok(page) => page,
            Err(_) => break,
        };
        let set = page.values("Set-Cookie").filter(|line| is_session(line)).find_map(|line| {
            let (name, value) = line.split(';').next()?.split_once('=')?;
            let is_same = of_name.get_or_insert_with(|| name.to_owned()) == name;
            is_same.then(|| value.to_owned())
        });
        match set {
            Some(value) => names.push(value),
            None => break,
        }
    }
    Ok(names)
}

fn judge(what: &str, names: &[String]) -> Outcome {
    let count = names.len();
    let masked = |name: &String| {
        let shown: String = name.chars().take(8).collect();
        format!("{shown}… of {} characters", name.chars().count())
    };
    let parts = changing(names);
    if parts.iter().all(String::is_empty) {
        return Outcome::unknown(format!("{count} {what} are all the same"));
    }
    if let Some(step) = counts_up(&parts) {
        return Outcome::fail(format!("{count} {what} count up, by {step} at most"))
            .and(parts.iter().take(3).cloned().collect::<Vec<_>>().join(", "));
    }
    let bits = parts.iter().map(|part| bits_most(part, &parts)).fold(f64::INFINITY, f64::min);
    let seen = format!(
        "what changes in {count} {what} holds {bits:.0} bits at most ({})",
        names.first().map(masked).unwrap_or_default()
    );
    if bits < BITS_MIN { Outcome::warn(seen) } else { Outcome::pass(seen).probable() }
}

/// What of the names is not the same in all.
fn changing(names: &[String]) -> Vec<String> {
    let Some(first) = names.first() else { return Vec::new() };
    let same = |other: &String, backwards: bool| -> usize {
        let pairs: Box<dyn Iterator<Item = (char, char)>> = if backwards {
            Box::new(first.chars().rev().zip(other.chars().rev()))
        } else {
            Box::new(first.chars().zip(other.chars()))
        };
        pairs.take_while(|(a, b)| a == b).count()
    };
    let ahead = names.iter().map(|name| same(name, false)).min().unwrap_or(0);
    let behind = names.iter().map(|name| same(name, true)).min().unwrap_or(0);
    names
        .iter()
        .map(|name| {
            let length = name.chars().count();
            let end = length.saturating_sub(behind.min(length.saturating_sub(ahead)));
            name.chars().take(end).skip(ahead).collect()
        })
        .collect()
}

/// The largest step, where the names go up in small steps in the order in which they came.
fn counts_up(parts: &[String]) -> Option<u128> {
    const STEP_MAX: u128 = 10_000;
    [10, 16, 36].into_iter().find_map(|radix| {
        let numbers: Vec<u128> =
            parts.iter().map(|part| u128::from_str_radix(part, radix).ok()).collect::<Option<Vec<_>>>()?;
        let mut most = 0;
        for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
            let step = after.checked_sub(*before).filter(|step| (1..=STEP_MAX).contains(step))?;
            most = most.max(step);
        }
        Some(most)
    })
}

/// Bits that a text of these letters holds at most.
fn bits_most(part: &str, all: &[String]) -> f64 {
    let has = |wanted: fn(char) -> bool| all.iter().any(|part| part.chars().any(wanted));
    let letters = match () {
        () if has(|letter| !letter.is_ascii_alphanumeric()) || (has(beyond_hex) && has(|l| l.is_ascii_uppercase())) => {
            64.0
        }
        () if has(beyond_hex) => 36.0,
        () if has(|letter| letter.is_ascii_alphabetic()) => 16.0,
        () => 10.0_f64,
    };
    let length = u32::try_from(part.chars().count()).unwrap_or(u32::MAX);
    f64::from(length) * letters.log2()
}

fn beyond_hex(letter: char) -> bool {
    letter.is_ascii_alphabetic() && !letter.is_ascii_hexdigit()
}

/// One credential alone.
fn given(token: &str) -> Outcome {
    if let Some(jwt) = Jwt::parse(token) {
        if jwt.hmac().is_none() {
            return Outcome::skipped(format!(
                "the credential is signed with {}: nothing of it is a name",
                jwt.algorithm()
            ));
        }
        return match secrets::search(&jwt) {
            (_, Some(_)) => Outcome::fail("a common secret signs the credential (WSA-AUTH-14)"),
            (count, None) => Outcome::pass(format!("none of {count} common secrets signs the credential")).probable(),
        };
    }
    let bits = bits_most(token, &[token.to_owned()]);
    let seen = format!("the credential holds {bits:.0} bits at most");
    if bits < BITS_MIN { Outcome::warn(seen) } else { Outcome::pass(seen).probable() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn names_are_judged() {
        let numbered =
            |from: u32, step: u32| (0..8).map(|at| format!("s-{:06}.x", from + at * step)).collect::<Vec<_>>();
        let random = |length: usize| {
            (0..8_u8)
                .map(|_| {
                    format!(
                        "{:032x}{:032x}",
                        u128::from_be_bytes(crate::probe::random()),
                        u128::from_be_bytes(crate::probe::random())
                    )
                })
                .map(|text| text.chars().take(length).collect::<String>())
                .collect::<Vec<_>>()
        };
        let timed = |length: usize| {
            random(length).into_iter().enumerate().map(|(at, text)| format!("0190{at:04}{text}")).collect::<Vec<_>>()
        };
        for (name, names, want) in [
            ("counting", numbered(7, 1), Status::Fail),
            ("counting across a digit", numbered(95, 2), Status::Fail),
            ("random and long", random(48), Status::Pass),
            ("random and short", random(12), Status::Warn),
            ("the time, then chance", timed(40), Status::Pass),
            ("always the same", vec!["abcdefgh".to_owned(); 8], Status::Unknown),
        ] {
            let outcome = judge("cookies", &names);
            assert_eq!(outcome.status, want, "{name}: {:?} {names:?}", outcome.evidence);
        }
    }

    #[test]
    fn one_credential_is_judged_by_its_length() {
        for (token, want) in [
            ("12345678", Status::Warn),
            ("q7Zk0vXw1pQe9sTb2mNc4rYd6uFg8hJk", Status::Pass),
            ("0123456789abcdef0123456789abcdef", Status::Pass),
        ] {
            assert_eq!(given(token).status, want, "{token}");
        }
    }
}
