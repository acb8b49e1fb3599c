// How this page speaks with its WebSocket server. Made by `wsguard setup`; yours to change.
import type { IncomingMessage, OutgoingMessage, TokenContext } from '@wsguard/client';

/** What the server sends. */
export interface ChatLine extends IncomingMessage {
  type: 'chat';
  payload: { from: string; room: string; message: string; at: number };
}

/** What this page sends: each type has a schema of its name in {{schemas}}. */
export interface ChatMessage extends OutgoingMessage {
  type: 'chat';
  payload: { message: string; room?: string };
}

/** The page's own origin: the development server hands `/ws` on, and so does the proxy in production. */
export const url = `${location.origin.replace(/^http/, 'ws')}/ws`;

/** A token is kept until it ends or is refused. */
const kept = new Map<string, string>();

/**
 * Logs `name` in. `wsguard serve --dev` signs a token for any name; in production nothing answers at this address:
 * ask your own login here, which signs with {{key}}.
 */
export function tokenFor(name: string): (context: TokenContext) => Promise<string> {
  return async ({ reason }) => {
    const known = kept.get(name);
    if (known && reason === 'connect') return known;
    const response = await fetch('/dev/token', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name, ttl: '15m' }),
    });
    if (!response.ok) throw new Error(`the login answered ${response.status}`);
    const { token } = (await response.json()) as { token: string };
    kept.set(name, token);
    return token;
  };
}
