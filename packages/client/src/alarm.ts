/** Longest delay that timers take; a larger one would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** Where timers come from. */
export interface Timers {
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: any): void;
}

/**
 * All timers of a socket, by what they are for. Each is set once at a time.
 *
 * - `next`: the end of an attempt, the next attempt, or the move away from a server that drains.
 * - `hold`: messages are written again.
 * - `seen`: the server is told what was received.
 * - `beat`: the next ping, or the end of the wait for a sign of life.
 * - `expiry`: the first of the messages that wait is given up. The only one that outlives a connection.
 */
export type Alarm = 'next' | 'hold' | 'seen' | 'beat' | 'expiry';

export interface Alarms {
  /** Sets an alarm, instead of what it was set to before. */
  set(alarm: Alarm, delayMs: number, act: () => void): void;
  stop(...alarms: Alarm[]): void;
  isSet(alarm: Alarm): boolean;
}

export function createAlarms(timers: Timers): Alarms {
  const running: Partial<Record<Alarm, unknown>> = {};
  const stop = (...alarms: Alarm[]): void => {
    for (const alarm of alarms) {
      timers.clearTimeout(running[alarm]);
      delete running[alarm];
    }
  };
  return {
    set(alarm, delayMs, act) {
      stop(alarm);
      const fire = (): void => {
        delete running[alarm];
        act();
      };
      running[alarm] = timers.setTimeout(fire, Math.min(Math.max(delayMs, 0), DELAY_MS_MAX));
    },
    stop,
    isSet: (alarm) => alarm in running,
  };
}
