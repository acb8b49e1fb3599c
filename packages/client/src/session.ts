// The life of a socket: attempts, connections, what is written and read on them, and how they end.
import { errorOf, need, REFUSALS, SecureWebSocketError, tokenError } from './errors.js';
import type { SecureWebSocketEvents } from './events.js';
import {
  ACK_INTERVAL_MS,
  CLOSE_ABNORMAL,
  CLOSE_LEFT,
  CSRF_MEMBER_BYTES,
  DELAY_MS_MAX,
  GRACE_MS,
  IN_FLIGHT_MAX,
  LATE_MS,
  OPEN,
  RTT_SAMPLES,
  SHOWN_CHARS_MAX,
  SILENCE_MS,
  WAKE_SPREAD_MS,
} from './limits.js';
import type {
  Ack,
  HealthOptions,
  IncomingMessage,
  Logger,
  OutgoingMessage,
  ReconnectOptions,
  Rtt,
  SecureWebSocketOptions,
  SendOptions,
  Snapshot,
  TokenContext,
  WebSocketConstructor,
  WebSocketLike,
} from './options.js';
import { thisPage } from './page.js';
import {
  type ClientFrameType,
  CLOSE_NORMAL,
  CLOSE_POLICY_VIOLATION,
  CLOSE_TOO_BIG,
  CLOSE_UNAUTHENTICATED,
  type SUBPROTOCOL,
  type SUBPROTOCOL_BEARER_PREFIX,
  type SUBPROTOCOL_ORDERED,
  type SUBPROTOCOL_RESUME,
} from './protocol.js';

/** A timer: is set instead of what it was set to before, or, without arguments, stopped. */
type Alarm = (delayMs?: number, act?: () => void) => void;

/** What {@link createSession} makes; see `SecureWebSocket` for what its members do. */
export interface Session<Out extends OutgoingMessage> {
  send(message: Out, options?: SendOptions): Promise<Ack>;
  refresh(): Promise<void>;
  close(code: number, reason: string, error?: SecureWebSocketError): void;
}

type Callbacks<In extends IncomingMessage = IncomingMessage> = {
  [K in 'onMessage' | 'onOpen' | 'onClose' | 'onError' | 'onStateChange' | 'onRtt']: NonNullable<SecureWebSocketOptions<In>[K]>;
};

/** A message on its way to its acknowledgement. */
interface Entry {
  /** The message as JSON behind its CSRF token, which is put before it when it is written: `,"type":…}`. */
  rest: string;
  size: number;
  /** Whether the server acknowledges it; otherwise it is done once it is written. */
  ack: boolean;
  /** The round in which it was written. In flight is what was written in this one. */
  round?: number | undefined;
  /** The CSRF token that it was last written with. While there is one, the server may have handled the message. */
  csrfToken?: string | undefined;
  /** Takes the message out for good: it was handled, or failed for this reason. */
  end(reason?: unknown): void;
}

/** Starts what `socket` shows; listeners hear of it there. */
export function createSession<In extends IncomingMessage, Out extends OutgoingMessage>(
  socket: EventTarget & { snapshot: Snapshot; rtt: Rtt | undefined; pending: number },
  options: SecureWebSocketOptions<In, Out>,
): Session<Out> {
  const {
    auth,
    authToken,
    reconnect = true,
    connectTimeoutMs = 10_000,
    ackTimeoutMs = 30_000,
    health = true,
    queue: { maxMessages = 1_000, maxBytes = 1_048_576, policy } = {},
    signal,
    debug,
    page = thisPage,
    // Called as a function of its own object: browsers refuse it otherwise.
    now = () => performance.now(),
    random = Math.random,
    timers = globalThis,
    WebSocket = globalThis.WebSocket as WebSocketConstructor | undefined,
  } = options;
  const { minDelayMs = 500, maxDelayMs = 20_000, stableAfterMs = 5_000 } = reconnect as ReconnectOptions;
  const { intervalMs, timeoutMs = 10_000, wakeTimeoutMs = 3_000 } = health as HealthOptions;
  const url = new URL(options.url);
  /** Whether asking for a token again can bring another one. */
  const renewable = typeof authToken === 'function';
  if (auth !== 'cookie' && !renewable) need(authToken);

  /** Aborted by the end: what listens to the page stops. */
  const ended = new AbortController();
  const alarm = (): Alarm => {
    let running: any;
    return (delayMs, act) => {
      timers.clearTimeout(running);
      running = act && timers.setTimeout(act, Math.min(delayMs!, DELAY_MS_MAX));
    };
  };
  /** The end of an attempt, the next attempt, or the move away from a server that drains. */
  const next = alarm();
  /** Messages are written again. */
  const hold = alarm();
  /** The server is told what was received. */
  const seen = alarm();
  /** The next ping, or the end of the wait for a sign of life. */
  const beat = alarm();
  let { snapshot } = socket;

  // The connection, or the attempt to make one.
  /** Aborted when it is over: every callback and every `await` looks at it. */
  let attempt = new AbortController();
  let transport: WebSocketLike | undefined;
  /** When the connection is stable. */
  let stableAt: number;
  /** Nothing more is written here: the server goes away. */
  let draining = false;
  /** The last `error` frame of a connection: before a close that is a refusal it says why. */
  let lastError: SecureWebSocketError | undefined;

  // What decides when to come back.
  /** Attempts and connections that ended since one was stable. */
  let tries = 0;
  /** A refused token was already replaced once, and no connection has been stable since. */
  let triedFreshToken = false;
  /** The question for a token that is not answered yet: those that overlap are one, so that a login page opens once. */
  let asking: string | Promise<string> | undefined;
  /** The server does not want to see this client sooner. */
  let notBefore = 0;

  // What belongs to the session with the server.
  let csrfToken: string;
  let messageBytesMax: number;
  /** Counts messages from 1; never starts over, so that a resumed session can tell a repetition. */
  let lastId = 0;
  /** The last application frame received, and the last that the server was told of. */
  let lastSeq = 0;
  let toldSeq = 0;
  /** What names the session in a handshake that resumes it. */
  let resumeToken: string | undefined;

  // Whether the other end is there, and how far away.
  const samples: number[] = [];
  let heartbeatMs: number;
  /** Something has come from the server since the last ping. */
  let heard: boolean;
  let askedAt: number;
  /** When an answer must have come; Infinity while none is awaited. */
  let answerBy: number;

  // The messages that wait for their acknowledgement: those in flight, and those that wait to be written. A Map keeps the
  // order of insertion: they are written in the order of `send`, also those written again.
  const entries = new Map<number, Entry>();
  let bytes = 0;
  /** Counts up when what is in flight has to be written again. */
  let round = 1;
  /** Most that may be in flight; after the server said that they were too many none for a while, then one until none waits. */
  let inFlightMax = IN_FLIGHT_MAX;

  // Telling the application.

  /** Writes a line of debug output: `event`, and what belongs to it as JSON, with its secrets masked. */
  const log = (event: string, value: unknown): void => {
    const masked = (key: string, member: unknown): unknown =>
      /token|ticket|secret|password|authorization|cookie/i.test(key) ? '***' : member;
    // Looked up for each line: tests and tools replace the console's.
    const write = debug === true ? console.log : (debug as Logger);
    write(`[wsguard] ${event} ${JSON.stringify(value, masked).slice(0, SHOWN_CHARS_MAX)}`);
  };

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
    (async () => (options[name] as ((...args: unknown[]) => unknown) | undefined)?.(...args))().catch((cause) => {
      if (options.onError && name !== 'onError') report(errorOf('callback_failed', cause));
      // There is nobody to tell, or nobody left.
      else console.error(cause);
    });
    // A message was told when it came, and may hold by now what JSON cannot.
    if (debug && name !== 'onMessage') log(name, members);
    socket.dispatchEvent(Object.assign(new Event(name.slice(2).toLowerCase()), members));
  };

  const report = (error: SecureWebSocketError): void => tell('onError', { error }, error);

  const change = (next: Snapshot): void => {
    const { state } = snapshot;
    socket.snapshot = snapshot = next;
    tell('onStateChange', { snapshot }, snapshot.state, state);
  };

  // Connections: how they begin and end.

  /** Asks for the token, unless that question is open already. */
  const ask = async (reason: TokenContext['reason'] = triedFreshToken ? 'rejected' : 'connect'): Promise<string> => {
    try {
      return need(renewable ? await (asking ??= authToken({ reason })) : authToken);
    } finally {
      asking = undefined;
    }
  };

  /** Asks `POST {url}/{endpoint}` and returns the ticket or the proof that it answers. */
  const post = async (endpoint: string, signal: AbortSignal, headers = {}): Promise<string> => {
    const address = `http${url.origin.slice(2)}${url.pathname}/${endpoint}`;
    const response = await fetch(address, { method: 'POST', headers, signal });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return need(answer.ticket ?? answer.csrfToken);
    throw new SecureWebSocketError(REFUSALS[response.status] ?? 'token_failed', `${endpoint} ${response.status}`, {
      ref: answer.error?.ref,
      // Nothing, or a date, is no number of seconds.
      retryAfterMs: (response.headers.get('retry-after') as any) * 1_000,
    });
  };

  const dial = async (): Promise<void> => {
    const { signal } = (attempt = new AbortController());
    next(connectTimeoutMs, giveUp);
    const address = new URL(url);
    // Without a session the entry announces that this client will resume the one to come.
    const protocols: string[] = [
      'wsguard.v1' satisfies typeof SUBPROTOCOL,
      'wsguard.ordered' satisfies typeof SUBPROTOCOL_ORDERED,
      ('wsguard.resume' satisfies typeof SUBPROTOCOL_RESUME) + (resumeToken ? `.${resumeToken}.${lastSeq}` : ''),
    ];
    let first: object | undefined;
    try {
      if (auth === 'cookie') {
        // The browser sends the cookie from any page; what only the same origin can read is this answer.
        first = { type: 'auth', csrfToken: await post('session', signal) };
      } else {
        const token = await ask();
        if (auth === 'first-message') {
          first = { type: 'auth', payload: { token } };
        } else if (auth === 'ticket') {
          address.searchParams.set('ticket', await post('ticket', signal, { authorization: `Bearer ${token}` }));
        } else {
          protocols.push(('wsguard.bearer.' satisfies typeof SUBPROTOCOL_BEARER_PREFIX) + token);
        }
      }
      if (signal.aborted) return;
      try {
        transport = new WebSocket!(address.href, protocols);
      } catch ({ name }: any) {
        // A token that cannot stand in a header, or what the page may not do; the message would repeat the token.
        return close(CLOSE_ABNORMAL, '', errorOf(WebSocket ? 'token_failed' : 'unsupported', name));
      }
      transport.onopen = () => first && write(first);
      transport.onmessage = ({ data }) => signal.aborted || receive(data);
      // Says nothing that may be known, and comes before the end; without a listener it would end a process of Node.
      transport.onerror = () => {};
      transport.onclose = ({ code, reason }) => {
        if (signal.aborted) return;
        // An earlier refusal has nothing to do with a cable that was pulled.
        const told = (code >= 4400 || code === CLOSE_POLICY_VIOLATION) && lastError;
        lost(
          told || errorOf(code === CLOSE_TOO_BIG ? 'too_large' : (REFUSALS[code - 4000] ?? 'connection_lost')),
          code,
          reason,
        );
      };
    } catch (thrown) {
      if (!signal.aborted) lost(tokenError(thrown));
    }
  };

  const giveUp = (): void => {
    // An answer that never came must not keep the next question from being asked.
    asking = undefined;
    lost(errorOf('connection_lost'));
  };

  /** The connection ended, or could not be made: come back, or close for good. */
  const lost = (error: SecureWebSocketError, code = CLOSE_ABNORMAL, reason = ''): void => {
    transport?.close(CLOSE_LEFT);
    if (snapshot.state === 'open' && now() >= stableAt) {
      tries = 0;
      triedFreshToken = false;
    }
    // What decides is the close code; where there was none, the error.
    const why = code === CLOSE_ABNORMAL ? error.code : code;
    // What gets no better by coming back. An unknown 44xx is a refusal that this version cannot know.
    let final = !reconnect || /^(forbidden|100[0237-9]|44(?!01|08|29)..)$/.test(`${why}`);
    if (why === CLOSE_UNAUTHENTICATED || why === 'unauthenticated') {
      // The same token would be refused again; a cookie may have been renewed by another page.
      final ||= triedFreshToken || !(renewable || auth === 'cookie');
      triedFreshToken = true;
    }
    let retryAt = notBefore;
    if (!draining) {
      notBefore = now() + (error.retryAfterMs ?? 0);
      // Full jitter: a delay that is only shaken a little brings all clients of a restarted server back together.
      retryAt = notBefore + random() * Math.min(maxDelayMs, minDelayMs * 2 ** tries++);
      // A tab that nobody sees and a device that thinks it is offline try rarely, but they try: both may be wrong.
      if (page.dormant) retryAt = Math.max(retryAt, now() + maxDelayMs);
    }
    conclude(code, reason, error, final ? 0 : retryAt);
  };

  const retry = (retryAt: number, error: SecureWebSocketError): void => {
    next(retryAt - now(), dial);
    change({ state: 'reconnecting', error, retryAt });
  };

  const close = (code = CLOSE_NORMAL, reason = '', error?: SecureWebSocketError): void => {
    if (snapshot.state === 'closed') return;
    // First: with a code that no close frame can carry it throws, and the connection lives on.
    transport?.close(code, reason);
    conclude(code, reason, error);
  };

  /** What was connected, or tried to be, is no more. `retryAt`: absent where that is the end of the socket too. */
  const conclude = (code: number, reason: string, error: SecureWebSocketError | undefined, retryAt?: number): void => {
    attempt.abort();
    transport = undefined;
    lastError = undefined;
    draining = false;
    inFlightMax ||= 1;
    next();
    hold();
    seen();
    beat();
    if (retryAt) {
      retry(retryAt, error!);
      // A callback may have closed the socket.
      if (snapshot.state !== 'reconnecting') return;
    } else {
      ended.abort();
      lose(error ?? errorOf('closed'), true);
      change({ state: 'closed', error });
    }
    const info = { code, reason, error, willReconnect: !!retryAt };
    tell('onClose', info, info);
  };

  /** The page was shown or thawed, or the network changed: a sign of life is wanted soon, or another try. */
  const wake = (): void => {
    ping(wakeTimeoutMs);
    if (snapshot.state !== 'reconnecting' || page.dormant) return;
    const retryAt = Math.max(now() + random() * WAKE_SPREAD_MS, notBefore);
    // While an attempt is under way there is no later one.
    if (retryAt < snapshot.retryAt) retry(retryAt, snapshot.error);
  };

  /** Asks for a sign of life. Whatever comes is one; it does not put off the next ping. */
  const ping = (withinMs = timeoutMs): void => {
    const by = now() + withinMs;
    // A page that wakes again and again must not put off the end of the first question.
    if (!health || snapshot.state !== 'open' || answerBy <= by) return;
    askedAt = now();
    answerBy = by;
    heard = false;
    write({ type: 'ping', payload: { t: askedAt } });
    beat(withinMs, judge);
  };

  const judge = (): void => {
    // A timer that fires late ran in a page that slept: what arrived meanwhile is not read yet.
    const lateMs = now() - answerBy;
    answerBy = Infinity;
    if (heard) beat(askedAt + heartbeatMs - now(), ping);
    else if (lateMs > LATE_MS) beat(GRACE_MS, judge);
    else giveUp();
  };

  // Frames of the server.

  const receive = (text: string): void => {
    try {
      const frame = JSON.parse(text);
      if (debug) log('<-', frame);
      const { type, id, seq, payload } = frame;
      const entry = entries.get(id);
      heard = true;
      switch (need(type)) {
        case 'welcome':
          // First of all: without it nothing can be sent.
          csrfToken = need(payload.csrfToken);
          if (!payload.resumed) {
            lastSeq = 0;
            if (options.onLost !== 'resend') lose((snapshot as { error?: unknown }).error);
          }
          toldSeq = lastSeq;
          round++;
          ({ resumeToken, maxMessageBytes: messageBytesMax } = payload);
          stableAt = now() + stableAfterMs;
          next();
          change({ state: 'open', welcome: payload });
          // A callback may have closed the socket, here and below.
          if (snapshot.state === 'open') tell('onOpen', { welcome: payload }, payload);
          heartbeatMs = intervalMs || payload.heartbeatMs;
          answerBy = Infinity;
          ping();
          break;
        case 'ack':
          entry?.end();
          break;
        case 'error': {
          const error = new SecureWebSocketError(need(payload.code), payload.message, payload);
          lastError = error;
          if (error.code === 'rate_limited') {
            // Not every message that was too many is answered: all that has no answer is written again, after a while and
            // in order. The server recognises what it has handled, and lets nothing overtake what it has refused.
            round++;
            inFlightMax = 0;
            hold(Math.max(error.retryAfterMs ?? 0, SILENCE_MS), () => {
              inFlightMax = 1;
              flush();
            });
            report(error);
          } else if (!entry) {
            report(error);
          } else if (error.code === 'csrf_invalid' && entry.csrfToken !== csrfToken) {
            // It was on its way for longer than the old token stayed good. A second refusal with the same token stands.
            entry.csrfToken = entry.round = undefined;
          } else {
            entry.end(error);
          }
          break;
        }
        case 'csrf':
          csrfToken = need(payload.csrfToken);
          break;
        case 'auth.expiring':
          void refresh();
          break;
        case 'auth.refreshed':
          break;
        case 'pong':
          if (payload.t === askedAt) {
            const last = now() - askedAt;
            if (samples.push(last) > RTT_SAMPLES) samples.shift();
            const median = [...samples].sort((a, b) => a - b)[samples.length >> 1]!;
            let jitter = 0;
            samples.reduce((before, sample) => {
              jitter += Math.abs(sample - before) / (samples.length - 1);
              return sample;
            });
            const rtt = (socket.rtt = { last, median, jitter });
            tell('onRtt', { rtt }, rtt);
          }
          break;
        case 'draining':
          // The server goes away: nothing more is written here, and this client moves at the time that is its own.
          if (!(payload.reconnectAfterMs >= 0)) throw 0;
          notBefore = now() + payload.reconnectAfterMs;
          draining = true;
          next(payload.reconnectAfterMs, giveUp);
          break;
        default: {
          if (snapshot.state !== 'open') throw 0;
          // A replay may bring what was already here.
          if (seq <= lastSeq) return;
          if (seq) {
            if (lastSeq === toldSeq) {
              seen(ACK_INTERVAL_MS, () => write({ type: 'ack', payload: { seq: (toldSeq = lastSeq) } }));
            }
            lastSeq = seq;
          }
          try {
            const data: In = options.incoming?.(frame) ?? frame;
            tell('onMessage', { data }, data);
          } catch (cause) {
            report(errorOf('invalid_message', cause));
          }
        }
      }
    } catch {
      // A member is not there without which the frame would do harm. Without the cause: it repeats a part of what was
      // received, which may be a secret.
      report(errorOf('protocol'));
    }
    flush();
  };

  // What is written.

  /** Writes a frame, ended by `rest`, or returns false where nothing written now can reach the server. */
  const write = (frame: object, rest = '}'): boolean => {
    if (transport?.readyState !== OPEN) return false;
    const text = JSON.stringify(frame).slice(0, -1) + rest;
    if (debug) log('->', JSON.parse(text));
    transport.send(text);
    return true;
  };

  /** Writes what waits, as far as the window goes. */
  const flush = (): void => {
    if (snapshot.state !== 'open' || draining) return;
    let ahead = 0;
    for (const entry of entries.values()) {
      if (entry.round !== round) {
        if (ahead >= inFlightMax) return;
        // It would cost the connection (1009, and no way back).
        if (entry.size + CSRF_MEMBER_BYTES + csrfToken.length > messageBytesMax) entry.end(errorOf('too_large'));
        else if (!write({ csrfToken }, entry.rest)) return;
        else if (!entry.ack) entry.end();
        entry.round = round;
        entry.csrfToken = csrfToken;
      }
      ahead++;
    }
    inFlightMax &&= IN_FLIGHT_MAX;
  };

  /**
   * The session is lost: whether the server handled what was written, nobody can say. `all`: nothing will be written any
   * more, so that the rest ends as well.
   */
  const lose = (cause: unknown, all?: boolean): void => {
    for (const entry of entries.values()) {
      if (entry.csrfToken) entry.end(errorOf('delivery_unknown', cause));
      else if (all) entry.end(cause);
    }
  };

  const send = (outgoing: Out, { ack = true, signal, timeoutMs = ackTimeoutMs }: SendOptions = {}): Promise<Ack> => {
    const id = ++lastId;
    const promise = new Promise<Ack>((resolve, reject) => {
      signal?.throwIfAborted();
      if (snapshot.state === 'closed') throw errorOf('closed', snapshot.error);
      let rest: string;
      try {
        const { type, payload } = options.outgoing?.(outgoing) ?? outgoing;
        // Types of the protocol are not the application's.
        if ((['auth', 'auth.refresh', 'ping', 'ack'] satisfies ClientFrameType[] as string[]).includes(type)) throw type;
        rest = `,${JSON.stringify({ type, id: ack ? id : undefined, payload }).slice(1)}`;
      } catch (cause) {
        throw errorOf('invalid_message', cause);
      }
      // What a server refuses wherever it stands, before it can tell which message that was: control characters and lone
      // surrogates, which JSON.stringify writes as `\u` and `\b`, DEL, and a key that changes prototypes.
      if (/[^\\](\\\\)*\\[ub]|\x7f|"__proto__":/.test(rest)) throw errorOf('unsafe_content');
      const size = new TextEncoder().encode(rest).length;
      while (entries.size >= maxMessages || bytes + size > maxBytes) {
        // What was written may have been handled: only what was not can make room.
        const unwritten = size > maxBytes ? [] : [...entries.values()].filter((entry) => !entry.csrfToken);
        const victim = policy === 'drop-newest' ? unwritten.pop() : policy === 'drop-oldest' ? unwritten[0] : undefined;
        const error = errorOf('queue_full');
        if (!victim) throw error;
        victim.end(error);
      }
      const expiry = alarm();
      const abort = (): void => end(signal!.reason);
      const end = (reason?: unknown): void => {
        entries.delete(id);
        bytes -= size;
        socket.pending = entries.size;
        expiry();
        signal?.removeEventListener('abort', abort);
        if (reason === undefined) resolve({ id });
        else reject(reason);
      };
      entries.set(id, { rest, size, ack, end });
      bytes += size;
      socket.pending = entries.size;
      expiry(timeoutMs, () => end(errorOf('timeout')));
      signal?.addEventListener('abort', abort);
      flush();
    });
    // Whichever way it ends, there is room for what waits. And nobody has to await it.
    promise.then(flush, flush);
    return promise;
  };

  const refresh = async (): Promise<void> => {
    const { signal } = attempt;
    // A static token has no successor.
    if (snapshot.state !== 'open' || asking || !renewable) return;
    try {
      const token = await ask('expiring');
      if (!signal.aborted) write({ type: 'auth.refresh', payload: { token } });
    } catch (thrown) {
      report(tokenError(thrown));
    }
  };

  const abort = (): void => close(CLOSE_NORMAL, '', errorOf('closed', signal!.reason));
  signal?.addEventListener('abort', abort, ended);
  // Later, so that no callback runs before the caller holds the socket.
  queueMicrotask(() => {
    if (signal?.aborted) abort();
    if (snapshot.state === 'closed') return;
    page.listen(wake, ended.signal);
    void dial();
  });

  return { send, refresh, close };
}
