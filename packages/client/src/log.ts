/** Members whose value is a secret, wherever in a frame they stand. */
const SECRET = /token|ticket|secret|password|authorization|cookie/i;

/** Longest text that one line of the log repeats, in characters. */
const SHOWN_CHARS_MAX = 1_000;

/** Writes one line of debug output. */
export type Log = (event: string, detail?: string) => void;

/** The log of a socket: silent unless `debug` is set. `now` dates the lines, in milliseconds. */
export function createLog(debug: boolean, now: () => number): Log {
  if (!debug) return () => {};
  const start = now();
  return (event, detail = '') =>
    console.log(`[wsguard +${Math.round(now() - start)}ms] ${event}${mask(detail).slice(0, SHOWN_CHARS_MAX)}`);
}

/**
 * Makes `text` fit for a log.
 *
 * A frame is parsed and written anew, so that no escape in a member's name hides a secret. Of anything else, which is
 * not of a known shape, only the length is told.
 */
export function mask(text: string): string {
  if (text === '') return '';
  try {
    return ` ${JSON.stringify(JSON.parse(text), (key, value: unknown) => (SECRET.test(key) ? '***' : value))}`;
  } catch {
    return ` (${text.length} characters that are not JSON)`;
  }
}
