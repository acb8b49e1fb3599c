// Judges strings by what Chromium does with them: the court above the markup judge of wsguard-core.
//
// Reads one JSON string per line, assigns each to `innerHTML` of several connected elements, and prints one JSON line
// per string that did anything, then a summary. Exits 1 if anything was found, 2 if the browser does not start.
//
//   cargo run -p wsguard-core --example markup_mutations -- 1 5000 < vectors/markup.json |
//     CHROMIUM=/usr/bin/chromium node testkit/browser/markup-judge.mjs
//
// With `--html` it judges what the `html` class lets through: structure and emphasis of text pass too, and links to other
// pages, which nobody follows here. `--each` judges every string in a page of its own batch, for strings that all do something.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const BATCH = 200;
const SETTLE_MS = 250;
const ORIGIN = "http://judge.invalid/";
const PLAIN = ["b", "code", "em", "i", "s", "strong", "sub", "sup", "u"];

// Written down here for itself: a list shared with the guard would share its gaps.
const STRUCTURE = [
  "a", "blockquote", "br", "dd", "del", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ins", "kbd", "li", "mark",
  "ol", "p", "pre", "q", "samp", "small", "ul", "var",
];

const isHtml = process.argv.includes("--html");
// Where every string does something, halving a batch again and again takes longest.
const batchSize = process.argv.includes("--each") ? 1 : BATCH;

/** Runs in the page: installs traps that strings fall into. */
function installJudge({ plain, links }) {
  const ran = [];
  for (const name of ["alert", "confirm", "prompt", "print", "open"]) window[name] = () => ran.push(name);
  document.addEventListener("securitypolicyviolation", (event) => ran.push(`csp ${event.blockedURI}`));
  const KNOWN_ATTRIBUTES = /^(id|name|class|style|is|slot|part|src|srcset|srcdoc|data|data-.*|action|formaction|autofocus|popover|on[a-z]{3,}|xmlns)$/;
  const MATHML = /^(annotation|annotation-xml|maction|math|menclose|merror|mfenced|mfrac|mglyph|mi|mmultiscripts|mn|mo|mover|mpadded|mphantom|mprescripts|mroot|mrow|ms|mspace|msqrt|mstyle|msub|msubsup|msup|mtable|mtd|mtext|mtr|munder|munderover|none|semantics)$/;
  const isKnown = (node) => {
    if (plain.includes(node.localName)) return false;
    if (node.localName.includes("-")) return true;
    if (node.namespaceURI === "http://www.w3.org/1999/xhtml") return !(node instanceof HTMLUnknownElement);
    // Every element of MathML has the same interface; unknown ones of SVG have no interface of their own.
    if (node instanceof MathMLElement) return MATHML.test(node.localName);
    return Object.getPrototypeOf(node) !== SVGElement.prototype;
  };
  /** Whether it is all that a link of the `html` class has: an absolute address, and no way back to the page. */
  const isOfLink = (node, { name, value }) =>
    links && node.localName === "a" &&
    (name === "href" ? /^(https?:\/\/|mailto:)/i.test(value) : name === "rel" && value === "noopener noreferrer nofollow");
  if (links) {
    // Following a link is what it is for. A link to anywhere else still goes there, and is found.
    document.addEventListener("click", (event) => {
      const link = event.composedPath().find((node) => node.localName === "a");
      const address = link?.getAttribute("href") ?? "";
      if (link && isOfLink(link, { name: "href", value: address })) event.preventDefault();
    }, { capture: true });
  }
  const parsers = {
    div: () => document.createElement("div"),
    p: () => document.createElement("p"),
    pre: () => document.createElement("pre"),
    table: () => document.createElement("table"),
    select: () => document.createElement("select"),
    title: () => document.createElement("title"),
    textarea: () => document.createElement("textarea"),
    button: () => document.createElement("button"),
    svg: () => document.createElementNS("http://www.w3.org/2000/svg", "svg"),
    foreignObject: () => document.createElementNS("http://www.w3.org/2000/svg", "foreignObject"),
    math: () => document.createElementNS("http://www.w3.org/1998/Math/MathML", "math"),
  };
  const inspect = (root, found, where) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ALL);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.nodeType === Node.ELEMENT_NODE) {
        if (isKnown(node)) found.push(`${where}: element ${node.localName}`);
        if (node.shadowRoot) found.push(`${where}: shadow root`);
        for (const attribute of node.attributes) {
          if (!isOfLink(node, attribute) && (attribute.value !== "" || KNOWN_ATTRIBUTES.test(attribute.name))) {
            found.push(`${where}: attribute ${attribute.name} of ${node.localName}`);
          }
        }
        for (const event of ["click", "focus", "mouseover", "load", "error"]) {
          if (node[`on${event}`]) found.push(`${where}: on${event} of ${node.localName}`);
        }
      } else if (node.nodeType !== Node.TEXT_NODE) {
        found.push(`${where}: node of type ${node.nodeType}`);
      }
    }
  };
  window.judge = (text) => {
    ran.length = 0;
    const found = [];
    for (const [where, create] of Object.entries(parsers)) {
      const root = document.body.appendChild(create());
      root.innerHTML = text;
      inspect(root, found, where);
      for (const node of root.querySelectorAll("*")) node.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    }
    const host = document.body.appendChild(document.createElement("div"));
    host.insertAdjacentHTML("afterbegin", text);
    inspect(host, found, "insertAdjacentHTML");
    const template = document.createElement("template");
    template.innerHTML = text;
    const adopted = document.body.appendChild(document.createElement("div"));
    adopted.append(document.importNode(template.content, true));
    inspect(adopted, found, "template");
    // What a browser wrote out and read again must be no worse (mutation XSS).
    const again = document.body.appendChild(document.createElement("div"));
    again.innerHTML = host.innerHTML;
    inspect(again, found, "second reading");
    const parsed = new DOMParser().parseFromString(`<!doctype html><title></title><body>${text}`, "text/html");
    inspect(parsed.body, found, "document");
    return found.concat(ran.map((what) => `ran ${what}`));
  };
  window.settled = () => {
    const late = ran.splice(0).map((what) => `ran later ${what}`);
    document.body.replaceChildren();
    return late;
  };
}

async function main() {
  const profile = await mkdtemp(join(tmpdir(), "markup-judge-"));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
  const outside = [];
  const page = browser.pages()[0] ?? (await browser.newPage());
  browser.on("page", () => outside.push("opened a page"));
  page.on("dialog", (dialog) => { outside.push(`dialog ${dialog.message()}`); dialog.dismiss().catch(() => {}); });
  let ready = false;
  await browser.route("**/*", (route) => {
    if (!ready) return route.fulfill({ contentType: "text/html", body: "<!doctype html><title>judge</title><body>" });
    outside.push(`request ${route.request().url()}`);
    return route.abort();
  });
  const open = async () => {
    ready = false;
    await page.goto(ORIGIN);
    await page.evaluate(installJudge, { plain: isHtml ? PLAIN.concat(STRUCTURE) : PLAIN, links: isHtml });
    ready = true;
  };

  const counts = { strings: 0, found: 0 };
  const report = (text, found) => {
    counts.found += 1;
    console.log(JSON.stringify({ text, found: [...new Set(found)] }));
  };
  /** Judges several strings at once, and one by one if what happened belongs to none of them. */
  const judge = async (texts) => {
    outside.length = 0;
    let results = [];
    let broken;
    try {
      results = await page.evaluate((batch) => batch.map((text) => window.judge(text)), texts);
      await page.waitForTimeout(SETTLE_MS);
      outside.push(...(await page.evaluate(() => window.settled())));
      if (page.url() !== ORIGIN) outside.push(`navigated to ${page.url()}`);
    } catch (error) {
      broken = `page lost: ${error.message.split("\n")[0]}`;
    }
    if (broken) outside.push(broken);
    const seen = outside.splice(0);
    if (seen.length > 0) await open();
    if (seen.length > 0 && texts.length > 1) {
      const half = texts.length >> 1;
      await judge(texts.slice(0, half));
      await judge(texts.slice(half));
      return;
    }
    texts.forEach((text, index) => {
      const found = (results[index] ?? []).concat(seen);
      if (found.length > 0) report(text, found);
    });
  };

  try {
    await open();
    let batch = [];
    const flush = async () => {
      counts.strings += batch.length;
      await judge(batch);
      batch = [];
    };
    for await (const line of createInterface({ input: process.stdin })) {
      if (line === "") continue;
      batch.push(JSON.parse(line));
      if (batch.length === batchSize) await flush();
    }
    if (batch.length > 0) await flush();
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
  console.log(JSON.stringify({ summary: counts, chromium: browser.browser()?.version() }));
  return counts.found === 0 ? 0 : 1;
}

main().then((code) => { process.exitCode = code; }, (error) => { console.error(error); process.exitCode = 2; });
