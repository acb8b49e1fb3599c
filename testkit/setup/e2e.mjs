// `wsguard setup` as a stranger meets it: each kind of project in a fresh folder is set up, installed, built, started and
// used, passes `wsguard health`, and is not changed by a second run. Minutes: `make e2e`.
//
// The crates and the package of this checkout stand in for the published ones: a patch of the registry in a folder above, and
// the packed client.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const PATIENCE_MS = 90_000;
const root = fileURLToPath(new URL('../..', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const wsguard = process.env.WSGUARD_BIN ?? join(target, 'debug/wsguard');
const cache = join(root, '.cache/setup');
const work = realpathSync(mkdtempSync(join(tmpdir(), 'wsguard-setup-e2e-')));
test.after(() => rmSync(work, { recursive: true, force: true }));

mkdirSync(cache, { recursive: true });
const [{ filename }] = JSON.parse(
  execFileSync('npm', ['pack', '--json', '--pack-destination', work], { cwd: join(root, 'packages/client'), encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
);
const client = join(work, filename);

// What a stranger has in the environment: no settings of ours.
const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WSGUARD_') && name !== 'CARGO_TARGET_DIR'));
const managers = join(cache, 'managers');
const env = {
  ...clean,
  PATH: [join(managers, 'node_modules/.bin'), join(target, 'debug'), clean.PATH].join(delimiter),
  WSGUARD_SETUP_CLIENT: `file:${client}`,
  NO_COLOR: '1',
};

// Cargo reads this in every folder below.
const crates = ['wsguard', 'wsguard-client', 'wsguard-core', 'wsguard-protocol', 'wsguard-server'];
mkdirSync(join(work, '.cargo'));
writeFileSync(
  join(work, '.cargo/config.toml'),
  `[build]\ntarget-dir = "${join(cache, 'target')}"\n[profile.dev]\ndebug = false\n[patch.crates-io]\n${crates.map((name) => `${name} = { path = "${join(root, 'crates', name)}" }\n`).join('')}`,
);

const exec = promisify(execFile);
async function run(cwd, program, ...args) {
  try {
    const { stdout, stderr } = await exec(program, args, { cwd, env, maxBuffer: 1 << 26 });
    return stdout + stderr;
  } catch (error) {
    throw new Error(`${program} ${args.join(' ')}: ${error.code}\n${error.stdout}\n${error.stderr}`);
  }
}

/** Starts a program that runs until the test ends; gives what it says. */
function start(t, cwd, program, args, more = {}) {
  const child = spawn(program, args, { cwd, env: { ...env, ...more }, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  const running = { child, said: '' };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (running.said += data));
  t.after(async () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {}
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  return running;
}

async function until(what, read) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await read();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Every file of a project that is not installed or built, with its mode. */
function fingerprint(folder) {
  const found = [];
  const walk = (at) => {
    for (const entry of readdirSync(join(folder, at), { withFileTypes: true })) {
      const path = join(at, entry.name);
      if (['node_modules', '.git', 'dist'].includes(entry.name)) continue;
      if (entry.isDirectory()) walk(path);
      else found.push(`${path} ${(statSync(join(folder, path)).mode & 0o777).toString(8)} ${createHash('sha256').update(readFileSync(join(folder, path))).digest('hex')}`);
    }
  };
  walk('.');
  return found.sort();
}

/** Sets a project up, twice; the second time nothing changes. */
async function setUp(folder, before) {
  const plan = await run(folder, wsguard, 'setup', '--dry-run');
  assert.match(plan, /^\+\+\+ b\/wsguard\.toml$/m);
  assert.deepEqual(fingerprint(folder), before, 'a dry run changes nothing');
  const said = await run(folder, wsguard, 'setup', '--yes', '--verbose');
  assert.match(said, /good {2}check-config/);
  assert.match(said, /good {2}start: ws:/);
  assert.match(said, /good {2}health: /);
  assert.match(said, /good {2}audit: /);
  assert.match(said, /Next\n {2}1\. .*\n {2}2\. .*\n {2}3\. /);
  assert.doesNotMatch(said, /By hand/);
  const keys = ['keys', 'wsguard/keys'].map((name) => join(folder, name)).find(existsSync);
  assert.equal(statSync(join(keys, 'issuer.pem')).mode & 0o777, 0o600);
  assert.equal(statSync(keys).mode & 0o777, 0o700);
  await run(folder, 'git', 'init', '--quiet');
  const ignored = await run(folder, 'git', 'status', '--porcelain', '--untracked-files=all');
  assert.match(ignored, /keys\/issuer\.pem\.pub/);
  assert.doesNotMatch(ignored, /keys\/issuer\.pem$/m, 'the key stays out of git');
  const after = fingerprint(folder);
  assert.match(await run(folder, wsguard, 'setup', '--yes'), /nothing to do/);
  assert.match(await run(folder, wsguard, 'setup', '--yes', '--force'), /nothing to do/);
  assert.deepEqual(fingerprint(folder), after, 'a second run changes nothing');
  return said;
}

async function serve(t, folder, more = {}) {
  const server = start(t, folder, wsguard, ['serve', '--dev', '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'], more);
  await until('the server is ready', () => /^ready$/m.test(server.said));
  return /^endpoint +(\S+)$/m.exec(server.said)[1];
}

test('an empty folder becomes a server of its own, with a client that talks to it', { timeout: 300_000 }, async (t) => {
  const folder = join(work, 'empty');
  mkdirSync(folder);
  await setUp(folder, []);
  const url = await serve(t, folder);
  await run(folder, wsguard, 'health', '--url', url, '--token', 'test_token', '--wait', '0');
  const chat = start(t, join(folder, 'client'), 'node', ['chat.mjs', url]);
  await until('the client is connected', () => /connected as dev/.test(chat.said));
  chat.child.stdin.write('hello\n');
  await until('the line comes back', () => /^dev: hello$/m.test(chat.said));
  chat.child.stdin.end();
  const [code] = await once(chat.child, 'exit');
  assert.equal(code, 0, chat.said);
});

test('a Cargo package with axum gets the guarded route', { timeout: 1_800_000 }, async (t) => {
  const folder = join(work, 'shop');
  const port = await freePort();
  mkdirSync(join(folder, 'src'), { recursive: true });
  writeFileSync(join(folder, 'Cargo.toml'), '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2024"\n\n[dependencies]\naxum = "0.8"\ntokio = { version = "1", features = ["full"] }\n');
  writeFileSync(
    join(folder, 'src/main.rs'),
    `use axum::{Router, routing::get};\n\n#[tokio::main]\nasync fn main() {\n    let app = Router::new().route("/", get(|| async { "shop" }));\n    let listener = tokio::net::TcpListener::bind("127.0.0.1:${port}").await.unwrap();\n    axum::serve(listener, app).await.unwrap();\n}\n`,
  );
  await setUp(folder, fingerprint(folder));
  const main = readFileSync(join(folder, 'src/main.rs'), 'utf8');
  assert.match(main, /axum::serve\(listener, ws::guarded\(app\)\.await\)/);
  const shop = start(t, folder, join(cache, 'target/debug/shop'), [], { WSGUARD_DEV: '1', WSGUARD_STORE__PATH: 'memory' });
  const page = await until('the application answers', () => fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.text(), () => ''));
  assert.equal(page, 'shop', 'what was there is there');
  const url = `ws://localhost:${port}/ws`;
  await run(folder, wsguard, 'health', '--url', url, '--token', 'test_token', '--wait', '0');
  const chat = start(t, folder, join(cache, 'target/debug/examples/ws_client'), [url]);
  await until('the client is connected', () => /connected as dev/.test(chat.said));
  chat.child.stdin.write('hello\n');
  await until('the line comes back', () => /^dev: hello$/m.test(chat.said));
  assert.match(shop.said, /warning: WSGUARD_DEV=1/);
});

// TypeScript reads Vite's configuration as Node does since version 9, as a bundler before.
for (const { manager, template, version, build } of [
  { manager: 'npm', template: 'react-ts', version: 9, build: ['run', 'build'] },
  { manager: 'pnpm', template: 'react', version: 9, build: ['run', 'build'] },
  { manager: 'yarn', template: 'react-ts', version: 8, build: ['build'] },
]) {
  test(`Vite's template ${template}, installed by ${manager}, gets the client and a chat`, { timeout: 600_000 }, async (t) => {
    const folder = join(work, `page-${manager}`);
    await run(work, 'npm', 'exec', '--yes', '--', `create-vite@${version}`, `page-${manager}`, '--template', template, '--no-interactive');
    if (manager !== 'npm') {
      const manifest = join(folder, 'package.json');
      const program = { pnpm: 'pnpm@10.20.0', yarn: 'yarn@1.22.22' }[manager];
      writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"private": true,', `"private": true,\n  "packageManager": "${program}",`));
    }
    await setUp(folder, fingerprint(folder));
    await run(folder, manager, ...build);

    const port = await freePort();
    const endpoint = await serve(t, folder, { WSGUARD_ORIGIN__ALLOW: `http://localhost:${port}` });
    await run(folder, wsguard, 'health', '--url', endpoint, '--token', 'test_token', '--wait', '0');
    // The plugin names the port that `wsguard serve` has by default; here it has another.
    const plugin = readdirSync(folder).find((name) => name.startsWith('wsguard.vite.'));
    writeFileSync(join(folder, plugin), readFileSync(join(folder, plugin), 'utf8').replace('http://127.0.0.1:3000', endpoint.replace('ws:', 'http:').replace('/ws', '')));
    const vite = start(t, folder, join(folder, 'node_modules/.bin/vite'), ['--port', String(port), '--strictPort']);
    await until(`the page is served: ${vite.said}`, () => fetch(`http://localhost:${port}/`).then(({ ok }) => ok, () => false));
    const key = await fetch(`http://localhost:${port}/wsguard/keys/issuer.pem`);
    assert.doesNotMatch(await key.text(), /PRIVATE KEY/, 'the development server keeps the key to itself');

    const { chromium } = createRequire(join(root, 'packages/client/package.json'))('playwright-core');
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
    t.after(() => browser.close());
    const visit = async (name, colorScheme) => {
      const page = await (await browser.newContext({ colorScheme, viewport: { width: 900, height: 900 } })).newPage();
      await page.goto(`http://localhost:${port}/`);
      await page.getByLabel('Your name').fill(name);
      await page.getByRole('button', { name: 'Come in' }).click();
      await page.getByText(`Connected as ${name}`).waitFor({ timeout: 30_000 });
      return page;
    };
    const [ann, bob] = [await visit('Ann', 'light'), await visit('Bob', 'dark')];
    await ann.getByLabel('Message').fill('Hello Bob <b>');
    await ann.getByRole('button', { name: 'Send' }).click();
    for (const page of [ann, bob]) await page.locator('.wsguard-chat li', { hasText: 'Hello Bob' }).waitFor({ timeout: 30_000 });
    assert.equal(await ann.locator('.wsguard-chat [data-draft]').count(), 0, 'nothing waits');
    if (process.env.SCREENSHOTS) {
      await ann.screenshot({ path: join(process.env.SCREENSHOTS, `${manager}-light.png`), fullPage: true });
      await bob.setViewportSize({ width: 390, height: 800 });
      await bob.screenshot({ path: join(process.env.SCREENSHOTS, `${manager}-dark-narrow.png`), fullPage: true });
    }
  });
}
