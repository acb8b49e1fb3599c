import { TokenSource } from './auth.js';
import { Backoff } from './backoff.js';
import { Connection, type End } from './connection.js';
import { errorOfFrame, SecureWebSocketError } from './errors.js';
import { createLog, type Log } from './log.js';
import {
  type Ack,
  type OutgoingMessage,
  type SecureWebSocketOptions,
  type Settings,
  settingsOf,
  type State,
  type TokenContext,
} from './options.js';
import { Outbox, type Write } from './outbox.js';
import {
  CLOSE_NORMAL,
  CSRF_EXEMPT_TYPES,
  MESSAGE_BYTES_MAX,
  type ServerFrame,
  TYPE_BYTES_MAX,
  type Welcome,
} from './protocol.js';

/** Bytes that the CSRF member adds to a message besides the token itself: `"csrfToken":"",`. */
const CSRF_MEMBER_BYTES = 15;

/** Longest close reason, in bytes (RFC 6455 section 5.5: 125 less the code). */
const REASON_BYTES_MAX = 123;

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
export class SecureWebSocket {
  readonly #options: SecureWebSocketOptions;
  readonly #settings: Settings;
  readonly #log: Log;
  readonly #tokens: TokenSource;
  readonly #backoff: Backoff;
  readonly #outbox: Outbox;
  #state: State = 'connecting';
  /** The connection, or the attempt to make one. INVARIANT: while it is set, `#retryTimer` is not. */
  #connection: Connection | undefined;
  #retryTimer: unknown;
  #stableTimer: unknown;
  /** Counts messages from 1; never starts over, so that a resumed session can tell a repetition. */
  #lastId = 0;
  #csrfToken = '';
  #messageBytesMax = MESSAGE_BYTES_MAX;
  /** A refused token was already replaced once, and no connection has been stable since. */
  #triedFreshToken = false;
  /** The connection whose token was asked to be renewed: one question at a time. */
  #refreshing: Connection | undefined;
  /** When the server that drains wants to see this client elsewhere. */
  #moveAt: number | undefined;
  #moveTimer: unknown;
  /** That time has come: nothing more is written here, and the last acknowledgement ends the connection. */
  #moving = false;
  #closedBy: SecureWebSocketError | undefined;

  /** @throws TypeError when an option cannot work at all. */
  constructor(options: SecureWebSocketOptions) {
    this.#options = options;
    const settings = settingsOf(options);
    this.#settings = settings;
    this.#log = createLog(options.debug ?? false, settings.now);
    this.#tokens = new TokenSource(settings.authToken);
    this.#backoff = new Backoff(
      settings.reconnect?.minDelayMs ?? 0,
      settings.reconnect?.maxDelayMs ?? 0,
      settings.random,
    );
    this.#outbox = new Outbox(settings);
    // Later, so that no callback runs before the caller holds the socket.
    queueMicrotask(() => this.#connect('connect'));
  }

  get state(): State {
    return this.#state;
  }

  /**
   * Sends a message, now or as soon as there is a connection.
   *
   * Resolves when the server has handled it. Rejects with a {@link SecureWebSocketError}; a message that was rejected
   * is not sent later. A rejection that nobody awaits is not reported as unhandled.
   *
   * The payload is written down at once: changing it afterwards changes nothing. Messages are written in the order of
   * the calls.
   */
  send(message: OutgoingMessage): Promise<Ack> {
    const promise = this.#send(message);
    promise.catch(() => {});
    return promise;
  }

  /**
   * Closes the socket for good. What was not yet written rejects with `closed`, what was in flight with
   * `delivery_unknown`.
   *
   * @param code 1000 or 3000 to 4999.
   * @param reason at most 123 bytes.
   * @throws RangeError when code or reason are outside these limits.
   */
  close(code: number = CLOSE_NORMAL, reason = ''): void {
    if (code !== CLOSE_NORMAL && !(code >= 3000 && code <= 4999)) {
      throw new RangeError('the close code must be 1000 or 3000 to 4999');
    }
    if (byteLength(reason) > REASON_BYTES_MAX) throw new RangeError('the close reason is longer than 123 bytes');
    if (this.#state === 'closed') return;
    this.#log('closed by the application');
    this.#connection?.leave(code, reason);
    this.#finish(code, reason, undefined);
  }

  async #send({ type, payload }: OutgoingMessage): Promise<Ack> {
    if (this.#state === 'closed') throw closedError(this.#closedBy);
    if (typeof type !== 'string' || !type || byteLength(type) > TYPE_BYTES_MAX) {
      throw new SecureWebSocketError('invalid_message', `the type must be a string of 1 to ${TYPE_BYTES_MAX} bytes`);
    }
    if ((CSRF_EXEMPT_TYPES as readonly string[]).includes(type)) {
      throw new SecureWebSocketError('invalid_message', `the type ${type} belongs to the protocol`);
    }
    const id = ++this.#lastId;
    let body: string;
    try {
      body = JSON.stringify({ type, id, payload });
    } catch (cause) {
      throw new SecureWebSocketError('invalid_message', 'the payload cannot be written as JSON', { cause });
    }
    const bytes = byteLength(body);
    const error = this.#sizeError(bytes);
    if (error) throw error;
    const handled = this.#outbox.add(id, body, bytes);
    this.#flush();
    return handled;
  }

  #connect(reason: TokenContext['reason']): void {
    if (this.#state === 'closed') return;
    this.#retryTimer = undefined;
    const connection: Connection = new Connection(
      this.#settings,
      this.#tokens,
      reason,
      {
        frame: (frame) => this.#control(connection, frame),
        message: (message) => this.#call(this.#options.onMessage, message),
        fault: (error) => this.#report(error),
        end: (end) => this.#lost(end),
      },
      this.#log,
    );
    this.#connection = connection;
  }

  #control(connection: Connection, frame: ServerFrame): void {
    switch (frame.type) {
      case 'welcome':
        this.#welcome(frame.payload);
        break;
      case 'ack':
        this.#outbox.acknowledge(frame.id as number);
        this.#moveIfIdle();
        break;
      case 'error': {
        const error = errorOfFrame(frame.payload);
        if (!this.#outbox.refuse(frame.id as number, error, this.#csrfToken)) this.#report(error);
        this.#flush();
        this.#moveIfIdle();
        break;
      }
      case 'csrf':
        this.#csrfToken = frame.payload.csrfToken;
        break;
      case 'auth.expiring':
        void this.#refresh(connection);
        break;
      case 'draining':
        this.#drain(frame.payload.reconnectAfterMs);
        break;
      case 'auth.refreshed':
      case 'pong':
        break;
      default:
        frame satisfies never;
    }
  }

  #welcome(welcome: Welcome): void {
    this.#csrfToken = welcome.csrfToken;
    this.#messageBytesMax = welcome.maxMessageBytes;
    this.#settings.timers.clearTimeout(this.#stableTimer);
    this.#stableTimer = this.#settings.timers.setTimeout(() => {
      this.#backoff.reset();
      this.#triedFreshToken = false;
    }, this.#settings.reconnect?.stableAfterMs ?? 0);
    this.#setState('open');
    // The callback may have closed the socket, here and below.
    if (this.#state !== 'open') return;
    this.#call(this.#options.onOpen, welcome);
    this.#flush();
  }

  #flush(): void {
    if (this.#moving || !this.#connection?.writable) return;
    const prefix = `{"csrfToken":${JSON.stringify(this.#csrfToken)},`;
    const write: Write = (body, bytes) => {
      const error = this.#sizeError(bytes);
      if (!error) this.#connection?.write(prefix + body.slice(1));
      return error;
    };
    this.#outbox.flush(this.#csrfToken, write);
  }

  /** A message beyond the limit would cost the connection (1009, and no way back): it is refused here. */
  #sizeError(bytes: number): SecureWebSocketError | undefined {
    const total = bytes + CSRF_MEMBER_BYTES + this.#csrfToken.length;
    if (total <= this.#messageBytesMax) return undefined;
    return new SecureWebSocketError('too_large', `the message is larger than ${this.#messageBytesMax} bytes`);
  }

  /** Replaces the token of the open connection. A static one has no successor: its end is the server's to tell. */
  async #refresh(connection: Connection): Promise<void> {
    if (this.#refreshing === connection || this.#settings.auth === 'cookie' || !this.#tokens.renewable) return;
    this.#refreshing = connection;
    try {
      const token = await this.#tokens.ask('expiring');
      if (connection.writable) connection.write(JSON.stringify({ type: 'auth.refresh', payload: { token } }));
    } catch (error) {
      this.#report(error as SecureWebSocketError);
    } finally {
      if (this.#refreshing === connection) this.#refreshing = undefined;
    }
  }

  /** The server goes away: stay until the time it gave this client, so that not all come back at once. */
  #drain(reconnectAfterMs: number): void {
    const { timers, now } = this.#settings;
    timers.clearTimeout(this.#moveTimer);
    this.#moveAt = now() + reconnectAfterMs;
    if (!this.#settings.reconnect) return;
    this.#moveTimer = timers.setTimeout(() => {
      this.#moving = true;
      this.#moveIfIdle();
    }, reconnectAfterMs);
  }

  #moveIfIdle(): void {
    if (!this.#moving || this.#outbox.inFlight > 0) return;
    const code = CLOSE_NORMAL;
    const error = new SecureWebSocketError('connection_lost', 'the server drains');
    this.#connection?.leave(code);
    this.#lost({ code, reason: 'draining', error, reconnect: 'back_off' });
  }

  /** The connection ended, or could not be made: come back, or close for good. */
  #lost(end: End): void {
    const { code, reason, error } = end;
    const delayMs = this.#retryDelay(end);
    if (delayMs === undefined) {
      this.#finish(code, reason, error);
      return;
    }
    this.#forgetConnection(error);
    const tokenReason = end.reconnect === 'once_with_fresh_token' ? 'rejected' : 'connect';
    this.#log(`reconnecting in ${Math.round(delayMs)} ms`);
    this.#retryTimer = this.#settings.timers.setTimeout(() => this.#connect(tokenReason), delayMs);
    this.#setState('reconnecting');
    if (this.#state !== 'reconnecting') return;
    this.#call(this.#options.onClose, { code, reason, error, willReconnect: true });
  }

  /** Milliseconds to wait, or undefined to stay away. */
  #retryDelay({ reconnect, error }: End): number | undefined {
    if (!this.#settings.reconnect) return undefined;
    switch (reconnect) {
      case 'never':
        return undefined;
      case 'back_off':
        if (this.#moveAt !== undefined) return Math.max(0, this.#moveAt - this.#settings.now());
        return this.#backoff.next();
      case 'once_with_fresh_token':
        // The same token would be refused again; a cookie may have been renewed by another page.
        if (this.#triedFreshToken || !(this.#tokens.renewable || this.#settings.auth === 'cookie')) return undefined;
        this.#triedFreshToken = true;
        return this.#backoff.next();
      case 'after_retry_after':
        return (error.retryAfterMs ?? 0) + this.#backoff.next();
      default:
        return reconnect satisfies never;
    }
  }

  #finish(code: number, reason: string, error: SecureWebSocketError | undefined): void {
    this.#closedBy = error;
    this.#settings.timers.clearTimeout(this.#retryTimer);
    this.#forgetConnection(error);
    this.#outbox.clear(error ?? closedError(undefined));
    this.#setState('closed');
    this.#call(this.#options.onClose, { code, reason, error, willReconnect: false });
  }

  #forgetConnection(error: SecureWebSocketError | undefined): void {
    this.#connection = undefined;
    this.#moveAt = undefined;
    this.#moving = false;
    this.#settings.timers.clearTimeout(this.#stableTimer);
    this.#settings.timers.clearTimeout(this.#moveTimer);
    this.#outbox.lose(error);
  }

  #setState(state: State): void {
    const previous = this.#state;
    if (state === previous) return;
    this.#state = state;
    this.#log(`state ${state}`);
    const { onStateChange } = this.#options;
    if (onStateChange) this.#call(([now, before]) => onStateChange(now, before), [state, previous] as const);
  }

  #report(error: SecureWebSocketError): void {
    this.#log(`error ${error.code}`);
    const { onError } = this.#options;
    try {
      if (onError) onError(error);
      else if (error.code === 'callback_failed') console.error(error);
    } catch (cause) {
      // The last resort: there is nobody left to tell.
      console.error(cause);
    }
  }

  /** Runs a callback of the application so that what it throws, at once or later, does not break the socket. */
  #call<T>(callback: ((value: T) => unknown) | undefined, value: T): void {
    const failed = (cause: unknown): void =>
      this.#report(new SecureWebSocketError('callback_failed', 'a callback threw', { cause }));
    try {
      const result = callback?.(value);
      if (result instanceof Promise) result.catch(failed);
    } catch (cause) {
      failed(cause);
    }
  }
}

function closedError(cause: SecureWebSocketError | undefined): SecureWebSocketError {
  return new SecureWebSocketError('closed', 'the socket is closed', cause && { cause });
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
