// What happens to a session while it is open: it climbs the ladder, its token ends, it is revoked, its line is cut. Each
// button lets it happen to a session of its own, which the panel shows meanwhile. A step stands here when a guard event or
// a frame that the peer got proves it; nothing is shown because this page did it.
import { byId, h } from "./dom.ts";
import { watch, type Anomaly, type LogRecord, type SessionState, type Watch } from "./events.ts";
import type { Panel } from "./panel.ts";
import { fetchToken, post } from "./people.ts";
import { RawPeer, type Welcome } from "./raw.ts";
import { sessionOf, text, type Records } from "./records.ts";

/** Time to wait for what must come at once. */
const SOON_MS = 4_000;
/** How long the panel stays with a session after its story is told. */
const STAY_MS = 6_000;

type By = "guard" | "peer";

export interface Around {
  records: Records;
  panel: Panel;
  /** Who the person in front of the page is. */
  me(): string;
}

interface Life {
  id: string;
  title: string;
  run(stage: Stage): Promise<void>;
}

const actionOf = (record: LogRecord): string | null => text(record, "event.action");
const wordOf = (record: LogRecord): string => text(record, "event.reason") ?? "";
const saidIn = (record: LogRecord): string => text(record, "message") ?? "";

/** Tells one life: follows its session and writes down what was proved. */
class Stage {
  readonly #around: Around;
  readonly #mark: string;
  readonly #list: HTMLElement;
  readonly #peers: RawPeer[] = [];
  readonly #waiting = new Set<(state: SessionState) => void>();
  #watch: Watch | null = null;
  #session: string | null = null;
  #since: number;

  constructor(around: Around, mark: string, list: HTMLElement) {
    this.#around = around;
    this.#mark = mark;
    this.#list = list;
    this.#since = around.records.mark();
  }

  get me(): string {
    return this.#around.me();
  }

  /** A peer with this token; it is closed when the life ends. */
  peer(token: string, resume?: string): RawPeer {
    const peer = new RawPeer(token, resume);
    this.#peers.push(peer);
    return peer;
  }

  /** The panel shows the session of `welcome` from now on. */
  async follow({ session }: Welcome, whose: string): Promise<void> {
    const { panel, records } = this.#around;
    this.#session = session;
    panel.show(session, whose);
    const tell = (state: SessionState): void => {
      panel.state(session, state);
      for (const look of [...this.#waiting]) look(state);
    };
    this.#watch = watch(session, {
      message: (event) => {
        if (event.session !== session) return;
        panel.message(event, this.#mark);
        if (event.state !== null) tell(event.state);
      },
      state: tell,
      record: (record) => records.add(record) && panel.refusedElsewhere(record),
    });
    await this.#watch.opened;
  }

  step(id: string, by: By, title: string, detail = ""): void {
    this.#list.append(
      h("li", { "data-step": id, "data-by": by }, h("b", {}, title), detail !== "" && h("span", {}, detail)),
    );
  }

  /** Calls `look` for each state that the guard tells of the session, until it returns true or `ms` passed. */
  states(look: (state: SessionState) => boolean, ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (found: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(each);
        resolve(found);
      };
      const each = (state: SessionState): void => {
        if (look(state)) done(true);
      };
      const timer = setTimeout(() => done(false), ms);
      this.#waiting.add(each);
    });
  }

  /** The next entry of the log about the session that fits; throws when there is none in time. */
  async record(what: string, fits: (record: LogRecord) => boolean, ms = SOON_MS): Promise<LogRecord> {
    const session = this.#session;
    const matches = (record: LogRecord): boolean => sessionOf(record) === session && fits(record);
    const found = await this.#around.records.find({ ref: null, session, since: this.#since, matches }, ms);
    if (found === null) throw new Error(`the guard did not tell of ${what}`);
    return found;
  }

  end(): void {
    for (const peer of this.#peers) peer.close();
    const session = this.#session;
    setTimeout(() => {
      this.#watch?.close();
      if (session !== null) this.#around.panel.leave(session);
    }, STAY_MS);
  }
}

const send = (peer: RawPeer, { csrfToken }: Welcome, type: string, payload: unknown, id?: string | number): void =>
  peer.send(JSON.stringify({ type, ...(id === undefined ? {} : { id }), csrfToken, payload }));

/** A few letters that no other run has: subjects and rooms of their own, so that one run does not answer for another. */
const tag = (): string => Math.random().toString(36).slice(2, 6);

/** What the guard does to a session behind the page: cut its line, or revoke it as an operator would. */
const fate = (kind: "cut" | "revoke", session: string): Promise<unknown> => post("/dev/session", { kind, session });

/** Waits for the end of the connection and gives its close code. */
async function closeOf(peer: RawPeer, ms: number): Promise<number> {
  await peer.settle(() => false, ms);
  if (peer.closed === null) throw new Error("the connection is still open");
  return peer.closed.code;
}

/** Messages a second: four times what a subject may send. */
const FLOOD_PER_SECOND = 80;
const FLOOD_MS_MAX = 20_000;

async function climb(stage: Stage): Promise<void> {
  const { token } = await fetchToken(`Mallory-${tag()}`, "5m");
  const peer = stage.peer(token);
  const welcome = await peer.welcome();
  await stage.follow(welcome, "Mallory's session");
  const began = performance.now();
  let sent = 0;
  // By the clock and not by the timer, which a busy browser delays.
  const flood = setInterval(() => {
    const due = ((performance.now() - began) * FLOOD_PER_SECOND) / 1_000;
    for (; sent < due && peer.closed === null; sent += 1) send(peer, welcome, "echo", sent);
  }, 100);
  try {
    const seen = new Set<string>(["calm"]);
    const climbing = stage.states(({ ladder }) => {
      if (!seen.has(ladder.rung)) {
        seen.add(ladder.rung);
        const what = { calm: "", warn: "an error, at most four a second", slow: "its socket is read less", drop: "its messages are discarded" };
        stage.step(ladder.rung, "guard", `${ladder.rung} at ${ladder.weight} ${ladder.weight === 1 ? "point" : "points"}`, what[ladder.rung]);
      }
      return false;
    }, FLOOD_MS_MAX);
    const code = await closeOf(peer, FLOOD_MS_MAX);
    const record = await stage.record("the end", (entry) => text(entry, "wsguard.close_code") === String(code));
    stage.step("closed", "guard", `closed ${code}`, wordOf(record));
    void climbing;
  } finally {
    clearInterval(flood);
  }
  const again = stage.peer(token);
  const code = await closeOf(again, SOON_MS);
  const wait = again.frames.find((frame) => frame.type === "error")?.payload?.["retryAfterMs"];
  stage.step("out", "peer", `kept out: ${code}`, typeof wait === "number" ? `come back in ${Math.ceil(wait / 1_000)} s` : "");
}

/** The role of the visitors that the helper sends, and of the one who is not like them. */
const ROLE = "visitor";
/** Between two messages of a program: within its quota, and nothing that a single control refuses. */
const PROGRAM_MS = 60;
/** One message in so many has a wrong token: somebody tries something. */
const WRONG_EVERY = 5;
/** A score at which nobody would call it chance. */
const ODD_SCORE = 15;
const ODD_MS_MAX = 40_000;

async function behaveOddly(stage: Stage): Promise<void> {
  const { token } = await fetchToken(`Mallory-${tag()}`, "5m", [ROLE]);
  const { visitors, messagesEach } = await post<{ visitors: number; messagesEach: number }>("/dev/crowd", {});
  stage.step("crowd", "peer", `${visitors} visitors chatted`, `${messagesEach} messages each: what is usual`);
  const peer = stage.peer(token);
  const welcome = await peer.welcome();
  await stage.follow(welcome, "Mallory's session");
  let count = 0;
  const program = setInterval(() => {
    count += 1;
    if (peer.closed !== null) return;
    const csrfToken = count % WRONG_EVERY === 0 ? "a-guess" : welcome.csrfToken;
    peer.send(JSON.stringify({ type: "echo", csrfToken, payload: "buy now" }));
  }, PROGRAM_MS);
  try {
    let told: Anomaly | null = null;
    const found = await stage.states(({ anomaly }) => {
      if ((anomaly?.score ?? 0) < ODD_SCORE) return false;
      told = anomaly ?? null;
      return true;
    }, ODD_MS_MAX);
    const anomaly = told as Anomaly | null;
    if (!found || anomaly === null) throw new Error("the guard found nothing unusual");
    stage.step("score", "guard", `score ${anomaly.score}`, `after ${count} messages`);
    for (const { signal, points, seen, usual } of anomaly.parts) {
      stage.step(`part-${signal}`, "guard", `${signal.replaceAll("_", " ")} +${points}`, `${seen}, usual ${usual}`);
    }
  } finally {
    clearInterval(program);
  }
}

/** Life of the token in "Let a token end": short enough to watch, long enough to read. */
const SHORT_TTL = "10s";
const WARNING_MS = 1_200;

async function expire(stage: Stage): Promise<void> {
  const peer = stage.peer((await fetchToken(stage.me, SHORT_TTL)).token);
  const welcome = await peer.welcome();
  await stage.follow(welcome, "your session with a token of 10 s");
  const expiring = await stage.states((state) => state.expiring, 15_000);
  if (!expiring) throw new Error("the guard did not tell that the token ends");
  stage.step("expiring", "guard", "auth.expiring", "2 s before the end");
  const fresh = await fetchToken(stage.me, SHORT_TTL);
  // Long enough to be seen; the guard warned two seconds before the end.
  await new Promise((resolve) => setTimeout(resolve, WARNING_MS));
  peer.send(JSON.stringify({ type: "auth.refresh", payload: { token: fresh.token } }));
  await stage.record("the refresh", (entry) => actionOf(entry) === "token_refreshed");
  const moved = await stage.states((state) => !state.expiring && (state.authExpiresAt ?? 0) > welcome.authExpiresAt, SOON_MS);
  if (!moved) throw new Error("the guard did not move the end of the token");
  stage.step("refreshed", "guard", "auth.refreshed", "same session, a new end");
  const code = await closeOf(peer, 25_000);
  const record = await stage.record("the end", (entry) => text(entry, "wsguard.close_code") === String(code));
  stage.step("ended", "guard", `not refreshed again: closed ${code}`, wordOf(record));
}

async function revoke(stage: Stage): Promise<void> {
  const { token } = await fetchToken(stage.me, "5m");
  const peer = stage.peer(token);
  const welcome = await peer.welcome();
  await stage.follow(welcome, "a second session of yours");
  stage.step("open", "peer", "let in", "with a token good for 5 min");
  await fate("revoke", welcome.session);
  await stage.record("the revocation", (entry) => actionOf(entry) === "revocation_added");
  stage.step("revoked", "guard", "revoked", "the session and its token");
  const code = await closeOf(peer, SOON_MS);
  const record = await stage.record("the close", (entry) => text(entry, "wsguard.close_code") === String(code));
  stage.step("closed", "guard", `closed ${code}`, wordOf(record));
  const again = stage.peer(token);
  stage.step("again", "peer", `the same token again: ${await closeOf(again, SOON_MS)}`);
}

/** Messages that are sent while the line is cut. */
const MISSED = 3;

async function cut(stage: Stage): Promise<void> {
  const room = `cut-${tag()}`;
  const { token } = await fetchToken(stage.me, "5m");
  const peer = stage.peer(token, "wsguard.resume");
  const welcome = await peer.welcome();
  const other = stage.peer((await fetchToken("Carol", "5m")).token);
  const carol = await other.welcome();
  send(peer, welcome, "join", { room }, 1);
  send(other, carol, "join", { room }, 1);
  await Promise.all([peer, other].map((one) => one.until((frame) => frame.type === "ack" && frame.id === 1)));
  await stage.follow(welcome, "a second session of yours");
  send(other, carol, "chat", { room, message: "Do you hear me?" }, 2);
  const heard = await peer.until((frame) => frame.type === "chat");
  const last = heard?.seq ?? 0;

  await fate("cut", welcome.session);
  const code = await closeOf(peer, SOON_MS);
  await stage.record("the loss", (entry) => actionOf(entry) === "session_detached");
  stage.step("detached", "guard", "line cut, session waits", `the page saw ${code}, last seq ${last}`);
  for (let count = 1; count <= MISSED; count += 1) send(other, carol, "chat", { room, message: `Missed ${count}` }, 2 + count);
  await other.until((frame) => frame.type === "ack" && frame.id === 2 + MISSED);

  const back = stage.peer(token, `wsguard.resume.${welcome.resumeToken}.${last}`);
  const again = await back.welcome();
  const record = await stage.record("the resume", (entry) => actionOf(entry) === "session_resumed");
  const same = again.resumed && again.session === welcome.session;
  stage.step("resumed", "guard", same ? "same session goes on" : "another session", saidIn(record));
  await back.settle(() => back.frames.filter((frame) => frame.type === "chat").length >= MISSED, SOON_MS);
  const replayed = back.frames.filter((frame) => frame.type === "chat").map((frame) => frame.seq ?? 0);
  stage.step("replayed", "peer", `replayed seq ${replayed.join(", ")}`, "each once, in order");
}

const LIVES: readonly Life[] = [
  { id: "ladder", title: "Climb the ladder", run: climb },
  { id: "odd", title: "Behave oddly", run: behaveOddly },
  { id: "token", title: "Let a token end", run: expire },
  { id: "revoke", title: "Revoke a session", run: revoke },
  { id: "cut", title: "Cut the line", run: cut },
];

/** Fills the row of buttons and tells what comes of them. */
export function lives(around: Around): void {
  const story = byId("life");
  const buttons = LIVES.map(({ id, title, run }) => {
    const button = h("button", { type: "button", class: "chip", "data-life": id, click: () => void start() }, title);
    const start = async (): Promise<void> => {
      for (const other of buttons) other.disabled = true;
      const list = h("ol", { class: "steps" });
      story.hidden = false;
      story.dataset["life"] = id;
      story.dataset["state"] = "running";
      story.replaceChildren(h("h3", {}, title), list);
      const stage = new Stage(around, id, list);
      try {
        await run(stage);
        story.dataset["state"] = "done";
      } catch (error) {
        story.dataset["state"] = "failed";
        story.append(h("p", { class: "problem" }, `${error instanceof Error ? error.message : String(error)}.`));
      } finally {
        stage.end();
        for (const other of buttons) other.disabled = false;
        button.focus();
      }
    };
    return button;
  });
  byId("lives").replaceChildren(...buttons);
}
