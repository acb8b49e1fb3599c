import type { Alarms } from './alarm.js';
import { errorOf } from './errors.js';
import type { Ack, QueueOptions } from './options.js';

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
export interface Outbox {
  readonly size: number;
  /** Takes a message, making room as the policy says, or rejects it with `queue_full`. */
  add(entry: Entry): void;
  /** The next message to write, in the order of `send`, as long as fewer than `most` are in flight. */
  next(most: number): Entry | undefined;
  /** The message was written. */
  written(entry: Entry, csrfToken: string): void;
  /** What is in flight has to be written again. */
  requeue(): void;
  resolve(id: number): void;
  /** Ends a message with an error. Returns whether it was one of ours. */
  reject(id: number, reason: unknown): boolean;
  /**
   * The server refused the CSRF token of a message: with another one it may go out again.
   *
   * It was on its way for longer than the old token stayed good. A second refusal with the same token stands.
   */
  renew(id: number, csrfToken: string): boolean;
  /**
   * The session is lost: whether the server handled what was written, nobody can say. `all`: nothing will be written any
   * more, so that the rest ends as well.
   */
  lose(cause: unknown, all?: boolean): void;
}

/** `room`: called when something in flight was given up, so that there is room for what waits. */
export function createOutbox(
  { maxMessages = 1_000, maxBytes = 1_048_576, policy = 'reject' }: QueueOptions,
  now: () => number,
  alarms: Alarms,
  room: () => void,
): Outbox {
  // A Map keeps the order of insertion: messages are written in the order of `send`, also those written again.
  const entries = new Map<number, Entry>();
  let bytes = 0;
  let expireAt = Infinity;

  const take = (id: number | undefined): Entry | undefined => {
    const entry = entries.get(id!);
    if (entry) {
      entries.delete(entry.id);
      bytes -= entry.bytes;
    }
    return entry;
  };

  const resolve = (id: number): void => take(id)?.resolve({ id });

  const reject = (id: number | undefined, reason: unknown): boolean => {
    const entry = take(id);
    entry?.reject(reason);
    return !!entry;
  };

  /** Keeps the one alarm at the first deadline. */
  const watch = (deadline: number): void => {
    if (deadline >= expireAt) return;
    expireAt = deadline;
    alarms.set('expiry', deadline - now(), expire);
  };

  /** Rejects what is too old. */
  const expire = (): void => {
    expireAt = Infinity;
    for (const { id, deadline } of entries.values()) {
      if (deadline > now()) watch(deadline);
      else reject(id, errorOf('timeout'));
    }
    room();
  };

  return {
    get size() {
      return entries.size;
    },
    add(entry) {
      while (entries.size >= maxMessages || bytes + entry.bytes > maxBytes) {
        // What was written may have been handled: only what was not can make room.
        const unwritten = policy === 'reject' || entry.bytes > maxBytes ? [] : [...entries.values()].filter((other) => !other.csrfToken);
        const error = errorOf('queue_full');
        if (!reject(unwritten.at(policy === 'drop-newest' ? -1 : 0)?.id, error)) return entry.reject(error);
      }
      bytes += entry.bytes;
      entries.set(entry.id, entry);
      watch(entry.deadline);
    },
    next(most) {
      let ahead = 0;
      for (const entry of entries.values()) {
        if (!entry.inFlight) return entry;
        // Those in flight stand before those that wait; one that is written again for another token was among them.
        if (++ahead >= most) break;
      }
      return undefined;
    },
    written(entry, csrfToken) {
      entry.csrfToken = csrfToken;
      entry.inFlight = true;
      if (!entry.acked) resolve(entry.id);
    },
    requeue() {
      for (const entry of entries.values()) entry.inFlight = false;
    },
    resolve,
    reject,
    renew(id, csrfToken) {
      const entry = entries.get(id);
      if (!entry?.inFlight || entry.csrfToken === csrfToken) return false;
      entry.inFlight = false;
      entry.csrfToken = undefined;
      return true;
    },
    lose(cause, all) {
      for (const { id, csrfToken } of entries.values()) {
        if (csrfToken) reject(id, errorOf('delivery_unknown', cause));
        else if (all) reject(id, cause);
      }
    },
  };
}
