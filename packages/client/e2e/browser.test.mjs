// The client in Chromium against the real server. FIREFOX=/usr/bin/firefox-esr: in Firefox, but for what only Chromium can
// be made to do.
import { build } from 'esbuild';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import test, { after, before, describe } from 'node:test';
import { chromium } from 'playwright-core';
import { WebSocket } from 'ws';
import { SecureWebSocket } from '../dist/index.js';
import { Browser } from './devtools.mjs';
import { launchFirefox } from './firefox.mjs';
import { Proxy, Server, TOKEN, UNLIMITED, until } from './support.mjs';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-sync'];
const { FIREFOX } = process.env;
const range = (count, from = 0) => Array.from({ length: count }, (_, n) => from + n);

let browser;
let bundle;

before(async () => {
  browser = FIREFOX
    ? await launchFirefox(FIREFOX)
    : await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
  const result = await build({
    stdin: { contents: "export * from './dist/index.js'", resolveDir: new URL('..', import.meta.url).pathname },
    bundle: true, format: 'iife', globalName: 'wsguard', target: 'es2022', write: false,
  });
  bundle = result.outputFiles[0].text;
});
after(() => browser?.close());

/** A server behind a network that can be broken, which pages of both may reach. */
async function world(t, env = UNLIMITED) {
  const settings = { ...env };
  const server = new Server(settings);
  const proxy = await Proxy.to(0);
  t.after(() => proxy[Symbol.asyncDispose]());
  settings.WSGUARD_ORIGIN__ALLOW = `http://localhost:${proxy.port},http://127.0.0.1:${proxy.port}`;
  await server.start();
  t.after(() => server[Symbol.asyncDispose]());
  proxy.target = server.port;
  return { server, proxy, origin: `http://127.0.0.1:${proxy.port}` };
}

/** A page of `origin` with a socket that keeps what it hears. */
async function visit(t, origin, options = {}, context) {
  context ??= await browser.newContext({ bypassCSP: true });
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`${origin}/health`);
  await page.addScriptTag({ content: bundle });
  await page.evaluate(({ url, options }) => {
    globalThis.seen = { echoes: [], chats: [], opens: [], closes: [], errors: [], states: [], outcomes: [] };
    globalThis.socket = new wsguard.SecureWebSocket({
      url,
      reconnect: { minDelayMs: 50, maxDelayMs: 500, stableAfterMs: 200 },
      ackTimeoutMs: 100_000,
      onMessage: ({ type, payload }) => (type === 'echo' ? seen.echoes : seen.chats).push(type === 'echo' ? payload : payload.message),
      onOpen: ({ resumed, session, subject }) => seen.opens.push({ resumed, session, subject }),
      onClose: ({ code, error, willReconnect }) => seen.closes.push({ code, error: error?.code, willReconnect }),
      onError: ({ code }) => seen.errors.push(code),
      onStateChange: (state) => seen.states.push(state),
      ...options,
    });
    globalThis.echo = (payload) =>
      socket.send({ type: 'echo', payload }).then(() => seen.outcomes.push(payload), (error) => seen.outcomes.push(error.code));
  }, { url: `${origin.replace('http', 'ws')}/ws`, options: { authToken: TOKEN, ...options } });
  return {
    page,
    seen: () => page.evaluate(() => structuredClone(seen)),
    state: () => page.evaluate(() => socket.state),
    echo: (payloads) => page.evaluate((all) => { for (const payload of all) echo(payload); }, payloads),
    until: (what, test, argument) => until(what, () => page.evaluate(test, argument)),
  };
}

describe(`the client in ${FIREFOX ? 'Firefox' : 'Chromium'} and the real server`, { concurrency: 2, timeout: 180_000 }, () => {
  test('connects, measures, and is refused in words', async (t) => {
    const { origin } = await world(t);
    const { page, seen, echo, until } = await visit(t, origin);
    await echo(['grüße']);
    await until('the answer', () => seen.echoes.length === 1 && socket.rtt?.last > 0);
    assert.deepEqual((await seen()).opens.map(({ subject }) => subject), ['dev']);
    const code = await page.evaluate(() => socket.send({ type: 'nonsense' }).catch((error) => error.code));
    assert.equal(code, 'unknown_type');

    const refused = await visit(t, origin, { authToken: 'not-a-token' });
    await refused.until('the end', () => socket.state === 'closed');
    assert.deepEqual((await refused.seen()).closes, [{ code: 4401, error: 'unauthenticated', willReconnect: false }]);
  });

  test('ticket, first message and cookie: in, and back with the session', async (t) => {
    const { proxy, origin } = await world(t);
    for (const auth of ['ticket', 'first-message', 'cookie']) {
      const context = await browser.newContext({ bypassCSP: true });
      if (auth === 'cookie') await context.addCookies([{ name: 'wsguard', value: TOKEN, url: origin, httpOnly: true, sameSite: 'Strict' }]);
      const it = await visit(t, origin, { auth, ...(auth === 'cookie' && { authToken: undefined }) }, context);
      await it.echo([1]);
      await it.until(auth, () => seen.echoes.length === 1);
      proxy.cut();
      await it.until('the client noticed', () => seen.closes.length > 0);
      await it.echo([2]);
      await it.until('back', () => seen.echoes.length === 2);
      const { opens, echoes } = await it.seen();
      assert.deepEqual(opens.map(({ resumed }) => resumed), [false, true], auth);
      assert.deepEqual(echoes, [1, 2], auth);
      await it.page.evaluate(() => socket.close());
    }
  });

  test('a page of a foreign origin gets no connection, and does not hammer', async (t) => {
    const { server } = await world(t);
    const elsewhere = createServer((_, response) => response.end('<p>elsewhere')).listen(0, '127.0.0.1');
    t.after(() => elsewhere.close());
    await until('it listens', () => elsewhere.address());
    const origin = `http://127.0.0.1:${elsewhere.address().port}`;
    const { page, seen } = await visit(t, origin, {
      url: server.url, reconnect: { minDelayMs: 200, maxDelayMs: 400 },
    });
    const started = Date.now();
    await until('four tries', () => page.evaluate(() => seen.closes.length >= 4));
    const it = await seen();
    assert.deepEqual(it.opens, []);
    assert.ok(it.closes.every(({ code, error }) => code === 1006 && error === 'connection_lost'));
    assert.ok(it.closes.length <= 4 + (Date.now() - started) / 50);
    assert.match(server.log, /origin/i);
  });

  test('1,000 messages while the network is cut, half-open and restored: each once, in order', async (t) => {
    const { proxy, origin } = await world(t);
    const { seen, echo, until } = await visit(t, origin, {
      health: { intervalMs: 400, timeoutMs: 300 }, connectTimeoutMs: 2_000,
    });
    const troubles = ['cut', 'hold', 'mute', 'cut', 'hold'];
    for (const [at, trouble] of troubles.entries()) {
      await until('open', () => socket.state === 'open');
      const opens = (await seen()).opens.length;
      // Half of the answers to this part.
      const struck = new Promise((resolve) => proxy.after(5_000, () => resolve(proxy[trouble]())));
      await echo(range(150, 150 * at));
      await struck;
      await until(`the client noticed: ${trouble}`, (before) => socket.state !== 'open' || seen.opens.length > before, opens);
      proxy.restore();
    }
    await echo(range(250, 750));
    await until('everything', () => seen.echoes.length >= 1_000 && seen.outcomes.length >= 1_000);
    const it = await seen();
    assert.deepEqual(it.outcomes, range(1_000), 'each acknowledged, in order');
    assert.deepEqual(it.echoes, range(1_000), 'each handled once, in order, and its answer received once');
    assert.deepEqual(it.opens.map(({ resumed }) => resumed), [false, ...Array(it.opens.length - 1).fill(true)]);
    assert.ok(it.opens.length > troubles.length, 'each trouble ended a connection, and the next part came over a new one');
    assert.equal(new Set(it.opens.map(({ session }) => session)).size, 1);
  });

  test('kill -9 and a new start: what was acknowledged is not sent again, what waited arrives', async (t) => {
    const { server, proxy, origin } = await world(t);
    const { seen, echo, until } = await visit(t, origin);
    await echo(range(5));
    await until('the first', () => seen.outcomes.length === 5);
    proxy.mute();
    await echo(['in flight']);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await server.stop('SIGKILL');
    proxy.cut();
    await until('the client noticed', () => socket.state === 'reconnecting');
    await echo(['queued']);
    proxy.restore();
    await server.start();
    await until('all outcomes', () => seen.outcomes.length === 7);
    const it = await seen();
    assert.deepEqual(it.outcomes, [...range(5), 'delivery_unknown', 'queued']);
    assert.deepEqual(it.echoes, [...range(5), 'queued']);
  });

  test('two tabs: each has its own session, both hear the room once, and closing one leaves the other', async (t) => {
    const { proxy, origin } = await world(t);
    const [one, two] = [await visit(t, origin), await visit(t, origin)];
    for (const it of [one, two]) await it.until('open', () => socket.state === 'open');
    await one.page.evaluate(() => socket.send({ type: 'chat', payload: { message: 'from one' } }));
    for (const it of [one, two]) await it.until('the message', () => seen.chats.length > 0);
    proxy.cut();
    for (const it of [one, two]) await it.until('back', () => seen.opens.length === 2 && socket.state === 'open');
    await two.page.evaluate(() => socket.send({ type: 'chat', payload: { message: 'from two' } }));
    for (const it of [one, two]) await it.until('the second message', () => seen.chats.length > 1);
    await one.page.evaluate(() => socket.close());
    await two.page.evaluate(() => socket.send({ type: 'chat', payload: { message: 'alone' } }));
    await two.until('the third message', () => seen.chats.length > 2);
    assert.deepEqual((await one.seen()).chats, ['from one', 'from two']);
    assert.deepEqual((await two.seen()).chats, ['from one', 'from two', 'alone']);
    const sessions = [(await one.seen()).opens, (await two.seen()).opens].map((opens) => new Set(opens.map(({ session }) => session)));
    assert.deepEqual(sessions.map(({ size }) => size), [1, 1]);
    assert.notDeepEqual(sessions[0], sessions[1]);
  });

  test('a frozen page: what was said meanwhile arrives once it is thawed, also where the network was cut', { skip: !!FIREFOX }, async (t) => {
    const { server, proxy, origin } = await world(t);
    const chromium = await Browser.launch();
    t.after(() => chromium.close());
    const other = new SecureWebSocket({ url: server.url, authToken: TOKEN, WebSocket });
    t.after(() => other.close());
    for (const cut of [false, true]) {
      const page = await chromium.open(`${origin}/health`);
      await page.evaluate(bundle);
      await page.evaluate(`
        globalThis.seen = { chats: [], opens: [], events: [], ticks: 0 };
        for (const type of ['freeze', 'resume', 'visibilitychange']) document.addEventListener(type, () => seen.events.push(type));
        setInterval(() => seen.ticks += 1, 10);
        globalThis.socket = new wsguard.SecureWebSocket({
          url: ${JSON.stringify(proxy.url)}, authToken: ${JSON.stringify(TOKEN)}, health: { wakeTimeoutMs: 1_000 },
          onMessage: ({ payload }) => seen.chats.push(payload.message), onOpen: ({ resumed }) => seen.opens.push(resumed),
        }); 0`);
      await until('open', () => page.evaluate('socket.state === "open"'));
      // Another tab comes to the front; what nobody sees may be frozen.
      await chromium.open(`${origin}/health?other`);
      await until('hidden', () => page.evaluate('document.hidden'));
      await page.freeze();
      await until('frozen', () => page.evaluate('seen.events.includes("freeze")'));
      const ticks = await page.evaluate('seen.ticks');
      for (const n of range(20)) await other.send({ type: 'chat', payload: { message: `message ${n}` } });
      if (cut) proxy.cut();
      assert.ok((await page.evaluate('seen.ticks')) <= ticks + 1, 'no timer ran');
      await page.thaw();
      await page.show();
      await until('everything', () => page.evaluate('seen.chats.length >= 20'));
      assert.deepEqual(await page.evaluate('seen.chats'), range(20).map((n) => `message ${n}`), `cut: ${cut}`);
      // Chromium itself may drop the connection of a frozen page to which something is sent.
      const opens = await page.evaluate('seen.opens');
      assert.deepEqual(opens, [false, ...Array(opens.length - 1).fill(true)]);
      assert.ok(opens.length <= 2 && (opens.length === 2 || !cut), String(opens));
      assert.ok(await page.evaluate('seen.events.includes("resume")'));
      await page.evaluate('socket.close()');
    }
  });

  test('offline and online: no try in vain, and a quick return', { skip: !!FIREFOX }, async (t) => {
    const { proxy, origin } = await world(t);
    const { page, seen, until } = await visit(t, origin, { reconnect: { minDelayMs: 50, maxDelayMs: 60_000, stableAfterMs: 0 } });
    await until('open', () => socket.state === 'open');
    await page.context().setOffline(true);
    proxy.cut();
    await until('the client noticed', () => socket.state === 'reconnecting');
    const wait = await page.evaluate(() => socket.snapshot.retryAt - performance.now());
    assert.ok(wait > 30_000, `a device without a network is left in peace: ${wait}`);
    await page.context().setOffline(false);
    await until('back', () => socket.state === 'open');
    assert.deepEqual((await seen()).opens.map(({ resumed }) => resumed), [false, true]);
  });
});
