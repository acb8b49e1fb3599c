// The operator's log, kept by `ref`, so that what a peer got can be shown beside the story it stands for.
import type { LogRecord } from "./events.ts";

/** Older entries are forgotten; nobody scrolls back further on this page. */
const RECORDS_MAX = 500;

/** Reads a dotted name from an entry whose levels may be nested, dotted, or a mixture of both. */
export function field(value: unknown, path: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  const object = value as Record<string, unknown>;
  if (Object.hasOwn(object, path)) return object[path];
  for (let dot = path.indexOf("."); dot > 0; dot = path.indexOf(".", dot + 1)) {
    const head = path.slice(0, dot);
    if (!Object.hasOwn(object, head)) continue;
    const found = field(object[head], path.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The first of these names that holds a string or a number. */
export function text(record: LogRecord, ...paths: string[]): string | null {
  for (const path of paths) {
    const found = field(record, path);
    if (typeof found === "string" && found !== "") return found;
    if (typeof found === "number") return String(found);
    if (Array.isArray(found) && typeof found[0] === "string") return found.join(", ");
  }
  return null;
}

export const refOf = (record: LogRecord): string | null => text(record, "wsguard.ref", "ref");
export const sessionOf = (record: LogRecord): string | null =>
  text(record, "wsguard.session", "session.id");
export const controlOf = (record: LogRecord): string | null => text(record, "wsguard.control");
export const reasonOf = (record: LogRecord): string | null => text(record, "event.reason", "wsguard.reason", "event.action");
export const codeOf = (record: LogRecord): string | null => text(record, "event.code", "wsguard.code");
/** Whether the entry tells of something that was refused. */
export const isRefusal = (record: LogRecord): boolean => text(record, "event.outcome") !== "success";
export const statusOf = (record: LogRecord): string | null =>
  text(record, "http.response.status_code");

/** What to look for when a refusal cannot be named by its `ref` alone. */
export interface Wanted {
  ref: string | null;
  session: string | null;
  matches(record: LogRecord): boolean;
  /** Position in the log from which entries count: see {@link Records.mark}. */
  since: number;
}

/** The entries that arrived, and those who wait for one. */
export class Records {
  readonly #entries: LogRecord[] = [];
  readonly #seen = new Set<string>();
  readonly #listeners = new Set<() => void>();
  #dropped = 0;

  /** Adds an entry and says whether it is new; one that several streams bring counts once. */
  add(record: LogRecord): boolean {
    const key = JSON.stringify(record);
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    this.#entries.push(record);
    if (this.#entries.length > RECORDS_MAX) {
      const oldest = this.#entries.shift();
      this.#seen.delete(JSON.stringify(oldest));
      this.#dropped += 1;
    }
    for (const listener of [...this.#listeners]) listener();
    return true;
  }

  byRef(ref: string): LogRecord | null {
    return this.#entries.findLast((entry) => refOf(entry) === ref) ?? null;
  }

  /** The position behind the newest entry. */
  mark(): number {
    return this.#dropped + this.#entries.length;
  }

  /** Waits up to `ms` for the entry with the wanted `ref`, else for the newest that fits. */
  async find(wanted: Wanted, ms: number): Promise<LogRecord | null> {
    const look = (): LogRecord | null => {
      if (wanted.ref !== null) return this.byRef(wanted.ref);
      const fresh = this.#entries.slice(Math.max(0, wanted.since - this.#dropped));
      const own = fresh.findLast((entry) => wanted.session !== null && sessionOf(entry) === wanted.session && wanted.matches(entry));
      return own ?? fresh.findLast((entry) => wanted.matches(entry)) ?? null;
    };
    const now = look();
    if (now !== null) return now;
    return new Promise((resolve) => {
      const done = (record: LogRecord | null): void => {
        clearTimeout(timer);
        this.#listeners.delete(listener);
        resolve(record);
      };
      const listener = (): void => {
        const found = look();
        if (found !== null) done(found);
      };
      const timer = setTimeout(() => done(null), ms);
      this.#listeners.add(listener);
    });
  }
}
