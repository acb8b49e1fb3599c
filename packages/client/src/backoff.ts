/**
 * Exponential backoff with full jitter: each delay is drawn from 0 to a bound that doubles from try to try.
 *
 * Full jitter spreads the clients of a server that restarts over the whole interval, the first try included; a delay
 * that is only shaken a little brings them all back together.
 */
export class Backoff {
  readonly #minDelayMs: number;
  readonly #maxDelayMs: number;
  readonly #random: () => number;
  #tries = 0;

  /** `random` returns a number from 0 (included) to 1 (excluded). */
  constructor(minDelayMs: number, maxDelayMs: number, random: () => number) {
    this.#minDelayMs = minDelayMs;
    this.#maxDelayMs = maxDelayMs;
    this.#random = random;
  }

  /** Milliseconds until the next try. Every call counts as a try, however the try ends. */
  next(): number {
    return this.#random() * Math.min(this.#maxDelayMs, this.#minDelayMs * 2 ** this.#tries++);
  }

  /** Starts over. Called once a connection has been stable, not when it opens: a server may accept and drop. */
  reset(): void {
    this.#tries = 0;
  }
}
