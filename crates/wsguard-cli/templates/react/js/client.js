// How this page speaks with its WebSocket server. Made by `wsguard setup`; yours to change.
// What it may send has a schema each in {{schemas}}.

/** The page's own origin: the development server hands `/ws` on, and so does the proxy in production. */
export const url = `${location.origin.replace(/^http/, 'ws')}/ws`;

/** A token is kept until it ends or is refused. */
const kept = new Map();

/**
 * Logs `name` in. `wsguard serve --dev` signs a token for any name; in production nothing answers at this address:
 * ask your own login here, which signs with {{key}}.
 */
export function tokenFor(name) {
  return async ({ reason }) => {
    const known = kept.get(name);
    if (known && reason === 'connect') return known;
    const response = await fetch('/dev/token', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name, ttl: '15m' }),
    });
    if (!response.ok) throw new Error(`the login answered ${response.status}`);
    const { token } = await response.json();
    kept.set(name, token);
    return token;
  };
}
