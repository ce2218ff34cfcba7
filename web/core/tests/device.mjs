// A browser peer without a browser: rows in maps, HTTP by fetch, sockets by WebSocket, links over a wire in memory.

import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';

import { Core, outputs, random, SignUp } from './module.mjs';

const HOT = ['meta', 'account', 'conversation', 'author', 'receipt', 'tail'];
const hex = (bytes) => Buffer.from(bytes).toString('hex');

/** Tables of rows; a hex key sorts as its bytes. */
export class Store {
  tables = new Map();

  table(name) {
    if (!this.tables.has(name)) this.tables.set(name, new Map());
    return this.tables.get(name);
  }

  write({ puts, deletes, ranges }) {
    for (const [name, from, to] of ranges) {
      for (const row of this.read({ table: name, from, to })) this.table(name).delete(hex(row[0]));
    }
    for (const [name, key, value] of puts) this.table(name).set(hex(key), [key, value]);
    for (const [name, key] of deletes) this.table(name).delete(hex(key));
  }

  read({ table, from, to, limit = Infinity, descending = false }) {
    const keys = [...this.table(table).keys()].filter((key) => key >= hex(from) && key < hex(to)).sort();
    if (descending) keys.reverse();
    return keys.slice(0, limit).map((key) => this.table(table).get(key));
  }

  hot() {
    return HOT.flatMap((name) => [...this.table(name).values()].map((row) => [name, ...row]));
  }
}

/** Makes an account; the store that holds it. */
export async function signUp(server, handle) {
  const store = new Store();
  const signUp = SignUp.begin(handle, server, 'node', Date.now(), random(64));
  const bytes = async (response) => new Uint8Array(await response.arrayBuffer());
  const info = await fetch(`${server}/v1/server`);
  signUp.check(info.status, await bytes(info));
  store.write(signUp.writes());
  const { method, path, body } = SignUp.resume(store.hot()).request();
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(server + path, { method, body, headers });
  const { done, writes, error } = signUp.conclude(response.status, await bytes(response));
  if (!done) throw new Error(error.message);
  store.write(writes);
  return store;
}

/** The running peer of a store. */
export class Device {
  events = new EventEmitter();
  seen = [];
  #store;
  #wire;
  #replies = new Map();
  #sockets = {};
  #links = new Map();
  #timer;
  #last = 0;

  constructor(store, wire) {
    this.#store = store;
    this.#wire = wire;
    this.core = Core.restore(store.hot(), performance.now(), Date.now(), random(32));
    this.id = this.core.identity().device;
    this.server = this.core.identity().server;
    wire.set(this.id, this);
    this.#drain();
  }

  call(method, params = {}) {
    const id = ++this.#last;
    const reply = new Promise((resolve, reject) => this.#replies.set(id, { resolve, reject }));
    this.handle({ type: 'command', id, method, params });
    return reply;
  }

  /** Waits for a notification that has come, or will. */
  async event(method, matches) {
    for (;;) {
      const found = this.seen.find((event) => event.method === method && matches(event.params));
      if (found) return found.params;
      await once(this.events, 'event', { signal: AbortSignal.timeout(20_000) });
    }
  }

  close() {
    clearTimeout(this.#timer);
    this.#wire.delete(this.id);
    for (const socket of Object.values(this.#sockets)) socket.close();
    this.#sockets = {};
    this.core = undefined;
  }

  handle(input) {
    if (!this.core) return;
    this.core.handle(performance.now(), Date.now(), input);
    this.#drain();
  }

  #drain() {
    for (const output of outputs(this.core)) this.#carryOut(output);
    clearTimeout(this.#timer);
    const at = this.core.next_timeout();
    if (at !== undefined) {
      this.#timer = setTimeout(() => this.handle({ type: 'timeout' }), Math.max(0, at - performance.now()));
    }
  }

  #later(input) {
    setImmediate(() => this.handle(input));
  }

  #carryOut(output) {
    switch (output.type) {
      case 'persist':
        this.#store.write(output.writes);
        return this.#later({ type: 'persisted', token: output.token });
      case 'load':
        return this.#later({ type: 'loaded', id: output.id, rows: this.#store.read(output) });
      case 'http':
        return void this.#http(output);
      case 'socket':
        return this.#socket(output);
      case 'link':
        return this.#link(output);
      case 'reply': {
        const { resolve, reject } = this.#replies.get(output.id);
        return output.error ? reject(output.error) : resolve(output.result);
      }
      case 'event':
        this.seen.push(output);
        return void this.events.emit('event');
      default:
        throw new Error(`an output of no known type: ${output.type}`);
    }
  }

  async #http({ id, method, path, body, token }) {
    const headers = {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    };
    try {
      const response = await fetch(this.server + path, { method, body, headers });
      this.handle({
        type: 'http',
        id,
        status: response.status,
        body: new Uint8Array(await response.arrayBuffer()),
      });
    } catch (error) {
      this.handle({ type: 'http', id, error: error.message });
    }
  }

  #socket({ socket: name, command, message }) {
    if (command === 'send') {
      return this.#sockets[name]?.send(name === 'signal' ? new TextDecoder().decode(message) : message);
    }
    this.#sockets[name]?.close();
    delete this.#sockets[name];
    if (command === 'close') return;
    const socket = new WebSocket(`${this.server.replace('http', 'ws')}/v1/${name}`);
    socket.binaryType = 'arraybuffer';
    this.#sockets[name] = socket;
    const tell = (event) =>
      this.#sockets[name] === socket && this.handle({ type: 'socket', socket: name, ...event });
    socket.onopen = () => tell({ event: 'opened' });
    socket.onmessage = ({ data }) => {
      const message = typeof data === 'string' ? new TextEncoder().encode(data) : new Uint8Array(data);
      tell({ event: 'message', message });
    };
    socket.onclose = ({ reason }) => tell({ event: 'closed', why: reason || 'the connection is closed' });
  }

  /** What RTCPeerConnections do, as far as the core sees it: descriptions, then two open channels. */
  #link({ device, session, command }) {
    const link = this.#links.get(session);
    const describe = (kind) => {
      link.described = true;
      const digest = createHash('sha256')
        .update(session + this.id)
        .digest();
      const fingerprint = [...digest]
        .map((byte) => byte.toString(16).padStart(2, '0').toUpperCase())
        .join(':');
      const sdp = `v=0\r\na=fingerprint:sha-256 ${fingerprint}\r\n`;
      this.#later({ type: 'link', device, session, event: { type: 'description', kind, sdp } });
    };
    switch (command.type) {
      case 'open':
        return void this.#links.set(session, { described: false, accepted: false, open: false });
      case 'offer':
        return describe('offer');
      case 'set_remote':
        link.accepted = true;
        if (command.kind === 'offer') describe('answer');
        return this.#connect(device, session);
      case 'send': {
        const event = { type: 'message', channel: command.channel, message: command.message };
        return this.#wire.get(device)?.#later({ type: 'link', device: this.id, session, event });
      }
      case 'close':
        return void this.#links.delete(session);
      case 'candidate':
        return;
    }
  }

  #connect(device, session) {
    const ends = [
      [this, device],
      [this.#wire.get(device), this.id],
    ];
    const ready = ([end]) => {
      const link = end?.#links.get(session);
      return link?.described && link.accepted && !link.open;
    };
    if (!ends.every(ready)) return;
    for (const [end, other] of ends) {
      end.#links.get(session).open = true;
      for (const event of [
        { type: 'state', state: 'connected' },
        { type: 'path', path: 'direct' },
        { type: 'open', channel: 'msg' },
        { type: 'open', channel: 'probe' },
      ]) {
        end.#later({ type: 'link', device: other, session, event });
      }
    }
  }
}
