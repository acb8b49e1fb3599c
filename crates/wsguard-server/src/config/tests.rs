use std::fs;

use super::*;

/// A directory of its own for each test, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wsguard-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn environment(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    owned.into_iter()
}

fn dev() -> Overrides {
    Overrides { dev: true, ..Overrides::default() }
}

/// Loads `text` under `--dev`; the complaints, with the file's path cut to its name.
fn complaints(name: &str, text: &str) -> Vec<String> {
    let directory = Directory::new(name);
    let path = directory.write("wsguard.toml", text);
    let prefix = format!("{}/", directory.0.display());
    match Config::load(Some(&path), std::iter::empty(), &dev()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.all().iter().map(|error| error.to_string().replace(&prefix, "")).collect(),
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let loaded = Config::load(None, std::iter::empty(), &dev()).unwrap();
    let config = loaded.config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.server.admin.to_string(), "127.0.0.1:3001");
    assert!(config.server.workers >= 1);
    let origins: Vec<_> = config.origins.iter().map(Origin::as_str).collect();
    assert_eq!(origins, ["http://localhost:3000", "http://127.0.0.1:3000"]);
    let hosts: Vec<_> = config.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["localhost", "127.0.0.1", "[::1]"]);
    assert_eq!(config.auth.methods, AuthMethod::ALL);
    assert_eq!(config.log.security, LogTarget::Stderr);
    assert!(loaded.warnings.is_empty());
    for (key, want) in [
        ("server.connections_max", "16384"),
        ("server.drain", "30s"),
        ("server.send_queue_bytes", "256KiB"),
        ("auth.first_message_timeout", "5s"),
        ("csrf.rotate_every", "15m"),
        ("session.idle", "30m"),
        ("session.max", "24h"),
        ("session.per_subject", "32"),
        ("session.resume_window", "2m"),
        ("session.detached_per_subject", "4"),
        ("session.detached_max", "8192"),
        ("session.replay_bytes", "64KiB"),
        ("session.replay_bytes_total", "64MiB"),
        ("rate.messages_per_second", "20"),
        ("rate.burst", "60"),
        ("rate.bytes_per_second", "256KiB"),
        ("rate.handshakes", "30"),
        ("rate.handshake_window", "10s"),
        ("rate.prefix_factor", "4"),
        ("heartbeat.interval", "25s"),
        ("heartbeat.timeout", "10s"),
        ("message.deadline", "15s"),
        ("MESSAGE_BYTES_MAX", "64KiB"),
    ] {
        let row = config.limits_table().into_iter().find(|row| row.key == key).unwrap();
        assert_eq!(row.value, want, "{key}");
    }
}

#[test]
fn every_limit_is_a_row_and_every_row_has_a_reason() {
    let table = Config::load(None, std::iter::empty(), &dev()).unwrap().config.limits_table();
    for limit in limit::LIMITS.iter().filter(|limit| limit.key != "rate.types") {
        assert_eq!(table.iter().filter(|row| row.key == limit.key).count(), 1, "{}", limit.key);
    }
    assert!(table.iter().all(|row| !row.meaning.is_empty() && !row.reason.is_empty()));
}

#[test]
fn mistakes_say_where_and_what_was_expected() {
    for (index, (text, want)) in [
        (
            "[rate]\nmessages_per_second = \"fast\"",
            "wsguard.toml:2: rate.messages_per_second: expected a whole number from 1 to 100000, got \"fast\"",
        ),
        ("[rate]\nburst = 0", "wsguard.toml:2: rate.burst: expected a whole number from 1 to 100000, got 0"),
        ("[rate]\nburst = -1", "wsguard.toml:2: rate.burst: expected a whole number from 1 to 100000, got -1"),
        ("[rate]\nburst = 1.5", "wsguard.toml:2: rate.burst: expected a whole number from 1 to 100000, got 1.5"),
        ("[rate]\nburst = \"60\"", "wsguard.toml:2: rate.burst: expected a whole number from 1 to 100000, got \"60\""),
        ("[rate]\nbrust = 60", "wsguard.toml:2: rate.brust: expected a known key; did you mean rate.burst?"),
        ("[rat]\nburst = 60", "wsguard.toml:1: rat: expected a known key; did you mean rate?"),
        ("[server]\nhttp2 = true", "wsguard.toml:2: server.http2: expected a known key"),
        ("rate = 5", "wsguard.toml:1: rate: expected a section, [rate]"),
        (
            "[rate.types]\nchat = 0",
            "wsguard.toml:2: rate.types.chat: expected a whole number from 1 to 100000, got 0",
        ),
        (
            "[session]\nidle = 30",
            "wsguard.toml:2: session.idle: expected a time from 1s to 24h, a string such as \"250ms\", \"30s\", \"15m\" or \"24h\", got 30",
        ),
        ("[session]\nidle = \"2h\"\nmax = \"1h\"", "wsguard.toml:2: session.idle: expected at most session.max (1h), got 2h"),
        (
            "[auth]\nleeway = \"6s\"",
            "wsguard.toml:2: auth.leeway: expected a time from 0ms to 5s, a string such as \"250ms\", \"30s\", \"15m\" or \"24h\", got \"6s\"",
        ),
        (
            "[auth]\nmethods = [\n  \"bearer\",\n  \"basic\",\n]",
            "wsguard.toml:4: auth.methods: expected one of bearer, subprotocol, ticket, cookie, first-message, got \"basic\"",
        ),
        ("[auth]\nmethods = []", "wsguard.toml:2: auth.methods: expected at least one entry, got none"),
        ("[auth]\nallow_query_token = \"true\"", "wsguard.toml:2: auth.allow_query_token: expected true or false, got \"true\""),
        (
            "[proxy]\ntrusted = [\"10.0.0.0/33\"]",
            "wsguard.toml:2: proxy.trusted: expected a network such as \"10.0.0.0/8\" or an address, got \"10.0.0.0/33\"",
        ),
        (
            "[origin]\nallow = [\"https://App.example/\"]",
            "wsguard.toml:2: origin.allow: expected an origin as a browser sends it, such as \"https://app.example\" (write \"https://app.example\"), got \"https://App.example/\"",
        ),
        (
            "[origin]\nallow = \"https://app.example\"",
            "wsguard.toml:2: origin.allow: expected a list, each entry an origin as a browser sends it, such as \"https://app.example\", got \"https://app.example\"",
        ),
        (
            "[host]\nallow = [\"https://app.example\"]",
            "wsguard.toml:2: host.allow: expected a host with or without a port, such as \"app.example\", got \"https://app.example\"",
        ),
        (
            "[server]\nlisten = \"localhost\"",
            "wsguard.toml:2: server.listen: expected an IP address and a port, such as \"127.0.0.1:3000\" or \"[::1]:3000\", got \"localhost\"",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:3000\"",
            "wsguard.toml:2: server.listen: expected a loopback address with --dev, got 0.0.0.0:3000",
        ),
        (
            "[server]\nadmin = \"127.0.0.1:3000\"",
            "wsguard.toml:2: server.admin: expected another address than server.listen, got 127.0.0.1:3000",
        ),
        ("[rate]\nmode = \"off\"", "wsguard.toml:2: rate.mode: expected enforce or shadow, got \"off\""),
        ("[log]\nformat = \"\\u001b[31m\"", "wsguard.toml:2: log.format: expected human or json, got \"\\u{1b}[31m\""),
        (
            "[auth]\nkeys = [\n  \"missing.pub\",\n]",
            "wsguard.toml:3: auth.keys: expected a readable file, got \"missing.pub\" (No such file or directory (os error 2))",
        ),
        (
            "[auth]\nkeys = [\"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"]",
            "wsguard.toml:2: auth.keys: expected the path of a readable file, got what looks like a secret itself",
        ),
        ("[tls]\ncert = \"wsguard.toml\"", "configuration: tls.key: expected a path, because tls.cert is set"),
        (
            "[messages]\ndir = \"wsguard.toml\"",
            "wsguard.toml:2: messages.dir: expected a readable directory, got \"wsguard.toml\" (Not a directory (os error 20))",
        ),
        (
            "[admin]\nkey_file = \"wsguard.toml\"",
            "wsguard.toml:2: admin.key_file: expected a file with one line of 32 to 4096 visible ASCII characters",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let found = complaints(&format!("mistake-{index}"), text);
        assert_eq!(found, [want], "{text}");
    }
}

#[test]
fn every_mistake_is_reported_at_once_in_order() {
    let text = "[rate]\nburst = 0\nbrust = 1\n\n[session]\nidle = \"soon\"\n= 1\n[log]\nformat = \"xml\"";
    let found = complaints("at-once", text);
    let places: Vec<_> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert!(places.is_sorted(), "{found:#?}");
    for place in [":2: rate.burst", ":3: rate.brust", ":6: session.idle", ":7: expected TOML", ":9: log.format"] {
        assert!(found.iter().any(|line| line.contains(place)), "{place} in {found:#?}");
    }
}

#[test]
fn columns_count_characters() {
    let directory = Directory::new("columns");
    let path = directory.write("wsguard.toml", "[auth]\nissuer = \"münchen\"\nmethods = [\"cookie\", \"ü\"]");
    let errors = Config::load(Some(&path), std::iter::empty(), &dev()).unwrap_err();
    assert_eq!(errors.all()[0].place, Place::File { path, line: 3, column: 22 });
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let directory = Directory::new("strength");
    let path =
        directory.write("wsguard.toml", "[server]\nlisten = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\nworkers = 3");
    let variables = [("WSGUARD_SERVER__LISTEN", "127.0.0.1:4"), ("WSGUARD_SERVER__ADMIN", "127.0.0.1:5")];
    let overrides = Overrides { listen: Some("127.0.0.1:6".to_owned()), ..dev() };
    let config = Config::load(Some(&path), environment(&variables), &overrides).unwrap().config;
    assert_eq!(config.server.listen.port(), 6, "the flag");
    assert_eq!(config.server.admin.port(), 5, "the environment");
    assert_eq!(config.server.workers, 3, "the file");
    assert_eq!(config.server.connections_max, 16_384, "the default");
    assert_eq!(config.origins[0].as_str(), "http://localhost:6", "development origins follow the listener");
}

#[test]
fn the_environment_says_the_same_as_the_file() {
    let variables = [
        ("WSGUARD_RATE__MODE", "shadow"),
        ("WSGUARD_PENALTY__MODE", "shadow"),
        ("WSGUARD_ANOMALY__MODE", "shadow"),
        ("WSGUARD_SERVER__WORKERS", "1"),
        ("WSGUARD_SERVER__SEND_QUEUE_BYTES", "1MiB"),
        ("WSGUARD_AUTH__METHODS", "bearer, cookie"),
        ("WSGUARD_AUTH__ALLOW_QUERY_TOKEN", "true"),
        ("WSGUARD_ORIGIN__ALLOW", "https://a.example,https://b.example:8443"),
        ("WSGUARD_RATE__TYPES", "chat=5,auth.refresh=1"),
        ("WSGUARD_HOME", "/srv"),
        ("PATH", "/bin"),
    ];
    let loaded = Config::load(None, environment(&variables), &dev()).unwrap();
    let config = loaded.config;
    assert_eq!([config.rate.mode, config.penalty.mode, config.anomaly.mode], [Mode::Shadow; 3]);
    assert_eq!((config.server.workers, config.server.send_queue_bytes), (1, 1_048_576));
    assert_eq!(config.auth.methods, [AuthMethod::Bearer, AuthMethod::Cookie]);
    assert_eq!(
        config.origins.iter().map(Origin::as_str).collect::<Vec<_>>(),
        ["https://a.example", "https://b.example:8443"]
    );
    assert_eq!(config.rate.types, [("chat".into(), 5), ("auth.refresh".into(), 1)]);
    let warned: Vec<_> = loaded.warnings.iter().map(|warning| warning.key).collect();
    assert_eq!(warned, ["auth.allow_query_token", "rate.mode", "penalty.mode", "anomaly.mode"]);
}

#[test]
fn mistakes_of_environment_and_flags_name_them() {
    for (variables, listen, want) in [
        (
            &[("WSGUARD_RATE__BURST", "many")][..],
            None,
            "WSGUARD_RATE__BURST: rate.burst: expected a whole number from 1 to 100000, got \"many\"",
        ),
        (
            &[("WSGUARD_RATE__BRUST", "1")],
            None,
            "WSGUARD_RATE__BRUST: rate.brust: expected a known key; did you mean rate.burst?",
        ),
        (
            &[("WSGUARD_RATE__TYPES", "chat")],
            None,
            "WSGUARD_RATE__TYPES: rate.types.chat: expected a whole number from 1 to 100000, got \"\"",
        ),
        (
            &[("WSGUARD_TLS__KEY", "a"), ("WSGUARD_TLS__KEY_FILE", "b")],
            None,
            "WSGUARD_TLS__KEY_FILE: tls.key: expected one variable for this key, got also WSGUARD_TLS__KEY",
        ),
        (
            &[],
            Some("0.0.0.0:3000"),
            "--listen: server.listen: expected a loopback address with --dev, got 0.0.0.0:3000",
        ),
    ] {
        let overrides = Overrides { listen: listen.map(str::to_owned), ..dev() };
        let errors = Config::load(None, environment(variables), &overrides).unwrap_err().to_string();
        assert!(errors.lines().any(|line| line == want), "{want} in\n{errors}");
    }
}

#[test]
fn production_needs_allowlists_keys_and_tls_or_proxies() {
    let directory = Directory::new("production");
    let key = directory.write("a.pub", "key").display().to_string();
    let admin_key = directory.write("admin.key", &"k".repeat(40)).display().to_string();
    let good = [
        ("WSGUARD_ORIGIN__ALLOW", "https://app.example"),
        ("WSGUARD_HOST__ALLOW", "app.example"),
        ("WSGUARD_AUTH__KEYS", &key),
        ("WSGUARD_PROXY__TRUSTED", "10.0.0.0/8"),
    ];
    let with = |more: &[(&'static str, &str)], less: &str| {
        let variables: Vec<_> = good.iter().chain(more).filter(|(name, _)| *name != less).copied().collect();
        Config::load(None, environment(&variables), &Overrides::default())
            .map_err(|errors| errors.all().iter().map(|error| error.key.clone()).collect::<Vec<_>>())
    };
    let tls = [("WSGUARD_TLS__CERT", key.as_str()), ("WSGUARD_TLS__KEY_FILE", &key)];
    let jwks = ("WSGUARD_AUTH__JWKS", "https://login.example/jwks.json");
    let (refresh, stale) = (("WSGUARD_AUTH__JWKS_REFRESH", "2m"), ("WSGUARD_AUTH__JWKS_STALE_MAX", "1m"));
    let admin_out = ("WSGUARD_SERVER__ADMIN", "0.0.0.0:3001");
    let admin_key = ("WSGUARD_ADMIN__KEY_FILE", admin_key.as_str());
    for (name, more, less, want) in [
        ("complete behind a proxy", &[][..], "", &[][..]),
        ("complete with TLS", &tls, "WSGUARD_PROXY__TRUSTED", &[]),
        ("no origins", &[], "WSGUARD_ORIGIN__ALLOW", &["origin.allow"]),
        ("no hosts", &[], "WSGUARD_HOST__ALLOW", &["host.allow"]),
        ("no keys", &[], "WSGUARD_AUTH__KEYS", &["auth.keys"]),
        ("keys of the issuer", &[jwks], "WSGUARD_AUTH__KEYS", &[]),
        ("keys of both", &[jwks], "", &[]),
        ("keys over plain HTTP", &[("WSGUARD_AUTH__JWKS", "http://login.example/k")], "", &["auth.jwks"]),
        ("refresh without an issuer", &[refresh], "", &["auth.jwks_refresh"]),
        ("refresh beyond the end", &[jwks, refresh, stale], "", &["auth.jwks_refresh"]),
        ("neither TLS nor proxy", &[], "WSGUARD_PROXY__TRUSTED", &["tls.cert"]),
        ("admin for others in plain", &[admin_out], "", &["tls.cert", "admin.key_file"]),
        ("admin for others without key", &[admin_out, tls[0], tls[1]], "", &["admin.key_file"]),
        ("admin for others", &[admin_out, tls[0], tls[1], admin_key], "", &[]),
    ] {
        assert_eq!(with(more, less).err().unwrap_or_default(), want, "{name}");
    }
}

#[test]
fn paths_of_the_file_are_relative_to_it() {
    let directory = Directory::new("paths");
    directory.write("a.pub", "key");
    let path = directory.write("wsguard.toml", "[auth]\nkeys = [\"a.pub\"]\n[log]\nsecurity = \"security.jsonl\"");
    let config = Config::load(Some(&path), std::iter::empty(), &dev()).unwrap().config;
    assert_eq!(config.auth.keys, [directory.0.join("a.pub")]);
    assert_eq!(config.log.security, LogTarget::File(directory.0.join("security.jsonl")));
}

#[test]
fn revocations_are_kept_beside_the_file_unless_it_says_otherwise() {
    let directory = Directory::new("store");
    directory.write("a.pub", "");
    let needed = "[origin]\nallow = [\"https://a.example\"]\n[host]\nallow = [\"a.example\"]\n[auth]\nkeys = [\"a.pub\"]\n\
                  [proxy]\ntrusted = [\"192.0.2.1\"]\n";
    let production = Overrides::default();
    for (name, store, overrides, want) in [
        ("default", "", &production, Some("wsguard.redb")),
        ("a path", "[store]\npath = \"kept/a.redb\"\n", &production, Some("kept/a.redb")),
        ("a path that ends so", "[store]\npath = \"kept/memory\"\n", &production, Some("kept/memory")),
        ("memory", "[store]\npath = \"memory\"\n", &production, None),
        ("development", "", &dev(), None),
        ("development with a path", "[store]\npath = \"a.redb\"\n", &dev(), Some("a.redb")),
    ] {
        let path = directory.write("wsguard.toml", &format!("{needed}{store}"));
        let loaded = Config::load(Some(&path), std::iter::empty(), overrides).unwrap();
        assert_eq!(loaded.config.store, want.map(|want| directory.0.join(want)), "{name}");
        let warned = loaded.warnings.iter().any(|warning| warning.key == "store.path");
        assert_eq!(warned, name == "memory", "{name}");
    }
    assert_eq!(
        complaints("cap", "[session]\non_cap = \"evict\"\n[store]\npath = 1\n"),
        [
            "wsguard.toml:2: session.on_cap: expected \"refuse\" or \"close-oldest\", got \"evict\"",
            "wsguard.toml:4: store.path: expected a path or \"memory\", got 1",
        ]
    );
}

#[test]
fn what_differs_is_told_without_secrets() {
    let directory = Directory::new("changes");
    directory.write("a.key", &"a".repeat(40));
    directory.write("b.key", &"b".repeat(40));
    let load = |text: &str| {
        let path = directory.write("wsguard.toml", text);
        Config::load(Some(&path), std::iter::empty(), &dev()).unwrap()
    };
    let old = load("[admin]\nkey_file = \"a.key\"\n[rate]\nburst = 60\n[session]\non_cap = \"refuse\"\n");
    let new = load(
        "[admin]\nkey_file = \"b.key\"\n[rate]\nburst = 61\ntypes = { chat = 5 }\n[origin]\nallow = [\"http://a.example\"]\n",
    );
    let said: Vec<_> = old
        .changes(&new)
        .iter()
        .map(|change| format!("{}: {} → {} {}", change.key, change.old, change.new, change.needs_restart))
        .collect();
    assert_eq!(
        said,
        [
            "admin.key_file: (set) → (set) true",
            "origin.allow: default → http://a.example false",
            "rate.burst: 60 → 61 false",
            "rate.types: default → chat=5 false",
            "session.on_cap: refuse → default false",
        ]
    );
    assert!(old.changes(&old).is_empty());
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let errors = Config::load(Some(Path::new("/nonexistent/wsguard.toml")), std::iter::empty(), &dev()).unwrap_err();
    assert!(errors.to_string().starts_with("/nonexistent/wsguard.toml:1: expected a readable file"), "{errors}");
}

/// Without `--dev`, where much has to be set.
#[test]
fn what_stands_in_an_unread_file_is_not_called_missing() {
    let directory = Directory::new("unread");
    let broken = directory.write("broken.toml", "[origin]\nallow = [\"https://a.example\"");
    for (name, path, want) in
        [("absent", directory.0.join("absent.toml"), "expected a readable file"), ("no TOML", broken, "expected TOML")]
    {
        let errors = Config::load(Some(&path), std::iter::empty(), &Overrides::default()).unwrap_err();
        let told: Vec<_> = errors.all().iter().map(ToString::to_string).collect();
        assert!(told.iter().all(|line| line.contains(want)) && !told.is_empty(), "{name}: {told:?}");
    }
}

#[test]
fn the_port_settles_defaults_and_leaves_what_was_set() {
    for (variables, want) in [
        (&[][..], "http://localhost:4242"),
        (&[("WSGUARD_ORIGIN__ALLOW", "https://app.example")], "https://app.example"),
    ] {
        let mut config = Config::load(None, environment(variables), &dev()).unwrap().config;
        config.settle_port(4_242);
        assert_eq!(config.origins[0].as_str(), want);
    }
    let overrides = Overrides { listen: Some("127.0.0.1:0".to_owned()), ..dev() };
    let mut config = Config::load(None, std::iter::empty(), &overrides).unwrap().config;
    assert_eq!(config.origins, [], "before the port is known");
    config.settle_port(4_242);
    assert_eq!(config.origins[1].as_str(), "http://127.0.0.1:4242");
}

/// The example names every key, and what it says is what holds without it.
#[test]
fn the_example_holds_every_key_with_its_default() {
    let example = include_str!("../../../../wsguard.example.toml");
    // Everything in it is commented out but the sections: a line `#key = value` is a key, a line `# text` is prose.
    let all: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase()) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let directory = Directory::new("example");
    let path = directory.write("wsguard.toml", &all);
    for name in ["cert.pem", "key.pem", "issuer.pub", "issuer-ca.pem", "log.key"] {
        directory.write(name, "-");
    }
    directory.write("admin.key", &"k".repeat(40));
    fs::create_dir(directory.0.join("schemas")).unwrap();
    let with_all = Config::load(Some(&path), std::iter::empty(), &Overrides::default()).unwrap();
    let without = Config::load(None, std::iter::empty(), &dev()).unwrap();
    assert_eq!(with_all.warnings, []);
    let is_key = |row: &LimitRow| row.key.contains('.') && row.key != "server.workers" && row.key != "rate.types";
    let rows = |config: &Config| config.limits_table().into_iter().filter(is_key).collect::<Vec<_>>();
    assert_eq!(rows(&with_all.config), rows(&without.config));
    let mut section = String::new();
    let mut keys = std::collections::BTreeSet::new();
    for line in all.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            keys.insert(section.clone());
        } else if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| !name.starts_with('#')) {
            keys.insert(format!("{section}.{name}"));
        }
    }
    let missing: Vec<_> = source::names().filter(|name| !keys.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // As it stands, with everything commented out, it changes nothing.
    let path = directory.write("untouched.toml", example);
    assert!(Config::load(Some(&path), std::iter::empty(), &dev()).is_ok());
}
