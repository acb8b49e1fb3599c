// Shows that the tests of the Rust client fail where it is broken: plants one fault after another in a copy of the part
// that has no socket (crates/wsguard-client/src/session.rs and what it stands on), runs its tests, and fails where one
// stays unnoticed. The vectors of the clients are among them.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const MODULES = ['backoff', 'error', 'event', 'message', 'options', 'session', 'token'];

/** [what goes wrong, file, what stands there, what is put in its place] */
const FAULTS = [
  ['a refresh asks twice', 'session', ' && !self.refreshing {', ' {\n            self.asking = false;'],
  ['a login opens twice', 'session', 'if !self.asking {\n            self.asking', 'if true {\n            self.asking'],
  ['a forgotten question for the token blocks the next', 'session', 'if self.asking {\n                    self.asking = false;', 'if self.asking {'],
  ['a refused token is tried for ever', 'session', 'self.tried_fresh_token = true;', ''],
  ['a refused token is asked for as any other', 'session', 'self.token_reason = TokenReason::Rejected;', ''],
  ['a static token is tried again', 'session', 'self.tried_fresh_token || !self.settings.renewable', 'self.tried_fresh_token'],
  ['delays have no jitter', 'backoff', 'bound.mul_f64(if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.0 })', '{ let _ = random; bound }'],
  ['delays do not grow', 'backoff', 'self.tries = self.tries.saturating_add(1);', ''],
  ['delays have no upper bound', 'backoff', '.min(self.max)', ''],
  ['a connection is stable at once', 'session/live', 'stable_at: Some(now.saturating_add(stable_after))', 'stable_at: { let _ = stable_after; Some(now) }'],
  ['delays never start over', 'session/live', 'self.backoff.reset();', ''],
  ['retryAfterMs is not obeyed', 'session', 'let wait = end.error.retry_after().unwrap_or_default();', 'let wait = Duration::ZERO;'],
  ['a draining server is left too early', 'session', '&& let Some(at) = live.move_at()', '&& let Some(at) = live.move_at().map(|_| now)'],
  ['a draining server is written to', 'session/live', 'self.held_until.is_none() && self.move_at.is_none()', 'self.held_until.is_none()'],
  ['a fatal close code is tried again', 'session', 'Some(known) => known.reconnect(),', 'Some(_) => Reconnect::BackOff,'],
  ['an unknown refusal is tried again', 'session', 'None if (4_400..4_500).contains(&code) => Reconnect::Never,', ''],
  ['an older refusal explains a cut', 'session', '(code >= 4_400 || code == CloseCode::PolicyViolation.number())', '(code > 0)'],
  ['the session is not asked for again', 'session', 'self.resume_token = welcome.resume_token.map(Token::from);', ''],
  ['the last frame received is not named', 'session', 'Resume { token, last_seq }', 'Resume { token, last_seq: last_seq.min(0) }'],
  ['a replay is delivered again', 'session', 'if seq <= self.last_seq {', 'if false {'],
  ['numbers of a lost session go on', 'session', 'if !welcome.resumed {\n            self.last_seq = 0;', 'if !welcome.resumed {'],
  ['the server is not told what was received', 'session/live', 'self.effects.push_back(Effect::Write(wire::ack(self.last_seq)));', ''],
  ['what was in flight is sent to another server', 'session', 'if self.settings.on_lost == OnLost::Reject {', 'if false {'],
  ['what was in flight is rejected though it may be repeated', 'session', 'if self.settings.on_lost == OnLost::Reject {', 'if true {'],
  ['what was in flight is not written again', 'session', 'self.outbox.requeue();\n        self.token_reason', 'self.token_reason'],
  ['what was acknowledged is written again', 'session/outbox', 'let Some(entry) = self.entries.remove(&id) else', 'let Some(entry) = self.entries.get(&id) else'],
  ['messages are not counted', 'session/outbox', 'self.entries.len() < self.limits.messages_max && ', ''],
  ['bytes are not counted', 'session/outbox', 'self.bytes = self.bytes.saturating_add(bytes);', ''],
  ['what was written makes room', 'session/outbox', '.filter(|(_, entry)| entry.csrf.is_none()).map(|(id, _)| *id);\n            let victim', '.map(|(id, _)| *id);\n            let victim'],
  ['the newest makes room for the oldest', 'session/outbox', 'Overflow::DropOldest => unwritten.next(),', 'Overflow::DropOldest => unwritten.next_back(),'],
  ['no bound of what is in flight', 'session/outbox', 'if self.in_flight >= window {', 'if false {'],
  ['a message has no end of its time', 'session', 'Entry::new(body, acked, deadline)', 'Entry::new(body, acked, deadline.max(Duration::from_secs(1_000_000)))'],
  ['a message that was given up makes no room', 'session', 'self.outbox.expire(now, &mut settle(&mut self.effects))', 'self.outbox.expire(now, &mut settle(&mut self.effects)) && false'],
  ['a message that is too large is written', 'session', 'if let Some(error) = self.size_error(&entry.body) {', 'if let Some(error) = self.size_error(&entry.body).filter(|_| false) {'],
  ['a quota is not waited for', 'session', 'live.hold_until(now.saturating_add(error.retry_after().unwrap_or_default().max(SILENCE)));', ''],
  ['a quota is waited for too briefly', 'session', '.max(SILENCE)', ''],
  ['after a quota the window stays wide', 'session', 'self.slow = true;', ''],
  ['after a quota the window stays narrow', 'session', 'self.slow &= self.outbox.waiting() > 0;', ''],
  ['nothing is written again after a quota', 'session', 'self.outbox.requeue();\n            self.slow', 'self.slow'],
  ['the CSRF token stays the first', 'session', 'Frame::Csrf(token) => self.csrf_token(&token),', 'Frame::Csrf(_) => {}'],
  ['a message with an old CSRF token is lost', 'session', '&& self.outbox.renew(ours, self.csrf.1)', '&& false'],
  ['a message with a bad CSRF token goes round for ever', 'session/outbox', '|| entry.csrf == Some(csrf)', ''],
  ['an attempt is never given up', 'session', 'if *deadline <= now => {', 'if *deadline <= now && false => {'],
  ['silence is never the end', 'session/live', ' || live.heard_at.saturating_add(live.silence_max) <= now', ''],
  ['a ping without an answer is never the end', 'session/live', 'if due(live.answer_by) || ', 'if '],
  ['pings are not sent', 'session/live', 'self.effects.push_back(Effect::Write(wire::ping(self.last_ping)));', ''],
  ['any pong answers the last ping', 'session/live', '.take_if(|(awaited, _)| *awaited == t)', '.take_if(|_| t > 0 || true)'],
  ['control characters are sent', 'message', 'UnsafeContent', 'TooLarge'],
  ['a token is in what is printed', 'token', 'f.write_str("Token(..)")', 'write!(f, "Token({})", self.0)'],
];

const root = resolve(import.meta.dirname, '../..');
const directory = mkdtempSync(join(tmpdir(), 'wsguard-client-faults-'));
const copy = join(directory, 'crates/wsguard-client');

/** Builds the tests; what does not compile shows nothing about them. */
function build() {
  const environment = { ...process.env, CARGO_TARGET_DIR: join(directory, 'target'), RUSTFLAGS: '--cap-lints allow' };
  const { status, stdout, stderr } = spawnSync('cargo', ['test', '--quiet', '--lib', '--no-run', '--message-format=json'], {
    cwd: copy,
    env: environment,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`it does not build\n${stdout}${stderr}`);
  return stdout.split('\n').filter((line) => line.includes('"executable":"')).map((line) => JSON.parse(line).executable).at(-1);
}

/** Whether the tests pass. What never ends fails. */
function passes() {
  return spawnSync(build(), { cwd: copy, stdio: 'ignore', timeout: 60_000 }).status === 0;
}

/** The lines of the workspace's Cargo.toml that say which versions of these packages are used. */
function versions(...names) {
  const manifest = readFileSync(join(root, 'Cargo.toml'), 'utf8');
  return names.map((name) => new RegExp(`^${name} = .*$`, 'm').exec(manifest)[0]).join('\n');
}

try {
  mkdirSync(join(copy, 'src'), { recursive: true });
  const source = join(root, 'crates/wsguard-client/src');
  for (const module of MODULES) cpSync(join(source, `${module}.rs`), join(copy, `src/${module}.rs`));
  // The one word of TLS in what is copied.
  const errors = readFileSync(join(copy, 'src/error.rs'), 'utf8');
  writeFileSync(join(copy, 'src/error.rs'), errors.replace('rustls::Error', 'std::io::Error'));
  cpSync(join(source, 'session'), join(copy, 'src/session'), { recursive: true });
  cpSync(join(root, 'vectors'), join(directory, 'vectors'), { recursive: true });
  writeFileSync(
    join(copy, 'src/lib.rs'),
    `${MODULES.map((module) => `pub mod ${module};`).join('\n')}\npub use self::{error::*, event::*, message::*, options::*, token::*};\n`,
  );
  writeFileSync(
    join(copy, 'Cargo.toml'),
    `[package]
name = "wsguard-client"
edition = "2024"

[dependencies]
wsguard-protocol = { path = "${join(root, 'crates/wsguard-protocol')}" }
${versions('serde', 'serde_json', 'thiserror')}

[workspace]
`,
  );
  if (!passes()) throw new Error('the tests fail without any fault');
  let unnoticed = 0;
  for (const [what, module, there, instead] of FAULTS) {
    const path = join(copy, `src/${module}.rs`);
    const code = readFileSync(path, 'utf8');
    if (!code.includes(there)) throw new Error(`${module}: nothing to break: ${there}`);
    writeFileSync(path, code.replace(there, () => instead));
    const noticed = !passes();
    writeFileSync(path, code);
    if (!noticed) unnoticed += 1;
    console.log(`${noticed ? 'noticed  ' : 'UNNOTICED'} ${module}: ${what}`);
  }
  console.log(`${FAULTS.length - unnoticed} passed, ${unnoticed} failed`);
  if (unnoticed > 0) process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
