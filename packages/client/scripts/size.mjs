// Says what the client costs a page, and fails where it costs more than the budget.
//
//   node scripts/size.mjs           measures against the budget
//   node scripts/size.mjs --write   also writes the table of README.md, with what each ability costs
import { build } from 'esbuild';
import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const ENTRIES = [
  { name: '`SecureWebSocket`', contents: "export { SecureWebSocket } from './dist/index.js'", most: 5_050 },
  {
    name: 'with `useSecureWebSocket`, `useMessage`, `useRtt`',
    contents: "export * from './dist/react.js'; export { SecureWebSocket } from './dist/index.js'",
    most: 5_650,
  },
  { name: '`schemas`', contents: "export { schemas } from './dist/schema.js'", most: 400 },
  { name: '`describe`', contents: "export { describe } from './dist/describe.js'", most: 800 },
  { name: '`iterate`', contents: "export { iterate } from './dist/iterate.js'", most: 500 },
];

/** What is taken out to learn the cost of an ability: functions and methods that are left without a body. */
const ABILITIES = {
  'debug output with masked secrets': { log: ['createLog', 'masked'] },
  'tickets and cookies': { credential: ['post'] },
  'pings, round trips': { health: ['start', 'answered', 'ping', 'judge'] },
  'page: hidden, frozen, offline': { page: ['listen', 'get dormant'], session: ['wake'] },
  'queue: limits, policies, times': { outbox: ['add', 'watch', 'expire', 'lose'] },
  'quotas and stale CSRF tokens: slow down, send again': { outbox: ['requeue', 'renew'], session: ['refused'] },
  'renewal of the token': { session: ['refresh'] },
  'reconnection and its delays': { session: ['lost', 'retry'], ending: ['errorOfClose', 'afterEnd'] },
  'checks of messages': { message: ['bodyOf'] },
};

/** Empties the named functions and methods of the modules while they are bundled. */
function without(modules) {
  return {
    name: 'without',
    setup(bundler) {
      bundler.onLoad({ filter: /dist\/\w+\.js$/ }, ({ path }) => {
        let code = readFileSync(path, 'utf8');
        for (const name of modules[/(\w+)\.js$/.exec(path)[1]] ?? []) code = emptied(code, name);
        return { contents: code };
      });
    },
  };
}

function emptied(code, name) {
  const word = name.replace(/[[\]#.]/g, '\\$&');
  const declaration = new RegExp(
    `^ *(?:(?:export )?(?:async )?(?:function )?\\*?${word}\\(.*\\)|const ${word} = (?:async )?\\(.*\\) =>) \\{$`,
    'm',
  );
  const found = declaration.exec(code);
  if (!found) throw new Error(`${name} is not there to be measured`);
  const indent = /^ */.exec(found[0])[0];
  const from = found.index + found[0].length;
  return code.slice(0, from) + code.slice(code.indexOf(`\n${indent}}`, from));
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
  for (const [ability, modules] of Object.entries(ABILITIES)) {
    costs.push([ability, whole - (await measure(contents, [without(modules)])).gzipped]);
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
