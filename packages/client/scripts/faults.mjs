// Shows that the tests fail where the client is broken: plants one fault after another in a copy of the built package, runs
// the tests that need no network, and fails where one stays unnoticed.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** [what goes wrong, module, what stands there, what is put in its place] */
const FAULTS = [
  ['messages are written in the wrong order after a quota', 'session', 'if (entry.round !== round) {', 'if (entry.round !== round && entry.size % 2) {'],
  ['what was acknowledged is written again', 'session', 'entries.delete(id);', ''],
  ['a lost session rejects nothing', 'session', "entry.end(errorOf('delivery_unknown', cause));", ';'],
  ['a message has no end of its time', 'session', "expiry(timeoutMs, () => end(errorOf('timeout')));", ''],
  ['a message that was given up makes no room', 'session', 'promise.then(flush, flush);', 'promise.catch(() => {});'],
  ['bytes are not counted', 'session', 'bytes += size;', ''],
  ['what was written makes room', 'session', '.filter((entry) => !entry.csrfToken)', ''],
  ['no bound of what is in flight', 'session', 'if (ahead >= inFlightMax)', 'if (false)'],
  ['a message that is too large is written', 'session', 'CSRF_MEMBER_BYTES + csrfToken.length > messageBytesMax', '0 > Infinity'],
  ['delays do not grow', 'session', '2 ** tries++', '2 ** tries'],
  ['delays have no jitter', 'session', 'random() * Math.min(maxDelayMs', 'Math.min(maxDelayMs'],
  ['delays have no upper bound', 'session', 'Math.min(maxDelayMs, ', 'Math.max(0, '],
  ['a connection is stable at once', 'session', 'stableAt = now() + stableAfterMs;', 'stableAt = now();'],
  ['an attempt that failed is stable', 'session', "if (snapshot.state === 'open' && now() >= stableAt)", 'if (now() >= stableAt)'],
  ['retryAfterMs is not obeyed', 'session', 'notBefore = now() + (error.retryAfterMs ?? 0);', 'notBefore = now();'],
  ['a refused token is tried for ever', 'session', 'triedFreshToken = true;', ''],
  ['a replay is delivered again', 'session', 'if (seq <= lastSeq)', 'if (false)'],
  ['the server is not told what was received', 'session', "write({ type: 'ack', payload: { seq: (toldSeq = lastSeq) } })", 'undefined'],
  ['a quota is not waited for', 'session', 'inFlightMax = 0;', ''],
  ['after a quota the window stays wide', 'session', 'inFlightMax = 1;', 'inFlightMax = 32;'],
  ['a connection that ends within a quota stops what waits', 'session', 'inFlightMax ||= 1;', ''],
  ['nothing is written again after a quota', 'session', "round++;\n                        inFlightMax", 'inFlightMax'],
  ['the CSRF token stays the first', 'session', "case 'csrf':\n                    csrfToken = need(payload.csrfToken);", "case 'csrf':"],
  ['a draining server is written to', 'session', " || draining)\n", ')\n'],
  ['an attempt is never given up', 'session', 'next(connectTimeoutMs, giveUp);', ''],
  ['a hidden page tries as often as a seen one', 'session', 'if (page.dormant)\n', 'if (false)\n'],
  ['an old connection is heard', 'session', 'signal.aborted || receive(data)', 'receive(data)'],
  ['a late timer declares the connection dead', 'session', 'lateMs > LATE_MS', 'false'],
  ['silence is taken for life', 'session', 'heard = false;', 'heard = true;'],
  ['any pong answers the last ping', 'session', 'if (payload.t === askedAt)', 'if (true)'],
  ['a fatal close code is tried again', 'session', '100[0237-9]', '100[0]'],
  ['an unknown refusal is tried again', 'session', '|44(?!01|08|29)..', '|4403|4409'],
  ['tokens are shown in the log', 'session', "'***'", 'member'],
  ['control characters are sent', 'session', "if (/[^\\\\](\\\\\\\\)*\\\\[ub]|\\x7f|\"__proto__\":/.test(rest))", 'if (false)'],
  ['types of the protocol are sent', 'session', '.includes(type)', '.includes()'],
  ['a forgotten question for the token blocks the next', 'session', 'asking = undefined;\n        lost(', 'lost('],
  ['questions for the token overlap', 'session', 'asking ??= authToken', 'asking = authToken'],
  ['order is not asked for', 'session', "'wsguard.ordered',", ''],
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
