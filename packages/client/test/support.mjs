// A clock that only moves when told to, a WebSocket that only says what its script says, and a socket on both.
import assert from 'node:assert/strict';
import { SecureWebSocket } from '../dist/index.js';

/** Lets every promise that can settle do so. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export class FakeClock {
  #now = 1_000;
  #timers = new Map();
  #last = 0;
  now = () => this.#now;
  timers = {
    setTimeout: (callback, delayMs) => {
      assert.ok(delayMs < 2 ** 31, `a delay that timers take: ${delayMs}`);
      this.#timers.set(++this.#last, { at: this.#now + delayMs, callback });
      return this.#last;
    },
    clearTimeout: (timer) => this.#timers.delete(timer),
  };
  /** Time passes and no timer fires, as in a page that is frozen. */
  freeze(ms) {
    this.#now += ms;
  }
  /** How many timers are set. */
  get pending() {
    return this.#timers.size;
  }
  async advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].callback();
    }
    this.#now = end;
    await settle();
  }
}

export const WELCOME = {
  session: 's1', subject: 'ann', csrfToken: 'csrf-1', csrfExpiresAt: 1, authExpiresAt: 2,
  heartbeatMs: 25_000, maxMessageBytes: 65_536, resumed: false,
};

/** A page that is shown and hidden, a network that comes and goes. */
export class FakePage {
  #hidden = false;
  #offline = false;
  #listeners = new Set();
  get dormant() {
    return this.#hidden || this.#offline;
  }
  get listening() {
    return this.#listeners.size;
  }
  listen(wake, signal) {
    this.#listeners.add(wake);
    signal.addEventListener('abort', () => this.#listeners.delete(wake));
  }
  become(change) {
    if (change === 'hidden' || change === 'shown') this.#hidden = change === 'hidden';
    else this.#offline = change === 'offline';
    for (const wake of this.#listeners) wake();
  }
}

/** An implementation of WebSocket that records the connections made with it, and tells what is done with them. */
export function fakeWebSocket() {
  const connections = [];
  const network = { connections, onDial() {}, onFrame() {}, onHangup() {} };
  class FakeWebSocket {
    readyState = 0;
    sent = [];
    closedWith = undefined;
    onopen = null;
    onmessage = null;
    onclose = null;
    onerror = null;
    constructor(url, protocols) {
      if (protocols.some((entry) => /[^\w!#$%&'*+.^`|~-]/.test(entry))) throw new SyntaxError(`bad entries ${protocols}`);
      Object.assign(this, { url, protocols });
      connections.push(this);
      network.onDial(this);
    }
    send(text) {
      assert.equal(this.readyState, 1, 'nothing is written to a connection that is not open');
      const frame = JSON.parse(text);
      this.sent.push(frame);
      network.onFrame(frame);
    }
    close(code, reason) {
      if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) throw new DOMException('code', 'InvalidAccessError');
      if (Buffer.byteLength(reason ?? '') > 123) throw new DOMException('reason', 'SyntaxError');
      if (this.readyState < 2) {
        this.closedWith = { code, reason };
        network.onHangup(code);
      }
      this.readyState = 3;
    }
    // What the server does:
    open() {
      this.readyState = 1;
      this.onopen?.({});
    }
    raw(data) {
      this.onmessage?.({ data });
    }
    frame(type, payload = {}, more = {}) {
      this.raw(JSON.stringify({ type, ...more, payload }));
    }
    welcome(changes = {}) {
      if (this.readyState === 0) this.open();
      this.frame('welcome', { ...WELCOME, ...changes });
    }
    drop(code = 1006, reason = '') {
      this.readyState = 3;
      this.onerror?.({});
      this.onclose?.({ code, reason });
    }
  }
  return Object.assign(network, { WebSocket: FakeWebSocket });
}

/** A socket on a fake clock and fake connections, and a diary of what it told its owner. */
export function rig(options = {}) {
  const clock = new FakeClock();
  const { WebSocket, connections } = fakeWebSocket();
  const seen = { messages: [], opens: [], closes: [], errors: [], states: [] };
  const socket = new SecureWebSocket({
    url: 'wss://example.com/ws',
    authToken: 'secret-token',
    WebSocket,
    now: clock.now,
    timers: clock.timers,
    random: () => 0.5,
    health: false,
    onMessage: (message) => seen.messages.push(message),
    onOpen: (welcome) => seen.opens.push(welcome),
    onClose: (info) => seen.closes.push(info),
    onError: (error) => seen.errors.push(error),
    onStateChange: (state) => seen.states.push(state),
    ...options,
  });
  return {
    clock, socket, seen, connections,
    /** The newest connection. */
    get peer() {
      return connections.at(-1);
    },
  };
}

/** A rig whose first connection is open. */
export async function openRig(options, welcome) {
  const it = rig(options);
  await settle();
  it.peer.welcome(welcome);
  return it;
}

/** Answers of the ticket and session endpoints, in order, until the test ends; a diary of what was asked. */
export function fakeFetch(t, ...answers) {
  const asked = [];
  t.mock.restoreAll();
  t.mock.method(globalThis, 'fetch', async (url, init) => {
    asked.push({ url, ...init });
    const answer = answers[Math.min(asked.length, answers.length) - 1];
    if (answer instanceof Error) throw answer;
    const { status = 200, headers = {}, body = {} } = answer;
    return new Response(JSON.stringify(body), { status, headers });
  });
  return asked;
}

/** The code that a promise rejects with. */
export async function codeOf(promise) {
  try {
    await promise;
  } catch (error) {
    assert.equal(error.name, 'SecureWebSocketError', String(error));
    return error.code;
  }
  return 'resolved';
}
