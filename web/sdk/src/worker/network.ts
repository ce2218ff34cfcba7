// The server: HTTP requests and the two WebSockets.

import type { Bytes, Request, SocketName } from './core.js';

/** From sending a request to the last byte of its answer; and for a socket to open. */
const PATIENCE = 15_000;
/** The core asks on the signal socket every 20 s: after this long without an answer the server is gone, on both. */
const SILENCE = 50_000;
/** Longest answer read: a device list of 512 entries in base64 fits twice. */
const LONGEST_BODY = 1024 * 1024;

export interface Response {
  status: number;
  body: Bytes;
}

/** Asks the server. What it throws is a sentence for people. */
export async function request(origin: string, { method, path, body, token }: Request): Promise<Response> {
  const headers: Record<string, string> = {};
  if (body) headers['content-type'] = 'application/json';
  if (token) headers.authorization = `Bearer ${token}`;
  try {
    const response = await fetch(origin + path, {
      method,
      headers,
      body: body ?? null,
      signal: AbortSignal.timeout(PATIENCE),
      credentials: 'omit',
      cache: 'no-store',
      redirect: 'error',
    });
    return { status: response.status, body: await bounded(response) };
  } catch (error) {
    if ((error as Error)?.name === 'TimeoutError') throw `${origin} did not answer in time`;
    throw typeof error === 'string' ? error : await whyNot(origin);
  }
}

/** Browsers do not tell a page why a server cannot be asked. But it may knock at one that refuses its origin. */
async function whyNot(server: string): Promise<string> {
  if (server !== origin) {
    try {
      await fetch(`${server}/healthz`, {
        mode: 'no-cors',
        signal: AbortSignal.timeout(PATIENCE),
        credentials: 'omit',
        cache: 'no-store',
      });
      return `${server} refuses this page's origin: whoever runs it can add ${origin} to its cors_origins`;
    } catch {
      // It does not answer at all.
    }
  }
  return unreachable(server);
}

const unreachable = (server: string) =>
  server.startsWith('https:')
    ? `${server} cannot be reached, or its certificate is not valid: open it in a tab, and see`
    : `${server} cannot be reached`;

async function bounded(response: globalThis.Response): Promise<Bytes> {
  const parts: Bytes[] = [];
  let length = 0;
  const reader = response.body?.getReader();
  for (let part = await reader?.read(); part?.value; part = await reader?.read()) {
    length += part.value.byteLength;
    if (length > LONGEST_BODY) {
      void reader?.cancel();
      throw "the server's answer is longer than 1 MiB";
    }
    parts.push(part.value);
  }
  const body = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    body.set(part, at);
    at += part.byteLength;
  }
  return body;
}

export type SocketEvent =
  | { event: 'opened' }
  | { event: 'message'; message: Bytes }
  | { event: 'closed'; why: string };

/** The server's two sockets. Only of the last opening of each is anything reported. */
export class Sockets {
  readonly #open = new Map<SocketName, WebSocket>();
  #heard = 0;
  readonly #origin: string;
  readonly #report: (socket: SocketName, event: SocketEvent) => void;

  constructor(origin: string, report: (socket: SocketName, event: SocketEvent) => void) {
    this.#origin = origin;
    this.#report = report;
  }

  open(which: SocketName): void {
    this.close(which);
    const address = `${this.#origin.replace(/^http/, 'ws')}/v1/${which}`;
    let socket: WebSocket;
    try {
      socket = new WebSocket(address);
    } catch (error) {
      return queueMicrotask(() => this.#report(which, { event: 'closed', why: String(error) }));
    }
    this.#open.set(which, socket);
    socket.binaryType = 'arraybuffer';
    const report = (event: SocketEvent) => {
      if (this.#open.get(which) === socket) this.#report(which, event);
    };
    const late = setTimeout(() => this.#giveUp(which, socket), PATIENCE);
    socket.onopen = () => {
      clearTimeout(late);
      this.#heard = performance.now();
      report({ event: 'opened' });
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (which === 'signal') this.#heard = performance.now();
      const message = typeof data === 'string' ? new TextEncoder().encode(data) : new Uint8Array(data);
      report({ event: 'message', message });
    };
    socket.onclose = ({ reason, code, wasClean }) => {
      clearTimeout(late);
      const why = wasClean ? `the server closed the connection (${code})` : unreachable(this.#origin);
      report({ event: 'closed', why: reason || why });
    };
  }

  send(which: SocketName, message: Bytes): void {
    const socket = this.#open.get(which);
    if (socket?.readyState !== WebSocket.OPEN) return;
    if (which === 'signal' && performance.now() - this.#heard > SILENCE) {
      for (const [each, dead] of this.#open) queueMicrotask(() => this.#giveUp(each, dead));
      return;
    }
    socket.send(which === 'signal' ? new TextDecoder().decode(message) : message);
  }

  close(which: SocketName): void {
    const socket = this.#open.get(which);
    this.#open.delete(which);
    socket?.close();
  }

  #giveUp(which: SocketName, socket: WebSocket): void {
    if (this.#open.get(which) !== socket) return;
    this.close(which);
    this.#report(which, { event: 'closed', why: `${this.#origin} did not answer in time` });
  }

  closeAll(): void {
    this.close('signal');
    this.close('relay');
  }
}
