// Names and the development tokens that go with them.

export interface Token {
  token: string;
  subject: string;
  expiresAt: number;
}

/** Asks the development server for a token; a negative `ttl` gives one that has ended. */
export async function fetchToken(name: string, ttl = "15m", roles: readonly string[] = []): Promise<Token> {
  const response = await fetch("/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, ttl, roles }),
  });
  if (!response.ok) throw new Error(`no token for this name (${response.status})`);
  return (await response.json()) as Token;
}

/** The name this window plays, kept in the hash so that two windows can be two people and a reload stays the same. */
export function nameFromHash(): string | null {
  try {
    const name = decodeURIComponent(location.hash.slice(1)).trim();
    return name === "" ? null : name;
  } catch {
    return null;
  }
}

export function keepName(name: string): void {
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
}

/** Who the other window should be. */
export function partnerOf(name: string): string {
  return name.toLowerCase() === "bob" ? "Ann" : "Bob";
}

/** Where the guarded socket of this page is. */
export function socketUrl(): string {
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/ws`;
}
