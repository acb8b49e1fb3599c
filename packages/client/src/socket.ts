import { createAlarms } from './alarm.js';
import { ABNORMAL, connect, type Connection } from './connection.js';
import { createTokenSource, obtainCredential } from './credential.js';
import { SecureWebSocketError } from './errors.js';
import { measure, type Rtt } from './health.js';
import { createLog } from './log.js';
import {
  type Ack,
  type CloseInfo,
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
  CLOSE_FORBIDDEN,
  CLOSE_NORMAL,
  CLOSE_POLICY_VIOLATION,
  CLOSE_RATE_LIMITED,
  CLOSE_TOO_BIG,
  CLOSE_UNAUTHENTICATED,
  CSRF_EXEMPT_TYPES,
  type ErrorCode,
  MESSAGE_BYTES_MAX,
  type Reconnect,
  RECONNECT,
  type ServerFrame,
  SUBPROTOCOL_RESUME,
  TYPE_BYTES_MAX,
  type Welcome,
} from './protocol.js';

/** Bytes that the CSRF member adds to a message besides the token itself: `"csrfToken":"",`. */
const CSRF_MEMBER_BYTES = 15;

/** Longest close reason, in bytes (RFC 6455 section 5.5: 125 less the code). */
const REASON_BYTES_MAX = 123;

/** After a wake the next try begins within this time, in milliseconds: many pages may wake together. */
const WAKE_SPREAD_MS = 300;

/** A timer that fires later than this, in milliseconds, ran in a page that slept: what arrived meanwhile is not read yet. */
const LATE_MS = 100;

/** Time from one ping to the next where neither the options nor the server say, in milliseconds. */
const HEARTBEAT_MS = 25_000;

/** How long such a page gets to read it, in milliseconds. */
const GRACE_MS = 1_000;

/**
 * Most messages in flight. Far fewer than the ids that a server remembers, so that one that is written again is always
 * recognised; and few, so that a quota is overrun by few.
 */
const IN_FLIGHT_MAX = 32;

/** Shortest silence after `rate_limited`, in milliseconds: a server leaves refusals unanswered for 250 ms after one. */
const SILENCE_MS = 300;

/** How often to say what was received, in milliseconds: the server passes over what comes sooner than its interval. */
const ACK_INTERVAL_MS = CLIENT_ACK_INTERVAL_MS + 50;

/**
 * What a server refuses wherever it stands in a message, before it can tell which message that was: control characters
 * and lone surrogates, which JSON.stringify writes as `\\u` and `\\b`, DEL, and a key that changes prototypes.
 */
const UNSAFE = /(?:^|[^\\])(?:\\\\)*\\[ub]|\x7f|"__proto__":/;

/** What a close code means where the `error` frame before it was lost. */
const REFUSALS: Readonly<Record<number, ErrorCode>> = {
  [CLOSE_UNAUTHENTICATED]: 'unauthenticated',
  [CLOSE_FORBIDDEN]: 'forbidden',
  [CLOSE_RATE_LIMITED]: 'rate_limited',
  [CLOSE_TOO_BIG]: 'too_large',
};

/** The members without which a control frame would do harm: undefined would be sent as a token, or waited for. */
const NEEDED = new Map<unknown, readonly [member: string, type: string]>([
  ['welcome', ['csrfToken', 'string']],
  ['csrf', ['csrfToken', 'string']],
  ['error', ['code', 'string']],
  ['draining', ['reconnectAfterMs', 'number']],
]);

/** The events of a {@link SecureWebSocket}, each an `Event` with these members. */
export interface SecureWebSocketEvents<In extends IncomingMessage = IncomingMessage> {
  open: { readonly welcome: Welcome };
  message: { readonly data: In };
  close: CloseInfo;
  error: { readonly error: SecureWebSocketError };
  /** The snapshot changed: another state, or another try within `reconnecting`. */
  statechange: { readonly snapshot: Snapshot };
  rtt: { readonly rtt: Rtt };
}

export interface SecureWebSocket<In extends IncomingMessage, Out extends OutgoingMessage> {
  addEventListener<K extends keyof SecureWebSocketEvents>(
    type: K,
    listener: ((event: Event & SecureWebSocketEvents<In>[K]) => void) | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof SecureWebSocketEvents>(
    type: K,
    listener: ((event: Event & SecureWebSocketEvents<In>[K]) => void) | null,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
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
  #heartbeatMs = HEARTBEAT_MS;
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
  /** Something has come from the server since the last ping. */
  #heard = false;
  /** When the last ping was written. */
  #askedAt = 0;
  /** When an answer must have come; Infinity while none is awaited. */
  #answerBy = Infinity;
  #rtts: number[] = [];
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
    this.#alarms = createAlarms<'next' | 'stable' | 'health' | 'ack' | 'hold'>(timers);
    // Later, so that no callback runs before the caller holds the socket.
    queueMicrotask(() => {
      if (this.state === 'closed') return;
      page.listen(() => this.#wake(), this.#ended.signal);
      this.#dial();
    });
    const { signal } = options;
    const abort = (): void => this.#finish(CLOSE_NORMAL, '', closedError(signal?.reason));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { signal: this.#ended.signal });
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
      const body = this.#bodyOf(message, acked ? id : undefined);
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

  /** The message as JSON, without its CSRF token. */
  #bodyOf(message: Out, id: number | undefined): string {
    if (this.#snapshot.state === 'closed') throw closedError(this.#snapshot.error);
    let body: string | undefined;
    try {
      const { type, payload } = this.#options.outgoing?.(message) ?? message;
      // The types of the protocol are not the application's.
      if (typeof type === 'string' && type && byteLength(type) <= TYPE_BYTES_MAX && !CSRF_EXEMPT_TYPES.includes(type as 'ack')) {
        body = JSON.stringify({ type, id, payload });
      }
    } catch (cause) {
      throw new SecureWebSocketError('invalid_message', 'the payload was refused here, or is not JSON', { cause });
    }
    if (!body) throw new SecureWebSocketError('invalid_message', 'the type is empty, too long or of the protocol');
    if (UNSAFE.test(body)) throw new SecureWebSocketError('unsafe_content', 'control characters or a key __proto__');
    return body;
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
          // An earlier refusal has nothing to do with a cable that was pulled.
          const told = code >= 4400 || code === CLOSE_POLICY_VIOLATION ? this.#lastError : undefined;
          const error = told ?? new SecureWebSocketError(REFUSALS[code] ?? 'connection_lost', `closed with ${code}`);
          this.#lost(code, text, error, afterClose(code));
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
    this.#heard = true;
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
        this.#refused(frame.id as number, new SecureWebSocketError(frame.payload.code, frame.payload.message, frame.payload));
        break;
      case 'csrf':
        this.#csrfToken = frame.payload.csrfToken;
        break;
      case 'auth.expiring':
        void this.refresh();
        break;
      case 'auth.refreshed':
        break;
      case 'pong':
        if (frame.payload?.t !== this.#askedAt) break;
        this.#rtt = measure(this.#rtts, this.#settings.now() - this.#askedAt);
        this.#emit('rtt', { rtt: this.#rtt }, this.#options.onRtt, this.#rtt);
        break;
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
      if (this.#options.onLost !== 'resend') this.#outbox.lose(this.#snapshot.state === 'reconnecting' && this.#snapshot.error);
    }
    this.#outbox.requeue();
    this.#csrfToken = welcome.csrfToken;
    this.#resumeToken = welcome.resumeToken;
    this.#messageBytesMax = welcome.maxMessageBytes;
    this.#heartbeatMs = welcome.heartbeatMs || HEARTBEAT_MS;
    this.#tokenReason = 'connect';
    this.#held = false;
    this.#alarms.set('stable', this.#settings.stableAfterMs, () => {
      this.#tries = 0;
      this.#triedFreshToken = false;
    });
    this.#change({ state: 'open', welcome });
    // A callback may have closed the socket, here and below.
    if (this.state === 'open') this.#emit('open', { welcome }, this.#options.onOpen, welcome);
    if (this.#settings.health) this.#ping(this.#settings.timeoutMs);
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
    } else if (!(error.code === 'csrf_invalid' && this.#outbox.renew(id, this.#csrfToken)) && !this.#outbox.reject(id, error)) {
      this.#report(error);
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

  /** Asks the server for a sign of life. What comes from it meanwhile is one, and does not put off the question. */
  #ping(timeoutMs: number): void {
    const { now } = this.#settings;
    const answerBy = now() + timeoutMs;
    // A page that wakes again and again must not put off the end of the first question.
    if (this.#answerBy <= answerBy) return;
    this.#askedAt = now();
    this.#answerBy = answerBy;
    this.#heard = false;
    this.#write({ type: 'ping', payload: { t: this.#askedAt } });
    this.#alarms.set('health', timeoutMs, () => this.#judge(answerBy));
  }

  /** Whether the server has been heard of since the ping. */
  #judge(answerBy: number): void {
    const { now, intervalMs, timeoutMs } = this.#settings;
    if (this.#heard) {
      this.#answerBy = Infinity;
      this.#alarms.set('health', (intervalMs || this.#heartbeatMs) - (now() - this.#askedAt), () => this.#ping(timeoutMs));
    } else if (now() - answerBy > LATE_MS) {
      this.#alarms.set('health', GRACE_MS, () => this.#judge(Infinity));
    } else {
      this.#connection?.fail(new SecureWebSocketError('connection_lost', 'no answer to a ping'));
    }
  }

  /** The page was shown or thawed, or the network changed. */
  #wake(): void {
    const { now, page, random, wakeTimeoutMs, health } = this.#settings;
    const snapshot = this.#snapshot;
    if (snapshot.state === 'open') {
      if (health) this.#ping(wakeTimeoutMs);
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
    this.#answerBy = Infinity;
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

/** What to do after a close code, those that only a browser or a proxy makes included. */
function afterClose(code: number): Reconnect {
  // An unknown 44xx is a refusal that this version cannot know; coming back would only provoke it again.
  return RECONNECT[code] ?? (code >= 4400 && code < 4500 ? 'never' : 'back_off');
}

/** What to do after an attempt that failed on this side. */
function afterError({ code }: SecureWebSocketError): Reconnect {
  if (code === 'unauthenticated' || code === 'session_expired') return 'once_with_fresh_token';
  return code === 'forbidden' || code === 'unsupported' ? 'never' : 'back_off';
}

function closedError(cause?: unknown): SecureWebSocketError {
  return new SecureWebSocketError('closed', 'the socket is closed', { cause });
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
