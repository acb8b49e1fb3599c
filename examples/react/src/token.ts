/** A token and when it ends, in milliseconds since 1970. */
export interface Token {
  token: string;
  expiresAt: number;
}

/** Signs somebody in. An application asks its own login here; `wsguard serve --dev` hands out tokens for any name. */
export async function fetchToken(name: string, ttl: string): Promise<Token> {
  const response = await fetch('/dev/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name, ttl }),
  });
  if (!response.ok) throw new Error(`the login answered ${response.status}`);
  return (await response.json()) as Token;
}
