// Ten thousand clients on one virtual clock, and the server they all lose at the same moment.
import { SecureWebSocket } from '../dist/index.js';
import { WELCOME } from './support.mjs';

/** Virtual time for very many timers: a heap instead of a list that is searched. */
class World {
  now = 0;
  #heap = [];
  #last = 0;
  timers = {
    setTimeout: (act, delayMs) => {
      const timer = { at: this.now + delayMs, order: ++this.#last, act };
      this.#push(timer);
      return timer;
    },
    clearTimeout: (timer) => {
      if (timer) timer.act = undefined;
    },
  };

  #push(timer) {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (before(heap[parent], timer)) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = timer;
  }

  #pop() {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (heap.length > 0) {
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child += 1;
        if (before(last, heap[child])) break;
        heap[at] = heap[child];
        at = child;
      }
      heap[at] = last;
    }
    return first;
  }

  async run(until) {
    while (this.#heap.length > 0 && this.#heap[0].at <= until) {
      const { at, act } = this.#pop();
      if (!act) continue;
      this.now = Math.max(this.now, at);
      act();
      // What a connection awaits before it dials.
      for (let turn = 0; turn < 12; turn += 1) await null;
    }
    this.now = until;
  }
}

const before = (a, b) => a.at < b.at || (a.at === b.at && a.order < b.order);

/** The same numbers each time (mulberry32). */
function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Loses the server of `clients` clients at 0 and gives it back after `downMs`; it takes `perSecond` handshakes at most and
 * answers the others with 1013.
 *
 * `how`: `crash`, every connection is gone at once; `drain`, the server gave each client a time within 5 s before.
 * Returns attempts and successes in each tenth of a second, and when the last client was back.
 */
export async function simulate({ clients, how, downMs, perSecond, random = seeded(7), forMs = 120_000 }) {
  const world = new World();
  const attempts = Array(forMs / 100).fill(0);
  const successes = Array(forMs / 100).fill(0);
  const taken = new Map();
  const open = new Set();
  const slot = () => Math.floor(world.now / 100);
  let up = true;
  let counting = false;
  let backAt = 0;

  class Connection {
    readyState = 0;
    constructor() {
      if (counting) attempts[slot()] += 1;
      // The way to the server and back.
      world.timers.setTimeout(() => this.#answer(), 20 + random() * 60);
    }
    #answer() {
      if (this.readyState !== 0) return;
      const second = Math.floor(world.now / 1_000);
      const count = (taken.get(second) ?? 0) + 1;
      if (!up || (counting && count > perSecond)) return this.drop(up ? 1013 : 1006);
      taken.set(second, count);
      this.readyState = 1;
      open.add(this);
      if (counting) {
        successes[slot()] += 1;
        if (open.size === clients) backAt = world.now;
      }
      this.onopen?.({});
      this.say('welcome', { ...WELCOME, resumed: false });
    }
    say(type, payload) {
      this.onmessage?.({ data: JSON.stringify({ type, payload }) });
    }
    drop(code) {
      open.delete(this);
      this.readyState = 3;
      this.onclose?.({ code });
    }
    send() {}
    close() {
      open.delete(this);
      this.readyState = 3;
    }
  }

  world.now = -100_000;
  const sockets = Array.from({ length: clients }, () =>
    new SecureWebSocket({
      url: 'wss://example.com/ws', authToken: 't', health: false, WebSocket: Connection, now: () => world.now,
      timers: world.timers, random, ackTimeoutMs: 1e9,
    }));
  for (let turn = 0; turn < 20; turn += 1) await null;
  await world.run(-50_000);
  if (open.size !== clients) throw new Error(`${open.size} of ${clients} are connected before it begins`);
  counting = true;
  if (how === 'drain') for (const connection of [...open]) connection.say('draining', { reconnectAfterMs: 50_000 + Math.floor(random() * 5_000) });
  await world.run(0);
  if (how === 'crash') {
    up = false;
    for (const connection of [...open]) connection.drop(1006);
  }
  await world.run(downMs);
  up = true;
  await world.run(forMs);
  for (const socket of sockets) socket.close();
  return { attempts, successes, backAt };
}
