// Packs the package as `npm publish` would, from its own folder alone, and looks at the result as those who install it do.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';

/** What may be published. */
const PUBLISHED = /^(dist\/[\w.-]+\.(js|d\.ts)|package\.json|README\.md|LICENSE-\w+)$/;

const directory = mkdtempSync(join(tmpdir(), 'wsguard-pack-'));
try {
  const run = (cwd, command, ...args) =>
    execFileSync(command, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  // Elsewhere, so that nothing of the repository around it can be reached.
  const alone = join(directory, 'alone');
  cpSync('.', alone, { recursive: true, filter: (path) => !['node_modules', 'dist', 'docs'].includes(basename(path)) });
  symlinkSync(resolve('node_modules'), join(alone, 'node_modules'));
  const [{ filename, size, files }] = JSON.parse(run(alone, 'npm', 'pack', '--silent', '--json', '--pack-destination', directory));
  const tarball = join(directory, filename);
  console.log(`${filename}: ${size} bytes, ${files.length} files`);
  const foreign = files.filter(({ path }) => !PUBLISHED.test(path));
  if (foreign.length > 0) throw new Error(`not for publication: ${foreign.map(({ path }) => path).join(', ')}`);
  console.log(run('.', 'npx', 'publint', 'run', tarball, '--strict'));
  console.log(run('.', 'npx', 'attw', tarball, '--profile', 'esm-only', '--no-emoji', '--format', 'ascii'));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
