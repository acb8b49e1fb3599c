import type { SecureWebSocketEvents, SecureWebSocketListener } from './events.js';
import type {
  Ack,
  IncomingMessage,
  OutgoingMessage,
  Rtt,
  SecureWebSocketOptions,
  SendOptions,
  Snapshot,
  State,
} from './options.js';
import { createSession } from './session.js';

export interface SecureWebSocket<In extends IncomingMessage, Out extends OutgoingMessage> {
  addEventListener<K extends keyof SecureWebSocketEvents>(
    type: K,
    listener: SecureWebSocketListener<In, K>,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof SecureWebSocketEvents>(
    type: K,
    listener: SecureWebSocketListener<In, K>,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}

/**
 * A WebSocket that authenticates, carries CSRF tokens, acknowledges and reconnects.
 *
 * It connects by itself, right after the code that made it, and stays with one server until `close()` or until the
 * server says that coming back is pointless.
 *
 * @example
 * const socket = new SecureWebSocket({
 *   url: 'wss://example.com/ws',
 *   authToken: 'your-auth-token',
 *   onMessage: (message) => console.log('Received message:', message),
 * });
 * await socket.send({ type: 'chat', payload: { message: 'Hello, world!' } });
 */
export class SecureWebSocket<
  In extends IncomingMessage = IncomingMessage,
  Out extends OutgoingMessage = OutgoingMessage,
> extends EventTarget {
  /** The state with what belongs to it; the same object until a `statechange`. */
  readonly snapshot: Snapshot = { state: 'connecting' };
  /** How long the last pings took; undefined before the first answer. */
  declare readonly rtt: Rtt | undefined;
  /** How many messages wait for their acknowledgement. */
  readonly pending: number = 0;

  /** @throws TypeError when `url` is no address, SecureWebSocketError `token_failed` when a token is needed and there is none. */
  constructor(options: SecureWebSocketOptions<In, Out>) {
    super();
    Object.assign(this, createSession<In, Out>(this, options));
  }

  get state(): State {
    return this.snapshot.state;
  }

  /** As that of a WebSocket: 0 until there is a connection and while it comes back, 1 when open, 3 when closed. */
  get readyState(): 0 | 1 | 3 {
    return this.state === 'open' ? 1 : this.state === 'closed' ? 3 : 0;
  }

  /**
   * Sends a message, now or as soon as there is a connection.
   *
   * Resolves when the server has handled it. Rejects with a {@link SecureWebSocketError}; a message that was rejected
   * is not sent later. A rejection that nobody awaits is not reported as unhandled.
   *
   * The payload is written down at once: changing it afterwards changes nothing. Messages are written in the order of
   * the calls, and handled in it.
   */
  declare readonly send: (message: Out, options?: SendOptions) => Promise<Ack>;

  /**
   * Asks `authToken` for a fresh token and puts it in force on the open connection, as the socket does by itself before
   * the old one ends. Does nothing where there is no connection, where a token is already being asked for, or where
   * `authToken` is no function.
   */
  declare readonly refresh: () => Promise<void>;

  /**
   * Closes the socket for good. What was never written rejects with `closed`, what was in flight with
   * `delivery_unknown`.
   *
   * @param code 1000 or 3000 to 4999; with another one the WebSocket throws.
   * @param reason at most 123 bytes; with a longer one the WebSocket throws.
   */
  declare readonly close: (code?: number, reason?: string) => void;
}
