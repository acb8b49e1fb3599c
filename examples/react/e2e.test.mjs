// The example in Chromium, under StrictMode, against the real server. SCREENSHOTS=DIR keeps pictures.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createServer as createNetServer } from 'node:net';
import test from 'node:test';
import { createServer } from 'vite';
import { Server, until } from '../../packages/client/e2e/support.mjs';

const { chromium } = createRequire(new URL('../../packages/client/package.json', import.meta.url))('playwright-core');
const root = new URL('.', import.meta.url).pathname;

test('two people chat, the network fails, attacks are refused', { timeout: 180_000 }, async (t) => {
  const settings = {};
  const server = new Server(settings);
  // The server has to know the origin of the page, and the page where the server is: the page's port is found first.
  const probe = createNetServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  settings.WSGUARD_ORIGIN__ALLOW = `http://127.0.0.1:${port}`;
  await server.start();
  t.after(() => server[Symbol.asyncDispose]());
  process.env.WSGUARD_URL = `http://127.0.0.1:${server.port}`;
  const page = await createServer({ root, logLevel: 'silent', server: { host: '127.0.0.1', port, strictPort: true } });
  await page.listen();
  t.after(() => page.close());

  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
  t.after(() => browser.close());
  const complaints = [];
  const visit = async (name, options = {}) => {
    const context = await browser.newContext({ viewport: { width: 1120, height: 760 }, ...options });
    const tab = await context.newPage();
    const sockets = [];
    tab.on('websocket', (socket) => socket.url().endsWith('/ws') && sockets.push(socket));
    tab.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    tab.on('pageerror', (error) => complaints.push(error.message));
    await tab.goto(`http://127.0.0.1:${port}/#${name}`);
    await tab.getByText('Connected').waitFor({ timeout: 15_000 }).catch(async (error) => {
      throw new Error(`${complaints.join('\n')}\n${await tab.textContent('body')}\n${server.log}`, { cause: error });
    });
    return { tab, sockets };
  };
  const say = async ({ tab }, text) => {
    await tab.getByLabel('Message').fill(text);
    await tab.getByLabel('Message').press('Enter');
  };
  const lines = ({ tab }, selector = 'li.mine p, li.theirs p') => tab.locator('.lines').locator(selector).allTextContents();
  const waiting = ({ tab }) => tab.locator('.lines li.pending').count();

  const ann = await visit('Ann');
  const bob = await visit('Bob', { colorScheme: 'dark' });
  assert.equal(ann.sockets.length, 1, 'StrictMode mounts twice and connects once');

  await say(bob, 'Hello Ann');
  await say(ann, 'Hello Bob');
  await say(ann, 'Vectors are std::vector<int>, and a < b && c > d.');
  for (const it of [ann, bob]) await until('three lines', async () => (await lines(it)).length === 3 && (await waiting(it)) === 0);

  // The plug is pulled: what is typed waits, and is seen to wait.
  await ann.tab.getByLabel('Network').uncheck();
  await ann.tab.getByText('Reconnecting').waitFor();
  for (const text of ['Are you there?', 'I seem to be offline.', 'I go on anyway.']) await say(ann, text);
  await until('three wait', async () => (await waiting(ann)) === 3);
  await say(bob, 'Said while Ann was away');
  await until('Bob sees it', async () => (await lines(bob)).includes('Said while Ann was away'));
  if (process.env.SCREENSHOTS) await ann.tab.screenshot({ path: `${process.env.SCREENSHOTS}/offline-light.png` });
  await ann.tab.getByLabel('Network').check();
  await ann.tab.getByText('session resumed').waitFor();
  await until('nothing waits', async () => (await waiting(ann)) === 0 && (await lines(ann)).length === 7);
  await until('Bob has it all', async () => (await lines(bob)).length === 7);
  assert.deepEqual((await lines(ann)).toSorted(), (await lines(bob)).toSorted());
  assert.equal(new Set(await lines(ann)).size, 7, 'nothing twice');

  // Attacks, each with what it must end in.
  let dialogs = 0;
  for (const it of [ann, bob]) it.tab.on('dialog', (dialog) => (dialogs++, dialog.dismiss()));
  for (const [title, outcome] of [
    ['Forged CSRF token', /^csrf_invalid ref \w+/],
    ['Markup in a message', /^harmless$/],
    ['A room without an invitation', /^forbidden ref \w+/],
    ['A type nobody knows', /^unknown_type ref \w+/],
    ['Prototype pollution', /^unsafe_content$/],
    ['An expired token', /^unauthenticated ref \w+/],
    ['A flood of 90 messages', /^90 handled in [\d.]+ s$/],
  ]) {
    const attack = ann.tab.locator('.attacks li', { hasText: title });
    await attack.getByRole('button').click();
    await until(title, async () => outcome.test(await attack.locator('output').textContent({ timeout: 30_000 })));
    assert.equal(await attack.locator('output.good').count(), 1, title);
  }
  await until('the markup is text', async () => (await lines(bob)).some((line) => line.includes('<img') || line.includes('&lt;img')));
  assert.equal(await bob.tab.locator('.lines img').count(), 0);
  assert.equal(dialogs, 0);
  assert.equal(await ann.tab.getByText('Connected').count(), 1, 'and the connection lives on');

  for (const [name, { tab }] of Object.entries({ light: ann, dark: bob })) {
    for (const [width, height] of [[1280, 800], [360, 640]]) {
      await tab.setViewportSize({ width, height });
      const path = `${process.env.SCREENSHOTS}/${width}-${name}.png`;
      if (process.env.SCREENSHOTS) await tab.screenshot({ path, fullPage: width < 1000 });
      const [wide, cut] = await tab.evaluate(() => [
        document.documentElement.scrollWidth > innerWidth,
        [...document.querySelectorAll('.connection *')].filter((it) => it.scrollWidth > it.clientWidth + 1 && it.clientWidth > 0).map((it) => it.textContent),
      ]);
      assert.equal(wide, false, 'nothing sticks out of the window');
      assert.deepEqual(cut, [], `no word is cut at ${width}`);
    }
  }
  assert.deepEqual(complaints, []);
});
