import type { Alarms } from './alarm.js';
import type { HealthOptions } from './options.js';

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
export interface Health {
  /** A connection begins. */
  start(heartbeatMs: number): void;
  /** Whatever comes from the server is a sign of life; it does not put off the next ping. */
  heard(): void;
  /** A `pong` came. Returns how the connection is, unless it answers another ping than the last. */
  answered(t: unknown): Rtt | undefined;
  /** The page was shown or thawed, or the network changed: a sign of life is wanted soon. */
  wake(): void;
}

/** `write` writes a ping; `dead` is called when nothing came after one. */
export function createHealth(
  health: boolean | HealthOptions,
  now: () => number,
  alarms: Alarms,
  write: (t: number) => void,
  dead: () => void,
): Health {
  const { intervalMs, timeoutMs = 10_000, wakeTimeoutMs = 3_000 } = health as HealthOptions;
  const samples: number[] = [];
  let heartbeatMs: number;
  /** Something has come from the server since the last ping. */
  let heard: boolean;
  let askedAt: number;
  /** When an answer must have come; Infinity while none is awaited. */
  let answerBy: number;

  const ping = (withinMs: number): void => {
    const by = now() + withinMs;
    // A page that wakes again and again must not put off the end of the first question.
    if (!health || answerBy <= by) return;
    askedAt = now();
    answerBy = by;
    heard = false;
    write(askedAt);
    alarms.set('beat', withinMs, () => judge(by));
  };

  const judge = (by: number): void => {
    if (heard) {
      answerBy = Infinity;
      alarms.set('beat', heartbeatMs - (now() - askedAt), () => ping(timeoutMs));
    } else if (now() - by > LATE_MS) {
      alarms.set('beat', GRACE_MS, () => judge(Infinity));
    } else {
      dead();
    }
  };

  return {
    start(offeredMs) {
      heartbeatMs = intervalMs || offeredMs || HEARTBEAT_MS;
      answerBy = Infinity;
      ping(timeoutMs);
    },
    heard() {
      heard = true;
    },
    answered(t) {
      if (t !== askedAt) return undefined;
      const last = now() - askedAt;
      if (samples.push(last) > SAMPLES) samples.shift();
      const sorted = [...samples].sort((a, b) => a - b);
      const steps = samples.length - 1;
      let jitter = 0;
      for (let at = 0; at < steps; at++) jitter += Math.abs(samples[at + 1]! - samples[at]!) / steps;
      return { last, median: sorted[sorted.length >> 1]!, jitter };
    },
    wake: () => ping(wakeTimeoutMs),
  };
}
