// Packs the package as `npm publish` would and looks at the result as those who install it do.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const directory = mkdtempSync(join(tmpdir(), 'wsguard-pack-'));
try {
  const run = (command, ...args) => execFileSync(command, args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  const [{ filename, size, files }] = JSON.parse(run('npm', 'pack', '--json', '--pack-destination', directory));
  const tarball = join(directory, filename);
  console.log(`${filename}: ${size} bytes, ${files.length} files`);
  const foreign = files.filter(({ path }) => !/^(dist\/[\w.-]+\.(js|d\.ts)|package\.json|README\.md|LICENSE-\w+)$/.test(path));
  if (foreign.length > 0) throw new Error(`not for publication: ${foreign.map(({ path }) => path).join(', ')}`);
  console.log(run('npx', 'publint', 'run', tarball, '--strict'));
  console.log(run('npx', 'attw', tarball, '--profile', 'esm-only', '--no-emoji', '--format', 'ascii'));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
