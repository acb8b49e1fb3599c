// A real `wsguard serve`, and a network between it and its clients that can be broken.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Longest time that anything here waits for an event, in milliseconds. Generous: the machine may be busy. */
export const PATIENCE_MS = 30_000;

export const TOKEN = 'test_token';

/** No quota: what these tests are about is delivery. */
export const UNLIMITED = { WSGUARD_RATE__MODE: 'shadow', WSGUARD_PENALTY__MODE: 'shadow', WSGUARD_ANOMALY__MODE: 'shadow' };

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** The server's binary: `WSGUARD_BIN`, or where Cargo puts it. */
export function binary() {
  const path = process.env.WSGUARD_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug/wsguard');
  if (!existsSync(path)) throw new Error(`${path} is missing: run cargo build, or set WSGUARD_BIN`);
  return path;
}

/** Waits until `read` gives something. */
export async function until(what, read) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await read();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A server under `--dev`, whose process can be killed and started anew on the same port. */
export class Server {
  #env;
  #process;
  #directory = mkdtempSync(join(tmpdir(), 'wsguard-e2e-'));
  port = 0;
  log = '';

  constructor(env) {
    this.#env = env;
  }

  static async start(env = {}) {
    const server = new Server(env);
    await server.start();
    return server;
  }

  async start() {
    const clean = Object.entries(process.env).filter(([name]) => !name.startsWith('WSGUARD_'));
    const own = spawn(binary(), ['serve', '--dev', '--listen', `127.0.0.1:${this.port}`, '--admin', '127.0.0.1:0'], {
      cwd: this.#directory,
      env: { ...Object.fromEntries(clean), WSGUARD_LOG__FORMAT: 'human', ...this.#env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = own;
    let log = '';
    own.stderr.on('data', (text) => {
      // Enough for the lines of the start and for what went wrong.
      if (log.length < 100_000) log += text;
      this.log = log;
    });
    const page = await until('the server is ready', () => {
      if (own.exitCode !== null) throw new Error(`the server did not start:\n${log}`);
      return /^ready/m.test(log) && /^demo page *(http:\S+)/m.exec(log)?.[1];
    });
    this.port = Number(new URL(page).port);
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  /** The resident memory of the process, in bytes. */
  get pid() {
    return this.#process.pid;
  }

  async token(name, ttl) {
    const response = await fetch(`http://127.0.0.1:${this.port}/dev/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name, ttl }),
    });
    return (await response.json()).token;
  }

  /** Ends the process: at once, or with `SIGTERM` in good order. */
  async stop(signal = 'SIGKILL') {
    const own = this.#process;
    if (own.exitCode !== null || own.signalCode !== null) return;
    own.kill(signal);
    await once(own, 'exit');
  }

  async [Symbol.asyncDispose]() {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A TCP proxy that cuts, holds and restores. */
export class Proxy {
  #pairs = new Set();
  #listener;
  /** The port of the server. */
  target = 0;
  /** How late what passes arrives, in milliseconds. */
  delayMs = 0;
  /** What becomes of bytes: `flow`; `hold`: nothing arrives and nothing is closed; `mute`: only the server's do not. */
  #mode = 'flow';
  /** What happens once so many bytes more have come from the server. */
  #strike;

  static async to(port) {
    const proxy = new Proxy();
    proxy.target = port;
    proxy.#listener = createServer((client) => proxy.#accept(client));
    proxy.#listener.listen(0, '127.0.0.1');
    await once(proxy.#listener, 'listening');
    return proxy;
  }

  get port() {
    return this.#listener.address().port;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  /** How many connections are open. */
  get connections() {
    return this.#pairs.size;
  }

  #accept(client) {
    if (this.#mode === 'refuse') {
      client.on('error', () => {});
      client.destroy();
      return;
    }
    const server = connect(this.target, '127.0.0.1');
    const pair = { client, server, dead: this.#mode === 'hold', muted: this.#mode === 'mute', delayed: 0 };
    this.#pairs.add(pair);
    for (const [from, to] of [[client, server], [server, client]]) {
      from.setNoDelay(true);
      from.on('data', (chunk) => {
        if (from === server) this.#count(chunk.length);
        // What was swallowed is lost with its connection: bytes never go missing from one that flows on.
        if (pair.dead || (pair.muted && from === server)) return;
        if (this.delayMs === 0 && pair.delayed === 0) to.write(chunk);
        else {
          // In order: what comes behind delayed bytes waits with them.
          pair.delayed += 1;
          setTimeout(() => {
            pair.delayed -= 1;
            if (!pair.dead) to.write(chunk);
          }, this.delayMs || 100);
        }
      });
      from.on('error', () => {});
      from.on('close', () => {
        if (pair.dead && this.#mode !== 'flow') return;
        to.destroy();
        this.#pairs.delete(pair);
      });
    }
  }

  /** Does this once so many bytes more have come from the server: amid what is under way, whatever the machine's pace. */
  after(bytes, act) {
    this.#strike = { left: bytes, act };
  }

  #count(bytes) {
    if (!this.#strike || (this.#strike.left -= bytes) > 0) return;
    const { act } = this.#strike;
    this.#strike = undefined;
    act();
  }

  /** The connections there are end, without a close frame. */
  cut() {
    for (const { client, server } of this.#pairs) {
      client.destroy();
      server.destroy();
    }
    this.#pairs.clear();
  }

  /** The clients hear bytes that mean nothing, and then nothing more: as from a portal that answers for everybody. */
  babble() {
    for (const { client, server } of this.#pairs) {
      client.end(randomBytes(64));
      server.destroy();
    }
    this.#pairs.clear();
  }

  /** Half-open: nothing arrives any more, in either direction, and nobody is told. */
  hold() {
    this.#mode = 'hold';
    for (const pair of this.#pairs) pair.dead = true;
  }

  /** Only what the server says does not arrive. */
  mute() {
    this.#mode = 'mute';
    for (const pair of this.#pairs) pair.muted = true;
  }

  /** New connections are refused. */
  refuse() {
    this.#mode = 'refuse';
  }

  /** New connections work again. */
  restore() {
    this.#mode = 'flow';
  }

  async [Symbol.asyncDispose]() {
    this.#listener.close();
    this.cut();
  }
}
