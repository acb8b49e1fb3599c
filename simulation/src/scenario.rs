//! What happens in a world, as a value that follows from its seed: who is there, and what goes wrong when.
//!
//! Everything in it has a number of its own and a random stream of its own, so that a scenario can be cut down, part by
//! part, to what a failure needs.

use std::fmt;
use std::str::FromStr;

use crate::issuer::SKEW_MS_MAX;
use crate::rng::Rng;

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Follows docs/protocol.md.
    Honest,
    /// The same, from a second device of the subject before it.
    SecondDevice,
    /// Follows the protocol until its identity is revoked, and then goes on all the same.
    Stubborn,
    /// Sends as much as it can.
    Flood,
    /// Opens as many connections as it can.
    Knocker,
    /// Shows tokens that nobody issued.
    Forger,
    /// Sends before it is authenticated.
    Early,
    /// Uses what it got hold of: tickets, resume tokens, messages and CSRF tokens of others.
    Thief,
    /// Sends the hostile vectors.
    Vectors,
    /// Says as much to everybody as its quotas allow.
    Loud,
    /// Joins and does not read.
    Deaf,
    /// Sends byte by byte.
    Trickle,
    /// Forgets the CSRF token.
    Careless,
    /// Sends what its roles do not allow.
    Climber,
    /// Announces that it will come back and does not.
    Deserter,
    /// Uses cookies of others, from pages and with proofs that are not theirs.
    Hijacker,
    /// Logs out and goes on with its cookie.
    Leaver,
    /// Has more connections than one subject may have.
    Hoarder,
    /// Many subjects at neighbouring addresses, each within its quotas, together above all that they share.
    Swarm,
    /// Comes from ever new addresses, until the tables are full.
    Spray,
}

impl Kind {
    const HOSTILE: [Self; 15] = [
        Self::Flood,
        Self::Knocker,
        Self::Forger,
        Self::Early,
        Self::Thief,
        Self::Vectors,
        Self::Loud,
        Self::Deaf,
        Self::Trickle,
        Self::Careless,
        Self::Climber,
        Self::Deserter,
        Self::Hijacker,
        Self::Leaver,
        Self::Hoarder,
    ];

    /// Whether it never follows the protocol.
    pub const fn is_hostile(self) -> bool {
        !matches!(self, Self::Honest | Self::SecondDevice | Self::Stubborn)
    }

    /// Whether it follows the protocol to the end.
    pub const fn is_honest(self) -> bool {
        matches!(self, Self::Honest | Self::SecondDevice)
    }
}

/// One peer.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its number.
    pub number: u32,
    /// What it does.
    pub kind: Kind,
}

/// The limits that not every world has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys in each table.
    pub table_keys: usize,
    /// How many times the quotas of a subject an address has.
    pub prefix_factor: u32,
    /// Messages of the server, in a second and at once.
    pub server: (u32, u32),
    /// Whether more log out than there is room for, so that tokens are refused of those who did not.
    pub is_index_full: bool,
}

impl Limits {
    /// Nothing is ever full, and nobody feels the others.
    const WIDE: Self = Self { table_keys: 256, prefix_factor: 4, server: (100_000, 100_000), is_index_full: false };

    /// The limits of `seed`, and who comes up against them.
    fn of(seed: u64) -> (Self, Vec<Kind>) {
        let mut rng = Rng::of(seed, "limits", 0);
        let mut limits = Self::WIDE;
        let mut kinds = Vec::new();
        let (is_narrow, is_full) = (rng.chance(20), rng.chance(15));
        if is_narrow || is_full {
            limits.prefix_factor = 1;
            if rng.chance(40) {
                limits.server = (60, 120);
            }
            kinds.push(Kind::Swarm);
        }
        if is_full {
            limits.table_keys = *rng.pick(&[8, 16, 32]);
            kinds.push(Kind::Spray);
            limits.is_index_full = rng.chance(40);
            kinds.extend(limits.is_index_full.then_some(Kind::Leaver));
        }
        (limits, kinds)
    }

    /// Whether peers can fill the tables. Who finds no slot is judged by a wider prefix alone.
    pub const fn are_small(&self) -> bool {
        self.table_keys < Self::WIDE.table_keys
    }
}

/// What goes wrong, or is done by the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// So many of a hundred connections are reset.
    Cut(u64),
    /// So many of a hundred connections swallow everything.
    HalfOpen(u64),
    /// So many of a hundred addresses cannot be heard for a while, or hear nothing, or both; new connections of theirs too.
    Partition(u64, Way),
    /// The server ends without a word and begins anew after a while.
    Crash,
    /// The server ends as it should and begins anew.
    Drain,
    /// The wall clock jumps.
    Clock(i64),
    /// The store of tickets does not answer, answers late, or answers nonsense.
    Store(Mood),
    /// The ledger cannot be read or written, or takes long.
    Ledger(Mood),
    /// The identity of a peer is revoked: its subject, its token, or its session.
    Revoke(u32, u8),
    /// Another policy comes into force: who may send `admin`.
    Reload,
    /// A new signing key comes, or the old one leaves.
    Keys,
    /// So many log out, none of whom is here.
    Logouts(u64),
    /// The operator keeps so many strangers out.
    Ban(u64),
    /// The operator keeps a peer out: its subject or its address.
    KeepOut(u32),
}

/// Which direction of a network is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing reaches the server.
    ToServer,
    /// Nothing reaches the clients.
    ToClient,
    /// Neither.
    Both,
}

/// How something that the server depends on is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should be.
    Well,
    /// It answers after a while.
    Slow,
    /// It answers that it cannot.
    Dead,
    /// It answers nonsense.
    Wrong,
}

/// Something that is done to the world.
#[derive(Clone, Copy, Debug)]
pub struct Hardship {
    /// Its number.
    pub number: u32,
    /// When, in milliseconds since the world began.
    pub at: u64,
    /// For how long.
    pub lasts: u64,
    /// What.
    pub what: What,
}

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where all of it comes from.
    pub seed: u64,
    /// When hardships and hostility end, in milliseconds; what is alive then recovers.
    pub length: u64,
    /// How far the issuer's clock goes before the server's, in milliseconds.
    pub issuer_ahead_ms: i64,
    /// How narrow it is.
    pub limits: Limits,
    /// Who is there.
    pub peers: Vec<Peer>,
    /// What goes wrong.
    pub hardships: Vec<Hardship>,
}

impl Scenario {
    /// The whole scenario of `seed`.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::of(seed, "scenario", 0);
        let mut kinds = Vec::new();
        for _ in 0..rng.range(2, 5) {
            kinds.push(Kind::Honest);
            if rng.chance(30) {
                kinds.push(Kind::SecondDevice);
            }
        }
        kinds.extend((0..rng.range(1, 3)).map(|_| Kind::Stubborn));
        for _ in 0..rng.range(2, 6) {
            let kind = *rng.pick(&Kind::HOSTILE);
            kinds.push(kind);
            if kind == Kind::Deaf && rng.chance(20) {
                // Who does not read is no burden where nobody says much.
                kinds.push(Kind::Loud);
            }
        }
        let (limits, crowd) = Limits::of(seed);
        kinds.extend(crowd);
        let peers: Vec<_> = (0..).zip(kinds).map(|(number, kind)| Peer { number, kind }).collect();
        let length = rng.range(20_000, 60_000);
        let mut hardships: Vec<_> = (0..rng.range(4, 16))
            .map(|number| {
                let what = What::random(&mut rng);
                Hardship {
                    number: u32::try_from(number).unwrap_or(0),
                    at: rng.range(500, length),
                    lasts: rng.range(200, 9_000),
                    what,
                }
            })
            .collect();
        let before = u32::try_from(hardships.len()).unwrap_or(0);
        for (number, peer) in (before..).zip(peers.iter().filter(|peer| peer.kind == Kind::Stubborn)) {
            let what = What::Revoke(peer.number, u8::try_from(rng.below(3)).unwrap_or(0));
            hardships.push(Hardship { number, at: rng.range(3_000, length), lasts: 0, what });
        }
        if limits.are_small() {
            let mut bans = Rng::of(seed, "bans", 0);
            let before = u32::try_from(hardships.len()).unwrap_or(0);
            let hostile = peers.iter().filter(|peer| peer.kind.is_hostile());
            let logouts = if limits.is_index_full { 4 } else { 0 };
            let whats = hostile.map(|peer| What::KeepOut(peer.number)).chain([10, 20, 40].map(What::Ban));
            let whats = whats.chain([What::Logouts(120)].repeat(logouts));
            hardships.extend((before..).zip(whats).map(|(number, what)| {
                let lasts = bans.range(8_000, 40_000);
                Hardship { number, at: bans.range(2_000, length), lasts, what }
            }));
        }
        if limits.is_index_full {
            // A cut-off that lies ahead when the clock goes back refuses whoever comes until then.
            hardships.retain(|hardship| !matches!(hardship.what, What::Clock(ms) if ms < 0));
        }
        hardships.sort_by_key(|hardship| hardship.at);
        let mut clocks = Rng::of(seed, "clocks", 0);
        let most = SKEW_MS_MAX.unsigned_abs();
        let skew = i64::try_from(clocks.below(2 * most + 1)).unwrap_or(0) - SKEW_MS_MAX;
        let issuer_ahead_ms = if clocks.chance(70) { skew } else { 0 };
        Self { seed, length, issuer_ahead_ms, limits, peers, hardships }
    }

    /// The scenario with only what `cut` leaves.
    #[must_use]
    pub fn cut(mut self, cut: &Cut) -> Self {
        if let Some(length) = cut.length {
            self.length = self.length.min(length);
        }
        if let Some(peers) = &cut.peers {
            self.peers.retain(|peer| peers.contains(&peer.number));
        }
        if let Some(hardships) = &cut.hardships {
            self.hardships.retain(|hardship| hardships.contains(&hardship.number));
        }
        let length = self.length;
        self.hardships.retain(|hardship| hardship.at <= length);
        self
    }

    /// What names the scenario as it is now.
    pub fn as_cut(&self) -> Cut {
        Cut {
            seed: self.seed,
            length: Some(self.length),
            peers: Some(self.peers.iter().map(|peer| peer.number).collect()),
            hardships: Some(self.hardships.iter().map(|hardship| hardship.number).collect()),
        }
    }
}

impl What {
    fn random(rng: &mut Rng) -> Self {
        match rng.below(16) {
            0..=2 => Self::Cut(rng.range(20, 101)),
            3 => Self::HalfOpen(rng.range(10, 60)),
            4 => Self::Partition(rng.range(20, 101), *rng.pick(&[Way::ToServer, Way::ToClient, Way::Both])),
            5 => Self::Crash,
            6 => Self::Drain,
            7 | 8 => Self::Clock(i64::try_from(rng.below(60_000)).unwrap_or(0) - 30_000),
            9 | 10 => Self::Store(*rng.pick(&[Mood::Slow, Mood::Dead, Mood::Wrong])),
            11 | 12 => Self::Ledger(*rng.pick(&[Mood::Slow, Mood::Dead])),
            13 | 14 => Self::Reload,
            _ => Self::Keys,
        }
    }
}

/// A seed, and which parts of its scenario are left: `SEED[:ms=MS][:p=N,N][:h=N,N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The seed.
    pub seed: u64,
    /// The length, where it is shorter.
    pub length: Option<u64>,
    /// The peers that are left.
    pub peers: Option<Vec<u32>>,
    /// The hardships that are left.
    pub hardships: Option<Vec<u32>>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        write!(f, "{}", self.seed)?;
        if let Some(length) = self.length {
            write!(f, ":ms={length}")?;
        }
        if let Some(peers) = &self.peers {
            write!(f, ":p={}", list(peers))?;
        }
        if let Some(hardships) = &self.hardships {
            write!(f, ":h={}", list(hardships))?;
        }
        Ok(())
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |part: &str| format!("expected SEED[:ms=MS][:p=N,N][:h=N,N], got {part:?}");
        let mut parts = text.split(':');
        let seed = parts.next().and_then(|seed| seed.parse().ok()).ok_or_else(|| wrong(text))?;
        let mut cut = Self { seed, length: None, peers: None, hardships: None };
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong(part))?;
            let list = || {
                let numbers = value.split(',').filter(|number| !number.is_empty());
                numbers.map(|number| number.parse().map_err(|_| wrong(part))).collect::<Result<Vec<u32>, _>>()
            };
            match name {
                "ms" => cut.length = Some(value.parse().map_err(|_| wrong(part))?),
                "p" => cut.peers = Some(list()?),
                "h" => cut.hardships = Some(list()?),
                _ => return Err(wrong(part)),
            }
        }
        Ok(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_read_as_it_is_written() {
        for seed in 0..50 {
            let whole = Scenario::of(seed).as_cut();
            assert_eq!(whole.to_string().parse(), Ok(whole.clone()));
            let again = Scenario::of(seed).cut(&whole).as_cut();
            assert_eq!(again, whole);
        }
        assert_eq!("7".parse(), Ok(Cut { seed: 7, length: None, peers: None, hardships: None }));
        for wrong in ["", "x", "7:p", "7:q=1", "7:ms=x", "7:p=a"] {
            assert!(wrong.parse::<Cut>().is_err(), "{wrong}");
        }
    }
}
