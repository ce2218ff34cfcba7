// Starts the worker from the package's own files, under a strict Content-Security-Policy too.

import { SottoError } from '../error.js';

interface Policy {
  createScriptURL(url: string): string;
}
interface TrustedTypes {
  createPolicy(name: string, rules: Policy): Policy;
}

let policy: Policy | undefined;

/** Where Trusted Types are enforced, a worker's address must come from a policy: `trusted-types sotto`. */
function trusted(url: string): string {
  const factory = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  policy ??= factory?.createPolicy('sotto', { createScriptURL: (known) => known });
  return policy?.createScriptURL(url) ?? url;
}

export const WASM = new URL('./sotto_core_bg.wasm', import.meta.url);
const WORKER = new URL('./worker.js', import.meta.url);

export function startWorker(): Worker {
  const missing = ['Worker', 'indexedDB', 'BroadcastChannel', 'WebAssembly'].find(
    (name) => !(name in globalThis),
  );
  if (missing ?? !navigator.locks) {
    const why = isSecureContext
      ? 'this browser is too old'
      : 'the page must come over https, or from localhost';
    throw new SottoError('unsupported', `${why}: ${missing ?? 'Web Locks'} is missing`);
  }
  return new Worker(trusted(WORKER.href), { type: 'module', name: 'sotto' });
}
