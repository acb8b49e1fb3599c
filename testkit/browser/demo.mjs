// Drives the demo page of a running `wsguard serve --dev` in Chromium: two people chat, every attack button is pressed.
//
//   node testkit/browser/demo.mjs http://localhost:3000/ [--screenshots DIR]
//
// One line per check, then `N passed, N failed`. Exits 1 if a check failed, 2 on wrong usage or without a browser,
// 3 if the server could not be reached. `CHROMIUM` names the browser; playwright-core comes from packages/demo.
import { mkdir } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(new URL("../../packages/demo/package.json", import.meta.url))("playwright-core");

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const SETTLE_MS = 10_000;

/** What each attack must end in. `code` is what the peer got: an error code, a status, or a close code. */
const ATTACKS = [
  { id: "csrf", state: "refused", code: /^csrf_invalid$/ },
  { id: "proto", state: "refused", code: /^unsafe_content$/ },
  { id: "proto-escaped", state: "refused", code: /^unsafe_content$/ },
  { id: "onerror", state: "neutralised", code: /^$/ },
  { id: "duplicate-keys", state: "refused", code: /^invalid_json$/ },
  { id: "too-large", state: "refused", code: /^(too_large|1009)$/ },
  { id: "flood", state: "refused", code: /^rate_limited$/ },
  { id: "expired-token", state: "refused", code: /^unauthenticated$/, close: /^4401$/ },
  { id: "foreign-origin", state: "refused", code: /^(forbidden|403)$/, close: /^1006$/ },
  { id: "unmasked", state: "refused", code: /^(1002|invalid_message)$/, close: /^1002$/ },
  { id: "oversized", state: "refused", code: /^(too_large|1009)$/, close: /^1009$/ },
];

/**
 * What happens to a session while it is open. `live` must be seen in the panel meanwhile; `steps` are what the guard's
 * events and the peer's frames proved, in their order.
 */
const LIVES = [
  {
    id: "ladder",
    live: ['#gauge-ladder:is([data-rung="slow"], [data-rung="drop"])'],
    steps: [/^slow guard slow at \d+ points/, /^drop guard drop at \d+ points/, /^closed guard closed 4429 penalties_used_up$/, /^out peer kept out: 4429 come back in 1\d s$/],
  },
  {
    id: "odd",
    live: ["#gauge-anomaly[data-score]:not([data-score='0']) .parts li"],
    steps: [/^crowd peer 64 visitors chatted/, /^score guard score \d\d/, /^part-(errors|repetition|rate) guard .* \+\d+ .+, usual .+/],
  },
  {
    id: "token",
    live: ['#vital-token[data-warned="true"]', '#vital-token[data-warned="false"]'],
    steps: [/^expiring guard auth\.expiring/, /^refreshed guard auth\.refreshed/, /^ended guard .*closed 4401 token_ended$/],
  },
  {
    id: "revoke",
    live: ['#whose[data-guest="true"]'],
    steps: [/^open peer/, /^revoked guard revoked/, /^closed guard closed 4403 (session|token)_revoked$/, /^again peer .*: 4403$/],
    byKeyboard: true,
  },
  {
    id: "cut",
    live: ['#whose[data-guest="true"]'],
    steps: [/^detached guard .*the page saw 1006, last seq 1$/, /^resumed guard same session goes on 3 frames replayed, 0 purged$/, /^replayed peer replayed seq 2, 3, 4 /],
  },
];

/** The strict policy that the page must work under. */
const POLICY = ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"];

const [target, ...rest] = process.argv.slice(2);
if (target === undefined || !/^https?:/.test(target)) {
  console.error("usage: node demo.mjs URL [--screenshots DIR]");
  process.exit(2);
}
const url = new URL("/", target).href;
const screenshotsAt = rest.indexOf("--screenshots");
const screenshots = screenshotsAt >= 0 ? rest[screenshotsAt + 1] : null;

let passed = 0;
let failed = 0;

/** Runs one check; what it throws is the reason why it failed, what it returns is shown beside its name. */
async function check(name, act) {
  try {
    const shown = await act();
    passed += 1;
    console.log(`ok    ${name}${typeof shown === "string" ? `: ${shown}` : ""}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}: ${error.message.split("\n")[0]}`);
  }
}

function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

try {
  await fetch(url);
} catch (error) {
  console.error(`could not reach ${url}: ${error.cause?.message ?? error.message}`);
  process.exit(3);
}
let browser;
try {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
} catch (error) {
  console.error(`could not start the browser: ${error.message.split("\n")[0]}`);
  process.exit(2);
}

const complaints = [];
const foreign = new Set();

/** Opens the page as `name` and notes whatever the browser complains about. */
async function enter(name, viewport) {
  const context = await browser.newContext({ viewport, colorScheme: "light" });
  const page = await context.newPage();
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`csp: ${event.violatedDirective} ${event.blockedURI}`));
  });
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    // The browser itself reports the handshake that the guard refused to the foreign page; nothing can silence it.
    const refusedHandshake = /WebSocket connection to 'ws.*' failed: .*Unexpected response code: 403/.test(message.text());
    if (!refusedHandshake) complaints.push(`${name}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${name}: ${error.message}`));
  page.on("request", (request) => {
    const { host, protocol } = new URL(request.url());
    if (protocol !== "data:" && host !== new URL(url).host) foreign.add(request.url());
  });
  const response = await page.goto(`${url}#${name}`);
  return { page, response };
}

const say = async (page, text) => {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
};
const seen = (page, text, from) =>
  page
    .locator(from === undefined ? "[data-message]" : `[data-message][data-from="${from}" i]`)
    .filter({ has: page.locator(".body", { hasText: text }) })
    .last()
    .waitFor({ timeout: SETTLE_MS });

const wide = { width: 1440, height: 900 };
const { page: ann, response } = await enter("Ann", wide);
const { page: bob } = await enter("Bob", wide);

await check("the page comes with a strict policy", () => {
  const policy = response.headers()["content-security-policy"] ?? "";
  for (const part of POLICY) expect(policy.includes(part), `no ${part} in "${policy}"`);
  expect(!/unsafe-inline|unsafe-eval|\*/.test(policy), `too wide: "${policy}"`);
});
for (const [name, page] of [["Ann", ann], ["Bob", bob]]) {
  await check(`${name} is let in`, () => page.locator('#connection[data-status="open"]').waitFor({ timeout: SETTLE_MS }));
}

await check("Ann's message is delivered", async () => {
  await say(ann, "Hello Bob, this is Ann");
  await ann.locator('[data-own][data-status="delivered"]').waitFor({ timeout: SETTLE_MS });
});
await check("Bob sees it as Ann's", () => seen(bob, "Hello Bob, this is Ann", "ann"));
await check("Ann sees Bob's answer as Bob's", async () => {
  await say(bob, "Hello Ann, this is Bob");
  await seen(ann, "Hello Ann, this is Bob", "bob");
});
await check("Ann's own message stands once in her list", async () => {
  const count = await ann.locator("[data-message] .body", { hasText: "Hello Bob, this is Ann" }).count();
  expect(count === 1, `it stands there ${count} times`);
});
await check("harmless text arrives as it was written", async () => {
  const text = "if a < b && c > d then vector<int> & **bold**";
  await say(bob, text);
  await seen(ann, text, "bob");
});
await check("a refused message shows its code and ref", async () => {
  await say(ann, "x".repeat(4_001));
  const refusal = ann.locator('[data-message][data-status="refused"] .refusal');
  await refusal.waitFor({ timeout: SETTLE_MS });
  const codes = await refusal.locator("code").allTextContents();
  expect(codes.length === 2 && codes.every((code) => code !== ""), `shows ${codes.join(", ")}`);
  return codes.join(" ");
});

await check("the panel shows the message, its verdict and its controls", async () => {
  const row = ann.locator('#rows > li[data-verdict="allow"]').filter({ has: ann.locator(".row-type", { hasText: "chat" }) }).first();
  await row.waitFor({ timeout: SETTLE_MS });
  const micros = Number(await row.locator(".row-total").textContent());
  expect(micros > 0, "no microseconds");
  await row.locator(".row").click();
  const controls = await row.locator(".times dt").allTextContents();
  expect(controls.length >= 5, `only ${controls.join(", ")}`);
  await row.locator(".row").click();
  return `${micros} µs in ${controls.length} controls`;
});
await check("a refusal is told twice, joined by its ref", async () => {
  const row = ann.locator('#rows > li[data-verdict="refuse"]').first();
  await row.waitFor({ timeout: SETTLE_MS });
  const ref = await row.getAttribute("data-ref");
  await row.locator(".row").click();
  const told = await row.locator(".told").allTextContents();
  await row.locator(".row").click();
  expect(ref !== null && told.length === 2 && told.every((text) => text.includes(ref)), `ref ${ref}: ${told.join(" | ")}`);
  return ref;
});
await check("token and CSRF rotation count down", async () => {
  const read = () => ann.locator("#vital-token strong, #vital-csrf strong").allTextContents();
  const before = await read();
  expect(before.every((text) => /^\d+:\d\d/.test(text)), before.join(", "));
  const moved = (texts) => [...document.querySelectorAll("#vital-token strong, #vital-csrf strong")].every((one, at) => one.textContent !== texts[at]);
  await ann.waitForFunction(moved, before, { timeout: SETTLE_MS });
  return (await read()).join(", ");
});
await check("rate buckets are shown", async () => {
  const names = await ann.locator(".bucket-name").allTextContents();
  expect(names.length >= 2, `only ${names.join(", ")}`);
  return names.join(", ");
});

await check("the button opens a second window as Bob", async () => {
  const [popup] = await Promise.all([ann.waitForEvent("popup"), ann.click("#second")]);
  await popup.locator('#connection[data-status="open"]').waitFor({ timeout: SETTLE_MS });
  const me = await popup.locator("#chat-me").textContent();
  await popup.close();
  expect(/bob/i.test(me ?? ""), `it is ${me}`);
});
await check("a name can be picked with the keyboard alone", async () => {
  const page = await ann.context().newPage();
  await page.goto(url);
  await page.locator("#welcome").waitFor({ timeout: SETTLE_MS });
  // Nobody gets behind the question without an answer.
  for (const _ of [1, 2, 3]) await page.keyboard.press("Escape");
  await page.locator("#welcome").waitFor({ timeout: SETTLE_MS });
  await page.keyboard.type("Carol");
  await page.keyboard.press("Enter");
  await page.locator('#connection[data-status="open"]').waitFor({ timeout: SETTLE_MS });
  const hash = new URL(page.url()).hash;
  await page.close();
  expect(hash === "#Carol", `the hash is ${hash}`);
});

await check("the panel shows where the session stands on the ladder", async () => {
  // What was refused before drains away within a second.
  await ann.locator('#gauge-ladder[data-rung="calm"][data-weight="0"]').waitFor({ timeout: SETTLE_MS });
  return ann.locator("#gauge-ladder .gauge-head").innerText();
});
const own = () => ann.locator("#vital-session strong").getAttribute("title");
const mine = await own();
for (const { id, live, steps, byKeyboard } of LIVES) {
  await check(`life ${id} is shown live and told to its end`, async () => {
    const button = ann.locator(`#lives [data-life="${id}"]`);
    await ann.locator(`#lives [data-life="${id}"]:enabled`).waitFor({ timeout: SETTLE_MS });
    if (byKeyboard) {
      await button.focus();
      await ann.keyboard.press("Enter");
    } else {
      await button.click();
    }
    for (const selector of live) await ann.locator(selector).first().waitFor({ timeout: 4 * SETTLE_MS });
    const session = await own();
    expect(session !== mine, "the panel still shows the page's own session");
    await ann.locator(`#life[data-life="${id}"]:not([data-state="running"])`).waitFor({ timeout: 6 * SETTLE_MS });
    const told = await ann.locator("#life li").evaluateAll((all) =>
      all.map((step) => [step.dataset.step, step.dataset.by, ...[...step.children].map((child) => child.textContent)].join(" ")),
    );
    const state = await ann.locator("#life").getAttribute("data-state");
    expect(state === "done", `${state}: ${await ann.locator("#life").innerText()}`);
    let at = 0;
    for (const step of told) if (steps[at]?.test(step)) at += 1;
    expect(at === steps.length, `${steps[at]} is missing in ${told.join(" | ")}`);
    return told.join(" | ");
  });
}
await check("the panel comes back to the page's own session", async () => {
  await ann.locator('#whose[data-guest="false"]').waitFor({ state: "attached", timeout: 2 * SETTLE_MS });
  expect((await own()) === mine, "it shows another session");
});

for (const { id, state, code, close } of ATTACKS) {
  await check(`attack ${id} ends ${state}`, async () => {
    const card = ann.locator(`[data-attack="${id}"]`);
    await card.locator("button").click();
    await ann.waitForFunction(
      (wanted) => {
        const element = document.querySelector(`[data-attack="${wanted}"]`);
        return element?.dataset.state !== "running" && (element?.querySelector(".result")?.textContent ?? "") !== "";
      },
      id,
      { timeout: 3 * SETTLE_MS },
    );
    const got = await card.evaluate((element) => ({ ...element.dataset, result: element.querySelector(".result").textContent }));
    expect(got.state === state, `${got.state} ${got.code}: ${got.result}`);
    expect(code.test(got.code), `the peer got ${got.code}`);
    expect(close === undefined || close.test(got.close), `closed with ${got.close}`);
    expect(!got.result.includes("no entry"), "the operator has no entry for it");
    if (state === "neutralised") expect(got.result.includes("&lt;img"), got.result);
    return [got.code, got.close && `close ${got.close}`, got.ref].filter(Boolean).join(" ");
  });
}
// The ambient credential: a cookie that the browser sends with a handshake of any page of the same site.
const foreignPage = createServer((_, response) => response.setHeader("content-type", "text/html").end("<title>foreign</title>"));
await new Promise((listening) => foreignPage.listen(0, "localhost", listening));
const { token: cookie } = await (await fetch(new URL("/dev/token", url), { method: "POST", body: JSON.stringify({ name: "Ann" }) })).json();
await ann.context().addCookies([{ name: "wsguard", value: cookie, domain: new URL(url).hostname, path: "/", httpOnly: true }]);
/** Opens a socket from `page` with the cookie alone, sends `first` where it is given, and tells what came. */
const withCookie = (page, first, ms) =>
  page.evaluate(
    ({ target, first, ms }) =>
      new Promise((resolve) => {
        const seen = { opened: false, frames: [], code: null };
        const socket = new WebSocket(target, ["wsguard.v1"]);
        socket.addEventListener("open", () => {
          seen.opened = true;
          if (first !== null) socket.send(first);
        });
        socket.addEventListener("message", (message) => seen.frames.push(message.data));
        socket.addEventListener("close", (close) => resolve({ ...seen, code: close.code }));
        setTimeout(() => {
          resolve(seen);
          socket.close();
        }, ms);
      }),
    { target: new URL("/ws", url).href.replace(/^http/, "ws"), first, ms },
  );
await check("with the cookie a foreign page of the same site opens no socket and learns nothing", async () => {
  const page = await ann.context().newPage();
  await page.goto(`http://localhost:${foreignPage.address().port}/`);
  const saw = await withCookie(page, null, SETTLE_MS);
  await page.close();
  expect(!saw.opened && saw.code === 1006 && saw.frames.length === 0, JSON.stringify(saw));
});
const ours = await ann.context().newPage();
await ours.goto(new URL("/style.css", url).href);
await check("a socket that a cookie opened says nothing before its page proves the origin", async () => {
  const silent = await withCookie(ours, null, 1_500);
  expect(silent.opened && silent.code === null && silent.frames.length === 0, JSON.stringify(silent));
  const wrong = await withCookie(ours, '{"type":"auth","csrfToken":"not-the-proof"}', SETTLE_MS);
  expect(wrong.code === 4403 && !wrong.frames.some((frame) => frame.includes('"welcome"')), JSON.stringify(wrong));
});
await check("with the proof from /ws/session the cookie is let in", async () => {
  const proof = await ours.evaluate(async () => (await (await fetch("/ws/session", { method: "POST" })).json()).csrfToken);
  const saw = await withCookie(ours, JSON.stringify({ type: "auth", csrfToken: proof }), 1_500);
  expect(saw.frames[0]?.includes('"welcome"') === true && saw.code === null, JSON.stringify(saw));
});
await ours.close();
foreignPage.close();
await ann.context().clearCookies();

await check("the lobby shows the image as letters", async () => {
  await seen(bob, "&lt;img", "mallory");
  const elements = await bob.locator("#messages img, #messages script, #messages iframe").count();
  expect(elements === 0, `${elements} elements came from text`);
});
await check("the panel shows the refused handshake of the foreign page", () =>
  ann.locator('#rows > li[data-control="origin"]').first().waitFor({ timeout: SETTLE_MS }),
);
await check("whatever the width, rows are whole and nothing lies over another", async () => {
  const over = [];
  for (const width of [1180, 1280, 1440, 1920, 1000, 760, 360]) {
    await ann.setViewportSize({ width, height: 900 });
    if (width < 1180) await ann.click("#tab-guard");
    over.push(
      ...(await ann.locator("#rows .row").evaluateAll((rows, width) => {
        const crossed = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
        return rows.flatMap((row) => {
          const boxes = [...row.children].map((one) => one.getBoundingClientRect());
          const gates = row.querySelector(".gates")?.lastElementChild.getBoundingClientRect();
          const total = row.querySelector(".row-total").getBoundingClientRect();
          const clash = boxes.some((a, at) => boxes.slice(at + 1).some((b) => crossed(a, b))) || (gates && crossed(gates, total));
          const type = row.querySelector(".row-type");
          return clash || type.scrollWidth > type.clientWidth ? [`${width}: ${row.innerText.replaceAll("\n", " ")}`] : [];
        });
      }, width)),
    );
  }
  await ann.setViewportSize(wide);
  expect(over.length === 0, over.join("; "));
});
await check("after all that the two still chat", async () => {
  await say(ann, "Still here, Bob?");
  await seen(bob, "Still here, Bob?", "ann");
  await say(bob, "Still here, Ann.");
  await seen(ann, "Still here, Ann.", "bob");
});

async function shoot(name) {
  if (screenshots === null) return;
  await mkdir(screenshots, { recursive: true });
  await ann.screenshot({ path: join(screenshots, `${name}.png`) });
}
for (const scheme of ["light", "dark"]) {
  await ann.emulateMedia({ colorScheme: scheme });
  await ann.setViewportSize(wide);
  await shoot(`demo-wide-${scheme}`);
  await ann.setViewportSize({ width: 390, height: 844 });
  for (const tab of ["chat", "guard", "attacks"]) {
    await ann.click(`#tab-${tab}`);
    await shoot(`demo-narrow-${tab}-${scheme}`);
  }
}
await check("narrow: the arrow keys turn the tabs", async () => {
  await ann.focus("#tab-attacks");
  await ann.keyboard.press("ArrowLeft");
  expect(await ann.locator("#guard").isVisible(), "the guard is not shown");
  expect(!(await ann.locator("#attacks").isVisible()), "the attacks are still shown");
});
await check("two columns: the arrow keys stay among the tabs that are shown", async () => {
  await ann.setViewportSize({ width: 1000, height: 700 });
  await ann.focus("#tab-guard");
  for (const id of ["tab-attacks", "tab-guard"]) {
    await ann.keyboard.press("ArrowLeft");
    const at = await ann.evaluate(() => [document.activeElement.id, document.activeElement.ariaSelected]);
    expect(at[0] === id && at[1] === "true", `the focus is on ${at}`);
  }
  await ann.setViewportSize({ width: 360, height: 740 });
});
await check("narrow: no word of the guard's is cut", async () => {
  await ann.click("#tab-guard");
  const cut = await ann.locator(".vital span, .vital strong, .bucket span, .gauge-head span").evaluateAll((all) =>
    all.filter((one) => one.scrollWidth > one.clientWidth && one.clientWidth > 0 && one.title === "").map((one) => one.textContent),
  );
  expect(cut.length === 0, cut.join(", "));
});
await check("narrow: nothing is wider than the window", async () => {
  const excess = await ann.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(excess <= 0, `${excess} px too wide`);
});
await check("no complaint of the browser, no violation of the policy", () => expect(complaints.length === 0, complaints.join("; ")));
await check("no request left the server's own host", () => expect(foreign.size === 0, [...foreign].join(", ")));

await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
