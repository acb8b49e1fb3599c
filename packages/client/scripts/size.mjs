// Says what the client costs a page, and fails where it costs more than the budget.
//
//   node scripts/size.mjs           measures against the budget
//   node scripts/size.mjs --write   also writes the table of README.md, with what each ability costs
import { build } from 'esbuild';
import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const ENTRIES = [
  { name: '`SecureWebSocket`', contents: "export { SecureWebSocket } from './dist/index.js'", most: 3_800 },
  {
    name: 'with `useSecureWebSocket`, `useMessage`, `useRtt`',
    contents: "export * from './dist/react.js'; export { SecureWebSocket } from './dist/index.js'",
    most: 4_400,
  },
  { name: '`schemas`', contents: "export { schemas } from './dist/schema.js'", most: 400 },
  { name: '`describe`', contents: "export { describe } from './dist/describe.js'", most: 800 },
  { name: '`iterate`', contents: "export { iterate } from './dist/iterate.js'", most: 500 },
];

/** What is taken out to learn the cost of an ability: blocks that are left empty, by their head, in the order of the code. */
const ABILITIES = {
  'debug output with masked secrets': [['session', 'const log =']],
  'tickets and cookies': [['session', 'const post =']],
  'pings, round trips': [['session', 'const ping ='], ['session', 'const judge ='], ['session', 'if (payload.t === askedAt)']],
  'page: hidden, frozen, offline': [['page', 'get dormant()'], ['page', 'listen('], ['session', 'const wake =']],
  'queue: limits and policies': [['session', 'while (entries.size >= maxMessages']],
  'quotas and stale CSRF tokens: slow down, send again': [
    ['session', "if (error.code === 'rate_limited')"],
    ['session', "else if (error.code === 'csrf_invalid'"],
  ],
  'renewal of the token': [['session', 'const refresh =']],
  'reconnection and its delays': [['session', 'const lost ='], ['session', 'const retry =']],
};

/** Empties the named blocks of the modules while they are bundled. */
function without(blocks) {
  return {
    name: 'without',
    setup(bundler) {
      bundler.onLoad({ filter: /dist\/\w+\.js$/ }, ({ path }) => {
        let contents = readFileSync(path, 'utf8');
        for (const [module, head] of blocks) if (path.endsWith(`/${module}.js`)) contents = emptied(contents, head);
        return { contents };
      });
    },
  };
}

function emptied(code, head) {
  const lines = code.split('\n');
  const from = lines.findIndex((line) => line.trimStart().startsWith(head) && line.endsWith('{'));
  if (from < 0) throw new Error(`${head} is not there to be measured`);
  const indent = /^ */.exec(lines[from])[0];
  const to = lines.findIndex((line, at) => at > from && line.startsWith(`${indent}}`));
  return [...lines.slice(0, from + 1), ...lines.slice(to)].join('\n');
}

async function measure(contents, plugins = []) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: '.' },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['react'],
    write: false,
    plugins,
  });
  const [{ contents: code }] = outputFiles;
  return { minified: code.length, gzipped: gzipSync(code, { level: 9 }).length };
}

const number = (bytes) => bytes.toLocaleString('en');
const rows = [];
for (const { name, contents, most } of ENTRIES) {
  const { minified, gzipped } = await measure(contents);
  console.log(`${name}: ${minified} bytes minified, ${gzipped} gzipped (at most ${most})`);
  rows.push(`| ${name} | ${number(minified)} | ${number(gzipped)} |`);
  if (gzipped > most) process.exitCode = 1;
}

if (process.argv.includes('--write')) {
  const [{ contents }] = ENTRIES;
  const whole = (await measure(contents)).gzipped;
  const costs = [];
  for (const [ability, blocks] of Object.entries(ABILITIES)) {
    costs.push([ability, whole - (await measure(contents, [without(blocks)])).gzipped]);
  }
  const table = [
    'Bytes of a bundle for browsers (esbuild, es2022), as `npm run size` measures them.',
    '',
    '| | minified | minified and gzipped |',
    '| --- | --- | --- |',
    ...rows,
    '',
    'Of `SecureWebSocket`, gzipped, by what is saved when it is taken out:',
    '',
    '| ability | bytes |',
    '| --- | --- |',
    ...costs.sort(([, a], [, b]) => b - a).map(([ability, bytes]) => `| ${ability} | ${bytes} |`),
  ].join('\n');
  const readme = readFileSync('README.md', 'utf8');
  const written = readme.replace(/<!-- sizes -->[\s\S]*?<!-- end -->/, `<!-- sizes -->\n${table}\n<!-- end -->`);
  writeFileSync('README.md', written);
}
