// Puts a brotli and a gzip copy beside every file of a folder that gets smaller by it, so that the server compresses
// nothing while it serves. Usage: node scripts/compress.mjs FOLDER
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const TEXT = /\.(html|js|css|wasm|json|webmanifest|svg|txt|map)$/;
/** Below one packet there is nothing to win. */
const WORTH_IT = 1_024;

for (const entry of readdirSync(process.argv[2], { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (!entry.isFile() || !TEXT.test(path)) continue;
  const content = readFileSync(path);
  if (content.length < WORTH_IT) continue;
  const brotli = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
  const copies = {
    '.br': brotliCompressSync(content, { params: brotli }),
    '.gz': gzipSync(content, { level: 9 }),
  };
  for (const [ending, copy] of Object.entries(copies)) {
    if (copy.length < content.length) writeFileSync(path + ending, copy);
  }
}
