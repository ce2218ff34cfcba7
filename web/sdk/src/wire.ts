// What the page and its worker say to each other. Frames of links go as transferred buffers.

import type { Failure } from './error.js';
import type { DeviceId, Events, Identity } from './types.js';

export type Channel = 'msg' | 'probe';

/** What the core wants of an RTCPeerConnection. */
export type LinkCommand =
  | { type: 'open'; ice_servers: string[]; msg_id: number; probe_id: number }
  | { type: 'offer'; restart: boolean }
  | { type: 'set_remote'; kind: 'offer' | 'answer'; sdp: string }
  | { type: 'candidate'; candidate: string; mid: string | null }
  | { type: 'send'; channel: Channel; message: Uint8Array<ArrayBuffer> }
  | { type: 'close' };

/** What happens on one. */
export type LinkEvent =
  | { type: 'description'; kind: 'offer' | 'answer'; sdp: string }
  | { type: 'candidate'; candidate: string; mid: string | null }
  | { type: 'open'; channel: Channel }
  | { type: 'message'; channel: Channel; message: Uint8Array<ArrayBuffer> }
  | { type: 'state'; state: 'connecting' | 'connected' | 'disconnected' | 'failed' | 'closed' }
  | { type: 'path'; path: 'direct' | 'turn' }
  | { type: 'failed'; why: string };

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

export type FromWorker =
  | { type: 'opened'; identity: Identity | null }
  | { type: 'failed'; failure: Failure }
  | ({ type: 'answer'; id: number } & Answer)
  | { type: 'notice'; notice: Notice }
  | { type: 'link'; device: DeviceId; session: string; command: LinkCommand }
  /** This tab leads no more: close every link. */
  | { type: 'unlink' }
  | { type: 'closed' };
