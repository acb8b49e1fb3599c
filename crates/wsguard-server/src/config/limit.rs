//! The numeric keys: every limit with its unit, its default, its range and the reason for them.

use wsguard_core::time::Millis;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A whole number of things.
    Count,
    /// Bytes; in the file an integer or a string such as `"64KiB"`.
    Bytes,
    /// Time in milliseconds; in the file a string such as `"15m"`.
    Time,
}

/// One numeric key of the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) key: &'static str,
    pub(super) unit: Unit,
    pub(super) default: u64,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) meaning: &'static str,
    pub(super) reason: &'static str,
}

/// One row of the table of limits in force, see [`super::Config::limits_table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// The key, such as `rate.burst`; a limit of the protocol, which no key changes, has the name of its constant.
    pub key: &'static str,
    /// The value in force, with its unit: `20`, `256KiB`, `15m`.
    pub value: String,
    /// What is limited.
    pub meaning: &'static str,
    /// Why the default is what it is.
    pub reason: &'static str,
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;

macro_rules! limits {
    ($($name:ident: $key:literal, $unit:ident, $default:expr, $min:expr, $max:expr, $meaning:literal, $reason:literal;)*) => {
        $(pub(super) const $name: Limit = Limit {
            key: $key, unit: Unit::$unit, default: $default, min: $min, max: $max, meaning: $meaning, reason: $reason,
        };)*
        /// Every limit, in the order of the table.
        pub(super) const LIMITS: &[Limit] = &[$($name),*];
    };
}

limits! {
    CONNECTIONS_MAX: "server.connections_max", Count, 16_384, 1, 1_000_000,
        "open connections; one more is 503",
        "below the usual limit of 20,000 open files, with room for files, logs and the admin listener";
    DRAIN: "server.drain", Time, 30 * SECOND, 0, HOUR,
        "from SIGTERM to the end of the last connection",
        "what process managers grant by default before they kill";
    SEND_QUEUE_BYTES: "server.send_queue_bytes", Bytes, 256 * KIB, 64 * KIB, 64 * MIB,
        "bytes waiting for a reader that is slow; then 1013",
        "four messages of the largest size; a reader that stops cannot hold more";
    SEND_QUEUE_MESSAGES: "server.send_queue_messages", Count, 256, 1, 65_536,
        "messages waiting for a reader that is slow; then 1013",
        "a few seconds of a lively room; small messages cost more memory than their bytes";
    FIRST_MESSAGE_TIMEOUT: "auth.first_message_timeout", Time, 5 * SECOND, 100, MINUTE,
        "from the upgrade to the `auth` message; then 4408",
        "a page sends it at once; a connection that does not costs a slot";
    LEEWAY: "auth.leeway", Time, 5 * SECOND, 0, 5 * SECOND,
        "clock difference forgiven in `exp` and `nbf`",
        "clocks kept by NTP differ by far less; more would lengthen every token's life";
    JWKS_REFRESH: "auth.jwks_refresh", Time, 5 * MINUTE, 10 * SECOND, 24 * HOUR,
        "between two looks at `auth.jwks`",
        "how long a key that the issuer withdrew is still trusted, for one small request each";
    JWKS_STALE_MAX: "auth.jwks_stale_max", Time, 6 * HOUR, MINUTE, 168 * HOUR,
        "time that known keys of `auth.jwks` stay good when the issuer cannot be asked; then no token of theirs is",
        "longer than issuers fail; who cuts this server off cannot keep a withdrawn key in force for a day";
    CSRF_ROTATE_EVERY: "csrf.rotate_every", Time, 15 * MINUTE, MINUTE, 24 * HOUR,
        "life of a per-message CSRF token, 60 s of grace apart",
        "a leaked token is soon worthless, and a rotation is one small frame";
    SESSION_IDLE: "session.idle", Time, 30 * MINUTE, SECOND, 24 * HOUR,
        "without a message of the client; then 4408",
        "the usual value for inactive sessions (OWASP ASVS 5.0 7.3.1)";
    SESSION_MAX: "session.max", Time, 24 * HOUR, MINUTE, 720 * HOUR,
        "life of a session whatever happens; then 4401",
        "one login a day (OWASP ASVS 5.0 7.3.2)";
    SESSION_PER_SUBJECT: "session.per_subject", Count, 32, 1, 4_096,
        "attached sessions of one subject; one more is closed with 4409",
        "windows and devices of one person; a stolen token cannot fill the server";
    SESSION_RESUME_WINDOW: "session.resume_window", Time, 2 * MINUTE, 0, HOUR,
        "time in which a lost connection can be resumed",
        "a change of network or a short sleep; its replay buffer is held that long";
    SESSION_DETACHED_PER_SUBJECT: "session.detached_per_subject", Count, 4, 0, 64,
        "sessions of one subject that wait to be resumed; one more ends the oldest",
        "a person loses the network on a few devices at once, not on all windows";
    SESSION_DETACHED_MAX: "session.detached_max", Count, 8_192, 0, 1_000_000,
        "sessions of the server that wait to be resumed; one more ends the oldest",
        "half of the connections: what a network loses at once comes back within seconds";
    SESSION_REPLAY_BYTES: "session.replay_bytes", Bytes, 64 * KIB, KIB, 16 * MIB,
        "kept to be replayed to one session; what does not fit ends the possibility",
        "some 300 messages of a chat: more than a person misses in two minutes";
    SESSION_REPLAY_BYTES_TOTAL: "session.replay_bytes_total", Bytes, 64 * MIB, MIB, 64 * 1_024 * MIB,
        "kept to be replayed to all sessions together",
        "1,000 full buffers; most are empty, since clients acknowledge what they have";
    MESSAGES_PER_SECOND: "rate.messages_per_second", Count, 20, 1, 100_000,
        "messages of one subject",
        "faster than a person types or a cursor needs to be shown";
    BURST: "rate.burst", Count, 60, 1, 100_000,
        "messages of one subject at once",
        "three seconds of the rate: what a page sends when it wakes up";
    BYTES_PER_SECOND: "rate.bytes_per_second", Bytes, 256 * KIB, KIB, 1_024 * MIB,
        "message bytes of one session",
        "four messages of the largest size";
    HANDSHAKES: "rate.handshakes", Count, 30, 1, 100_000,
        "handshakes of one address prefix in `rate.handshake_window`",
        "an office behind one address reconnects; guessing tokens stays hopeless";
    HANDSHAKE_WINDOW: "rate.handshake_window", Time, 10 * SECOND, SECOND, HOUR,
        "window of `rate.handshakes`",
        "short, so that an honest client that was refused is soon let in";
    PREFIX_FACTOR: "rate.prefix_factor", Count, 4, 1, 1_024,
        "times the subject's and session's rates that one address prefix may use",
        "several people behind one address, but not a flood by many subjects";
    GLOBAL_MESSAGES_PER_SECOND: "rate.global_messages_per_second", Count, 100_000, 1, 100_000_000,
        "messages of the whole server",
        "5,000 subjects at their full rate; more is a flood by many accounts, refused before it costs a scan";
    TYPE_PER_SECOND: "rate.types", Count, 0, 1, 100_000,
        "messages of one type and subject, by type",
        "no type has a rate of its own by default; the subject's rate bounds them all";
    PENALTY_DECAY: "penalty.decay_per_second", Count, 10, 1, 100_000,
        "points that drain a second",
        "half a second's quota: whoever is refused now and then is never remembered";
    PENALTY_SLOW_AT: "penalty.slow_at", Count, 60, 1, 1_000_000,
        "points at which reading slows",
        "three seconds' worth of any quota refused; a first burst gets there, and waits";
    PENALTY_DROP_AT: "penalty.drop_at", Count, 120, 1, 1_000_000,
        "points at which messages are discarded",
        "a peer that went on after it was slowed down";
    PENALTY_CLOSE_AT: "penalty.close_at", Count, 180, 1, 1_000_000,
        "points at which the connection closes with 4429",
        "one second at ten times the quota, if the rungs before had their time";
    PENALTY_DWELL: "penalty.dwell", Time, SECOND, 0, MINUTE,
        "time that slow and drop last before the next rung",
        "long enough to see whether the peer listens; at ten times the quota the close comes within 10 s";
    PENALTY_PAUSE_MAX: "penalty.pause_max", Time, 2 * SECOND, 250, 2 * SECOND,
        "longest pause in reading",
        "TCP makes the sender wait; longer would look dead to it";
    PENALTY_CLOSE_FOR: "penalty.close_for", Time, 15 * SECOND, SECOND, HOUR,
        "time out after a first close",
        "ten seconds that count, whatever clocks and networks add";
    PENALTY_BAN_FIRST: "penalty.ban_first", Time, MINUTE, SECOND, 24 * HOUR,
        "length of the first ban after that; each further one is twice as long",
        "a person waits a minute, a script loses its rate";
    PENALTY_BAN_MAX: "penalty.ban_max", Time, HOUR, SECOND, 720 * HOUR,
        "longest ban of the ladder",
        "addresses and accounts change hands; longer is an operator's decision";
    PENALTY_FORGET_AFTER: "penalty.forget_after", Time, 10 * MINUTE, SECOND, 720 * HOUR,
        "time without an offence after which one is forgotten",
        "a bad hour is over the same day";
    PENALTY_PREFIX_FACTOR: "penalty.prefix_factor", Count, 16, 1, 1_024,
        "times the points of an identity that an address prefix has before its handshakes are refused",
        "an office that reconnects stays below; guessing tokens at the full rate is banned in minutes";
    ANOMALY_ALERT_AT: "anomaly.alert_at", Count, 45, 1, 101,
        "score (0 to 100) from which on the log tells of a session; 101 is never",
        "measured: fewer than one honest connection-hour in a thousand gets there (docs/anomaly.md)";
    ANOMALY_CHARGE_AT: "anomaly.charge_at", Count, 65, 1, 101,
        "score from which on a session is charged to the ladder; 101 is never",
        "measured: no honest connection stayed there for long enough to be slowed (docs/anomaly.md)";
    ANOMALY_POINTS: "anomaly.points_per_second", Count, 16, 0, 10_000,
        "points of the ladder for each second at `anomaly.charge_at`",
        "against the 10 that drain: closed after half a minute of it, and a moment is forgotten";
    HEARTBEAT_INTERVAL: "heartbeat.interval", Time, 25 * SECOND, SECOND, 10 * MINUTE,
        "between two pings of the server",
        "proxies drop what is silent for 30 or 60 seconds";
    HEARTBEAT_TIMEOUT: "heartbeat.timeout", Time, 10 * SECOND, 100, 5 * MINUTE,
        "from a ping to its pong; then 4408",
        "a mobile network that is slow answers; a dead peer is gone within 35 s";
    MESSAGE_DEADLINE: "message.deadline", Time, 15 * SECOND, 100, 10 * MINUTE,
        "from a message's first byte to its last; then 1008",
        "64 KiB over a link of 35 kbit/s; a fragment never finished holds its buffer no longer";
    LOG_ROTATE_BYTES: "log.rotate_bytes", Bytes, 64 * MIB, MIB, 1_024 * MIB,
        "size of a security log at which a new file begins",
        "about 150,000 entries: still opened by an editor, and verified in a second";
    LOG_KEEP_FILES: "log.keep_files", Count, 32, 1, 65_536,
        "rotated security logs that are kept",
        "2 GiB in all: some 5 million entries, and a disk that no attacker fills";
}

impl Limit {
    /// Says what a value must be: `a whole number from 1 to 100000`.
    pub(super) fn expected(&self) -> String {
        let (min, max) = (show(self.unit, self.min), show(self.unit, self.max));
        match self.unit {
            Unit::Count => format!("a whole number from {min} to {max}"),
            Unit::Bytes => format!("a size from {min} to {max}, an integer of bytes or a string such as \"64KiB\""),
            Unit::Time => {
                format!("a time from {min} to {max}, a string such as \"250ms\", \"30s\", \"15m\" or \"24h\"")
            }
        }
    }

    pub(super) fn row(&self, value: u64) -> LimitRow {
        LimitRow { key: self.key, value: show(self.unit, value), meaning: self.meaning, reason: self.reason }
    }
}

/// Writes a value with the largest unit that holds it exactly.
pub(super) fn show(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Count => value.to_string(),
        Unit::Time => Millis(value).to_string(),
        Unit::Bytes if value != 0 && value.is_multiple_of(MIB) => format!("{}MiB", value / MIB),
        Unit::Bytes if value != 0 && value.is_multiple_of(KIB) => format!("{}KiB", value / KIB),
        Unit::Bytes => format!("{value}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_inside_its_range() {
        for limit in LIMITS {
            let is_table = limit.key == TYPE_PER_SECOND.key;
            assert!(is_table || (limit.min..=limit.max).contains(&limit.default), "{}", limit.key);
            assert!(!limit.meaning.is_empty() && !limit.reason.is_empty(), "{}", limit.key);
        }
    }

    #[test]
    fn values_are_shown_with_the_largest_exact_unit() {
        for (unit, value, want) in [
            (Unit::Count, 1_000, "1000"),
            (Unit::Bytes, 0, "0B"),
            (Unit::Bytes, 1_000, "1000B"),
            (Unit::Bytes, 65_536, "64KiB"),
            (Unit::Bytes, 3 * MIB, "3MiB"),
            (Unit::Time, 1_500, "1500ms"),
            (Unit::Time, 900_000, "15m"),
        ] {
            assert_eq!(show(unit, value), want);
        }
    }
}
