// One tab among those of its profile: leads, or follows whoever does.
//
// A Web Lock says who leads; it passes on when a leader's tab closes. A leader that gives no sign of life is robbed of
// it; one whose page hangs lets another have it. Calls of the page go to the leader, wherever it is; those whose answer was lost with a leader are asked again
// where that is safe.

import { SottoError, toFailure } from '../error.js';
import type { Identity, TabState } from '../types.js';
import type { Answer, Call, FromWorker, LinkEvent, Notice } from '../wire.js';
import { Peer } from './peer.js';
import { Fenced, storageError } from './store.js';
import { repeatable, sameTerm, type TabMessage, Tabs, type Term } from './tabs.js';
import { Watch } from './watch.js';

/** A call of the page, until it is answered. */
interface Pending extends Call {
  /** Who was asked; nobody yet. */
  asked?: Term;
}

export class Tab {
  readonly #name = crypto.randomUUID();
  readonly #profile: string;
  readonly #wasm: string;
  readonly #page: (message: FromWorker, transfer?: Transferable[]) => void;
  readonly #tabs: Tabs;
  readonly #watch: Watch;
  /** Of this tab's own page while it leads: links live there. */
  readonly #pageWatch: Watch;
  readonly #pending = new Map<number, Pending>();
  #peer: Peer | undefined;
  #leader: Term | undefined;
  #identity: Identity | null = null;
  #opened = false;
  #closed = false;
  /** Of the request for the lock that waits its turn. */
  #turn = new AbortController();

  constructor(profile: string, wasm: string, page: (message: FromWorker, transfer?: Transferable[]) => void) {
    this.#profile = profile;
    this.#wasm = wasm;
    this.#page = page;
    this.#tabs = new Tabs(
      profile,
      (message) => this.#heard(message),
      () => this.#outdated(),
    );
    this.#watch = new Watch(
      () => this.#tabs.say({ type: 'who' }),
      () => this.#takeTurn(true),
    );
    this.#pageWatch = new Watch(
      () => page({ type: 'alive' }),
      () => this.#yield(),
    );
    this.#follow();
  }

  call(id: number, { method, params }: Call): void {
    this.#pending.set(id, { method, params });
    this.#ask(id);
  }

  link(device: string, session: string, event: LinkEvent): void {
    this.#peer?.link(device, session, event);
  }

  /** The page gave a sign of life. */
  heardPage(): void {
    this.#pageWatch.heard();
  }

  set visible(visible: boolean) {
    this.#watch.visible = visible;
    this.#pageWatch.visible = visible;
  }

  close(): void {
    this.#end();
    this.#peer?.stop(null);
    this.#tabs.close();
    this.#page({ type: 'closed' });
  }

  get #lock(): string {
    return `sotto ${this.#profile}`;
  }

  #end(): void {
    this.#closed = true;
    this.#watch.stop();
    this.#pageWatch.stop();
    this.#turn.abort();
  }

  #follow(): void {
    this.#watch.start();
    this.#tabs.say({ type: 'who' });
    this.#takeTurn(false);
  }

  /** Waits for the lock, or takes it from a leader that gives no sign of life. */
  #takeTurn(steal: boolean): void {
    this.#turn.abort();
    const turn = new AbortController();
    this.#turn = turn;
    const how: LockOptions = steal ? { steal } : { signal: turn.signal };
    navigator.locks
      .request(this.#lock, how, () => this.#lead(turn))
      .catch((error: Error) => {
        if (this.#turn !== turn || this.#closed) return;
        // Robbed, or given up waiting for another try. Whatever else it is, asking again would end the same way.
        if (error.name === 'AbortError') this.#stepDown();
        else this.#fail(error instanceof DOMException ? storageError(error) : error);
      });
  }

  /** From having the lock to having lost it. */
  async #lead(turn: AbortController): Promise<void> {
    this.#watch.stop();
    this.#tabs.say({ type: 'starting' });
    if (this.#opened) this.#tell('taking-over');
    const starting = setInterval(() => this.#tabs.say({ type: 'starting' }), 1_000);
    let peer: Peer;
    try {
      peer = await Peer.open({
        profile: this.#profile,
        wasm: this.#wasm,
        link: (device, session, command) => {
          const frame = command.type === 'send' ? [command.message.buffer] : [];
          this.#page({ type: 'link', device, session, command }, frame);
        },
        notice: (notice) => this.#notice(notice),
      });
      if (this.#identity && !peer.identity) {
        peer.stop(null);
        throw new SottoError('storage-closed', "this site's data were cleared: reload");
      }
    } catch (error) {
      if (this.#turn === turn && !this.#closed) this.#fail(error);
      return;
    } finally {
      clearInterval(starting);
    }
    if (this.#closed || this.#turn !== turn) return peer.stop(null);
    this.#peer = peer;
    this.#setLeader({ tab: this.#name, generation: peer.generation }, peer.identity);
    this.#announce();
    this.#pageWatch.start();
    peer.start();
    const why = await peer.ended;
    if (this.#closed || this.#peer !== peer) return;
    if (why instanceof SottoError) this.#fail(why);
    else this.#stepDown();
  }

  /** The page does not answer, so its links are dead: a tab that waits leads instead. If there is none, this one does. */
  async #yield(): Promise<void> {
    const peer = this.#peer;
    const { pending } = await navigator.locks.query();
    const another = pending?.some(({ name }) => name === this.#lock);
    if (another && peer && this.#peer === peer) this.#stepDown();
  }

  /** Another leads now. */
  #stepDown(): void {
    this.#pageWatch.stop();
    const peer = this.#peer;
    this.#peer = undefined;
    this.#leader = undefined;
    peer?.stop(new Fenced());
    this.#page({ type: 'unlink' });
    if (this.#opened) this.#tell('taking-over');
    this.#follow();
  }

  #fail(error: unknown): void {
    const peer = this.#peer;
    this.#end();
    peer?.stop(null);
    this.#page({ type: 'unlink' });
    const failure = toFailure(error);
    if (!this.#opened) return this.#page({ type: 'failed', failure });
    this.#page({
      type: 'notice',
      notice: { method: 'ended', params: { kind: failure.kind, why: failure.message } },
    });
    for (const id of this.#pending.keys()) this.#answer(id, { failure });
  }

  /** A newer version of the page is open in another tab. It takes over; this one would not understand it. */
  #outdated(): void {
    if (this.#closed) return;
    this.#fail(
      new SottoError('storage-newer', 'a newer version of this page is open in another tab: reload'),
    );
  }

  #announce(): void {
    if (this.#peer && this.#leader) {
      this.#tabs.say({ type: 'leader', term: this.#leader, identity: this.#peer.identity });
    }
  }

  #heard(message: TabMessage): void {
    if (this.#closed) return;
    switch (message.type) {
      case 'who':
        return this.#announce();
      case 'starting':
        return this.#watch.heard();
      case 'leader':
        return this.#heardLeader(message.term, message.identity);
      case 'request':
        if (sameTerm(message.term, this.#leader)) {
          this.#serve(message).then((answer) => {
            // Whoever asked learns of the next leader, and knows what may be asked again.
            if (!lost(answer))
              this.#tabs.say({ type: 'answer', to: message.from, id: message.id, ...answer });
          });
        }
        return;
      case 'answer':
        if (message.to === this.#name) this.#answer(message.id, message);
        return;
      case 'notice':
        if (!this.#peer && sameTerm(message.term, this.#leader)) this.#pass(message.notice);
    }
  }

  #heardLeader(term: Term, identity: Identity | null): void {
    // A leader that was replaced while it slept, and does not know it yet.
    if (term.generation < (this.#leader?.generation ?? 0)) return;
    // Or that was this tab.
    if (this.#peer) return void (term.generation > this.#peer.generation && this.#peer.stop(new Fenced()));
    this.#watch.heard();
    if (!sameTerm(term, this.#leader)) {
      if (this.#opened && this.#leader) this.#tell('taking-over');
      this.#setLeader(term, identity);
    }
  }

  #setLeader(term: Term, identity: Identity | null): void {
    this.#leader = term;
    this.#identity = identity;
    if (!this.#opened) this.#page({ type: 'opened', identity });
    this.#opened = true;
    this.#tell(this.#peer ? 'leading' : 'following');
    for (const id of [...this.#pending.keys()]) this.#ask(id);
  }

  /** Puts a call to who leads now, unless that could do it twice. */
  #ask(id: number): void {
    const call = this.#pending.get(id);
    const leader = this.#leader;
    if (!call || !leader) return;
    if (call.asked && !repeatable(call.method)) {
      const why = 'the leading tab was lost before it answered: it may have been done or not';
      return this.#answer(id, { failure: { kind: 'unanswered', message: why } });
    }
    call.asked = leader;
    const { method, params } = call;
    if (!this.#peer) {
      return this.#tabs.say({ type: 'request', term: leader, from: this.#name, id, method, params });
    }
    this.#serve(call).then((answer) => {
      // Asked again, or given up, once somebody leads.
      if (!lost(answer)) this.#answer(id, answer);
    });
  }

  async #serve({ method, params }: Call): Promise<Answer> {
    try {
      if (!this.#peer) throw new SottoError('unanswered', 'this tab leads no more');
      return { result: await this.#peer.call(method, params) };
    } catch (error) {
      return { failure: toFailure(error) };
    }
  }

  #answer(id: number, answer: Answer): void {
    if (!this.#pending.delete(id)) return;
    if ('failure' in answer) this.#page({ type: 'answer', id, failure: answer.failure });
    else this.#page({ type: 'answer', id, result: answer.result });
  }

  /** Of the peer in this tab: for its page, and for every other. */
  #notice(notice: Notice): void {
    this.#pass(notice);
    if (this.#leader) this.#tabs.say({ type: 'notice', term: this.#leader, notice });
  }

  #pass(notice: Notice): void {
    if (notice.method === 'identity') this.#identity = notice.params;
    this.#page({ type: 'notice', notice });
  }

  #tell(state: TabState): void {
    this.#page({ type: 'notice', notice: { method: 'tab', params: { state } } });
  }
}

const lost = (answer: Answer): boolean => 'failure' in answer && answer.failure.kind === 'unanswered';
