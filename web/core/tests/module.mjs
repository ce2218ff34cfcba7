// The module as `scripts/web-core` builds it, loaded once.

import { readFile } from 'node:fs/promises';

const pkg = new URL('../pkg/', import.meta.url);
const source = await readFile(new URL('sotto_core.js', pkg));
// It is an ES module without a package of its own, which Node only believes of a data URL.
const module = await import(`data:text/javascript;base64,${source.toString('base64')}`);
module.initSync({ module: await readFile(new URL('sotto_core_bg.wasm', pkg)) });

export const { Core, SignUp } = module;

export const random = (length) => crypto.getRandomValues(new Uint8Array(length));
export const utf8 = (text) => new TextEncoder().encode(text);
export const json = (value) => utf8(JSON.stringify(value));
export const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
