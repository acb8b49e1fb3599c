// Opens the audit's report in Chromium as people do: light and dark, wide and narrow, and on paper.
//
//   node testkit/browser/report.mjs [REPORT.html] [--screenshots DIR]
//
// Without a file the report is the snapshot of the tests. One line per check, then `N passed, N failed`. Exits 1 if a
// check failed, 2 without a browser. `CHROMIUM` names the browser; playwright-core comes from packages/demo.
import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const { chromium } = createRequire(new URL("../../packages/demo/package.json", import.meta.url))("playwright-core");

const rest = process.argv.slice(2);
const screenshotsAt = rest.indexOf("--screenshots");
const screenshots = screenshotsAt >= 0 ? rest.splice(screenshotsAt, 2)[1] : null;
const file = resolve(rest[0] ?? fileURLToPath(new URL("../tests/snapshots/report.html", import.meta.url)));

let passed = 0;
let failed = 0;
function check(name, holds, otherwise) {
  if (holds) passed += 1;
  else failed += 1;
  console.log(holds ? `ok    ${name}` : `FAIL  ${name}: ${otherwise}`);
}

/** What a reader sees, measured in the page. */
function look() {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const words = [...document.querySelectorAll("h1,h2,h3,p,li,td,th,dt,dd,.tag,.grade,svg text")].filter((one) => one.textContent.trim());
  const faint = words.flatMap((one) => {
    const style = getComputedStyle(one);
    const [a, b] = [luminance(one.closest("svg") ? style.fill : style.color), luminance(behind(one))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    return contrast < 4.5 ? [`${one.tagName} ${one.textContent.trim().slice(0, 30)} ${contrast.toFixed(1)}`] : [];
  });
  const ids = [...document.querySelectorAll("svg[role=img]")].map((one) => one.getBoundingClientRect());
  return {
    overflow: document.documentElement.scrollWidth - innerWidth,
    faint,
    plots: document.querySelectorAll("svg.plot").length,
    drawn: document.querySelectorAll("svg.plot circle, svg.plot rect").length,
    hidden: ids.filter((box) => box.width < 100 || box.height < 20).length,
  };
}

let browser;
try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu"],
  });
} catch (error) {
  console.error(`could not start the browser: ${error.message.split("\n")[0]}`);
  process.exit(2);
}
if (screenshots !== null) await mkdir(screenshots, { recursive: true });
for (const scheme of ["light", "dark"]) {
  for (const [width, name] of [[1280, "wide"], [360, "narrow"]]) {
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme: scheme });
    const complaints = [];
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    const foreign = [];
    page.on("request", (request) => request.url().startsWith("file:") || foreign.push(request.url()));
    await page.goto(pathToFileURL(file).href);
    const seen = await page.evaluate(look);
    const where = `${scheme}, ${name}`;
    check(`${where}: fits the screen`, seen.overflow <= 0, `${seen.overflow} px too wide`);
    check(`${where}: can be read (contrast of 4.5 and more)`, seen.faint.length === 0, seen.faint.slice(0, 5).join("; "));
    check(`${where}: ${seen.plots} plots with ${seen.drawn} marks`, seen.plots >= 2 && seen.drawn > 0 && seen.hidden === 0, JSON.stringify(seen));
    check(`${where}: asks nobody for anything and complains about nothing`, foreign.length + complaints.length === 0, [...foreign, ...complaints].join("; "));
    if (screenshots !== null) await page.screenshot({ path: join(screenshots, `report-${scheme}-${name}.png`), fullPage: true });
    if (scheme === "dark" && name === "wide") {
      // Paper is white, whatever the screen is.
      await page.emulateMedia({ media: "print", colorScheme: "dark" });
      const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      check("on paper: white", paper === "rgb(255, 255, 255)", paper);
      const sheet = await page.pdf({ format: "A4" });
      check("on paper: a PDF", sheet.subarray(0, 5).toString() === "%PDF-" && sheet.length > 10_000, `${sheet.length} bytes`);
    }
    await page.close();
  }
}
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
