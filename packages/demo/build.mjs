// Bundles the demo page into the server's assets, which are committed so that Cargo needs no Node.
//
//   node build.mjs           writes crates/wsguard-server/assets/demo/
//   node build.mjs --check   exits 1 when what is committed is not what the sources give
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../../crates/wsguard-server/assets/demo");
const client = join(here, "../client/src/index.ts");

/** Bundles one entry and returns its text. Scripts are classic, because a sandboxed frame may not load a module. */
async function bundle(entry) {
  const result = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    alias: { "@wsguard/client": client },
    bundle: true,
    format: "iife",
    target: "es2022",
    minify: true,
    legalComments: "none",
    charset: "utf8",
    write: false,
  });
  return result.outputFiles[0].text;
}

const logo = (await readFile(join(here, "logo.svg"), "utf8")).trim();
const icon = `data:image/svg+xml,${encodeURIComponent(logo)}`;
const page = (await readFile(join(here, "index.html"), "utf8")).replaceAll("{{icon}}", icon).replaceAll("{{logo}}", logo);

const files = {
  "index.html": page,
  "app.js": await bundle("src/main.ts"),
  "style.css": await bundle("style.css"),
  "frame.html": await readFile(join(here, "frame.html"), "utf8"),
  "frame.js": await bundle("src/frame.ts"),
};

const stale = [];
await mkdir(out, { recursive: true });
for (const [name, text] of Object.entries(files)) {
  const path = join(out, name);
  const committed = await readFile(path, "utf8").catch(() => null);
  if (committed === text) continue;
  if (process.argv.includes("--check")) stale.push(name);
  else await writeFile(path, text);
}
if (stale.length > 0) {
  console.error(`crates/wsguard-server/assets/demo is stale (${stale.join(", ")}): run npm run build in packages/demo`);
  process.exit(1);
}
for (const [name, text] of Object.entries(files)) console.error(`${name} ${Buffer.byteLength(text)} bytes`);
