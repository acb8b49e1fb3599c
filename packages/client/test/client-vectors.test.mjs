// The vectors of the clients, read by this one. Their format: vectors/client/README.md.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { SecureWebSocket, SecureWebSocketError } from '../dist/index.js';
import { FakeClock, FakePage, fakeWebSocket, settle } from './support.mjs';

const directory = new URL('../../../vectors/client/', import.meta.url);

for (const file of readdirSync(directory).filter((name) => name.endsWith('.json'))) {
  const { welcome, scenarios } = JSON.parse(readFileSync(new URL(file, directory), 'utf8'));
  test(file, async (t) => {
    assert.ok(scenarios.length > 0);
    for (const scenario of scenarios) await t.test(scenario.name, () => play(scenario, welcome));
  });
}

async function play({ options = {}, steps }, welcome) {
  const { token = 't0', random = 0.5, needs, ...settings } = options;
  const world = new World(settings, token, random, welcome);
  for (const [at, { in: event, out = {} }] of steps.entries()) {
    world.out = {};
    const [[what, value]] = Object.entries(event);
    await world[what](value);
    await settle();
    const where = `step ${at}: ${JSON.stringify(event)}`;
    assert.deepEqual(world.observed(), out, where);
  }
}

class World {
  out = {};
  #clock = new FakeClock();
  #page = new FakePage();
  #network = fakeWebSocket();
  #questions = [];
  #aborts = new Map();
  #lastPing;

  constructor(settings, token, random, welcome) {
    const tell = (channel) => (value) => this.#tell(channel, value);
    const network = this.#network;
    network.onDial = (peer) => {
      const [protocol, ordered, resume, bearer, ...more] = peer.protocols;
      assert.deepEqual([protocol, ordered, more], ['wsguard.v1', 'wsguard.ordered', []]);
      const [, resumeToken, lastSeq] = /^wsguard\.resume(?:\.(.+)\.(\d+))?$/.exec(resume);
      this.#tell('wire', {
        dial: {
          token: bearer.slice('wsguard.bearer.'.length),
          resume: resumeToken ? { token: resumeToken, lastSeq: Number(lastSeq) } : null,
        },
      });
    };
    network.onFrame = (frame) => {
      if (frame.type === 'ping') {
        this.#lastPing = frame.payload.t;
        frame = { type: 'ping', payload: { t: '$t' } };
      }
      this.#tell('wire', { frame });
    };
    network.onHangup = (code) => this.#tell('wire', { hangup: code });
    this.welcomePayload = welcome;
    this.options = {
      url: 'wss://example.com/ws',
      health: false,
      ...settings,
      authToken: token ?? (({ reason }) => {
        this.#tell('asks', reason);
        return new Promise((resolve, reject) => this.#questions.push({ resolve, reject }));
      }),
      random: () => random,
      WebSocket: network.WebSocket,
      now: this.#clock.now,
      timers: this.#clock.timers,
      page: this.#page,
      onMessage: tell('messages'),
      onError: (error) => this.#tell('errors', error.code),
      onStateChange: (state, previous) => state !== previous && this.#tell('states', state),
      onRtt: tell('rtt'),
      onClose: ({ code, error, willReconnect }) => {
        const { retryAt } = this.socket.snapshot;
        assert.equal(willReconnect, retryAt !== undefined);
        const retryInMs = willReconnect ? retryAt - this.#clock.now() : null;
        this.#tell('closes', { code, error: error?.code ?? null, retryInMs });
      },
    };
  }

  #tell(channel, value) {
    (this.out[channel] ??= []).push(value);
  }

  /** What came out since the step began; without the outcomes' order. */
  observed() {
    const { outcomes, ...rest } = this.out;
    return structuredClone({ ...rest, ...(outcomes && { outcomes: Object.fromEntries(outcomes) }) });
  }

  start() {
    this.socket = new SecureWebSocket(this.options);
  }

  send({ as, type, payload, ...options }) {
    const abort = new AbortController();
    this.#aborts.set(as, abort);
    this.socket.send({ type, payload }, { ...options, signal: abort.signal }).then(
      () => this.#tell('outcomes', [as, 'resolved']),
      (error) => this.#tell('outcomes', [as, error.code]),
    );
  }

  abort(as) {
    this.#aborts.get(as).abort(Object.assign(new Error('taken back'), { code: 'aborted' }));
  }

  refresh() {
    void this.socket.refresh();
  }

  close({ code, reason }) {
    this.socket.close(code, reason);
  }

  answer(answer) {
    const question = this.#questions.shift();
    if (typeof answer === 'string') question.resolve(answer);
    else if (answer.error === 'token_failed') question.reject(new Error('no token'));
    else question.reject(new SecureWebSocketError(answer.error, 'no token'));
  }

  get #peer() {
    return this.#network.connections.at(-1);
  }

  opened() {
    this.#peer.open();
  }

  welcome(changes) {
    const payload = Object.entries({ ...this.welcomePayload, ...changes }).filter(([, value]) => value !== null);
    this.#peer.frame('welcome', Object.fromEntries(payload));
  }

  frame(frame) {
    if (frame.payload?.t === '$t') frame = { ...frame, payload: { ...frame.payload, t: this.#lastPing } };
    this.#peer.raw(JSON.stringify(frame));
  }

  text(text) {
    this.#peer.raw(text);
  }

  closed({ code, reason }) {
    this.#peer.drop(code, reason);
  }

  cut() {
    this.#peer.drop();
  }

  page(change) {
    this.#page.become(change);
  }

  async advance(ms) {
    await this.#clock.advance(ms);
  }
}
