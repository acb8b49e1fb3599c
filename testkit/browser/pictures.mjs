// Takes the pictures of README and book: the demo page of a running `wsguard serve --dev`, and a report of the audit,
// in light and dark, as WebP.
//
//   node testkit/browser/pictures.mjs http://localhost:3000/ reports/websocket-security/report.html docs/pictures
//
// `CHROMIUM` names the browser; playwright-core comes from packages/demo.
import { mkdir, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const { chromium } = createRequire(new URL("../../packages/demo/package.json", import.meta.url))("playwright-core");
const QUALITY = 0.82;

const [demo, report, folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: node pictures.mjs DEMO_URL REPORT_HTML FOLDER");
  process.exit(2);
}
await mkdir(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu"],
});

/** Chromium takes PNG; a canvas of its own makes WebP of it. */
async function save(name, png) {
  const page = await browser.newPage();
  const webp = await page.evaluate(
    async ([data, quality]) => {
      const image = new Image();
      image.src = `data:image/png;base64,${data}`;
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height);
      canvas.getContext("2d").drawImage(image, 0, 0);
      const blob = await canvas.convertToBlob({ type: "image/webp", quality });
      return Array.from(new Uint8Array(await blob.arrayBuffer()));
    },
    [png.toString("base64"), QUALITY],
  );
  await page.close();
  const path = join(folder, `${name}.webp`);
  await writeFile(path, Uint8Array.from(webp));
  console.log(`${path}: ${Math.round((await stat(path)).size / 1024)} KiB`);
}

async function open(url, colorScheme, viewport) {
  const context = await browser.newContext({ viewport, colorScheme, deviceScaleFactor: 1.5 });
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

for (const scheme of ["light", "dark"]) {
  const viewport = { width: 1440, height: 900 };
  const ann = await open(`${new URL("/", demo).href}#Ann`, scheme, viewport);
  const bob = await open(`${new URL("/", demo).href}#Bob`, scheme, viewport);
  for (const page of [ann, bob]) await page.locator('#connection[data-status="open"]').waitFor();
  const say = async (page, text) => {
    await page.fill("#text", text);
    await page.press("#text", "Enter");
    await ann.locator("[data-message] .body", { hasText: text.slice(0, 4) }).last().waitFor();
  };
  await say(bob, "Hello Ann, is this the new chat?");
  await say(ann, "It is. a < b && c > d, and vector<int>, stay as they are.");
  await say(bob, "And <img src=x onerror=alert(1)>?");
  await say(ann, "Harmless, and the operator knows of it.");
  await ann.click("#run-all");
  await ann.locator("#run-all:enabled").waitFor({ timeout: 60_000 });
  // The last verdicts and the ladder settle.
  await ann.waitForTimeout(3_000);
  await save(`demo-${scheme}`, await ann.screenshot());
  await ann.context().close();
  await bob.context().close();

  const page = await open(pathToFileURL(resolve(report)).href, scheme, { width: 1180, height: 860 });
  await page.waitForTimeout(500);
  await save(`report-${scheme}`, await page.screenshot());
  await page.context().close();
}
await browser.close();
