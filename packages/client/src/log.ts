/** Members whose value is a secret, wherever in a frame they stand. */
const SECRET = /token|ticket|secret|password|authorization|cookie/i;

/** Longest text that one line of the log repeats, in characters. */
const SHOWN_CHARS_MAX = 1_000;

/** Takes one line of debug output, without a line end. */
export type Logger = (line: string) => void;

/** Writes one line of debug output. `frame` is shown with its secrets masked. */
export type Log = (event: string, frame?: string) => void;

/** The log of a socket: silent unless `debug` is set. `now` dates the lines, in milliseconds. */
export function createLog(debug: boolean | Logger | undefined, now: () => number): Log {
  const start = now();
  return (event, frame) => {
    if (!debug) return;
    const line = `[wsguard +${Math.round(now() - start)}ms] ${event}${frame ? mask(frame).slice(0, SHOWN_CHARS_MAX) : ''}`;
    if (debug === true) console.log(line);
    else debug(line);
  };
}

/**
 * Makes the text of a frame fit for a log.
 *
 * It is parsed and written anew, so that no escape in a member's name hides a secret. Of anything else, which is not of
 * a known shape, only the length is told.
 */
export function mask(text: string): string {
  try {
    return ` ${JSON.stringify(JSON.parse(text), (key, value: unknown) => (SECRET.test(key) ? '***' : value))}`;
  } catch {
    return ` (${text.length} characters)`;
  }
}
