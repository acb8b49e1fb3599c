// Runs tests under another version of Node, whose binary comes from the registry: those without a network, and those
// against the real server, with the WebSocket that Node itself has from version 22 on.
//
//   node scripts/node.mjs VERSION
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const version = process.argv[2] ?? '22';
const name = `node-${process.platform}-${process.arch}`;
const directory = mkdtempSync(join(tmpdir(), 'wsguard-node-'));
try {
  execFileSync('npm', ['install', '--prefix', directory, '--no-save', '--no-audit', '--no-fund', '--silent', `${name}@${version}`], { stdio: 'inherit' });
  const node = join(directory, 'node_modules', name, 'bin/node');
  console.log(`${name} ${execFileSync(node, ['--version'], { encoding: 'utf8' })}`);
  const files = (folder) => readdirSync(folder).filter((file) => file.endsWith('.test.mjs')).map((file) => join(folder, file));
  const tests = [...files('test'), 'e2e/node.test.mjs'];
  const { status } = spawnSync(node, ['--test', '--test-timeout=120000', '--test-force-exit', ...tests], {
    stdio: 'inherit',
    env: { ...process.env, WSGUARD_WEBSOCKET: 'platform' },
  });
  process.exitCode = status ?? 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
