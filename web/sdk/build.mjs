// Builds dist/: the page's module, the worker's, and the core's wasm beside them. Types follow from tsc.
//
// The worker is a bundle of its own and gets the wasm's address from the page, so that an application's bundler needs to
// understand nothing but `new URL('…', import.meta.url)`.

import { copyFile, rm } from 'node:fs/promises';
import { build } from 'esbuild';

const here = (path) => new URL(path, import.meta.url).pathname;

await rm(here('dist'), { recursive: true, force: true });
await build({
  entryPoints: { index: here('src/index.ts'), worker: here('src/worker/main.ts') },
  outdir: here('dist'),
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  sourcemap: false,
  legalComments: 'none',
});
await copyFile(here('../core/pkg/sotto_core_bg.wasm'), here('dist/sotto_core_bg.wasm'));
for (const licence of ['LICENSE-APACHE', 'LICENSE-MIT']) {
  await copyFile(here(`../../${licence}`), here(`dist/${licence}`));
}
