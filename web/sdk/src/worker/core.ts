// The core as the worker sees it: peer-core's contract in JavaScript's values.

import init, * as wasm from '../../../core/pkg/sotto_core.js';
import { SottoError } from '../error.js';
import type { ErrorKind, Identity } from '../types.js';
import type { LinkCommand, LinkEvent, Notice } from '../wire.js';

export type Bytes = Uint8Array<ArrayBuffer>;
export type Row = [table: string, key: Bytes, value: Bytes];

/** Changes that become durable together; ranges (first included, last not) are deleted before. */
export interface Writes {
  puts: Row[];
  deletes: [table: string, key: Bytes][];
  ranges: [table: string, from: Bytes, to: Bytes][];
}

export interface Query {
  table: string;
  from: Bytes;
  to: Bytes;
  limit: number;
  descending: boolean;
}

export interface Request {
  method: string;
  path: string;
  body?: Bytes | undefined;
  token?: string | undefined;
}

export type Socket = 'signal' | 'relay';

export interface CoreFailure {
  code: number;
  message: string;
  data?: { kind?: string; field?: string };
}

export type Input =
  | { type: 'command'; id: number; method: string; params: object }
  | { type: 'persisted'; token: number }
  | { type: 'loaded'; id: number; rows: [Bytes, Bytes][] }
  | { type: 'http'; id: number; status?: number; body?: Bytes; error?: string }
  | { type: 'socket'; socket: Socket; event: 'opened' | 'message' | 'closed'; message?: Bytes; why?: string }
  | { type: 'link'; device: string; session: string; event: LinkEvent }
  | { type: 'timeout' }
  | { type: 'network_changed' };

export type Output =
  | { type: 'persist'; token: number; writes: Writes }
  | ({ type: 'load'; id: number } & Query)
  | ({ type: 'http'; id: number } & Request)
  | { type: 'socket'; socket: Socket; command: 'open' | 'send' | 'close'; message?: Bytes }
  | { type: 'link'; device: string; session: string; command: LinkCommand }
  | { type: 'reply'; id: number; result?: unknown; error?: CoreFailure }
  | ({ type: 'event' } & Notice);

export interface Core {
  identity(): Identity;
  handle(monotonicMs: number, wallMs: number, input: Input): void;
  poll(): Output | undefined;
  next_timeout(): number | undefined;
  free(): void;
}

export interface SignUp {
  readonly handle: string;
  readonly server: string;
  /** Throws unless this answer to `GET /v1/server` is of a server that goes by this name. */
  check(status: number, body: Bytes): void;
  /** Make durable before the request is made. */
  writes(): Writes;
  request(invite?: string): Request;
  /** An error without writes: the answer was lost; the same may be asked again. */
  conclude(status: number, body: Bytes): { done: boolean; writes?: Writes; error?: CoreFailure };
  free(): void;
}

interface Brain {
  Core: { restore(hot: Row[], monotonicMs: number, wallMs: number, seed: Bytes): Core };
  SignUp: {
    begin(handle: string, server: string, deviceName: string, wallMs: number, random: Bytes): SignUp;
    resume(hot: Row[]): SignUp | undefined;
  };
}

let loaded: Promise<Brain> | undefined;

/** Compiles the core, once a worker. */
export const load = (url: string): Promise<Brain> => {
  loaded ??= init({ module_or_path: url }).then(
    () => wasm as unknown as Brain,
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
  const { code, message, data } = (thrown ?? {}) as Partial<CoreFailure>;
  if (code === undefined || !message) {
    return new SottoError('internal-error', `the core failed: ${String(thrown)}`);
  }
  return new SottoError((data?.kind ?? 'internal-error') as ErrorKind, message, data?.field);
};

export const random = (length: number): Bytes => crypto.getRandomValues(new Uint8Array(length));
