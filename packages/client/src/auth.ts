import { SecureWebSocketError } from './errors.js';
import type { Settings, TokenContext } from './options.js';
import { ENDPOINT_PATH, SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX } from './protocol.js';

/** All that a connection needs to authenticate. */
export interface Credential {
  url: string;
  protocols: string[];
  /** The first frame, where the credential travels in one. */
  first?: string;
}

/** The one place that holds the token: every connection and every refresh asks here. */
export class TokenSource {
  readonly #source: Settings['authToken'];
  #asking: Promise<string> | undefined;

  constructor(source: Settings['authToken']) {
    this.#source = source;
  }

  /** Whether asking again can bring another token. */
  get renewable(): boolean {
    return typeof this.#source === 'function';
  }

  /** The token. Calls that overlap share one question, so that a login page never opens twice. */
  ask(reason: TokenContext['reason']): Promise<string> {
    if (this.#asking) return this.#asking;
    const asking = this.#answer(reason).finally(() => {
      if (this.#asking === asking) this.#asking = undefined;
    });
    this.#asking = asking;
    return asking;
  }

  /** Gives up an answer that never came, so that the next question is asked anew. */
  forget(): void {
    this.#asking = undefined;
  }

  async #answer(reason: TokenContext['reason']): Promise<string> {
    const source = this.#source;
    let token: unknown = source;
    if (typeof source === 'function') {
      try {
        token = await source({ reason });
      } catch (cause) {
        if (cause instanceof SecureWebSocketError) throw cause;
        throw new SecureWebSocketError('token_failed', 'authToken threw', { cause });
      }
    }
    if (typeof token === 'string' && token) return token;
    throw new SecureWebSocketError('token_failed', 'authToken returned no token');
  }
}

/**
 * Fetches what `settings.auth` needs for one connection.
 *
 * @throws SecureWebSocketError whose code says what to do: see `reconnectAfterError`.
 */
export async function obtainCredential(
  settings: Settings,
  tokens: TokenSource,
  reason: TokenContext['reason'],
  signal: AbortSignal,
): Promise<Credential> {
  const url = settings.url.href;
  const protocols = [SUBPROTOCOL];
  switch (settings.auth) {
    case 'subprotocol':
      return { url, protocols: [SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX + (await tokens.ask(reason))] };
    case 'first-message': {
      const token = await tokens.ask(reason);
      return { url, protocols, first: JSON.stringify({ type: 'auth', payload: { token } }) };
    }
    case 'ticket': {
      const headers = { authorization: `Bearer ${await tokens.ask(reason)}` };
      const ticket = await post(settings, 'ticket', { headers, credentials: 'omit', signal });
      const withTicket = new URL(url);
      withTicket.searchParams.set('ticket', ticket);
      return { url: withTicket.href, protocols };
    }
    case 'cookie': {
      // The browser sends the cookie from any page; what only the same origin can read is this answer.
      const csrfToken = await post(settings, 'session', { credentials: 'include', signal });
      return { url, protocols, first: JSON.stringify({ type: 'auth', csrfToken }) };
    }
    default:
      throw settings.auth satisfies never;
  }
}

const ANSWER_MEMBER = { ticket: 'ticket', session: 'csrfToken' } as const;

/** Asks `POST {origin}/ws/{endpoint}` and returns the secret in its answer. */
async function post(settings: Settings, endpoint: 'ticket' | 'session', init: RequestInit): Promise<string> {
  const address = new URL(`${ENDPOINT_PATH}/${endpoint}`, settings.url);
  address.protocol = settings.url.protocol === 'wss:' ? 'https:' : 'http:';
  let response: Response;
  let answer: Record<string, unknown> | null;
  try {
    response = await settings.fetch(address.href, { method: 'POST', cache: 'no-store', ...init });
    answer = (await response.json().catch(() => null)) as typeof answer;
  } catch (cause) {
    throw new SecureWebSocketError('token_failed', `the ${endpoint} endpoint could not be reached`, { cause });
  }
  const secret = answer?.[ANSWER_MEMBER[endpoint]];
  if (response.ok && typeof secret === 'string' && secret) return secret;
  const refusal = answer?.['error'] as { ref?: unknown } | undefined;
  const retryAfterS = Number(response.headers.get('retry-after') ?? Number.NaN);
  throw new SecureWebSocketError(
    ({ 401: 'unauthenticated', 403: 'forbidden', 429: 'rate_limited' } as const)[response.status] ?? 'token_failed',
    `the ${endpoint} endpoint answered ${response.status}`,
    {
      ref: typeof refusal?.ref === 'string' ? refusal.ref : undefined,
      retryAfterMs: retryAfterS >= 0 ? retryAfterS * 1_000 : undefined,
    },
  );
}
