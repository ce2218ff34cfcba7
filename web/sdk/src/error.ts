import type { ErrorKind } from './types.js';

// As docs/rpc.md numbers them; the browser's own follow from -32020.
const CODES: Record<ErrorKind, number> = {
  'invalid-params': -32602,
  'method-not-found': -32601,
  'internal-error': -32603,
  'not-signed-up': -32001,
  'signed-up': -32002,
  pending: -32002,
  'not-found': -32003,
  'not-a-member': -32004,
  blocked: -32005,
  offline: -32006,
  refused: -32007,
  'outbox-full': -32008,
  profile: -32010,
  ended: -32011,
  unanswered: -32020,
  'storage-full': -32021,
  'storage-blocked': -32022,
  'storage-newer': -32023,
  'storage-closed': -32024,
  'storage-failed': -32025,
  unsupported: -32026,
  lagging: -32027,
  'storage-refused': -32028,
};

/** Why a call failed. `kind` and `code` are for programs, `message` is for people and may change. */
export class SottoError extends Error {
  override readonly name = 'SottoError';
  readonly kind: ErrorKind;
  readonly code: number;
  /** The parameter that is wrong. */
  readonly field?: string;
  /** Of `refused`: the server's name for why, such as `handle-taken`. */
  readonly problem?: string;

  constructor(kind: ErrorKind, message: string, field?: string, problem?: string) {
    super(message);
    this.kind = kind;
    this.code = CODES[kind] ?? -32603;
    if (field !== undefined) this.field = field;
    if (problem !== undefined) this.problem = problem;
  }
}

/** An error on its way between page, worker and tabs, where classes do not go. */
export interface Failure {
  kind: ErrorKind;
  message: string;
  field?: string | undefined;
  problem?: string | undefined;
}

export const toFailure = (error: unknown): Failure => {
  if (!(error instanceof SottoError)) return { kind: 'internal-error', message: String(error) };
  const { kind, message, field, problem } = error;
  return { kind, message, field, problem };
};

export const fromFailure = ({ kind, message, field, problem }: Failure): SottoError =>
  new SottoError(kind, message, field, problem);
