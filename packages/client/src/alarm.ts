import type { Timers } from './options.js';

/** Longest delay that timers take; a larger one would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** The timers of one owner, by name. */
export interface Alarms<Name extends string> {
  /** Sets the timer of this name, instead of the one that it was set to before. */
  set(name: Name, delayMs: number, act: () => void): void;
  /** Stops the timer of this name, or all. */
  stop(name?: Name): void;
}

export function createAlarms<Name extends string>(timers: Timers): Alarms<Name> {
  const running = new Map<Name, unknown>();
  const alarms: Alarms<Name> = {
    set(name, delayMs, act) {
      alarms.stop(name);
      running.set(name, timers.setTimeout(act, Math.min(Math.max(delayMs, 0), DELAY_MS_MAX)));
    },
    stop(name) {
      for (const [each, timer] of running) if (!name || name === each) timers.clearTimeout(timer);
    },
  };
  return alarms;
}
