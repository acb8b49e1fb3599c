// The life of a socket: attempts, connections, what is written and read on them, and how they end.
import { createAlarms } from './alarm.js';
import { ABNORMAL, connect, type Connection } from './connection.js';
import { createTokenSource, obtainCredential } from './credential.js';
import { afterEnd, errorOfClose } from './ending.js';
import { errorOf, SecureWebSocketError, tokenError } from './errors.js';
import type { SecureWebSocketEvents } from './events.js';
import { createHealth, type Rtt } from './health.js';
import { createLog } from './log.js';
import { bodyOf, byteLength } from './message.js';
import type {
  Ack,
  CloseInfo,
  IncomingMessage,
  OutgoingMessage,
  ReconnectOptions,
  SecureWebSocketOptions,
  SendOptions,
  Snapshot,
  TokenContext,
  WebSocketConstructor,
} from './options.js';
import { createOutbox } from './outbox.js';
import { thisPage } from './page.js';
import {
  CLIENT_ACK_INTERVAL_MS,
  CLOSE_NORMAL,
  MESSAGE_BYTES_MAX,
  type Reconnect,
  type ServerFrame,
  SUBPROTOCOL_RESUME,
  type Welcome,
} from './protocol.js';

/** Bytes that the CSRF member adds to a message besides the token itself: `"csrfToken":"",`. */
const CSRF_MEMBER_BYTES = 15;

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

/** What left this client: the close code after which a server lets the session wait. */
const LEFT = 4900;

/** What {@link createSession} makes; see `SecureWebSocket` for what its members do. */
export interface Session<Out extends OutgoingMessage> {
  readonly snapshot: Snapshot;
  readonly rtt: Rtt | undefined;
  readonly pending: number;
  send(message: Out, options?: SendOptions): Promise<Ack>;
  refresh(): Promise<void>;
  close(code: number, reason: string): void;
}

type Callbacks<In extends IncomingMessage = IncomingMessage> = {
  [K in 'onMessage' | 'onOpen' | 'onClose' | 'onError' | 'onStateChange' | 'onRtt']: NonNullable<SecureWebSocketOptions<In>[K]>;
};

/** `dispatch` tells listeners. */
export function createSession<In extends IncomingMessage, Out extends OutgoingMessage>(
  options: SecureWebSocketOptions<In, Out>,
  dispatch: <K extends keyof SecureWebSocketEvents>(type: K, members: SecureWebSocketEvents<In>[K]) => void,
): Session<Out> {
  const {
    auth = 'subprotocol',
    authToken,
    reconnect = true,
    connectTimeoutMs = 10_000,
    ackTimeoutMs = 30_000,
    health: healthOptions = true,
    queue = {},
    signal,
    page = thisPage,
    // Called as functions of their own objects: browsers refuse them otherwise.
    fetch = (address, init) => globalThis.fetch(address, init),
    now = () => performance.now(),
    random = Math.random,
    timers = globalThis,
    WebSocket = globalThis.WebSocket as WebSocketConstructor | undefined,
  } = options;
  const { minDelayMs = 500, maxDelayMs = 20_000, stableAfterMs = 5_000 } = reconnect as ReconnectOptions;
  const url = new URL(options.url).href;
  if (!authToken && auth !== 'cookie') throw new TypeError('authToken');
  /** Whether asking for a token again can bring another one. */
  const renewable = typeof authToken === 'function';

  /** Aborted by the end: what listens to the page stops. */
  const ended = new AbortController();
  const log = createLog(options.debug);
  const tokens = createTokenSource(authToken);
  const alarms = createAlarms(timers);
  const outbox = createOutbox(queue, now, alarms, () => flush());
  const health = createHealth(
    healthOptions,
    now,
    alarms,
    (t) => write({ type: 'ping', payload: { t } }),
    () => giveUp(),
  );

  let snapshot: Snapshot = { state: 'connecting' };
  let rtt: Rtt | undefined;

  // The connection, or the attempt to make one. INVARIANT: while it is set, no attempt is awaited.
  let connection: Connection | undefined;
  /** When the connection is stable. */
  let stableAt = Infinity;
  /** Nothing more is written here: the server goes away. */
  let draining = false;
  /** The last `error` frame of a connection: before a close that is a refusal it says why. */
  let lastError: SecureWebSocketError | undefined;

  // What decides when to come back.
  /** Attempts and connections that ended since one was stable. */
  let tries = 0;
  /** A refused token was already replaced once, and no connection has been stable since. */
  let triedFreshToken = false;
  let tokenReason: TokenContext['reason'] = 'connect';
  /** The server does not want to see this client sooner. */
  let notBefore = 0;

  // What belongs to the session with the server.
  let csrfToken = '';
  let messageBytesMax = MESSAGE_BYTES_MAX;
  /** Counts messages from 1; never starts over, so that a resumed session can tell a repetition. */
  let lastId = 0;
  /** The last application frame received, and what names the session in a handshake that resumes it. */
  let lastSeq = 0;
  let resumeToken: string | undefined;
  /** The server said that messages were too many: one at a time is in flight until nothing waits any more. */
  let slow = false;

  // Telling the application.

  /**
   * Calls the callback of the options, then the listeners.
   *
   * What a callback throws, at once or later, does not break the socket.
   */
  const tell = <K extends keyof Callbacks>(
    name: K,
    members: SecureWebSocketEvents<In>[Lowercase<K> extends `on${infer E extends keyof SecureWebSocketEvents}` ? E : never],
    ...args: Parameters<Callbacks<In>[K]>
  ): void => {
    const callback = options[name] as ((...args: unknown[]) => unknown) | undefined;
    (async () => callback?.(...args))().catch((cause) => {
      if (name !== 'onError') report(errorOf('callback_failed', cause));
      // There is nobody to tell, or nobody left.
      if (name === 'onError' || !options.onError) console.error(cause);
    });
    emit(name.slice(2).toLowerCase() as keyof SecureWebSocketEvents, members);
  };

  const emit: typeof dispatch = (type, members) => {
    // A message was told when it came, and may hold by now what JSON cannot.
    if (type !== 'message') log?.(type, members);
    dispatch(type, members);
  };

  const report = (error: SecureWebSocketError): void => tell('onError', { error }, error);

  const change = (next: Snapshot): void => {
    const { state: previous } = snapshot;
    const { state } = (snapshot = next);
    if (state === previous) emit('statechange', { snapshot });
    else tell('onStateChange', { snapshot }, state, previous);
  };

  // Connections: how they begin and end.

  const dial = (): void => {
    alarms.set('next', connectTimeoutMs, giveUp);
    // Without a session the entry announces that this client will resume the one to come.
    const resume = SUBPROTOCOL_RESUME + (resumeToken ? `.${resumeToken}.${lastSeq}` : '');
    connection = connect(
      WebSocket,
      (over) => obtainCredential(auth, url, fetch, () => tokens.ask(tokenReason), resume, over),
      receive,
      (code, text) => lost(code, text, errorOfClose(code, lastError)),
      fail,
      log,
    );
    if (snapshot.state === 'reconnecting') change({ state: 'reconnecting', error: snapshot.error });
  };

  const welcome = (frame: Welcome): void => {
    // First of all: without it nothing can be sent.
    csrfToken = need('string', frame.csrfToken);
    if (!frame.resumed) {
      lastSeq = 0;
      if (options.onLost !== 'resend') outbox.lose((snapshot as { error?: unknown }).error);
    }
    outbox.requeue();
    ({ resumeToken, maxMessageBytes: messageBytesMax } = frame);
    tokenReason = 'connect';
    stableAt = now() + stableAfterMs;
    alarms.stop('next');
    change({ state: 'open', welcome: frame });
    // A callback may have closed the socket, here and below.
    if (snapshot.state === 'open') tell('onOpen', { welcome: frame }, frame);
    if (snapshot.state !== 'open') return;
    health.start(frame.heartbeatMs);
    flush();
  };

  /** Ends a connection, or an attempt to make one, from this side. */
  const fail = (error: SecureWebSocketError, then?: Reconnect): void => {
    connection?.leave(LEFT);
    tokens.forget();
    lost(ABNORMAL, '', error, then);
  };

  const giveUp = (): void => fail(errorOf('connection_lost'));

  /** The connection ended, or could not be made: come back, or close for good. */
  const lost = (
    code: number,
    reason: string,
    error: SecureWebSocketError,
    then: Reconnect = afterEnd(code, error),
  ): void => {
    if (now() >= stableAt) {
      tries = 0;
      triedFreshToken = false;
    }
    const fresh = then === 'once_with_fresh_token';
    // The same token would be refused again; a cookie may have been renewed by another page.
    const pointless = fresh && (triedFreshToken || !(renewable || auth === 'cookie'));
    if (!reconnect || then === 'never' || pointless) return finish(code, reason, error);
    if (fresh) {
      triedFreshToken = true;
      tokenReason = 'rejected';
    }
    let retryAt = notBefore;
    if (!draining) {
      notBefore = now() + (error.retryAfterMs ?? 0);
      // Full jitter: a delay that is only shaken a little brings all clients of a restarted server back together.
      retryAt = notBefore + random() * Math.min(maxDelayMs, minDelayMs * 2 ** tries++);
      // A tab that nobody sees and a device that thinks it is offline try rarely, but they try: both may be wrong.
      if (page.dormant) retryAt = Math.max(retryAt, now() + maxDelayMs);
    }
    forgetConnection();
    retry(retryAt, error);
    if (snapshot.state !== 'reconnecting') return;
    tellClose({ code, reason, error, willReconnect: true });
  };

  const retry = (retryAt: number, error: SecureWebSocketError): void => {
    alarms.set('next', retryAt - now(), dial);
    change({ state: 'reconnecting', error, retryAt });
  };

  const finish = (code: number, reason: string, error?: SecureWebSocketError): void => {
    if (snapshot.state === 'closed') return;
    connection?.leave(code, reason);
    forgetConnection();
    ended.abort();
    alarms.stop('expiry');
    outbox.lose(error ?? errorOf('closed'), true);
    change({ state: 'closed', error });
    tellClose({ code, reason, error, willReconnect: false });
  };

  const tellClose = (info: CloseInfo): void => tell('onClose', info, info);

  const forgetConnection = (): void => {
    connection = lastError = undefined;
    stableAt = Infinity;
    draining = false;
    alarms.stop('next', 'hold', 'seen', 'beat');
  };

  /** The page was shown or thawed, or the network changed. */
  const wake = (): void => {
    if (snapshot.state === 'open') health.wake();
    if (snapshot.state !== 'reconnecting' || page.dormant) return;
    const retryAt = Math.max(now() + random() * WAKE_SPREAD_MS, notBefore);
    // While an attempt is under way there is no later one.
    if (retryAt < (snapshot.retryAt ?? 0)) retry(retryAt, snapshot.error);
  };

  // Frames of the server.

  const receive = (data: unknown): void => {
    health.heard();
    try {
      const frame = JSON.parse(data as string);
      log?.('<-', frame);
      handle(frame);
    } catch {
      // Without the cause: it repeats a part of what was received, which may be a secret.
      report(errorOf('protocol'));
    }
  };

  /** @throws where a member is not there without which the frame would do harm. */
  const handle = (frame: ServerFrame): void => {
    const { type, id, payload } = frame as { type: string; id: number; payload: any };
    switch (need('string', type)) {
      case 'welcome':
        return welcome(payload);
      case 'ack':
        outbox.resolve(id);
        return flush();
      case 'error':
        return refused(id, new SecureWebSocketError(need('string', payload.code), payload.message, payload));
      case 'csrf':
        csrfToken = need('string', payload.csrfToken);
        return;
      case 'auth.expiring':
        void refresh();
        return;
      case 'auth.refreshed':
        return;
      case 'pong': {
        const answer = health.answered(payload?.t);
        if (answer) tell('onRtt', { rtt: (rtt = answer) }, answer);
        return;
      }
      case 'draining':
        // The server goes away: nothing more is written here, and this client moves at the time that is its own.
        notBefore = now() + need('number', payload.reconnectAfterMs);
        draining = true;
        if (reconnect) alarms.set('next', payload.reconnectAfterMs, giveUp);
        return;
      default:
        message(frame as IncomingMessage);
    }
  };

  const message = (frame: IncomingMessage): void => {
    if (snapshot.state !== 'open') throw new TypeError();
    const { seq } = frame;
    if (seq) {
      // A replay may bring what was already here.
      if (seq <= lastSeq) return;
      lastSeq = seq;
      if (!alarms.isSet('seen')) {
        alarms.set('seen', ACK_INTERVAL_MS, () => write({ type: 'ack', payload: { seq: lastSeq } }));
      }
    }
    let data: IncomingMessage = frame;
    try {
      data = options.incoming?.(frame) ?? frame;
    } catch (cause) {
      return report(errorOf('invalid_message', cause));
    }
    tell('onMessage', { data: data as In }, data as In);
  };

  /** An `error` frame: about a message, about the rate of them, or before a close. */
  const refused = (id: number, error: SecureWebSocketError): void => {
    lastError = error;
    if (error.code === 'rate_limited') {
      // Not every message that was too many is answered: all that has no answer is written again, after a while and in
      // order. The server recognises what it has handled, and lets nothing overtake what it has refused.
      outbox.requeue();
      slow = true;
      alarms.set('hold', Math.max(error.retryAfterMs ?? 0, SILENCE_MS), flush);
      report(error);
    } else {
      const again = error.code === 'csrf_invalid' && outbox.renew(id, csrfToken);
      if (!again && !outbox.reject(id, error)) report(error);
    }
    flush();
  };

  // What is written.

  /** Writes a frame of the protocol, if there is a connection. */
  const write = (frame: object): void => {
    connection?.write(JSON.stringify(frame));
  };

  /** A message beyond the limit would cost the connection (1009, and no way back): it is refused here. */
  const isTooLarge = (bytes: number): boolean => bytes + CSRF_MEMBER_BYTES + csrfToken.length > messageBytesMax;

  /** Writes what waits, as far as the window goes. */
  const flush = (): void => {
    if (snapshot.state !== 'open' || draining || alarms.isSet('hold')) return;
    let entry;
    while ((entry = outbox.next(slow ? 1 : IN_FLIGHT_MAX))) {
      if (isTooLarge(entry.bytes)) outbox.reject(entry.id, errorOf('too_large'));
      else if (!connection?.write(`{"csrfToken":${JSON.stringify(csrfToken)},${entry.body.slice(1)}`)) return;
      else outbox.written(entry, csrfToken);
    }
    slow &&= !!outbox.next(Infinity);
  };

  const send = (outgoing: Out, { ack = true, signal, timeoutMs = ackTimeoutMs }: SendOptions = {}): Promise<Ack> => {
    const id = ++lastId;
    const abort = (): void => {
      outbox.reject(id, signal?.reason);
      flush();
    };
    const promise = new Promise<Ack>((resolve, reject) => {
      signal?.throwIfAborted();
      if (snapshot.state === 'closed') throw errorOf('closed', snapshot.error);
      const body = bodyOf(outgoing, ack ? id : undefined, options.outgoing);
      const bytes = byteLength(body);
      if (isTooLarge(bytes)) throw errorOf('too_large');
      outbox.add({ id, body, bytes, acked: ack, deadline: now() + timeoutMs, resolve, reject });
      signal?.addEventListener('abort', abort);
      flush();
    });
    const settled = (): void => signal?.removeEventListener('abort', abort);
    promise.then(settled, settled);
    return promise;
  };

  const refresh = async (): Promise<void> => {
    const mine = connection;
    // A static token has no successor.
    if (snapshot.state !== 'open' || !mine || mine.refreshing || !renewable) return;
    mine.refreshing = true;
    try {
      const token = await tokens.ask('expiring');
      mine.write(JSON.stringify({ type: 'auth.refresh', payload: { token } }));
    } catch (thrown) {
      report(tokenError(thrown));
    }
    mine.refreshing = false;
  };

  const abort = (): void => finish(CLOSE_NORMAL, '', errorOf('closed', signal?.reason));
  signal?.addEventListener('abort', abort, { signal: ended.signal });
  // Later, so that no callback runs before the caller holds the socket.
  queueMicrotask(() => {
    if (signal?.aborted) abort();
    if (snapshot.state === 'closed') return;
    page.listen(wake, ended.signal);
    dial();
  });

  return {
    get snapshot() {
      return snapshot;
    },
    get rtt() {
      return rtt;
    },
    get pending() {
      return outbox.size;
    },
    send,
    refresh,
    close: finish,
  };
}

/** A member without which a frame would do harm: undefined would be sent as a token, or waited for. */
function need<T>(type: 'string' | 'number', value: T): T {
  if (typeof value !== type) throw new TypeError(type);
  return value;
}
