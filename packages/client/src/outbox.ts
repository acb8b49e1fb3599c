import { SecureWebSocketError } from './errors.js';
import type { Ack, Settings } from './options.js';

interface Entry {
  readonly id: number;
  /** The message as JSON, without its CSRF token: that is added when the message is written. */
  readonly body: string;
  readonly bytes: number;
  readonly deadline: number;
  /** The CSRF token that it was last written with. */
  csrfToken: string | undefined;
  readonly resolve: (ack: Ack) => void;
  readonly reject: (error: SecureWebSocketError) => void;
}

/** Writes one message to the connection, or returns the error that it must reject with. */
export type Write = (body: string, bytes: number) => SecureWebSocketError | undefined;

/**
 * The messages that wait for their acknowledgement: first those that wait to be written, then those in flight.
 *
 * Bounded as a whole, in count and bytes. A message leaves exactly once, by its acknowledgement or by an error, and a
 * message that was rejected is never written later.
 */
export class Outbox {
  readonly #settings: Settings;
  // A Map keeps the order of insertion: messages are written in the order of `send`.
  readonly #waiting = new Map<number, Entry>();
  readonly #inFlight = new Map<number, Entry>();
  #bytes = 0;
  #timer: unknown;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Takes a message, or rejects with `queue_full`. */
  add(id: number, body: string, bytes: number): Promise<Ack> {
    const { maxMessages, maxBytes, now, ackTimeoutMs } = this.#settings;
    return new Promise((resolve, reject) => {
      if (this.#waiting.size + this.#inFlight.size >= maxMessages || this.#bytes + bytes > maxBytes) {
        reject(new SecureWebSocketError('queue_full', 'too many messages wait for their acknowledgement'));
        return;
      }
      this.#bytes += bytes;
      this.#waiting.set(id, { id, body, bytes, deadline: now() + ackTimeoutMs, csrfToken: undefined, resolve, reject });
      this.#watch();
    });
  }

  /** Writes all that waits, in order. */
  flush(csrfToken: string, write: Write): void {
    for (const entry of this.#waiting.values()) {
      const error = write(entry.body, entry.bytes);
      if (error) {
        this.#take(entry.id)?.reject(error);
      } else {
        entry.csrfToken = csrfToken;
        this.#waiting.delete(entry.id);
        this.#inFlight.set(entry.id, entry);
      }
    }
  }

  acknowledge(id: number): void {
    this.#take(id)?.resolve({ id });
  }

  /**
   * The server refused the message. Returns whether it was one of ours.
   *
   * A message that was on its way for longer than the old CSRF token stayed good is put back, to be written with the
   * new one: it was refused, so it was not handled. The second refusal with the same token stands.
   */
  refuse(id: number, error: SecureWebSocketError, csrfToken: string): boolean {
    const entry = this.#inFlight.get(id);
    if (!entry) return false;
    if (error.code === 'csrf_invalid' && entry.csrfToken !== csrfToken) {
      this.#inFlight.delete(id);
      this.#waiting.set(id, entry);
    } else {
      this.#take(id)?.reject(error);
    }
    return true;
  }

  /** The connection is gone: whether the server handled what was in flight, nobody can say. */
  lose(cause: unknown): void {
    const text = 'the connection was lost; the server may have handled the message';
    const error = new SecureWebSocketError('delivery_unknown', text, { cause });
    for (const id of [...this.#inFlight.keys()]) this.#take(id)?.reject(error);
  }

  /** Nothing will be written any more. */
  clear(error: SecureWebSocketError): void {
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(error);
  }

  #take(id: number): Entry | undefined {
    const entry = this.#inFlight.get(id) ?? this.#waiting.get(id);
    if (entry) {
      this.#inFlight.delete(id);
      this.#waiting.delete(id);
      this.#bytes -= entry.bytes;
      if (this.#waiting.size + this.#inFlight.size === 0) this.#stopWatching();
    }
    return entry;
  }

  /** Keeps one timer for all deadlines: the first one due. */
  #watch(): void {
    if (this.#timer !== undefined) return;
    let first = Infinity;
    for (const all of [this.#inFlight, this.#waiting]) {
      for (const entry of all.values()) first = Math.min(first, entry.deadline);
    }
    if (first === Infinity) return;
    const delayMs = Math.max(0, first - this.#settings.now());
    this.#timer = this.#settings.timers.setTimeout(() => this.#expire(), delayMs);
  }

  #expire(): void {
    this.#timer = undefined;
    const now = this.#settings.now();
    for (const [all, what] of [
      [this.#inFlight, 'no acknowledgement in time; the server may have handled the message'],
      [this.#waiting, 'no connection in time; the message was not sent'],
    ] as const) {
      for (const entry of [...all.values()]) {
        if (entry.deadline > now) continue;
        this.#take(entry.id)?.reject(new SecureWebSocketError('timeout', what));
      }
    }
    this.#watch();
  }

  #stopWatching(): void {
    this.#settings.timers.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
