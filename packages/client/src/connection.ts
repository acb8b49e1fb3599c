import { obtainCredential, type TokenSource } from './auth.js';
import { errorOfFrame, SecureWebSocketError } from './errors.js';
import type { Log } from './log.js';
import type { IncomingMessage, Settings, TokenContext, WebSocketLike } from './options.js';
import {
  CLOSE_FORBIDDEN,
  CLOSE_POLICY_VIOLATION,
  CLOSE_RATE_LIMITED,
  CLOSE_TOO_BIG,
  CLOSE_UNAUTHENTICATED,
  type ErrorCode,
  type Reconnect,
  RECONNECT,
  SERVER_FRAME_TYPES,
  type ServerFrame,
} from './protocol.js';

/** How a connection ended. */
export interface End {
  code: number;
  reason: string;
  error: SecureWebSocketError;
  reconnect: Reconnect;
}

/** What a connection tells its owner. Nothing is told after `end`, nor after {@link Connection.leave}. */
export interface ConnectionEvents {
  /** A control frame, already checked. The first one is `welcome`. */
  frame(frame: ServerFrame): void;
  message(message: IncomingMessage): void;
  /** The server sent what it should not; the connection lives on. */
  fault(error: SecureWebSocketError): void;
  end(end: End): void;
}

/** `readyState` of an open WebSocket. */
const OPEN = 1;

/** RFC 6455 section 7.1.5: there was no close frame. */
const ABNORMAL = 1006;

/** What a close code means where the `error` frame before it was lost. */
const REFUSALS: Readonly<Record<number, ErrorCode>> = {
  [CLOSE_UNAUTHENTICATED]: 'unauthenticated',
  [CLOSE_FORBIDDEN]: 'forbidden',
  [CLOSE_RATE_LIMITED]: 'rate_limited',
  [CLOSE_TOO_BIG]: 'too_large',
};

/** One attempt to connect and, if it succeeds, one connection; a new one is made for the next. */
export class Connection {
  readonly #settings: Settings;
  readonly #events: ConnectionEvents;
  readonly #log: Log;
  readonly #abort = new AbortController();
  readonly #deadline: unknown;
  #transport: WebSocketLike | undefined;
  #welcomed = false;
  #over = false;
  /** The last `error` frame: before a close that is a refusal it says why. */
  #lastError: SecureWebSocketError | undefined;

  constructor(
    settings: Settings,
    tokens: TokenSource,
    reason: TokenContext['reason'],
    events: ConnectionEvents,
    log: Log,
  ) {
    this.#settings = settings;
    this.#events = events;
    this.#log = log;
    this.#deadline = settings.timers.setTimeout(() => {
      tokens.forget();
      this.#fail(new SecureWebSocketError('connection_lost', 'no welcome in time'));
    }, settings.connectTimeoutMs);
    this.#dial(tokens, reason).catch((error: unknown) => this.#fail(error));
  }

  /** Whether a message that is written now can reach the server. */
  get writable(): boolean {
    return this.#welcomed && !this.#over && this.#transport?.readyState === OPEN;
  }

  write(text: string): void {
    this.#log('->', text);
    this.#transport?.send(text);
  }

  /** Ends the connection from this side, silently. */
  leave(code?: number, reason?: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#settings.timers.clearTimeout(this.#deadline);
    this.#abort.abort();
    const transport = this.#transport;
    if (!transport) return;
    transport.onopen = transport.onmessage = transport.onclose = null;
    // The package `ws` reports the end of a handshake that is given up as an error, which without a listener would
    // end the process.
    transport.onerror = () => {};
    transport.close(code, reason);
  }

  async #dial(tokens: TokenSource, reason: TokenContext['reason']): Promise<void> {
    const credential = await obtainCredential(this.#settings, tokens, reason, this.#abort.signal);
    if (this.#over) return;
    // The address of the credential may hold a ticket, its protocols a token: neither is for the log.
    this.#log(`connecting to ${this.#settings.url.host} (${this.#settings.auth})`);
    let transport: WebSocketLike;
    try {
      transport = new this.#settings.WebSocket(credential.url, credential.protocols);
    } catch (cause) {
      // The only cause is a token that cannot stand in a header; the message of the exception would repeat it.
      throw new SecureWebSocketError(
        'token_failed',
        `the WebSocket could not be made (${(cause as Error)?.name}): can a header carry the token?`,
      );
    }
    this.#transport = transport;
    transport.onopen = () => {
      if (credential.first) this.write(credential.first);
    };
    transport.onmessage = (event) => this.#receive(event?.data);
    transport.onclose = (event) => this.#closed(Number(event?.code) || ABNORMAL, String(event?.reason ?? ''));
    // `close` follows and ends the connection; the event itself says nothing that may be known.
    transport.onerror = () => this.#log('transport error');
  }

  #receive(data: unknown): void {
    if (this.#over) return;
    let frame: unknown;
    if (typeof data === 'string') {
      this.#log('<-', data);
      try {
        frame = JSON.parse(data);
      } catch {
        // Reported below, as everything that is not an envelope.
      }
    }
    if (!isEnvelope(frame)) {
      this.#fault('something that is not an envelope');
    } else if (isControl(frame)) {
      if (isComplete(frame)) this.#control(frame);
      else this.#fault(`a broken ${frame.type} frame`);
    } else if (this.#welcomed) {
      const { type, id, seq, payload } = frame;
      this.#events.message({ type, ...(id !== undefined && { id }), ...(seq !== undefined && { seq }), payload });
    } else {
      this.#fault('a message before its welcome');
    }
  }

  #fault(what: string): void {
    this.#events.fault(new SecureWebSocketError('protocol', `the server sent ${what}`));
  }

  #control(frame: ServerFrame): void {
    if (frame.type === 'welcome') {
      this.#welcomed = true;
      this.#settings.timers.clearTimeout(this.#deadline);
    } else if (frame.type === 'error') {
      this.#lastError = errorOfFrame(frame.payload);
    }
    this.#events.frame(frame);
  }

  #closed(code: number, reason: string): void {
    this.#log(`closed by the server: ${code}`);
    this.#end({ code, reason, error: this.#errorOfClose(code), reconnect: reconnectAfterClose(code) });
  }

  #errorOfClose(code: number): SecureWebSocketError {
    // An earlier refusal has nothing to do with a cable that was pulled.
    if (this.#lastError && (code >= 4400 || code === CLOSE_POLICY_VIOLATION)) return this.#lastError;
    return new SecureWebSocketError(REFUSALS[code] ?? 'connection_lost', `the connection ended with ${code}`);
  }

  /** The attempt failed on this side: no credential, or no welcome in time. */
  #fail(cause: unknown): void {
    const error =
      cause instanceof SecureWebSocketError
        ? cause
        : new SecureWebSocketError('connection_lost', 'the connection could not be made', { cause });
    this.#log(`failed: ${error.code}: ${error.message}`);
    this.#end({ code: ABNORMAL, reason: '', error, reconnect: reconnectAfterError(error) });
  }

  #end(end: End): void {
    if (this.#over) return;
    this.leave();
    this.#events.end(end);
  }
}

/** What to do after a close code, those that only a browser or a proxy makes included. */
export function reconnectAfterClose(code: number): Reconnect {
  // An unknown 44xx is a refusal that this version cannot know; coming back would only provoke it again.
  return RECONNECT[code] ?? (code >= 4400 && code < 4500 ? 'never' : 'back_off');
}

function reconnectAfterError(error: SecureWebSocketError): Reconnect {
  switch (error.code) {
    case 'unauthenticated':
    case 'session_expired':
      return 'once_with_fresh_token';
    case 'forbidden':
      return 'never';
    case 'rate_limited':
      return 'after_retry_after';
    default:
      return 'back_off';
  }
}

interface Envelope {
  type: string;
  id?: string | number;
  seq?: number;
  payload?: unknown;
}

function isEnvelope(value: unknown): value is Envelope {
  return typeof (value as Envelope | null)?.type === 'string';
}

/** The members without which a control frame would do harm: undefined would be sent as a token, NaN waited for. */
const NEEDED: { [T in ServerFrame['type']]?: Record<string, 'string' | 'number'> } = {
  welcome: { csrfToken: 'string', maxMessageBytes: 'number' },
  error: { code: 'string' },
  csrf: { csrfToken: 'string' },
  draining: { reconnectAfterMs: 'number' },
};

function isControl(frame: Envelope): frame is ServerFrame {
  return (SERVER_FRAME_TYPES as readonly string[]).includes(frame.type);
}

function isComplete(frame: ServerFrame): boolean {
  const payload = frame.payload as unknown as Record<string, unknown> | null | undefined;
  return Object.entries(NEEDED[frame.type] ?? {}).every(([member, type]) => typeof payload?.[member] === type);
}
