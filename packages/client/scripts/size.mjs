// Prints what SecureWebSocket costs a page, and fails where it costs more than the budget.
import { build } from 'esbuild';
import { gzipSync } from 'node:zlib';

const GZIP_BYTES_MAX = 6_500;

const { outputFiles } = await build({
  stdin: { contents: "export { SecureWebSocket } from './dist/index.js'", resolveDir: '.' },
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  write: false,
});
const [{ contents }] = outputFiles;
const gzipped = gzipSync(contents, { level: 9 }).length;
console.log(`SecureWebSocket: ${contents.length} bytes minified, ${gzipped} gzipped (at most ${GZIP_BYTES_MAX})`);
if (gzipped > GZIP_BYTES_MAX) process.exitCode = 1;
