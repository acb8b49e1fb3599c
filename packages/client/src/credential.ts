import { SecureWebSocketError } from './errors.js';
import type { AuthMethod, Fetch, TokenContext, TokenProvider } from './options.js';
import { SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX } from './protocol.js';

/** All that a connection needs to authenticate. */
export interface Credential {
  url: string;
  protocols: string[];
  /** The first frame, where the credential travels in one. */
  first?: string;
}

/** The one place that holds the token: every connection and every refresh asks here. */
export interface TokenSource {
  /** The token. Calls that overlap share one question, so that a login page never opens twice. */
  ask(reason: TokenContext['reason']): Promise<string>;
  /** Gives up an answer that never came, so that the next question is asked anew. */
  forget(): void;
}

export function createTokenSource(source: string | TokenProvider | undefined): TokenSource {
  let asking: Promise<string> | undefined;
  const answer = async (reason: TokenContext['reason']): Promise<string> => {
    try {
      const token = typeof source === 'function' ? await source({ reason }) : source;
      if (token && typeof token === 'string') return token;
    } catch (cause) {
      if (cause instanceof SecureWebSocketError) throw cause;
      throw new SecureWebSocketError('token_failed', 'authToken threw', { cause });
    }
    throw new SecureWebSocketError('token_failed', 'authToken returned no token');
  };
  return {
    ask(reason) {
      if (asking) return asking;
      const mine = answer(reason).finally(() => {
        if (asking === mine) asking = undefined;
      });
      return (asking = mine);
    },
    forget() {
      asking = undefined;
    },
  };
}

/**
 * Fetches what the method `auth` needs for one connection.
 *
 * @throws SecureWebSocketError whose code says what to do: see `afterError`.
 */
export async function obtainCredential(
  auth: AuthMethod,
  url: string,
  fetch: Fetch,
  ask: () => Promise<string>,
  signal: AbortSignal,
): Promise<Credential> {
  const protocols = [SUBPROTOCOL];
  // The browser sends the cookie from any page; what only the same origin can read is this answer.
  if (auth === 'cookie') {
    const csrfToken = await post(fetch, url, 'session', 'csrfToken', { credentials: 'include', signal });
    return { url, protocols, first: JSON.stringify({ type: 'auth', csrfToken }) };
  }
  const token = await ask();
  if (auth === 'ticket') {
    const headers = { authorization: `Bearer ${token}` };
    const ticket = await post(fetch, url, 'ticket', 'ticket', { headers, credentials: 'omit', signal });
    const withTicket = new URL(url);
    withTicket.searchParams.set('ticket', ticket);
    return { url: withTicket.href, protocols };
  }
  if (auth === 'first-message') return { url, protocols, first: JSON.stringify({ type: 'auth', payload: { token } }) };
  return { url, protocols: [SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX + token] };
}

/** What an endpoint's refusal is called. */
const REFUSALS = { 401: 'unauthenticated', 403: 'forbidden', 429: 'rate_limited' } as const;

/** Asks `POST {url}/{endpoint}` and returns the secret in its answer. */
async function post(fetch: Fetch, url: string, endpoint: string, member: string, init: RequestInit): Promise<string> {
  const address = new URL(url.replace(/^ws/, 'http'));
  address.pathname += `/${endpoint}`;
  address.search = '';
  let response: Response;
  try {
    response = await fetch(address.href, { method: 'POST', cache: 'no-store', ...init });
  } catch (cause) {
    throw new SecureWebSocketError('token_failed', `no answer from the ${endpoint} endpoint`, { cause });
  }
  const answer = await response.json().catch(() => null);
  const secret: unknown = answer?.[member];
  if (response.ok && secret && typeof secret === 'string') return secret;
  const { status } = response;
  throw new SecureWebSocketError(
    REFUSALS[status as keyof typeof REFUSALS] ?? 'token_failed',
    `the ${endpoint} endpoint answered ${status}`,
    { ref: answer?.error?.ref, retryAfterMs: Number(response.headers.get('retry-after')) * 1_000 },
  );
}
