// Names and the development tokens that go with them.

export interface Token {
  token: string;
  subject: string;
  expiresAt: number;
}

/** Asks a helper of the development server. What it throws is read by a person. */
export async function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => null);
  if (response === null) throw new Error("the server does not answer");
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return answer as T;
  const { error } = (answer ?? {}) as { error?: { message?: string } };
  throw new Error(error?.message ?? `the server answered ${response.status}`);
}

/** Asks the development server for a token; a negative `ttl` gives one that has ended. */
export const fetchToken = (name: string, ttl = "15m", roles: readonly string[] = []): Promise<Token> =>
  post("/dev/token", { name, ttl, roles });

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
