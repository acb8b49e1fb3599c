// Every snippet of README.md: all of them are type-checked, and those that need no page are run.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { SecureWebSocket, SecureWebSocketError } from '../dist/index.js';
import { FakeClock, fakeWebSocket, settle } from './support.mjs';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const snippets = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, code], at) => ({ at, language, code }));

// Loaded before they are asked for: a snippet that is run then begins at once.
for (const entry of ['describe', 'iterate']) await import(`@wsguard/client/${entry}`);

/** The snippet that holds a text. */
const snippet = (text) => snippets.find(({ code }) => code.includes(text)).code;

/** What snippets take for granted. */
const GIVEN = `
import { SecureWebSocket as Given } from '@wsguard/client';
declare global {
  interface WindowEventMap { connect: MessageEvent }
  const url: string, authToken: string, message: string;
  const socket: Given;
  const fetchToken: () => Promise<string>;
  const show: (text: string) => void, askWhetherItArrived: () => void;
  const AppState: { currentState: string; addEventListener(type: 'change', wake: () => void): { remove(): void } };
}
`;

test('every snippet type-checks', () => {
  const directory = fileURLToPath(new URL('./.readme/', import.meta.url));
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  try {
    const files = [`${directory}given.d.ts`];
    writeFileSync(files[0], GIVEN);
    for (const { at, language, code } of snippets) {
      assert.ok(['js', 'jsx', 'sh'].includes(language), `snippet ${at} is in a language that is checked: ${language}`);
      if (language === 'sh') continue;
      const known = code.includes('SecureWebSocket(') && !code.includes("from '@wsguard/client'");
      const head = known ? "import { SecureWebSocket } from '@wsguard/client';\n" : '';
      files.push(`${directory}${at}.${language}`);
      writeFileSync(files.at(-1), `${head}${code}\nexport {};\n`);
    }
    assert.ok(files.length > 8, 'the snippets were found');
    const program = ts.createProgram(files, {
      allowJs: true, checkJs: true, noEmit: true, skipLibCheck: true, jsx: ts.JsxEmit.ReactJSX, types: [],
      target: ts.ScriptTarget.ES2022, lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
      module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
    });
    const problems = ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
      const line = file ? file.text.slice(0, start).split('\n').length : 0;
      return `${file?.fileName.split('/').pop()}:${line} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
    });
    assert.deepEqual(problems, []);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

/** Runs a snippet with what it takes for granted, and returns the variables that it made. */
async function run(code, given, ...made) {
  const modules = {};
  const body = code.replace(/^import \{.*?\} from '(.*?)';$/gm, (line, name) => {
    modules[name] = undefined;
    return '';
  });
  for (const name of Object.keys(modules)) Object.assign(given, await import(name));
  const AsyncFunction = (async () => {}).constructor;
  return new AsyncFunction(...Object.keys(given), `${body}\nreturn { ${made.join(', ')} };`)(...Object.values(given));
}

test('a mock: the socket is open, and what it sends is seen', async () => {
  const { peer, socket } = await run(snippet('class MockWebSocket'), { SecureWebSocket }, 'peer', 'socket');
  assert.equal(socket.state, 'open');
  socket.send({ type: 'chat', payload: 1 });
  assert.deepEqual(peer.sent.at(-1), { csrfToken: 'c', type: 'chat', id: 1, payload: 1 });
  socket.close();
});

/** `SecureWebSocket` on fake connections, so that a snippet needs no options for it. */
function fakes() {
  const clock = new FakeClock();
  const network = fakeWebSocket();
  class OnFakes extends SecureWebSocket {
    constructor(options) {
      super({ ...options, WebSocket: network.WebSocket, timers: clock.timers, now: clock.now, random: () => 0.5, health: false });
    }
  }
  return { clock, network, given: { SecureWebSocket: OnFakes, url: 'wss://example.com/ws', authToken: 't' } };
}

test('a token that is kept: asked for again when it ends or was refused, and not for a lost connection', async () => {
  const { clock, network, given } = fakes();
  let fetched = 0;
  const { socket } = await run(snippet('let token;'), { ...given, fetchToken: async () => `t${++fetched}` }, 'socket');
  await settle();
  network.connections[0].welcome();
  network.connections[0].drop();
  await clock.advance(500);
  assert.equal(fetched, 1);
  network.connections[1].welcome();
  network.connections[1].drop(4401);
  await clock.advance(1_000);
  assert.equal(fetched, 2);
  socket.close();
});

test('a loop over messages ends with the socket', async () => {
  const { network, given } = fakes();
  const socket = new given.SecureWebSocket(given);
  await settle();
  network.connections[0].welcome();
  const lines = [];
  const reading = run(snippet('iterate(socket)'), { socket, console: { log: (...line) => lines.push(line) } });
  for (let turn = 0; turn < 20; turn += 1) await settle();
  network.connections[0].frame('n', 1);
  await settle();
  socket.close();
  await reading;
  assert.deepEqual(lines, [['n', 1]]);
});

test('errors: what cannot be known is asked, the rest is shown in words', async () => {
  for (const [code, asked, shown] of [
    ['delivery_unknown', 1, []],
    ['queue_full', 0, ['Too many messages wait for the connection. This one was not sent.']],
  ]) {
    const seen = { asked: 0, shown: [] };
    await run(snippet('askWhetherItArrived'), {
      socket: { send: () => Promise.reject(new SecureWebSocketError(code)) },
      message: 'm', askWhetherItArrived: () => (seen.asked += 1), show: (text) => seen.shown.push(text),
    });
    assert.deepEqual(seen, { asked, shown }, code);
  }
});

test('a shared worker: one socket, messages to every tab, failures to the one that sent', async () => {
  const { network, given } = fakes();
  let connect;
  const self = { addEventListener: (type, listener) => (connect = listener) };
  const { socket } = await run(snippet('const ports'), { ...given, self }, 'socket');
  const tabs = [1, 2].map(() => ({ got: [], postMessage(data) { this.got.push(data); } }));
  for (const tab of tabs) connect({ ports: [tab] });
  await settle();
  network.connections[0].welcome();
  network.connections[0].frame('n', 1);
  assert.deepEqual(tabs.map(({ got }) => got.length), [1, 1]);
  tabs[1].onmessage({ data: { type: 'ping' } });
  await settle();
  assert.deepEqual(tabs[1].got.at(-1), { type: 'failed', payload: { code: 'invalid_message', ref: undefined } });
  assert.equal(tabs[0].got.length, 1);
  socket.close();
});

test('another platform: its own way to sleep', async () => {
  const removed = [];
  const AppState = { currentState: 'active', addEventListener: (type, wake) => ({ remove: () => removed.push(type, wake) }) };
  const { page } = await run(snippet('AppState'), { AppState }, 'page');
  assert.equal(page.dormant, false);
  AppState.currentState = 'background';
  assert.equal(page.dormant, true);
  const stop = new AbortController();
  const wake = () => {};
  page.listen(wake, stop.signal);
  stop.abort();
  assert.deepEqual(removed, ['change', wake]);
});

test('every error code stands in the table of errors', async () => {
  const { ERROR_CODES } = await import('../dist/index.js');
  const { describe } = await import('../dist/describe.js');
  const table = readme.slice(readme.indexOf('## Errors'), readme.indexOf('## Recipes'));
  const source = readFileSync(new URL('../src/errors.ts', import.meta.url), 'utf8');
  const own = [...source.matchAll(/^  \| '(\w+)'/gm)].map(([, code]) => code);
  assert.ok(own.length > 8);
  for (const code of [...ERROR_CODES, ...own]) {
    assert.ok(table.includes(`\`${code}\``), code);
    assert.match(describe(new SecureWebSocketError(code)), /^[A-Z].*\.$/, code);
  }
  assert.match(describe(new SecureWebSocketError('internal', 'm', { ref: 'r7' })), /\(r7\)$/);
});
