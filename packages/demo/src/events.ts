// What `GET /dev/watch?session=…` tells, and how the page reads it.

/** One rate bucket; `used` is the share of `burst` that is taken, 0 to 1. */
export interface Bucket {
  name: string;
  used: number;
  burst: number;
  perSecond: number;
  unit: string;
}

/** Where a session stands on the ladder of penalties; weights are points. */
export interface Ladder {
  rung: "calm" | "warn" | "slow" | "drop";
  weight: number;
  slowAt: number;
  dropAt: number;
  closeAt: number;
  offences: number;
}

/** How unusual a session behaves, and what of it made the score. */
export interface Anomaly {
  score: number;
  parts: { signal: string; points: number; seen: string; usual: string }[];
}

/** What the guard holds about a connection. Times are Unix milliseconds. */
export interface SessionState {
  subject: string;
  sessionStartedAt: number;
  authExpiresAt: number | null;
  csrfExpiresAt: number | null;
  buckets: Bucket[];
  /** The client was told that its token ends, and has not brought another. */
  expiring: boolean;
  /** Application frames of the session, and how many are kept for a resume; null without one. */
  frames: number;
  kept: number | null;
  ladder: Ladder;
  anomaly?: Anomaly | null;
}

/** One message and what the guard did with it. `ns` lists the controls that ran, in their order. */
export interface GuardEvent {
  at: number;
  session: string;
  type: string | null;
  id: string | number | null;
  bytes: number;
  verdict: "allow" | "refuse" | "close";
  control: string | null;
  code: string | null;
  reason: string | null;
  ref: string | null;
  ns: { total: number; controls: [string, number][] } | null;
  state: SessionState | null;
}

/** One entry of the security log, as the operator has it (ECS names, nested or dotted). */
export type LogRecord = Record<string, unknown>;

export interface Listener {
  message?(event: GuardEvent): unknown;
  state?(state: SessionState): void;
  record?(record: LogRecord): unknown;
}

/** How long to wait for the stream before going on without it. */
const OPEN_MS_MAX = 1_500;

export interface Watch {
  /** Resolves once events arrive, or after a moment without them. */
  opened: Promise<void>;
  close(): void;
}

/** Watches one session until it is closed. */
export function watch(session: string, listener: Listener): Watch {
  const source = new EventSource(`/dev/watch?session=${encodeURIComponent(session)}`);
  const on = <T>(name: string, handle: ((value: T) => unknown) | undefined): void => {
    if (handle === undefined) return;
    source.addEventListener(name, (event) => handle(JSON.parse((event as MessageEvent<string>).data) as T));
  };
  on<GuardEvent>("message", listener.message?.bind(listener));
  on<SessionState>("state", listener.state?.bind(listener));
  on<LogRecord>("record", listener.record?.bind(listener));
  source.addEventListener("end", () => source.close());
  const opened = new Promise<void>((resolve) => {
    source.addEventListener("open", () => resolve(), { once: true });
    setTimeout(resolve, OPEN_MS_MAX);
  });
  return { opened, close: () => source.close() };
}
