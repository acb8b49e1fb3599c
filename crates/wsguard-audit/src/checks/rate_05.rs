//! A network of addresses that belong to one peer.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::rate::{Door, HANDSHAKES, Stop, burst, knock, lockout, no_limit, unlimited};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-05",
    title: "IPv6 counted by prefix",
    category: Category::RateLimiting,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["2.4.1"], url: "https://www.rfc-editor.org/rfc/rfc6177#section-2" },
    what: "Where this machine has a second address in the same /64 (or `--source-b` names one): goes up to the limit of \
           handshakes from the first, then knocks from the second, between two handshakes from the first.",
    why: "Whoever has one IPv6 address has 2^64 of them: counted one by one, none of them ever reaches a limit.",
    remedy: "Count IPv6 peers by their /64, and by the /48 above it with a larger limit.",
    traps: "A limit that ended meanwhile looks alike: the first address must still be refused afterwards. The second must \
            be let in before, or it proves nothing.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some((first, second)) = addresses(probe) else {
        return Outcome::unknown("needs a second address of this machine in the same /64, and a target with IPv6")
            .settled_by("--source-b, or a run from a machine with two such addresses");
    };
    if let Some(outcome) = unlimited(probe) {
        return outcome;
    }
    let outcome = judge(probe, first, second).await.unwrap_or_else(|outcome| outcome);
    lockout(probe).await;
    outcome
}

async fn judge(probe: &Probe, first: IpAddr, second: IpAddr) -> Result<Outcome, Outcome> {
    let from = |source| knock(probe, None, Some(source));
    match from(second).await {
        Door::In => {}
        Door::Out { shown, .. } => {
            return Err(Outcome::unknown(format!("{second} is not let in to begin with: {shown}")));
        }
        Door::Nothing(outcome) => return Err(outcome),
    }
    let limit = match burst(probe, HANDSHAKES, Some(first)).await {
        Stop::Limited { number, shown } => format!("{first} is limited at handshake {number} ({shown})"),
        Stop::Free => return Err(no_limit(HANDSHAKES)),
        Stop::Nothing(outcome) => return Err(outcome),
    };
    let other = from(second).await;
    let control = from(first).await;
    match (other, control) {
        (Door::Out { shown, .. }, _) => Ok(Outcome::pass(format!("{limit}; {second} as well: {shown}"))),
        (Door::In, Door::Out { .. }) => Ok(Outcome::fail(format!("{limit}; {second} is let in, {first} still not"))),
        (Door::In, Door::In) => Err(Outcome::unknown(format!("{limit}; the limit ended before it could be tried"))),
        (Door::Nothing(outcome), _) | (_, Door::Nothing(outcome)) => Err(outcome),
    }
}

/// Our address towards the target, and another of the same network.
fn addresses(probe: &Probe) -> Option<(IpAddr, IpAddr)> {
    let towards = |wanted: &dyn Fn(&SocketAddr) -> bool| {
        let target = probe.target().addresses.iter().find(|address| wanted(address))?;
        // Asks the system which way leads there; nothing is sent.
        let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    if let Some(second) = probe.options().source_b {
        return Some((towards(&|target| target.is_ipv4() == second.is_ipv4())?, second)).filter(|(a, b)| a != b);
    }
    let IpAddr::V6(first) = towards(&|target| target.is_ipv6())? else { return None };
    let text = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let prefix = |address: u128| address >> 64;
    listed(&text)
        .into_iter()
        .find(|other| *other != first.to_bits() && prefix(*other) == prefix(first.to_bits()))
        .map(|other| (first.into(), IpAddr::V6(other.into())))
}

/// The global addresses of the system's list: address, interface, length of the prefix, scope, flags, name.
fn listed(text: &str) -> Vec<u128> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        (words.nth(2)? == "00").then_some(address)
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn global_addresses_are_read() {
        let text = "fe800000000000000000000000000001 02 40 20 80 eth0\n\
                    20010db8000000000000000000000001 02 40 00 80 eth0\n\
                    20010db8000000000000000000000002 02 40 00 01 eth0\n\
                    00000000000000000000000000000001 01 80 10 80 lo\nrubbish\n";
        assert_eq!(listed(text), [0x2001_0db8_u128 << 96 | 1, 0x2001_0db8_u128 << 96 | 2]);
    }
}
