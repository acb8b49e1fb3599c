import type { SecureWebSocketError } from './errors.js';
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

/** The server has handled the message. */
export interface Ack {
  /** The id that the message had on the wire. */
  id: number;
}

/**
 * - `connecting`: the first connection is being made.
 * - `open`: authenticated; messages flow.
 * - `reconnecting`: the connection was lost; the next is awaited or being made.
 * - `closed`: the end; nothing leaves this state.
 */
export type State = 'connecting' | 'open' | 'reconnecting' | 'closed';

const AUTH_METHODS = ['subprotocol', 'ticket', 'cookie', 'first-message'] as const;

/** How the token reaches the server. It never stands in the address. */
export type AuthMethod = (typeof AUTH_METHODS)[number];

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
  /** What happens to a message beyond the limits: `send` rejects with `queue_full`. @default 'reject' */
  policy?: 'reject' | undefined;
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

/** The part of `fetch` that the methods `ticket` and `cookie` use. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface Timers {
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: any): void;
}

export interface SecureWebSocketOptions {
  /** Where the server is: `ws:` or `wss:`. @example 'wss://example.com/ws' */
  url: string | URL;
  /** The token, or a function that returns one. Only the method `cookie` needs none. */
  authToken?: string | TokenProvider | undefined;
  /** How the token reaches the server. @default 'subprotocol' */
  auth?: AuthMethod | undefined;
  /** Writes what happens to the console, secrets masked. @default false */
  debug?: boolean | undefined;

  /** Gets every message of the application, in order; control frames never. */
  onMessage?: ((message: IncomingMessage) => void) | undefined;
  /** A connection was authenticated. Called before any message is sent or received on it. */
  onOpen?: ((welcome: Welcome) => void) | undefined;
  /** A connection, or an attempt to make one, ended. */
  onClose?: ((info: CloseInfo) => void) | undefined;
  /** Something went wrong that no call of `send` can be told about. */
  onError?: ((error: SecureWebSocketError) => void) | undefined;
  onStateChange?: ((state: State, previous: State) => void) | undefined;

  /** Whether and how to come back after a lost connection. @default true */
  reconnect?: boolean | ReconnectOptions | undefined;
  /** Longest time from the start of an attempt to the server's welcome, in milliseconds. @default 10000 */
  connectTimeoutMs?: number | undefined;
  /** Longest time from `send` to the acknowledgement, in milliseconds. @default 30000 */
  ackTimeoutMs?: number | undefined;
  /** Limits of what waits for its acknowledgement. */
  queue?: QueueOptions | undefined;

  /** The implementation to use. @default globalThis.WebSocket */
  WebSocket?: WebSocketConstructor | undefined;
  /** Asks the ticket and session endpoints. @default globalThis.fetch */
  fetch?: Fetch | undefined;
  /** Milliseconds of a clock that never goes back. @default performance.now */
  now?: (() => number) | undefined;
  /** A number from 0 (included) to 1 (excluded). @default Math.random */
  random?: (() => number) | undefined;
  /** @default those of the platform */
  timers?: Timers | undefined;
}

/** Longest delay that timers take; a larger one would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** What an entry of `Sec-WebSocket-Protocol` may be made of (RFC 9110 section 5.6.2). */
const HEADER_TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/** The options with every default filled in. */
export interface Settings {
  url: URL;
  authToken: string | TokenProvider | undefined;
  auth: AuthMethod;
  reconnect: Required<{ [K in keyof ReconnectOptions]: number }> | undefined;
  connectTimeoutMs: number;
  ackTimeoutMs: number;
  maxMessages: number;
  maxBytes: number;
  WebSocket: WebSocketConstructor;
  fetch: Fetch;
  now: () => number;
  random: () => number;
  timers: Timers;
}

/**
 * Fills in the defaults.
 *
 * @throws TypeError when an option cannot work at all: better in the line that wrote it than in a reconnection loop.
 */
export function settingsOf(options: SecureWebSocketOptions): Settings {
  const url = new URL(options.url);
  if (!/^wss?:$/.test(url.protocol)) throw new TypeError(`url must start with ws: or wss:, not ${url.protocol}`);
  const auth = options.auth ?? 'subprotocol';
  if (!AUTH_METHODS.includes(auth)) throw new TypeError(`auth must be one of ${AUTH_METHODS.join(', ')}`);
  if (auth !== 'cookie' && !options.authToken) throw new TypeError(`auth '${auth}' needs an authToken`);
  if (auth === 'subprotocol' && typeof options.authToken === 'string' && !HEADER_TOKEN.test(options.authToken)) {
    throw new TypeError("authToken has characters that a subprotocol cannot carry: use auth 'first-message'");
  }
  const implementation = options.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
  if (!implementation) {
    throw new TypeError('there is no WebSocket here: pass that of the package ws as an option');
  }
  const { reconnect = true, queue = {} } = options;
  const { minDelayMs = 500, maxDelayMs = 20_000, stableAfterMs = 5_000 } = reconnect === true ? {} : reconnect || {};
  const timers = options.timers ?? globalThis;
  return {
    url,
    authToken: options.authToken,
    auth,
    reconnect: reconnect ? { minDelayMs, maxDelayMs, stableAfterMs } : undefined,
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    ackTimeoutMs: options.ackTimeoutMs ?? 30_000,
    maxMessages: queue.maxMessages ?? 1_000,
    maxBytes: queue.maxBytes ?? 1_048_576,
    WebSocket: implementation,
    // Called as functions of their own objects: browsers refuse them otherwise.
    fetch: options.fetch ?? ((address, init) => fetch(address, init)),
    now: options.now ?? (() => performance.now()),
    random: options.random ?? Math.random,
    timers: {
      setTimeout: (callback, delayMs) => timers.setTimeout(callback, Math.min(delayMs, DELAY_MS_MAX)),
      clearTimeout: (timer) => timers.clearTimeout(timer),
    },
  };
}
