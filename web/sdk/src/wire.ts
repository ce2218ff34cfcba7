// What the page and its worker say to each other. Frames of links go as transferred buffers.

import type * as core from '../../core/pkg/sotto_core.js';
import type { Failure } from './error.js';
import type { DeviceId, Events, Identity } from './types.js';

/** The core's values with arrays that own their memory, as all here do: they can be transferred. */
export type Owned<T> = T extends Uint8Array
  ? Uint8Array<ArrayBuffer>
  : T extends (...given: infer Given) => infer Result
    ? (...given: Given) => Owned<Result>
    : T extends object
      ? { [K in keyof T]: Owned<T[K]> }
      : T;

export type { Channel } from '../../core/pkg/sotto_core.js';
export type LinkCommand = Owned<core.LinkCommand>;
export type LinkEvent = Owned<core.LinkEvent>;

/** A method of docs/rpc.md with its parameters. */
export interface Call {
  method: string;
  params: Record<string, unknown>;
}

export type Answer = { result: unknown } | { failure: Failure };

/** A notification, of the core's or of the tab's own. */
export type Notice = { [E in keyof Events]: { method: E; params: Events[E] } }[keyof Events];

export type ToWorker =
  | { type: 'open'; profile: string; wasm: string }
  | ({ type: 'call'; id: number } & Call)
  | { type: 'link'; device: DeviceId; session: string; event: LinkEvent }
  | { type: 'visible'; visible: boolean }
  | { type: 'close' };

/** The worker says several at once. */
export type FromWorker =
  | { type: 'opened'; identity: Identity | null }
  | { type: 'failed'; failure: Failure }
  | ({ type: 'answer'; id: number } & Answer)
  | { type: 'notice'; notice: Notice }
  | { type: 'link'; device: DeviceId; session: string; command: LinkCommand }
  /** This tab leads no more: close every link. */
  | { type: 'unlink' }
  | { type: 'closed' };
