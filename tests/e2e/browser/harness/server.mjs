// `sotto-server`, which can be killed and comes back at the same address.

import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { assertNoPanic, end, start, tail } from './programs.mjs';

export class Server {
  #data;
  #log;
  #settings;
  #child;
  /** Its origin. */
  url;

  /** On a free port of loopback, with its data in a folder, and settings as `SOTTO_*` variables. */
  static async start(folder, settings = {}) {
    const server = new Server();
    server.#settings = settings;
    server.#data = join(folder, 'server');
    server.#log = join(folder, 'server.log');
    await server.#listen('127.0.0.1:0');
    return server;
  }

  async #listen(address) {
    const args = ['serve', '--listen', address, '--data-dir', this.#data];
    this.#child = start('sotto-server', args, { log: this.#log, env: this.#settings });
    const { value: first = '' } = await createInterface(this.#child.stdout)[Symbol.asyncIterator]().next();
    const [, url] = /^listening on (.*)$/.exec(first) ?? [];
    if (!url) throw new Error(`the server said '${first}', and in its log:\n${tail(this.#log)}`);
    this.url = url;
  }

  /** SIGKILL: no flush, no farewell. */
  async kill() {
    await end(this.#child);
  }

  /** At the same address, with the same data. */
  async restart() {
    await this.#listen(new URL(this.url).host);
  }

  async close() {
    await this.kill();
    assertNoPanic(this.#log);
  }

  /** Where it listens, which its origin need not be. */
  get address() {
    return /address=(\S+)/.exec(this.log)?.[1];
  }

  get log() {
    return tail(this.#log);
  }
}
