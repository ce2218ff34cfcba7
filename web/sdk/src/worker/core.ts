// The core as the worker sees it: peer-core's contract in JavaScript's values.

import type { RpcError } from '../../../core/pkg/sotto_core.js';
import init, * as core from '../../../core/pkg/sotto_core.js';
import { SottoError } from '../error.js';
import type { ErrorKind } from '../types.js';
import type { Owned } from '../wire.js';

export type { Input, SocketName } from '../../../core/pkg/sotto_core.js';
export type Bytes = Uint8Array<ArrayBuffer>;
export type Row = Owned<core.Row>;
export type Writes = Owned<core.Writes>;
export type Output = Owned<core.Output>;
export type Query = Omit<Extract<Output, { type: 'load' }>, 'type' | 'id'>;
export type Request = Omit<Extract<Output, { type: 'http' }>, 'type' | 'id'>;
export type Core = Owned<core.Core>;
export type SignUp = Owned<core.SignUp>;
export interface Brain {
  Core: Owned<Pick<typeof core.Core, 'restore'>>;
  SignUp: Owned<Pick<typeof core.SignUp, 'begin' | 'resume'>>;
}

let loaded: Promise<Brain> | undefined;

/** Compiles the core, once a worker. */
export const load = (url: string): Promise<Brain> => {
  loaded ??= init({ module_or_path: url }).then(
    () => core as Brain,
    (error) => {
      loaded = undefined;
      throw new SottoError('offline', `the program could not be loaded (${String(error)}): try again`);
    },
  );
  return loaded;
};

/** Tables of the store, by the names that peer-core gives them. */
export const HOT = ['meta', 'account', 'conversation', 'author', 'receipt', 'tail'];
export const TABLES = [...HOT, 'history', 'message_index', 'event'];

/** What the core says went wrong, as an error of the SDK. What has no code is a bug: it panicked. */
export const fromCore = (thrown: unknown): SottoError => {
  const { code, message, data } = (thrown ?? {}) as Partial<RpcError>;
  if (code === undefined || !message) {
    return new SottoError('internal-error', `the core failed: ${String(thrown)}`);
  }
  return new SottoError((data?.kind ?? 'internal-error') as ErrorKind, message, data?.field, data?.problem);
};

export const random = (length: number): Uint8Array<ArrayBuffer> =>
  crypto.getRandomValues(new Uint8Array(length));
