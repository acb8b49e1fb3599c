// Shows that the tests fail where the client is broken: plants one fault after another in a copy of the built package, runs
// the tests that need no network, and fails where one stays unnoticed.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** [what goes wrong, module, what stands there, what is put in its place] */
const FAULTS = [
  ['messages are written in the wrong order after a quota', 'outbox', 'if (!entry.inFlight)\n                    return entry;', 'if (!entry.inFlight && entry.id % 2)\n                    return entry;'],
  ['what was acknowledged is written again', 'outbox', 'entries.delete(entry.id);', ''],
  ['a lost session rejects nothing', 'outbox', "reject(id, errorOf('delivery_unknown', cause));", ';'],
  ['a message has no end of its time', 'outbox', "reject(id, errorOf('timeout'));", ';'],
  ['bytes are not counted', 'outbox', 'bytes += entry.bytes;', ''],
  ['what was written makes room', 'outbox', '.filter((other) => !other.csrfToken)', ''],
  ['no bound of what is in flight', 'outbox', 'if (++ahead >= most)', 'if (false)'],
  ['delays do not grow', 'session', '2 ** tries++', '2 ** tries'],
  ['delays have no jitter', 'session', 'random() * Math.min(maxDelayMs', 'Math.min(maxDelayMs'],
  ['delays have no upper bound', 'session', 'Math.min(maxDelayMs, ', 'Math.max(0, '],
  ['a connection is stable at once', 'session', 'stableAt = now() + stableAfterMs;', 'stableAt = now();'],
  ['retryAfterMs is not obeyed', 'session', 'notBefore = now() + (error.retryAfterMs ?? 0);', 'notBefore = now();'],
  ['a refused token is tried for ever', 'session', 'triedFreshToken = true;', ''],
  ['a replay is delivered again', 'session', 'if (seq <= lastSeq)', 'if (false)'],
  ['the server is not told what was received', 'session', "write({ type: 'ack', payload: { seq: lastSeq } })", 'undefined'],
  ['a quota is not waited for', 'session', "alarms.isSet('hold')", 'false'],
  ['after a quota the window stays wide', 'session', 'slow = true;', ''],
  ['nothing is written again after a quota', 'session', "outbox.requeue();\n            slow", 'slow'],
  ['the CSRF token stays the first', 'session', "csrfToken = need('string', payload.csrfToken);", ''],
  ['a draining server is written to', 'session', "|| draining ||", '||'],
  ['an attempt is never given up', 'session', "alarms.set('next', connectTimeoutMs, giveUp);", ''],
  ['a hidden page tries as often as a seen one', 'session', 'if (page.dormant)\n', 'if (false)\n'],
  ['an old connection is heard', 'connection', 'over.signal.aborted || received(data)', 'received(data)'],
  ['a late timer declares the connection dead', 'health', 'now() - by > LATE_MS', 'false'],
  ['silence is taken for life', 'health', 'heard = false;', 'heard = true;'],
  ['a fatal close code is tried again', 'ending', 'const known = RECONNECT[code];', "const known = RECONNECT[code] && 'back_off';"],
  ['tokens are shown in the log', 'log', "'***'", 'value'],
  ['control characters are sent', 'message', 'if (UNSAFE.test(body))', 'if (false)'],
  ['a forgotten question for the token blocks the next', 'credential', 'forget() {\n            asking = undefined;', 'forget() {'],
  ['order is not asked for', 'credential', 'SUBPROTOCOL, SUBPROTOCOL_ORDERED, resume', 'SUBPROTOCOL, resume'],
];

const TESTS = ['client-vectors', 'messages', 'reconnect', 'auth', 'platform'].map((name) => `test/${name}.test.mjs`);

const directory = mkdtempSync(join(tmpdir(), 'wsguard-faults-'));
try {
  const copy = join(directory, 'packages/client');
  for (const part of ['dist', 'test', 'package.json']) cpSync(part, join(copy, part), { recursive: true });
  cpSync('../../vectors', join(directory, 'vectors'), { recursive: true });
  symlinkSync(resolve('node_modules'), join(copy, 'node_modules'));
  const passes = () =>
    spawnSync(process.execPath, ['--test', '--test-timeout=20000', '--test-force-exit', ...TESTS], { cwd: copy, stdio: 'ignore' })
      .status === 0;
  if (!passes()) throw new Error('the tests fail without any fault');
  let unnoticed = 0;
  for (const [what, module, there, instead] of FAULTS) {
    const path = join(copy, `dist/${module}.js`);
    const code = readFileSync(path, 'utf8');
    if (!code.includes(there)) throw new Error(`${module}: nothing to break: ${there}`);
    writeFileSync(path, code.replace(there, instead));
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
