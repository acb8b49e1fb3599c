// Makes dist/wsguard-client.min.js: one minified ES module for pages that have no bundler.
import { build } from 'esbuild';

await build({
  entryPoints: ['src/index.ts'],
  outfile: 'dist/wsguard-client.min.js',
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  logLevel: 'info',
});
