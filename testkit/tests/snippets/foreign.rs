//! Files for programs of others, held to by those programs: proxies in front of a server, a unit, rules, kernel settings.
//! testkit/documents/install.sh puts the programs into `.cache/documents`.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::world::{PATIENCE, Scratch, World, binary, run};

use super::{Block, blocks, fixtures, root, said};

/// What is looked at here, by the name of the block's language.
pub(super) const LANGUAGES: [&str; 4] = ["nginx", "haproxy", "ini", "yaml"];

/// A program of `.cache/documents`.
fn tool(name: &str) -> PathBuf {
    let folder = root().join(".cache/documents");
    if !folder.join("complete").exists() {
        let installed = Command::new("bash").arg(root().join("testkit/documents/install.sh")).status().unwrap();
        assert!(installed.success(), "testkit/documents/install.sh failed");
    }
    fs::canonicalize(folder).unwrap().join(name)
}

/// The units, or the settings of the kernel.
fn units(wanted: bool) -> Vec<Block> {
    let all = blocks(&["ini"]);
    let found: Vec<Block> = all.into_iter().filter(|block| block.text.contains("[Service]") == wanted).collect();
    assert!(!found.is_empty());
    found
}

fn only(language: &str) -> Block {
    let mut all = blocks(&[language]);
    assert_eq!(all.len(), 1, "blocks of {language}");
    all.remove(0)
}

/// A proxy; ended when dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The server of the configuration that the document shows for behind a proxy.
fn behind(proxy: &Block) -> World {
    let scratch = Scratch::new();
    fixtures(scratch.path());
    assert!(run(scratch.path(), &["keygen", "--out", "issuer.key"], &[]).status.success());
    let configured = super::blocks_of(&proxy.document);
    let configured =
        configured.iter().find(|block| block.language == "toml" && block.text.contains("[proxy]")).unwrap();
    fs::write(scratch.path().join("wsguard.toml"), configured.text.replace("chat.example", "localhost")).unwrap();
    World::start(scratch, &["--config", "wsguard.toml"], &[])
}

/// A client comes in through the proxy, and whoever invents an address for himself is seen with his own.
fn comes_through(world: &World, port: u16, mut proxy: Proxy) {
    let began = Instant::now();
    while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
        assert!(proxy.0.try_wait().unwrap().is_none(), "the proxy ended");
        assert!(began.elapsed() < PATIENCE, "the proxy does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let token = run(world.path(), &["token", "--key", "issuer.key", "--sub", "ann"], &[]);
    let token = String::from_utf8(token.stdout).unwrap();
    let url = format!("wss://localhost:{port}/ws");
    let look =
        ["health", "--url", &url, "--ca", "cert.pem", "--origin", "https://localhost", "--wait", "0", "--count", "3"];
    let healthy = run(world.path(), &[&look[..], &["--token", token.trim()]].concat(), &[]);
    assert!(healthy.status.success(), "{}\n{}", said(&healthy), world.log());

    let forged = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--cacert", "cert.pem", "--http1.1", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"])
        .args(["-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "-H", "Authorization: Bearer forged"])
        .args(["-H", "X-Forwarded-For: 203.0.113.9", "-H", "Forwarded: for=203.0.113.9;proto=http"])
        .arg(format!("https://localhost:{port}/ws"))
        .current_dir(world.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&forged.stdout), "401", "{}\n{}", said(&forged), world.log());
    let refused = world.logged_with(&["handshake_refused", "token_not_three_parts"]);
    assert_eq!(refused["source.ip"], "127.0.0.1", "{refused}");
}

fn start(program: &str, arguments: &[&str], folder: &Path) -> Proxy {
    let mut command = Command::new(tool("bin").join(program));
    Proxy(command.args(arguments).current_dir(folder).stdin(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_client_comes_through_nginx_as_it_is_set_up() {
    let block = only("nginx");
    let world = behind(&block);
    let port = free_port();
    let folder = world.path().display();
    let server = block
        .text
        .replace("listen 443", &format!("listen 127.0.0.1:{port}"))
        .replace("chat.example", "localhost")
        .replace("/etc/ssl/chat.pem", &format!("{folder}/cert.pem"))
        .replace("/etc/ssl/chat.key", &format!("{folder}/key.pem"))
        .replace("127.0.0.1:3000", &world.endpoint.to_string());
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/nginx-{name};\n"))
        .concat();
    fs::write(
        world.path().join("nginx.conf"),
        format!("daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{server}}}\n"),
    )
    .unwrap();
    let proxy = start("nginx", &["-e", "stderr", "-p", &folder.to_string(), "-c", "nginx.conf"], world.path());
    comes_through(&world, port, proxy);
}

#[test]
fn a_client_comes_through_haproxy_as_it_is_set_up() {
    let block = only("haproxy");
    let world = behind(&block);
    let port = free_port();
    let pem = |name: &str| fs::read_to_string(world.path().join(name)).unwrap();
    fs::write(world.path().join("both.pem"), pem("cert.pem") + &pem("key.pem")).unwrap();
    let lines = block.text.trim_end().replace('\n', "\n  ");
    fs::write(
        world.path().join("haproxy.cfg"),
        format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nlisten guarded\n  bind \
             127.0.0.1:{port} ssl crt both.pem\n  {lines}\n  server guard {}\n",
            world.endpoint
        ),
    )
    .unwrap();
    // Warnings are faults.
    let proxy = start("haproxy", &["-db", "-dW", "-f", "haproxy.cfg"], world.path());
    comes_through(&world, port, proxy);
}

#[test]
fn a_unit_is_what_systemd_takes_and_leaves_little_open() {
    let scratch = Scratch::new();
    for block in units(true) {
        let path = scratch.path().join("wsguard.service");
        fs::write(&path, block.text.replace("/usr/local/bin/wsguard", binary().to_str().unwrap())).unwrap();
        let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
        assert!(
            verified.status.success() && said(&verified).trim().is_empty(),
            "{}: {}",
            block.place(),
            said(&verified)
        );
        // In tenths, of 100: what is reckoned safe ends at 20.
        let judged = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=20"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(judged.status.success(), "{}: {}", block.place(), said(&judged));
    }
}

#[test]
fn rules_are_yaml_with_expressions_that_prometheus_understands() {
    let parse = "import sys, yaml, promql_parser
groups = yaml.safe_load(sys.stdin)['groups']
rules = [rule for group in groups for rule in group['rules']]
for rule in rules:
    assert set(rule) <= {'alert', 'expr', 'for', 'labels', 'annotations'}, rule
    promql_parser.parse(rule['expr'])
print(len(rules))";
    for block in blocks(&["yaml"]) {
        let mut python = Command::new("python3");
        let input = tool("rules.yml");
        fs::write(&input, &block.text).unwrap();
        let output = python
            .args(["-c", parse])
            .env("PYTHONPATH", tool("python"))
            .stdin(fs::File::open(&input).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {}", block.place(), said(&output));
        assert_eq!(said(&output).trim(), block.text.matches("- alert:").count().to_string());
    }
}

#[test]
fn kernel_settings_are_known_to_the_kernel() {
    let scratch = Scratch::new();
    for block in units(false) {
        let path = scratch.path().join("60-wsguard.conf");
        fs::write(&path, &block.text).unwrap();
        let output = Command::new("sysctl").args(["--dry-run", "--load"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}: {}", block.place(), said(&output));
        let settings = block.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(said(&output).lines().count(), settings, "{}", said(&output));
    }
}
