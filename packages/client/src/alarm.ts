import type { Timers } from './options.js';

/** Longest delay that timers take; a larger one would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** One timer: `alarm(act, delayMs)` sets it anew, `alarm()` stops it. */
export type Alarm = (act?: () => void, delayMs?: number) => void;

export function createAlarm(timers: Timers): Alarm {
  let timer: unknown;
  return (act, delayMs = 0) => {
    timers.clearTimeout(timer);
    if (act) timer = timers.setTimeout(act, Math.min(Math.max(delayMs, 0), DELAY_MS_MAX));
  };
}
