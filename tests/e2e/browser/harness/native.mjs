// `sotto rpc`, driven as docs/rpc.md says.

import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Peer, whole } from './peer.mjs';
import { assertNoPanic, end, start } from './programs.mjs';

export class Native extends Peer {
  #log;
  #child;
  #calls = 0;
  #waiting = new Map();
  #messages = [];

  static async signUp(folder, name, server) {
    const native = new Native(name);
    native.#log = join(folder, `${name}.log`);
    native.#child = start('sotto', ['--profile', join(folder, name), 'rpc'], {
      log: native.#log,
      input: 'pipe',
      env: { SOTTO_DEBUG_FAULTS: '1' },
    });
    createInterface(native.#child.stdout).on('line', (line) => native.#heard(JSON.parse(line)));
    await native.call('sign_up', { server: server.url, handle: name });
    return native;
  }

  #heard({ id, method, params, result, error }) {
    if (method === 'message') this.#messages.push(params);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(Object.assign(new Error(error.message), error.data));
    else waiting?.resolve(result);
  }

  call(method, params = {}) {
    this.#calls += 1;
    const id = this.#calls;
    this.#child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  async direct(handle) {
    return (await this.call('direct', { handle })).conversation;
  }

  accept(conversation) {
    return this.call('accept', { conversation });
  }

  sendAll(conversation, texts) {
    const send = (text) => this.call('send', { conversation, text });
    return Promise.all(
      texts.map((text) =>
        send(text).then(
          () => 'sent',
          ({ kind }) => kind,
        ),
      ),
    );
  }

  history() {
    const { conversation } = this;
    return whole(
      async (before) => (await this.call('history', { conversation, before, limit: 5_000 })).messages,
    );
  }

  status() {
    return this.call('status');
  }

  async conversations() {
    return (await this.call('conversations')).conversations;
  }

  notified() {
    return this.#messages.map(({ id }) => id);
  }

  /** Every datagram of its links is lost from now on, both ways; or no longer. */
  async cut(on) {
    await this.call('debug.cut', { on });
  }

  async close() {
    await end(this.#child);
    assertNoPanic(this.#log);
  }
}
