//! What only keys together make wrong, or weak.

use super::error::{Place, Warning};
use super::read::Reader;
use super::{Config, Mode, value};

/// Notes mistakes in `reader` and returns what is allowed but weak.
///
/// A key that was given and is wrong has its complaint already: here it counts as present.
pub(super) fn check(config: &Config, reader: &mut Reader) -> Vec<Warning> {
    if config.dev {
        development(config, reader);
    } else {
        production(config, reader);
    }
    for (present, missing) in [("tls.cert", "tls.key"), ("tls.key", "tls.cert")] {
        if reader.is_given(present) && !reader.is_given(missing) {
            reader.wrong_at(Place::Whole, missing, format!("expected a path, because {present} is set"));
        }
    }
    for (key, is_empty) in [
        ("auth.methods", config.auth.methods.is_empty()),
        ("origin.allow", config.origins.is_empty()),
        ("host.allow", config.hosts.is_empty()),
    ] {
        if reader.is_given(key) && is_empty && !reader.has_error(key) {
            reader.wrong_at(reader.place(key), key, "expected at least one entry, got none".to_owned());
        }
    }
    if let Some(jwks) = &config.auth.jwks
        && jwks.refresh > jwks.stale_max
        && !reader.has_error("auth.jwks_refresh")
        && !reader.has_error("auth.jwks_stale_max")
    {
        let message = format!("expected at most auth.jwks_stale_max ({}), got {}", jwks.stale_max, jwks.refresh);
        reader.wrong_at(reader.place("auth.jwks_refresh"), "auth.jwks_refresh", message);
    }
    for key in ["auth.jwks_ca", "auth.jwks_refresh", "auth.jwks_stale_max"] {
        if reader.is_given(key) && !reader.is_given("auth.jwks") {
            reader.wrong_at(reader.place(key), key, "expected auth.jwks beside it".to_owned());
        }
    }
    if config.session.idle > config.session.max && !reader.has_error("session.idle") && !reader.has_error("session.max")
    {
        let message = format!("expected at most session.max ({}), got {}", config.session.max, config.session.idle);
        reader.wrong_at(reader.place("session.idle"), "session.idle", message);
    }
    penalty(config, reader);
    anomaly(config, reader);
    if config.server.listen == config.server.admin && config.server.admin.port() != 0 {
        let message = format!("expected another address than server.listen, got {}", config.server.admin);
        reader.wrong_at(reader.place("server.admin"), "server.admin", message);
    }
    admin(config, reader);
    warnings(config)
}

/// The rungs are in order, and bans grow.
fn penalty(config: &Config, reader: &mut Reader) {
    let ladder = &config.penalty;
    for (key, value, other, most) in [
        ("penalty.slow_at", u64::from(ladder.slow_at), "penalty.drop_at", u64::from(ladder.drop_at)),
        ("penalty.drop_at", u64::from(ladder.drop_at), "penalty.close_at", u64::from(ladder.close_at)),
        ("penalty.ban_first", ladder.ban_first.0, "penalty.ban_max", ladder.ban_max.0),
    ] {
        if value > most && !reader.has_error(key) && !reader.has_error(other) {
            let key = if reader.is_given(key) { key } else { other };
            let message = "expected slow_at <= drop_at <= close_at, and ban_first <= ban_max".to_owned();
            reader.wrong_at(reader.place(key), key, message);
        }
    }
}

/// What is charged is told.
fn anomaly(config: &Config, reader: &mut Reader) {
    let (alert, charge) = ("anomaly.alert_at", "anomaly.charge_at");
    if config.anomaly.alert_at > config.anomaly.charge_at && !reader.has_error(alert) && !reader.has_error(charge) {
        let key = if reader.is_given(alert) { alert } else { charge };
        reader.wrong_at(reader.place(key), key, "expected alert_at <= charge_at".to_owned());
    }
}

fn development(config: &Config, reader: &mut Reader) {
    for (key, address) in [("server.listen", config.server.listen), ("server.admin", config.server.admin)] {
        if !address.ip().is_loopback() {
            let message = format!("expected a loopback address with --dev, got {address}");
            reader.wrong_at(reader.place(key), key, message);
        }
    }
}

fn production(config: &Config, reader: &mut Reader) {
    for (key, what) in [
        ("origin.allow", "the origins of the pages that may connect"),
        ("host.allow", "the names of this server"),
        ("auth.keys", "the key files that verify tokens, or auth.jwks"),
    ] {
        let elsewhere = key == "auth.keys" && reader.is_given("auth.jwks");
        if !reader.is_given(key) && !elsewhere {
            reader.wrong_at(Place::Whole, key, format!("expected {what}; without --dev there is no default"));
        }
    }
    let none = config.auth.keys.is_empty() && !reader.is_given("auth.jwks");
    if reader.is_given("auth.keys") && none && !reader.has_error("auth.keys") {
        reader.wrong_at(reader.place("auth.keys"), "auth.keys", "expected at least one entry, got none".to_owned());
    }
    let tls = reader.is_given("tls.cert") || reader.is_given("tls.key");
    let proxied = !config.trusted_proxies.is_empty() || reader.has_error("proxy.trusted");
    if !tls && !proxied {
        let message = "expected tls.cert and tls.key, or proxy.trusted: without --dev nothing is served in plain";
        reader.wrong_at(Place::Whole, "tls.cert", message.to_owned());
    }
}

/// An admin interface that others can reach needs TLS and a key.
fn admin(config: &Config, reader: &mut Reader) {
    if config.dev || config.server.admin.ip().is_loopback() {
        return;
    }
    for (key, other) in [("tls.cert", "tls.key"), ("admin.key_file", "admin.key_file")] {
        if !reader.is_given(key) && !reader.is_given(other) {
            let message = format!("expected a path, because server.admin ({}) is not loopback", config.server.admin);
            reader.wrong_at(Place::Whole, key, message);
        }
    }
}

fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |key, message: String| warnings.push(Warning { key, message });
    if config.auth.allow_query_token {
        warn("auth.allow_query_token", "tokens in addresses end up in access logs and histories".to_owned());
    }
    if config.dev && !config.trusted_proxies.is_empty() {
        warn("proxy.trusted", "has no effect with --dev, which refuses forwarded requests".to_owned());
    }
    for (key, mode) in
        [("rate.mode", config.rate.mode), ("penalty.mode", config.penalty.mode), ("anomaly.mode", config.anomaly.mode)]
    {
        if mode == Mode::Shadow {
            warn(key, "shadow only counts: nothing is refused".to_owned());
        }
    }
    for control in config.shadow.iter() {
        warn("shadow.controls", format!("{} only counts: nothing is refused by it", control.as_str()));
    }
    for origin in config.origins.iter().filter(|origin| value::is_plain_and_far(origin)) {
        warn("origin.allow", format!("{origin} travels without TLS: whoever is on the way can speak as it"));
    }
    if !config.dev && config.store.is_none() {
        warn("store.path", "memory: what is revoked or banned is good again after a restart".to_owned());
    }
    for network in config.trusted_proxies.iter().filter(|network| network.prefix_len() == 0) {
        warn("proxy.trusted", format!("{network} is everybody: any client can choose its address"));
    }
    warnings
}
