/** Members whose value is a secret, wherever they stand. */
const SECRET = /token|ticket|secret|password|authorization|cookie/i;

/** Longest text that one line of the log repeats, in characters. */
const SHOWN_CHARS_MAX = 1_000;

/** Takes one line of debug output, without a line end. */
export type Logger = (line: string) => void;

/** Writes one line of debug output: `event`, and what belongs to it as JSON, with its secrets masked. */
export type Log = (event: string, value: unknown) => void;

/** The log of a socket; undefined unless `debug` is set. */
export function createLog(debug: boolean | Logger | undefined): Log | undefined {
  if (!debug) return undefined;
  // Looked up for each line: tests and tools replace the console's.
  const write: Logger = debug === true ? (line) => console.log(line) : debug;
  return (event, value) => write(`[wsguard] ${event} ${JSON.stringify(value, masked).slice(0, SHOWN_CHARS_MAX)}`);
}

function masked(key: string, value: unknown): unknown {
  return SECRET.test(key) ? '***' : value;
}
