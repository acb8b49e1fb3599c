import { REFUSALS, SecureWebSocketError } from './errors.js';
import type { AuthMethod, Fetch, TokenContext, TokenProvider } from './options.js';
import { SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX, SUBPROTOCOL_ORDERED } from './protocol.js';

/** All that a connection needs to authenticate. */
export interface Credential {
  url: string;
  protocols: string[];
  /** The first frame, where the credential travels in one. */
  first: object | undefined;
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
  return {
    ask(reason) {
      const answer = async (): Promise<string> => secret(typeof source === 'function' ? await source({ reason }) : source);
      const mine = (asking ??= answer().finally(() => {
        if (asking === mine) asking = undefined;
      }));
      return mine;
    },
    forget() {
      asking = undefined;
    },
  };
}

/** A token, a ticket or a proof: anything else would be sent as "undefined". */
function secret(value: unknown): string {
  if (value && typeof value === 'string') return value;
  throw new SecureWebSocketError('token_failed');
}

/**
 * Fetches what the method `auth` needs for one connection. `resume` is the entry that announces a resume or asks for it.
 *
 * @throws SecureWebSocketError whose code says what to do (see `afterEnd`), or what the token provider or `fetch` threw.
 */
export async function obtainCredential(
  auth: AuthMethod,
  url: string,
  fetch: Fetch,
  ask: () => Promise<string>,
  resume: string,
  signal: AbortSignal,
): Promise<Credential> {
  const protocols: string[] = [SUBPROTOCOL, SUBPROTOCOL_ORDERED, resume];
  let address = url;
  let first: object | undefined;
  if (auth === 'cookie') {
    // The browser sends the cookie from any page; what only the same origin can read is this answer.
    first = { type: 'auth', csrfToken: await post(fetch, url, 'session', 'csrfToken', { credentials: 'include', signal }) };
  } else {
    const token = await ask();
    if (auth === 'ticket') {
      const headers = { authorization: `Bearer ${token}` };
      const ticket = await post(fetch, url, 'ticket', 'ticket', { headers, credentials: 'omit', signal });
      address += `${url.includes('?') ? '&' : '?'}ticket=${encodeURIComponent(ticket)}`;
    } else if (auth === 'first-message') {
      first = { type: 'auth', payload: { token } };
    } else {
      protocols.push(SUBPROTOCOL_BEARER_PREFIX + token);
    }
  }
  return { url: address, protocols, first };
}

/** Asks `POST {url}/{endpoint}` and returns the secret in its answer. */
async function post(fetch: Fetch, url: string, endpoint: string, member: string, init: RequestInit): Promise<string> {
  const address = url.replace(/^ws(.*?)(\?.*)?$/, `http$1/${endpoint}`);
  const response = await fetch(address, { method: 'POST', ...init });
  const answer = await response.json().catch(() => null);
  const { ok, status, headers } = response;
  if (ok) return secret(answer?.[member]);
  throw new SecureWebSocketError(REFUSALS[status] ?? 'token_failed', `${endpoint} ${status}`, {
    ref: answer?.error?.ref,
    // Nothing, or a date, is no number of seconds.
    retryAfterMs: (headers.get('retry-after') as any) * 1_000,
  });
}
