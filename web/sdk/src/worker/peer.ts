// The peer that leads: the core between its store, its sockets, its clock and the page's links.

import { SottoError } from '../error.js';
import type { DeviceId, Identity } from '../types.js';
import type { LinkCommand, LinkEvent, Notice } from '../wire.js';
import { type Core, fromCore, type Input, load, type Output, random } from './core.js';
import { request, Sockets } from './network.js';
import { signUp } from './sign-up.js';
import { Fenced, Store } from './store.js';

/** How often it looks whether the machine slept, as sockets are dead then and timers late. */
const LOOK_AROUND = 5_000;

export interface Surroundings {
  profile: string;
  wasm: string;
  link: (device: DeviceId, session: string, command: LinkCommand) => void;
  notice: (notice: Notice) => void;
}

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: SottoError) => void;
}

export class Peer {
  /** With why it ended by itself: a `Fenced` if another leads now. */
  readonly ended: Promise<SottoError | Fenced | null>;
  readonly #around: Surroundings;
  readonly #store: Store;
  #core: Core | undefined;
  #sockets: Sockets | undefined;
  #identity: Identity | null = null;
  #end!: (why: SottoError | Fenced | null) => void;
  #over = false;
  #signingUp = false;
  #calls = 0;
  readonly #waiting = new Map<number, Waiting>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #look: ReturnType<typeof setInterval>;
  readonly #online = () => this.#handle({ type: 'network_changed' });

  private constructor(around: Surroundings, store: Store) {
    this.#around = around;
    this.#store = store;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    store.onended = (error) => this.stop(error);
    let looked = performance.now();
    this.#look = setInterval(() => {
      const now = performance.now();
      if (now - looked > 3 * LOOK_AROUND) this.#online();
      looked = now;
    }, LOOK_AROUND);
    addEventListener('online', this.#online);
  }

  static async open(around: Surroundings): Promise<Peer> {
    // Compiling takes longest; a failure of it is of interest only once the store is open.
    load(around.wasm).catch(() => {});
    const store = await Store.open(around.profile);
    try {
      await store.lead();
    } catch (error) {
      store.close();
      throw error;
    }
    const peer = new Peer(around, store);
    try {
      await peer.#restore();
      return peer;
    } catch (error) {
      peer.stop(null);
      throw error;
    }
  }

  /** Lets it act: nothing is noticed before. */
  start(): void {
    if (this.#core) this.#drain(this.#core);
  }

  get identity(): Identity | null {
    return this.#identity;
  }

  get generation(): number {
    return this.#store.generation;
  }

  /** A method of docs/rpc.md, and `sign_up`. */
  async call(method: string, params: Record<string, unknown>): Promise<unknown> {
    if (method === 'sign_up') return this.#signUp(params);
    if (this.#over) throw new SottoError('ended', 'the peer has ended: open it again');
    if (!this.#core) throw new SottoError('not-signed-up', 'nobody has signed up here: sign up first');
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#handle({ type: 'command', id, method, params });
    });
  }

  link(device: DeviceId, session: string, event: LinkEvent): void {
    this.#handle({ type: 'link', device, session, event });
  }

  /** Ends it. Whoever waits for an answer hears that there is none. */
  stop(why: SottoError | Fenced | null): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    clearInterval(this.#look);
    removeEventListener('online', this.#online);
    this.#sockets?.closeAll();
    this.#store.close();
    this.#core = undefined;
    this.#end(why);
    const error =
      why instanceof SottoError
        ? why
        : new SottoError(
            'unanswered',
            'this tab led no more before it answered: it may have been done or not',
          );
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  async #restore(): Promise<void> {
    const [{ Core }, hot] = await Promise.all([load(this.#around.wasm), this.#store.hot()]);
    // An account is known by its device's keys; without them there is nothing to restore.
    if (!hot.some(([table]) => table === 'meta')) return;
    let core: Core;
    try {
      core = Core.restore(hot, performance.now(), Date.now(), random(32));
    } catch (error) {
      if ((error as { data?: { kind?: string } })?.data?.kind === 'not-signed-up') return;
      throw fromCore(error);
    }
    if (this.#over) return;
    this.#core = core;
    this.#identity = core.identity();
    this.#sockets = new Sockets(this.#identity.server, (socket, event) =>
      this.#handle({ type: 'socket', socket, ...event }),
    );
  }

  async #signUp(params: Record<string, unknown>): Promise<Identity> {
    if (this.#identity) {
      const { handle, server } = this.#identity;
      throw new SottoError('signed-up', `this profile belongs to @${handle} on ${server} already`);
    }
    if (this.#signingUp) throw new SottoError('pending', 'signing up is under way: wait for its answer');
    this.#signingUp = true;
    try {
      const brain = await load(this.#around.wasm);
      await signUp(brain, this.#store, params as unknown as Parameters<typeof signUp>[2]);
      await this.#restore();
    } catch (error) {
      if (error instanceof Fenced) this.stop(error);
      throw error instanceof SottoError ? error : fromCore(error);
    } finally {
      this.#signingUp = false;
    }
    if (!this.#identity) throw new SottoError('ended', 'the peer has ended: open it again');
    this.#around.notice({ method: 'identity', params: this.#identity });
    this.start();
    return this.#identity;
  }

  #handle(input: Input): void {
    const core = this.#core;
    if (!core) return;
    try {
      core.handle(performance.now(), Date.now(), input);
    } catch (error) {
      return this.stop(fromCore(error));
    }
    this.#drain(core);
  }

  #drain(core: Core): void {
    try {
      for (let output = core.poll(); output; output = core.poll()) this.#carryOut(output);
      clearTimeout(this.#timer);
      const due = this.#over ? undefined : core.next_timeout();
      if (due === undefined) return;
      const wait = Math.max(0, due - performance.now());
      this.#timer = setTimeout(() => this.#handle({ type: 'timeout' }), wait);
    } catch (error) {
      this.stop(error instanceof SottoError ? error : fromCore(error));
    }
  }

  #carryOut(output: Output): void {
    switch (output.type) {
      case 'persist':
        this.#store.write(output.writes).then(
          () => this.#handle({ type: 'persisted', token: output.token }),
          (error) => this.stop(error),
        );
        return;
      case 'load':
        this.#store.load(output).then(
          (rows) => this.#handle({ type: 'loaded', id: output.id, rows }),
          (error) => this.stop(error),
        );
        return;
      case 'http':
        request(this.#identity?.server ?? '', output).then(
          ({ status, body }) => this.#handle({ type: 'http', id: output.id, status, body }),
          (why) => this.#handle({ type: 'http', id: output.id, error: String(why) }),
        );
        return;
      case 'socket':
        if (output.command === 'open') this.#sockets?.open(output.socket);
        else if (output.command === 'close') this.#sockets?.close(output.socket);
        else if (output.message) this.#sockets?.send(output.socket, output.message);
        return;
      case 'link':
        return this.#around.link(output.device, output.session, output.command);
      case 'reply': {
        const waiting = this.#waiting.get(output.id);
        this.#waiting.delete(output.id);
        if (output.error) waiting?.reject(fromCore(output.error));
        else waiting?.resolve(output.result);
        return;
      }
      case 'event':
        return this.#around.notice({ method: output.method, params: output.params } as Notice);
    }
  }
}
