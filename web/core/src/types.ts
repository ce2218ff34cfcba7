export type Bytes = Uint8Array;
/** A row of the store; keys sort as bytes. */
export type Row = [table: string, key: Bytes, value: Bytes];
/** Becomes durable as a whole or not at all. Ranges (first key included, last excluded) are deleted first. */
export type Writes = {
  puts: Row[];
  deletes: [table: string, key: Bytes][];
  ranges: [table: string, from: Bytes, to: Bytes][];
};
/** JSON-RPC errors as docs/rpc.md lists them. */
export type RpcError = { code: number; message: string; data: { kind: string; field?: string; problem?: string } };
export type Identity = { account: string; device: string; handle: string; server: string };
export type SocketName = 'signal' | 'relay';
export type Channel = 'msg' | 'probe';
export type DescriptionKind = 'offer' | 'answer';

export type Input =
  | { type: 'command'; id: number; method: string; params?: object }
  | { type: 'persisted'; token: number }
  | { type: 'loaded'; id: number; rows: [key: Bytes, value: Bytes][] }
  | { type: 'http'; id: number; status?: number; body?: Bytes; error?: string }
  | {
      type: 'socket';
      socket: SocketName;
      event: 'opened' | 'message' | 'closed';
      message?: Bytes;
      why?: string;
    }
  | { type: 'link'; device: string; session: string; event: LinkEvent }
  | { type: 'timeout' }
  | { type: 'network_changed' };

export type LinkEvent =
  | { type: 'description'; kind: DescriptionKind; sdp: string }
  | { type: 'candidate'; candidate: string; mid: string | null }
  | { type: 'open'; channel: Channel }
  | { type: 'message'; channel: Channel; message: Bytes }
  | { type: 'state'; state: 'connecting' | 'connected' | 'disconnected' | 'failed' | 'closed' }
  | { type: 'path'; path: 'direct' | 'turn' }
  | { type: 'failed'; why: string };

export type Output =
  | { type: 'persist'; token: number; writes: Writes }
  | { type: 'load'; id: number; table: string; from: Bytes; to: Bytes; limit: number; descending: boolean }
  | { type: 'http'; id: number; method: string; path: string; body?: Bytes; token?: string }
  | { type: 'socket'; socket: SocketName; command: 'open' | 'send' | 'close'; message?: Bytes }
  | { type: 'link'; device: string; session: string; command: LinkCommand }
  | { type: 'reply'; id: number; result?: unknown; error?: RpcError }
  | { type: 'event'; method: string; params: unknown };

export type LinkCommand =
  | { type: 'open'; ice_servers: string[]; msg_id: number; probe_id: number }
  | { type: 'offer'; restart: boolean }
  | { type: 'set_remote'; kind: DescriptionKind; sdp: string }
  | { type: 'candidate'; candidate: string; mid: string | null }
  | { type: 'send'; channel: Channel; message: Bytes }
  | { type: 'close' };

/** `error` without `writes`: ask again, with the same. */
export type Conclusion = { done: boolean; writes?: Writes; error?: RpcError };
