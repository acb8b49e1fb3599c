import { createAlarms } from './alarm.js';
import { SecureWebSocketError } from './errors.js';
import type { Ack, Settings } from './options.js';

/** A message on its way to its acknowledgement. */
export interface Entry {
  readonly id: number;
  /** The message as JSON, without its CSRF token: that is added when the message is written. */
  readonly body: string;
  readonly bytes: number;
  /** Whether the server acknowledges it; otherwise it is done once it is written. */
  readonly acked: boolean;
  readonly deadline: number;
  /** It was written to this connection and not answered yet. */
  inFlight?: boolean;
  /** The CSRF token that it was last written with. While there is one, the server may have handled the message. */
  csrfToken?: string | undefined;
  readonly resolve: (ack: Ack) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * The messages that wait for their acknowledgement: those in flight, and those that wait to be written.
 *
 * Bounded as a whole, in count and bytes. A message leaves exactly once, by its acknowledgement or by an error, and a
 * message that was rejected is never written later.
 */
export class Outbox {
  readonly #settings: Settings;
  readonly #room: () => void;
  readonly #alarms;
  // A Map keeps the order of insertion: messages are written in the order of `send`, also those written again.
  readonly #entries = new Map<number, Entry>();
  #inFlight = 0;
  #bytes = 0;
  #expireAt = Infinity;

  /** `room`: called when something in flight was given up, so that there is room for what waits. */
  constructor(settings: Settings, room: () => void) {
    this.#settings = settings;
    this.#room = room;
    this.#alarms = createAlarms<'expiry'>(settings.timers);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Takes a message, making room as the policy says, or rejects it with `queue_full`. */
  add(entry: Entry): void {
    const { maxMessages, maxBytes, policy } = this.#settings;
    // What was written may have been handled: only what was not can make room.
    const droppable = policy === 'reject' ? [] : [...this.#entries.values()].filter((other) => !other.csrfToken);
    while (this.size >= maxMessages || this.#bytes + entry.bytes > maxBytes) {
      const dropped = entry.bytes > maxBytes ? undefined : policy === 'drop-newest' ? droppable.pop() : droppable.shift();
      const error = new SecureWebSocketError('queue_full', 'too many messages wait for their acknowledgement');
      if (!dropped) {
        entry.reject(error);
        return;
      }
      this.reject(dropped.id, error);
    }
    this.#bytes += entry.bytes;
    this.#entries.set(entry.id, entry);
    this.#watch(entry.deadline);
  }

  /**
   * Hands what waits to `write`, in order, as long as fewer than `most` messages are in flight. An error that it returns
   * is the message's end. Returns whether nothing waits any more.
   */
  flush(write: (entry: Entry) => SecureWebSocketError | undefined, most: number): boolean {
    for (const entry of this.#entries.values()) {
      if (entry.inFlight) continue;
      if (this.#inFlight >= most) return false;
      const error = write(entry);
      if (error) {
        this.reject(entry.id, error);
      } else {
        entry.inFlight = true;
        this.#inFlight++;
        if (!entry.acked) this.resolve(entry.id);
      }
    }
    return true;
  }

  /** What is in flight has to be written again. */
  requeue(): void {
    for (const entry of this.#entries.values()) entry.inFlight = false;
    this.#inFlight = 0;
  }

  resolve(id: number): void {
    this.#take(id)?.resolve({ id });
  }

  /** Ends a message with an error. Returns whether it was one of ours. */
  reject(id: number, reason: unknown): boolean {
    const entry = this.#take(id);
    entry?.reject(reason);
    return !!entry;
  }

  /**
   * The server refused the CSRF token of a message: with another one it may go out again.
   *
   * It was on its way for longer than the old token stayed good. A second refusal with the same token stands.
   */
  renew(id: number, csrfToken: string): boolean {
    const entry = this.#entries.get(id);
    if (!entry?.inFlight || entry.csrfToken === csrfToken) return false;
    entry.inFlight = false;
    entry.csrfToken = undefined;
    this.#inFlight--;
    return true;
  }

  /** The session is lost: whether the server handled what was written, nobody can say. */
  lose(cause: unknown): void {
    const error = new SecureWebSocketError('delivery_unknown', 'the server may have handled the message', { cause });
    for (const { id, csrfToken } of this.#entries.values()) if (csrfToken) this.reject(id, error);
  }

  /** Nothing will be written any more. */
  clear(error: SecureWebSocketError): void {
    this.lose(error);
    for (const id of this.#entries.keys()) this.reject(id, error);
  }

  #take(id: number): Entry | undefined {
    const entry = this.#entries.get(id);
    if (entry) {
      this.#entries.delete(id);
      this.#bytes -= entry.bytes;
      if (entry.inFlight) this.#inFlight--;
      if (!this.size) {
        this.#alarms.stop();
        this.#expireAt = Infinity;
      }
    }
    return entry;
  }

  /** Keeps the one timer at the first deadline. */
  #watch(deadline: number): void {
    if (deadline >= this.#expireAt) return;
    this.#expireAt = deadline;
    this.#alarms.set('expiry', deadline - this.#settings.now(), () => this.#expire());
  }

  /** Rejects what is too old. */
  #expire(): void {
    this.#expireAt = Infinity;
    for (const { id, deadline, csrfToken } of this.#entries.values()) {
      if (deadline > this.#settings.now()) this.#watch(deadline);
      else {
        const what = csrfToken ? 'the server may have handled the message' : 'the message was not sent';
        this.reject(id, new SecureWebSocketError('timeout', `no acknowledgement in time; ${what}`));
      }
    }
    this.#room();
  }
}
