import { createAlarms } from './alarm.js';
import type { Settings } from './options.js';

/** Round trips that the statistics look back on. */
const SAMPLES = 16;

/** Time from one ping to the next where neither the options nor the server say, in milliseconds. */
const HEARTBEAT_MS = 25_000;

/** A timer that fires this late, in milliseconds, ran in a page that slept: what arrived meanwhile is not read yet. */
const LATE_MS = 100;

/** How long such a page gets to read it, in milliseconds. */
const GRACE_MS = 1_000;

/** How long a ping took to be answered, in milliseconds. */
export interface Rtt {
  last: number;
  /** The median of the last 16. */
  median: number;
  /** The mean difference of one to the next. */
  jitter: number;
}

/** Finds out whether the other end is there, and how far away. */
export class Health {
  readonly #settings: Settings;
  readonly #write: (t: number) => void;
  readonly #dead: () => void;
  readonly #alarms;
  readonly #samples: number[] = [];
  #heartbeatMs = HEARTBEAT_MS;
  /** Something has come from the server since the last ping. */
  #heard = false;
  #askedAt = 0;
  /** When an answer must have come; Infinity while none is awaited. */
  #answerBy = Infinity;

  /** `write` writes a ping; `dead` is called when nothing came after one. */
  constructor(settings: Settings, write: (t: number) => void, dead: () => void) {
    this.#settings = settings;
    this.#write = write;
    this.#dead = dead;
    this.#alarms = createAlarms<'next'>(settings.timers);
  }

  start(heartbeatMs: number): void {
    this.#heartbeatMs = this.#settings.intervalMs || heartbeatMs || HEARTBEAT_MS;
    this.ping(this.#settings.timeoutMs);
  }

  stop(): void {
    this.#answerBy = Infinity;
    this.#alarms.stop();
  }

  /** Whatever comes from the server is a sign of life; it does not put off the next ping. */
  heard(): void {
    this.#heard = true;
  }

  /** A `pong` came. Returns how the connection is, unless it answers another ping than the last. */
  answered(t: unknown): Rtt | undefined {
    if (t !== this.#askedAt) return undefined;
    const last = this.#settings.now() - this.#askedAt;
    const samples = this.#samples;
    if (samples.push(last) > SAMPLES) samples.shift();
    const sorted = [...samples].sort((a, b) => a - b);
    const steps = samples.slice(1).map((sample, at) => Math.abs(sample - samples[at]!));
    const jitter = steps.reduce((sum, step) => sum + step, 0) / (steps.length || 1);
    return { last, median: sorted[sorted.length >> 1]!, jitter };
  }

  /** Asks the server for a sign of life within `timeoutMs`. */
  ping(timeoutMs: number): void {
    const { now, health } = this.#settings;
    const answerBy = now() + timeoutMs;
    // A page that wakes again and again must not put off the end of the first question.
    if (!health || this.#answerBy <= answerBy) return;
    this.#askedAt = now();
    this.#answerBy = answerBy;
    this.#heard = false;
    this.#write(this.#askedAt);
    this.#alarms.set('next', timeoutMs, () => this.#judge(answerBy));
  }

  #judge(answerBy: number): void {
    const { now, timeoutMs } = this.#settings;
    if (this.#heard) {
      this.#answerBy = Infinity;
      this.#alarms.set('next', this.#heartbeatMs - (now() - this.#askedAt), () => this.ping(timeoutMs));
    } else if (now() - answerBy > LATE_MS) {
      this.#alarms.set('next', GRACE_MS, () => this.#judge(Infinity));
    } else {
      this.#dead();
    }
  }
}
