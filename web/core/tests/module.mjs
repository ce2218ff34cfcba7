// The module as `scripts/web-core` builds it, and what tests say with it.

import { readFile } from 'node:fs/promises';

import { Core, initSync, SignUp } from '../pkg/sotto_core.js';

initSync({ module: await readFile(new URL('../pkg/sotto_core_bg.wasm', import.meta.url)) });

export { Core, SignUp };

export const random = (length) => crypto.getRandomValues(new Uint8Array(length));
export const utf8 = (text) => new TextEncoder().encode(text);
export const json = (value) => utf8(JSON.stringify(value));
export const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** What a core has to say, until there is nothing. */
export function* outputs(core) {
  for (let output = core.poll(); output !== undefined; output = core.poll()) yield output;
}
