// What a first visit downloads, compressed as the server compresses it. Fails when it is over the budget.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const BUDGET = { js: 60 * 1024, css: 15 * 1024 };

const assets = new URL('../dist/assets/', import.meta.url).pathname;
const total = { js: 0, css: 0 };
for (const name of readdirSync(assets, { recursive: true })) {
  const kind = name.endsWith('.js') ? 'js' : name.endsWith('.css') ? 'css' : undefined;
  if (!kind) continue;
  const size = gzipSync(readFileSync(join(assets, name)), { level: 9 }).length;
  total[kind] += size;
  console.log(`${String(size).padStart(7)} B  ${name}`);
}
for (const [kind, limit] of Object.entries(BUDGET)) {
  const over = total[kind] > limit;
  console.log(
    `${kind.toUpperCase()}: ${total[kind]} of ${limit} bytes gzip${over ? ': over the budget' : ''}`,
  );
  if (over) process.exitCode = 1;
}
if (total.js === 0) {
  console.log('dist/assets has no script: run `npm run build` first');
  process.exitCode = 1;
}
