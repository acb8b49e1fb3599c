import { createAlarms } from './alarm.js';
import { ABNORMAL, connect, type Connection } from './connection.js';
import { createTokenSource, obtainCredential } from './credential.js';
import { afterClose, afterError, errorOfClose } from './ending.js';
import { SecureWebSocketError } from './errors.js';
import type { SecureWebSocketEvents, SecureWebSocketListener } from './events.js';
import { Health, type Rtt } from './health.js';
import { createLog } from './log.js';
import { bodyOf, byteLength } from './message.js';
import {
  type Ack,
  type IncomingMessage,
  type OutgoingMessage,
  type SecureWebSocketOptions,
  type SendOptions,
  type Settings,
  settingsOf,
  type Snapshot,
  type State,
  type TokenContext,
} from './options.js';
import { type Entry, Outbox } from './outbox.js';
import {
  CLIENT_ACK_INTERVAL_MS,
  CLOSE_NORMAL,
  type ErrorPayload,
  MESSAGE_BYTES_MAX,
  type Reconnect,
  type ServerFrame,
  SUBPROTOCOL_RESUME,
  type Welcome,
} from './protocol.js';

/** Bytes that the CSRF member adds to a message besides the token itself: `"csrfToken":"",`. */
const CSRF_MEMBER_BYTES = 15;

/** Longest close reason, in bytes (RFC 6455 section 5.5: 125 less the code). */
const REASON_BYTES_MAX = 123;

/** After a wake the next try begins within this time, in milliseconds: many pages may wake together. */
const WAKE_SPREAD_MS = 300;

/**
 * Most messages in flight. Far fewer than the ids that a server remembers, so that one that is written again is always
 * recognised; and few, so that a quota is overrun by few.
 */
const IN_FLIGHT_MAX = 32;

/** Shortest silence after `rate_limited`, in milliseconds: a server leaves refusals unanswered for 250 ms after one. */
const SILENCE_MS = 300;

/** How often to say what was received, in milliseconds: the server passes over what comes sooner than its interval. */
const ACK_INTERVAL_MS = CLIENT_ACK_INTERVAL_MS + 50;

/** The members without which a control frame would do harm: undefined would be sent as a token, or waited for. */
const NEEDED = new Map<unknown, readonly [member: string, type: string]>([
  ['welcome', ['csrfToken', 'string']],
  ['csrf', ['csrfToken', 'string']],
  ['error', ['code', 'string']],
  ['draining', ['reconnectAfterMs', 'number']],
]);

type AnyListener = EventListenerOrEventListenerObject | null;

export interface SecureWebSocket<In extends IncomingMessage, Out extends OutgoingMessage> {
  addEventListener<K extends keyof SecureWebSocketEvents>(
    type: K,
    listener: SecureWebSocketListener<In, K>,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: AnyListener, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof SecureWebSocketEvents>(
    type: K,
    listener: SecureWebSocketListener<In, K>,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: AnyListener, options?: boolean | EventListenerOptions): void;
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
  readonly #options: SecureWebSocketOptions<In, Out>;
  readonly #settings: Settings;
  readonly #log;
  readonly #tokens;
  readonly #outbox;
  readonly #health;
  /** Aborted by the end: what listens to the page stops. */
  readonly #ended = new AbortController();
  /** `next`: the next attempt, or the move away from a server that drains. None outlives its connection. */
  readonly #alarms;
  #snapshot: Snapshot = { state: 'connecting' };
  /** The connection, or the attempt to make one. INVARIANT: while it is set, no attempt is awaited. */
  #connection: Connection | undefined;
  /** Attempts and connections that ended since one was stable. */
  #tries = 0;
  /** A refused token was already replaced once, and no connection has been stable since. */
  #triedFreshToken = false;
  #tokenReason: TokenContext['reason'] = 'connect';
  /** The server does not want to see this client sooner. */
  #notBefore = 0;
  #draining = false;
  /** The connection whose token is being renewed: one question at a time. */
  #refreshing: Connection | undefined;
  /** The last `error` frame of a connection: before a close that is a refusal it says why. */
  #lastError: SecureWebSocketError | undefined;
  #csrfToken = '';
  #messageBytesMax = MESSAGE_BYTES_MAX;
  /** Counts messages from 1; never starts over, so that a resumed session can tell a repetition. */
  #lastId = 0;
  /** The last application frame received, and what names the session in a handshake that resumes it. */
  #lastSeq = 0;
  #resumeToken: string | undefined;
  /** Nothing is written for now. */
  #held = false;
  /** The server said that messages were too many: one at a time is in flight until nothing waits any more. */
  #slow = false;
  /** An `ack` to the server is due. */
  #acking = false;
  #rtt: Rtt | undefined;

  /** @throws TypeError when an option cannot work at all. */
  constructor(options: SecureWebSocketOptions<In, Out>) {
    super();
    this.#options = options;
    const settings = settingsOf(options);
    const { timers, page, now } = settings;
    this.#settings = settings;
    this.#log = createLog(options.debug, now);
    this.#tokens = createTokenSource(settings.authToken);
    this.#outbox = new Outbox(settings, () => this.#flush());
    this.#alarms = createAlarms<'next' | 'stable' | 'ack' | 'hold'>(timers);
    this.#health = new Health(
      settings,
      (t) => this.#write({ type: 'ping', payload: { t } }),
      () => this.#connection?.fail(new SecureWebSocketError('connection_lost', 'no answer to a ping')),
    );
    const { signal } = options;
    const abort = (): void => this.#finish(CLOSE_NORMAL, '', closedError(signal?.reason));
    signal?.addEventListener('abort', abort, { signal: this.#ended.signal });
    // Later, so that no callback runs before the caller holds the socket.
    queueMicrotask(() => {
      if (signal?.aborted) abort();
      if (this.state === 'closed') return;
      page.listen(() => this.#wake(), this.#ended.signal);
      this.#dial();
    });
  }

  get state(): State {
    return this.#snapshot.state;
  }

  /** The state with what belongs to it; the same object until a `statechange`. */
  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** How long the last pings took; undefined before the first answer. */
  get rtt(): Rtt | undefined {
    return this.#rtt;
  }

  /** How many messages wait for their acknowledgement. */
  get pending(): number {
    return this.#outbox.size;
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
   * the calls.
   */
  send(message: Out, options: SendOptions = {}): Promise<Ack> {
    const { ack: acked = true, signal, timeoutMs = this.#settings.ackTimeoutMs } = options;
    const id = ++this.#lastId;
    const abort = (): void => {
      this.#outbox.reject(id, signal?.reason);
      this.#flush();
    };
    const promise = new Promise<Ack>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#snapshot.state === 'closed') throw closedError(this.#snapshot.error);
      const body = bodyOf(message, acked ? id : undefined, this.#options.outgoing);
      const bytes = byteLength(body);
      const error = this.#sizeError(bytes);
      if (error) throw error;
      this.#outbox.add({ id, body, bytes, acked, deadline: this.#settings.now() + timeoutMs, resolve, reject });
      signal?.addEventListener('abort', abort);
      this.#flush();
    });
    const settled = (): void => signal?.removeEventListener('abort', abort);
    promise.then(settled, settled);
    return promise;
  }

  /**
   * Asks `authToken` for a fresh token and puts it in force on the open connection, as the socket does by itself before
   * the old one ends. Does nothing where there is no connection, or where a token is already being asked for.
   */
  async refresh(): Promise<void> {
    const connection = this.#connection;
    if (this.state !== 'open' || !connection || this.#refreshing === connection || !this.#renewable) return;
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

  /**
   * Closes the socket for good. What was never written rejects with `closed`, what was in flight with
   * `delivery_unknown`.
   *
   * @param code 1000 or 3000 to 4999.
   * @param reason at most 123 bytes.
   * @throws RangeError when code or reason are outside these limits.
   */
  close(code: number = CLOSE_NORMAL, reason = ''): void {
    if (code !== CLOSE_NORMAL && !(code >= 3000 && code <= 4999)) {
      throw new RangeError('code must be 1000 or 3000 to 4999');
    }
    if (byteLength(reason) > REASON_BYTES_MAX) throw new RangeError('reason must be at most 123 bytes');
    this.#finish(code, reason);
  }

  /** The messages from now on; ends with the socket, by its error if it has one. */
  [Symbol.asyncIterator](): AsyncGenerator<In, void, void> {
    const messages: In[] = [];
    const stop = new AbortController();
    let more = (): void => {};
    this.addEventListener('statechange', () => more(), stop);
    this.addEventListener('message', ({ data }) => (messages.push(data), more()), stop);
    return this.#read(messages, stop, () => new Promise((resolve) => (more = resolve)));
  }

  async *#read(messages: In[], stop: AbortController, more: () => Promise<void>): AsyncGenerator<In, void, void> {
    try {
      for (;;) {
        if (messages.length > this.#settings.maxMessages) {
          throw new SecureWebSocketError('queue_full', 'read too slowly');
        }
        const message = messages.shift();
        if (message) yield message;
        else if (this.#snapshot.state !== 'closed') await more();
        else if (this.#snapshot.error) throw this.#snapshot.error;
        else return;
      }
    } finally {
      stop.abort();
    }
  }

  /** A message beyond the limit would cost the connection (1009, and no way back): it is refused here. */
  #sizeError(bytes: number): SecureWebSocketError | undefined {
    if (bytes + CSRF_MEMBER_BYTES + this.#csrfToken.length <= this.#messageBytesMax) return undefined;
    return new SecureWebSocketError('too_large', `more than ${this.#messageBytesMax} bytes`);
  }

  /** Whether asking for a token again can bring another one; a cookie may have been renewed by another page. */
  get #renewable(): boolean {
    return typeof this.#settings.authToken === 'function';
  }

  #dial(): void {
    const { auth, url, fetch } = this.#settings;
    const reason = this.#tokenReason;
    this.#log(`connecting to ${new URL(url).host} (${auth})`);
    const connection: Connection = connect(
      this.#settings,
      async (signal) => {
        const credential = await obtainCredential(auth, url, fetch, () => this.#tokens.ask(reason), signal);
        // Without a session the entry announces that this client will resume the one to come.
        const resume = this.#resumeToken ? `.${this.#resumeToken}.${this.#lastSeq}` : '';
        credential.protocols.push(SUBPROTOCOL_RESUME + resume);
        return credential;
      },
      {
        received: (data) => this.#receive(connection, data),
        closed: (code, text) => {
          this.#lost(code, text, errorOfClose(code, this.#lastError), afterClose(code));
        },
        failed: (error) => {
          this.#tokens.forget();
          this.#lost(ABNORMAL, '', error, afterError(error));
        },
      },
      this.#log,
    );
    this.#connection = connection;
    if (this.#snapshot.state === 'reconnecting') this.#change({ state: 'reconnecting', error: this.#snapshot.error });
  }

  #receive(connection: Connection, data: unknown): void {
    this.#health.heard();
    let frame: ServerFrame | undefined;
    if (typeof data === 'string') {
      this.#log('<-', data);
      try {
        frame = JSON.parse(data);
      } catch {
        // Reported below, as everything that is not an envelope.
      }
    }
    const [member, type] = NEEDED.get(frame?.type) ?? [];
    if (typeof frame?.type !== 'string' || (member && typeof (frame.payload as any)?.[member] !== type)) {
      this.#report(new SecureWebSocketError('protocol', `the server sent a broken ${frame?.type ?? 'frame'}`));
      return;
    }
    switch (frame.type) {
      case 'welcome':
        connection.established();
        this.#welcome(frame.payload);
        break;
      case 'ack':
        this.#outbox.resolve(frame.id as number);
        this.#flush();
        break;
      case 'error':
        this.#refused(frame.id as number, errorOfFrame(frame.payload));
        break;
      case 'csrf':
        this.#csrfToken = frame.payload.csrfToken;
        break;
      case 'auth.expiring':
        void this.refresh();
        break;
      case 'auth.refreshed':
        break;
      case 'pong': {
        const rtt = this.#health.answered(frame.payload?.t);
        if (!rtt) break;
        this.#rtt = rtt;
        this.#emit('rtt', { rtt }, this.#options.onRtt, rtt);
        break;
      }
      case 'draining':
        this.#drain(frame.payload.reconnectAfterMs);
        break;
      default:
        this.#message(frame as IncomingMessage);
    }
  }

  #welcome(welcome: Welcome): void {
    if (!welcome.resumed) {
      this.#lastSeq = 0;
      const { snapshot } = this;
      const cause = snapshot.state === 'reconnecting' ? snapshot.error : undefined;
      if (this.#options.onLost !== 'resend') this.#outbox.lose(cause);
    }
    this.#outbox.requeue();
    this.#csrfToken = welcome.csrfToken;
    this.#resumeToken = welcome.resumeToken;
    this.#messageBytesMax = welcome.maxMessageBytes;
    this.#tokenReason = 'connect';
    this.#held = false;
    this.#alarms.set('stable', this.#settings.stableAfterMs, () => {
      this.#tries = 0;
      this.#triedFreshToken = false;
    });
    this.#change({ state: 'open', welcome });
    // A callback may have closed the socket, here and below.
    if (this.state === 'open') this.#emit('open', { welcome }, this.#options.onOpen, welcome);
    if (this.state !== 'open') return;
    this.#health.start(welcome.heartbeatMs);
    this.#flush();
  }

  /** An `error` frame: about a message, about the rate of them, or before a close. */
  #refused(id: number, error: SecureWebSocketError): void {
    this.#lastError = error;
    if (error.code === 'rate_limited') {
      // Not every message that was too many is answered: all that has no answer is written again, after a while, and the
      // server recognises what it has handled.
      this.#outbox.requeue();
      this.#slow = this.#held = true;
      this.#alarms.set('hold', Math.max(error.retryAfterMs ?? 0, SILENCE_MS), () => {
        this.#held = this.#draining;
        this.#flush();
      });
      this.#report(error);
    } else {
      const again = error.code === 'csrf_invalid' && this.#outbox.renew(id, this.#csrfToken);
      if (!again && !this.#outbox.reject(id, error)) this.#report(error);
    }
    this.#flush();
  }

  #message({ type, id, seq, payload }: IncomingMessage): void {
    if (this.state !== 'open') return this.#report(new SecureWebSocketError('protocol', 'a message before its welcome'));
    if (seq) {
      // A replay may bring what was already here.
      if (seq <= this.#lastSeq) return;
      this.#lastSeq = seq;
      if (!this.#acking) {
        this.#acking = true;
        this.#alarms.set('ack', ACK_INTERVAL_MS, () => {
          this.#acking = false;
          this.#write({ type: 'ack', payload: { seq: this.#lastSeq } });
        });
      }
    }
    let message: IncomingMessage = { type, ...(id !== undefined && { id }), ...(seq !== undefined && { seq }), payload };
    try {
      message = this.#options.incoming?.(message) ?? message;
    } catch (cause) {
      return this.#report(new SecureWebSocketError('invalid_message', `a message ${type} was refused here`, { cause }));
    }
    this.#emit('message', { data: message as In }, this.#options.onMessage, message as In);
  }

  /** Writes a frame of the protocol, if there is a connection. */
  #write(frame: object): void {
    if (this.#connection?.writable) this.#connection.write(JSON.stringify(frame));
  }

  #flush(): void {
    if (this.#held || this.state !== 'open' || !this.#connection?.writable) return;
    const csrfToken = this.#csrfToken;
    const write = (entry: Entry): SecureWebSocketError | undefined => {
      const error = this.#sizeError(entry.bytes);
      if (error) return error;
      entry.csrfToken = csrfToken;
      this.#connection?.write(`{"csrfToken":${JSON.stringify(csrfToken)},${entry.body.slice(1)}`);
      return undefined;
    };
    this.#slow = !this.#outbox.flush(write, this.#slow ? 1 : IN_FLIGHT_MAX) && this.#slow;
  }

  /** The page was shown or thawed, or the network changed. */
  #wake(): void {
    const { now, page, random, wakeTimeoutMs } = this.#settings;
    const snapshot = this.#snapshot;
    if (snapshot.state === 'open') {
      this.#health.ping(wakeTimeoutMs);
    } else if (snapshot.state === 'reconnecting' && snapshot.retryAt && !page.dormant) {
      const retryAt = Math.max(now() + random() * WAKE_SPREAD_MS, this.#notBefore);
      if (retryAt < snapshot.retryAt) this.#retry(retryAt, snapshot.error);
    }
  }

  /** The server goes away: nothing more is written here, and this client moves at the time that is its own. */
  #drain(reconnectAfterMs: number): void {
    this.#notBefore = this.#settings.now() + reconnectAfterMs;
    this.#draining = this.#held = true;
    if (!this.#settings.reconnect) return;
    this.#alarms.set('next', reconnectAfterMs, () => {
      this.#connection?.fail(new SecureWebSocketError('connection_lost', 'the server drains'));
    });
  }

  /** The connection ended, or could not be made: come back, or close for good. */
  #lost(code: number, reason: string, error: SecureWebSocketError, then: Reconnect): void {
    const { auth, reconnect, minDelayMs, maxDelayMs, now, random, page } = this.#settings;
    // The same token would be refused again; a cookie may have been renewed by another page.
    const fresh = then === 'once_with_fresh_token';
    const pointless = fresh && (this.#triedFreshToken || !(this.#renewable || auth === 'cookie'));
    if (!reconnect || then === 'never' || pointless) return this.#finish(code, reason, error);
    if (fresh) {
      this.#triedFreshToken = true;
      this.#tokenReason = 'rejected';
    }
    let retryAt = this.#notBefore;
    if (!this.#draining) {
      this.#notBefore = now() + (error.retryAfterMs ?? 0);
      // Full jitter: a delay that is only shaken a little brings all clients of a restarted server back together.
      retryAt = this.#notBefore + random() * Math.min(maxDelayMs, minDelayMs * 2 ** this.#tries++);
      // A tab that nobody sees and a device that thinks it is offline try rarely, but they try: both may be wrong.
      if (page.dormant) retryAt = Math.max(retryAt, now() + maxDelayMs);
    }
    this.#forgetConnection();
    this.#retry(retryAt, error);
    if (this.state !== 'reconnecting') return;
    const info = { code, reason, error, willReconnect: true };
    this.#emit('close', info, this.#options.onClose, info);
  }

  #retry(retryAt: number, error: SecureWebSocketError): void {
    const delayMs = retryAt - this.#settings.now();
    this.#log(`${error.code}: ${error.message}; next try in ${Math.round(delayMs)} ms`);
    this.#alarms.set('next', delayMs, () => this.#dial());
    this.#change({ state: 'reconnecting', error, retryAt });
  }

  #finish(code: number, reason: string, error?: SecureWebSocketError): void {
    if (this.state === 'closed') return;
    this.#connection?.leave(code, reason);
    this.#forgetConnection();
    this.#ended.abort();
    this.#outbox.clear(error ?? closedError());
    this.#change({ state: 'closed', error });
    const info = { code, reason, error, willReconnect: false };
    this.#emit('close', info, this.#options.onClose, info);
  }

  #forgetConnection(): void {
    this.#connection = this.#lastError = undefined;
    this.#draining = this.#acking = false;
    this.#health.stop();
    this.#alarms.stop();
  }

  #change(snapshot: Snapshot): void {
    const previous = this.state;
    const { state } = snapshot;
    this.#snapshot = snapshot;
    if (state !== previous) this.#log(`state ${state}`);
    this.#emit('statechange', { snapshot }, state === previous ? undefined : this.#options.onStateChange, state, previous);
  }

  #report(error: SecureWebSocketError): void {
    this.#log(`error ${error.code}: ${error.message}`);
    const { onError } = this.#options;
    if (error.code === 'callback_failed' && !onError) console.error(error);
    this.#emit('error', { error }, onError, error);
  }

  /**
   * Tells the application: the callback of the options, then the listeners.
   *
   * What a callback throws, at once or later, does not break the socket.
   */
  #emit<K extends keyof SecureWebSocketEvents, A extends unknown[]>(
    type: K,
    members: SecureWebSocketEvents<In>[K],
    callback: ((...args: A) => unknown) | undefined,
    ...args: A
  ): void {
    const failed = (cause: unknown): void => {
      // The last resort: there is nobody left to tell.
      if (type === 'error') console.error(cause);
      else this.#report(new SecureWebSocketError('callback_failed', 'a callback threw', { cause }));
    };
    try {
      const result = callback?.(...args);
      if (result instanceof Promise) result.catch(failed);
    } catch (cause) {
      failed(cause);
    }
    this.dispatchEvent(Object.assign(new Event(type), members));
  }
}

function errorOfFrame(payload: ErrorPayload): SecureWebSocketError {
  return new SecureWebSocketError(payload.code, payload.message, payload);
}

function closedError(cause?: unknown): SecureWebSocketError {
  return new SecureWebSocketError('closed', 'the socket is closed', { cause });
}
