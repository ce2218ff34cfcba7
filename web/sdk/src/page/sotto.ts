// The package's face. It decides nothing: calls go to the worker, events come from it.

import { fromFailure, SottoError } from '../error.js';
import type {
  CallOptions,
  Conversation,
  ConversationId,
  Events,
  HistoryOptions,
  Identity,
  Message,
  MessageId,
  OpenOptions,
  PathPolicy,
  Profile,
  ProfileChange,
  SignUpOptions,
  SottoEvent,
  Status,
} from '../types.js';
import type { Call, FromWorker, Notice, ToWorker } from '../wire.js';
import { Links } from './links.js';
import { Stream } from './stream.js';
import { startWorker, WASM } from './worker.js';

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

/** A peer in this page. Any number of tabs of a profile share one; each of them can do everything. */
export class Sotto {
  #identity: Identity | null = null;
  readonly #server: string;
  readonly #worker: Worker;
  readonly #links: Links;
  #calls = 0;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Map<string, Set<(value: never) => void>>();
  readonly #streams = new Set<Stream>();
  /** Why no call can be answered any more. */
  #over: SottoError | undefined;
  #opening: Waiting | undefined;
  #closing: Waiting | undefined;
  readonly #visibility = () =>
    this.#tell({ type: 'visible', visible: document.visibilityState === 'visible' });

  private constructor(server: string) {
    this.#server = server;
    this.#worker = startWorker();
    this.#links = new Links((device, session, event) => {
      const frame = event.type === 'message' ? [event.message.buffer] : [];
      this.#tell({ type: 'link', device, session, event }, frame);
    });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker[]>) => {
      for (const message of data) this.#heard(message);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      // Without a message it is not its code that failed.
      const error = event.message
        ? new SottoError('internal-error', `the worker failed: ${event.message}`)
        : new SottoError('offline', 'the program could not be loaded: try again');
      this.#ended(error);
    };
    document.addEventListener('visibilitychange', this.#visibility);
  }

  /** Joins the profile's tabs, as their leader if there is none. */
  static async open({ server, profile = 'sotto', signal }: OpenOptions = {}): Promise<Sotto> {
    signal?.throwIfAborted();
    const sotto = new Sotto(new URL(server ?? location.origin).origin);
    const opened = new Promise((resolve, reject) => {
      sotto.#opening = { resolve, reject };
    });
    sotto.#tell({ type: 'open', profile, wasm: WASM.href });
    sotto.#visibility();
    try {
      await abortable(opened, signal);
    } catch (error) {
      sotto.#shut(new SottoError('ended', 'it was never opened'));
      throw error;
    }
    if (sotto.identity) askToPersist();
    return sotto;
  }

  /** Who signed up in this profile; null: nobody yet. */
  get identity(): Identity | null {
    return this.#identity;
  }

  /** Makes an account, with this browser as its first device. If the answer is lost (`offline`), call it again. */
  async signUp({ handle, invite, deviceName, signal }: SignUpOptions): Promise<Identity> {
    const params = { handle, invite, server: this.#server, deviceName: deviceName ?? browserName() };
    const identity = (await this.#call('sign_up', params, { signal })) as Identity;
    this.#identity = identity;
    askToPersist();
    return identity;
  }

  /** The direct conversation with an account; begins it if there is none. */
  async direct(handle: string, options?: CallOptions): Promise<ConversationId> {
    return (await this.#ask<{ conversation: ConversationId }>('direct', { handle }, options)).conversation;
  }

  /** Accepts a request. */
  async accept(conversation: ConversationId, options?: CallOptions): Promise<void> {
    await this.#call('accept', { conversation }, options);
  }

  /** Nothing of this account is shown any more, and it learns nothing. */
  async block(handle: string, options?: CallOptions): Promise<void> {
    await this.#call('block', { handle }, options);
  }

  /** What was sent meanwhile arrives. */
  async unblock(handle: string, options?: CallOptions): Promise<void> {
    await this.#call('unblock', { handle }, options);
  }

  async createGroup(
    group: { name: string; members: string[] },
    options?: CallOptions,
  ): Promise<ConversationId> {
    const { name, members } = group;
    return (await this.#ask<{ conversation: ConversationId }>('group.create', { name, members }, options))
      .conversation;
  }

  /** The new member sees what is sent from then on. */
  async addToGroup(conversation: ConversationId, handle: string, options?: CallOptions): Promise<void> {
    await this.#call('group.add', { conversation, handle }, options);
  }

  /** The history stays. */
  async leaveGroup(conversation: ConversationId, options?: CallOptions): Promise<void> {
    await this.#call('group.leave', { conversation }, options);
  }

  async renameGroup(conversation: ConversationId, name: string, options?: CallOptions): Promise<void> {
    await this.#call('group.rename', { conversation, name }, options);
  }

  /** All, requests and left groups too; the most recently active first. */
  async conversations(options?: CallOptions): Promise<Conversation[]> {
    return (await this.#ask<{ conversations: Conversation[] }>('conversations', {}, options)).conversations;
  }

  /** In display order, the same on every device. */
  async history(query: HistoryOptions, options?: CallOptions): Promise<Message[]> {
    const { conversation, before, after, limit } = query;
    const params = { conversation, before, after, limit };
    return (await this.#ask<{ messages: Message[] }>('history', params, options)).messages;
  }

  /**
   * Resolves once the message is durable here: from then on it arrives at every member device exactly once, in the
   * order of the sends. Error `unanswered`: the leading tab was lost, and `history` says whether it was sent.
   */
  async send(conversation: ConversationId, text: string, options?: CallOptions): Promise<MessageId> {
    return (await this.#ask<{ id: MessageId }>('send', { conversation, text }, options)).id;
  }

  /** Everything displayed up to this message is read. */
  async markRead(conversation: ConversationId, id: MessageId, options?: CallOptions): Promise<void> {
    await this.#call('mark_read', { conversation, id }, options);
  }

  async typing(conversation: ConversationId, on: boolean, options?: CallOptions): Promise<void> {
    await this.#call('typing', { conversation, on }, options);
  }

  async setPresence(state: 'online' | 'away', text?: string, options?: CallOptions): Promise<void> {
    await this.#call('presence.set', { state, text }, options);
  }

  /** What an account says of itself; the own one without a handle. What is new since comes as an event. */
  async profile(handle?: string, options?: CallOptions): Promise<Profile> {
    return this.#ask<Profile>('profile.get', { handle }, options);
  }

  /** Changes the own profile. Everybody on the server may see it. */
  async setProfile(change: ProfileChange, options?: CallOptions): Promise<Profile> {
    return this.#ask<Profile>('profile.set', { ...change }, options);
  }

  async status(options?: CallOptions): Promise<Status> {
    return this.#ask<Status>('status', {}, options);
  }

  async setPathPolicy(mode: PathPolicy, options?: CallOptions): Promise<void> {
    await this.#call('path.policy', { mode }, options);
  }

  /** Calls the listener for each event of a kind, until the returned function is called or the signal aborts. */
  on<E extends keyof Events>(
    event: E,
    listener: (value: Events[E]) => void,
    { signal }: { signal?: AbortSignal } = {},
  ): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners);
    const off = () => {
      listeners.delete(listener);
      signal?.removeEventListener('abort', off);
    };
    if (signal?.aborted) return off;
    listeners.add(listener);
    signal?.addEventListener('abort', off, { once: true });
    return off;
  }

  /** Every event from now on, for `for await`; over when the peer has ended or the signal aborts. */
  events({ signal }: { signal?: AbortSignal } = {}): AsyncIterable<SottoEvent> {
    const abort = () => stream.end({});
    const stream = new Stream((ended) => {
      this.#streams.delete(ended);
      signal?.removeEventListener('abort', abort);
    });
    if (this.#over || signal?.aborted) stream.end({});
    else {
      this.#streams.add(stream);
      signal?.addEventListener('abort', abort, { once: true });
    }
    return stream;
  }

  /** Leaves the profile's tabs; if this one led, another takes over. */
  async close(): Promise<void> {
    if (this.#over) return this.#shut(this.#over);
    const closed = new Promise((resolve, reject) => {
      this.#closing = { resolve, reject };
    });
    this.#tell({ type: 'close' });
    await closed;
    this.#shut(new SottoError('ended', 'it was closed'));
  }

  async #ask<T>(method: string, params: Call['params'], options?: CallOptions): Promise<T> {
    return (await this.#call(method, params, options)) as T;
  }

  #call(
    method: string,
    params: Call['params'],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<unknown> {
    if (options?.signal?.aborted) return Promise.reject(options.signal.reason);
    if (this.#over) return Promise.reject(this.#over);
    const id = ++this.#calls;
    const answered = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#tell({ type: 'call', id, method, params: given(params) });
    return abortable(answered, options?.signal);
  }

  #tell(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #heard(message: FromWorker): void {
    switch (message.type) {
      case 'opened':
        this.#identity = message.identity;
        return this.#opening?.resolve(undefined);
      case 'failed':
        return this.#opening?.reject(fromFailure(message.failure));
      case 'answer': {
        const waiting = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        if ('failure' in message) waiting?.reject(fromFailure(message.failure));
        else waiting?.resolve(message.result);
        return;
      }
      case 'notice':
        return this.#notice(message.notice);
      case 'link':
        return this.#links.command(message.device, message.session, message.command);
      case 'unlink':
        return this.#links.closeAll();
      case 'closed':
        return this.#closing?.resolve(undefined);
    }
  }

  #notice(notice: Notice): void {
    if (notice.method === 'ended') {
      return this.#ended(new SottoError(notice.params.kind, notice.params.why));
    }
    if (notice.method === 'identity') this.#identity = notice.params;
    this.#emit({ type: notice.method, value: notice.params } as SottoEvent);
  }

  #emit(event: SottoEvent): void {
    for (const listener of [...(this.#listeners.get(event.type) ?? [])]) {
      try {
        listener(event.value as never);
      } catch (error) {
        // Of one listener; the others hear of the event all the same.
        reportError(error);
      }
    }
    for (const stream of this.#streams) stream.push(event);
  }

  #ended(error: SottoError): void {
    if (this.#over) return;
    this.#opening?.reject(error);
    this.#emit({ type: 'ended', value: { kind: error.kind, why: error.message } });
    this.#shut(error);
  }

  #shut(error: SottoError): void {
    this.#over ??= error;
    this.#worker.terminate();
    this.#links.closeAll();
    document.removeEventListener('visibilitychange', this.#visibility);
    for (const { reject } of this.#waiting.values()) reject(this.#over);
    this.#waiting.clear();
    this.#closing?.resolve(undefined);
    for (const stream of [...this.#streams]) stream.end({});
  }
}

/** Parameters without those that were not given. */
const given = (params: Call['params']): Call['params'] =>
  Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));

/** Gives up waiting when the signal aborts. */
function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** So that the browser does not clear the profile when the disk fills. Whether it agrees changes nothing here. */
function askToPersist(): void {
  navigator.storage?.persist?.().catch(() => {});
}

/** What the own other devices call this one. */
function browserName(): string {
  const { userAgent } = navigator;
  const browser = /Firefox|Edg|OPR|Chrome|Safari/.exec(userAgent)?.[0] ?? 'Browser';
  const system = /Android|iPhone|iPad|Windows|Mac OS|Linux/.exec(userAgent)?.[0];
  return system ? `${browser} on ${system}` : browser;
}
