import type { SecureWebSocketError } from './errors.js';
import type { Page } from './page.js';
import type { Welcome } from './protocol.js';

/** A message of the application, as {@link SecureWebSocket.send} takes it. */
export interface OutgoingMessage {
  /** The message type: 1 to 64 bytes. The server knows it by its schema. */
  type: string;
  /** Anything that JSON can carry. */
  payload?: unknown;
}

/** A message of the application, as `onMessage` gets it. */
export interface IncomingMessage {
  type: string;
  /** The id of the message that this one answers, where the application says so. */
  id?: string | number;
  /** Counts the application's messages of the session, from 1. */
  seq?: number;
  payload: unknown;
}

/** The server has handled the message; with `ack: false`, the message was handed over to the network. */
export interface Ack {
  /** Counts the messages of this socket, from 1. */
  id: number;
}

export interface SendOptions {
  /**
   * Whether the server acknowledges the message. Without it the promise resolves when the message is written, and a
   * lost connection may lose the message. @default true
   */
  ack?: boolean | undefined;
  /** Takes the message back: it rejects with the signal's reason. What was already written may have been handled. */
  signal?: AbortSignal | undefined;
  /** Longest time to the acknowledgement, in milliseconds. @default that of the option `ackTimeoutMs` */
  timeoutMs?: number | undefined;
}

/**
 * - `connecting`: the first connection is being made.
 * - `open`: authenticated; messages flow.
 * - `reconnecting`: the connection was lost; the next is awaited or being made.
 * - `closed`: the end; nothing leaves this state.
 */
export type State = Snapshot['state'];

/** The state with what belongs to it. The same object until something changes. */
export type Snapshot =
  | { readonly state: 'connecting' }
  | { readonly state: 'open'; readonly welcome: Welcome }
  | {
      readonly state: 'reconnecting';
      /** Why the last connection, or the last attempt, ended. */
      readonly error: SecureWebSocketError;
      /** When the next attempt begins, on the clock `now`; past while one is under way. */
      readonly retryAt: number;
    }
  | {
      readonly state: 'closed';
      /** Why; absent after `close()`. */
      readonly error: SecureWebSocketError | undefined;
    };

/** How the token reaches the server. It never stands in the address. */
export type AuthMethod = 'subprotocol' | 'ticket' | 'cookie' | 'first-message';

/** Why a token is asked for: a new connection, the end of the token in use, or its refusal. */
export interface TokenContext {
  reason: 'connect' | 'expiring' | 'rejected';
}

/**
 * Returns the token to use now. When `reason` is `rejected`, a cached one will not do.
 *
 * Throw a {@link SecureWebSocketError} with the code `forbidden` to close the socket for good; after anything else it
 * is asked again, backing off.
 */
export type TokenProvider = (context: TokenContext) => string | Promise<string>;

/** The end of a connection, or of an attempt to make one. */
export interface CloseInfo {
  /** The close code; 1006 when there was none (RFC 6455 section 7.1.5). */
  code: number;
  reason: string;
  /** Why, where it is known; absent after `close()`. */
  error: SecureWebSocketError | undefined;
  /** Whether the socket comes back by itself. When false, this is the last call. */
  willReconnect: boolean;
}

export interface ReconnectOptions {
  /** Upper bound of the first delay, in milliseconds. @default 500 */
  minDelayMs?: number | undefined;
  /** Upper bound of every delay, in milliseconds. @default 20000 */
  maxDelayMs?: number | undefined;
  /** Time that a connection must stay open before the delays start over, in milliseconds. @default 5000 */
  stableAfterMs?: number | undefined;
}

export interface QueueOptions {
  /** Most messages that may wait for their acknowledgement. @default 1000 */
  maxMessages?: number | undefined;
  /** Most bytes of them. @default 1048576 */
  maxBytes?: number | undefined;
  /**
   * Which message rejects with `queue_full` when there is no room for another: the other one (`reject`), or, among those
   * that were never written, the oldest or the newest. @default 'reject'
   */
  policy?: 'reject' | 'drop-oldest' | 'drop-newest' | undefined;
}

export interface HealthOptions {
  /** Time from one ping to the next, in milliseconds. @default the server's heartbeat, 25000 */
  intervalMs?: number | undefined;
  /** Longest time to an answer, in milliseconds. @default 10000 */
  timeoutMs?: number | undefined;
  /** The same after the page was shown or thawed, or the network changed, in milliseconds. @default 3000 */
  wakeTimeoutMs?: number | undefined;
}

/** How long a ping took to be answered, in milliseconds. */
export interface Rtt {
  last: number;
  /** The median of the last 16. */
  median: number;
  /** The mean difference of one to the next. */
  jitter: number;
}

/** Takes one line of debug output, without a line end. */
export type Logger = (line: string) => void;

/** Where timers come from. */
export interface Timers {
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: any): void;
}

/** What this package needs of a WebSocket: browsers, workers, Deno, Bun, Node 22 and the package `ws` have it. */
export interface WebSocketLike {
  readonly readyState: number;
  send(text: string): void;
  close(code?: number, reason?: string): void;
  // Each implementation has event types of its own; what is read from them is checked where it is read.
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/**
 * The options of a {@link SecureWebSocket}.
 *
 * `In` is what the server may send, `Out` what this client may send: see the entry point `@wsguard/client/schema`.
 */
export interface SecureWebSocketOptions<
  In extends IncomingMessage = IncomingMessage,
  Out extends OutgoingMessage = OutgoingMessage,
> {
  /** Where the server is: `ws:` or `wss:`. @example 'wss://example.com/ws' */
  url: string | URL;
  /** The token, or a function that returns one. Only the method `cookie` needs none. */
  authToken?: string | TokenProvider | undefined;
  /**
   * How the token reaches the server. `subprotocol`: offered beside `wsguard.v1`; `ticket`: exchanged for a single-use
   * ticket at `POST …/ticket` before each connection; `cookie`: the browser's cookie, and a proof from `POST …/session`;
   * `first-message`: in the first frame. @default 'subprotocol'
   */
  auth?: AuthMethod | undefined;
  /** Writes what happens to the console, or hands it line by line to a function; secrets are masked. @default false */
  debug?: boolean | Logger | undefined;

  /** Gets every message of the application, in order; control frames never. */
  onMessage?: ((message: In) => void) | undefined;
  /** A connection was authenticated. Called before any message is sent or received on it. */
  onOpen?: ((welcome: Welcome) => void) | undefined;
  /** A connection, or an attempt to make one, ended. */
  onClose?: ((info: CloseInfo) => void) | undefined;
  /** Something went wrong that no call of `send` can be told about. */
  onError?: ((error: SecureWebSocketError) => void) | undefined;
  /** The state, or what belongs to it, became another one. */
  onStateChange?: ((state: State, previous: State) => void) | undefined;
  /** A ping was answered. */
  onRtt?: ((rtt: Rtt) => void) | undefined;

  /** Whether and how to come back after a lost connection. @default true */
  reconnect?: boolean | ReconnectOptions | undefined;
  /** Longest time from the start of an attempt to the server's welcome, in milliseconds. @default 10000 */
  connectTimeoutMs?: number | undefined;
  /** Longest time from `send` to the acknowledgement, in milliseconds. @default 30000 */
  ackTimeoutMs?: number | undefined;
  /** Limits of what waits for its acknowledgement. */
  queue?: QueueOptions | undefined;
  /**
   * What happens to messages in flight when the server does not know the session any more: they reject with
   * `delivery_unknown`, or are sent again, which may repeat them. @default 'reject'
   */
  onLost?: 'reject' | 'resend' | undefined;
  /** How to find out that a connection is dead. @default true */
  health?: boolean | HealthOptions | undefined;
  /** Closes the socket when it aborts. */
  signal?: AbortSignal | undefined;
  /** Checks or changes each message before `onMessage`; what it throws goes to `onError` as `invalid_message`. */
  incoming?: ((message: IncomingMessage) => In) | undefined;
  /** Checks or changes each message in `send`; what it throws rejects `send` with `invalid_message`. */
  outgoing?: ((message: Out) => OutgoingMessage) | undefined;

  /** The implementation to use. @default globalThis.WebSocket, under Node 20 that of the package `ws` */
  WebSocket?: WebSocketConstructor | undefined;
  /** Milliseconds of a clock that never goes back. @default performance.now */
  now?: (() => number) | undefined;
  /** A number from 0 (included) to 1 (excluded). @default Math.random */
  random?: (() => number) | undefined;
  /** Where timers come from. @default those of the platform */
  timers?: Timers | undefined;
  /** Tells when the page sleeps and wakes. @default the page or worker that this runs in */
  page?: Page | undefined;
}
