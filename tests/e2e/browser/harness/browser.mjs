// A person's browser: real Chromium with a profile on disk, which can be closed and opened again.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Peer, whole } from './peer.mjs';
import { ROOT } from './programs.mjs';
import { until } from './until.mjs';

export const { chromium } = createRequire(join(ROOT, 'web/package.json'))('playwright-core');

export const CHROMIUM = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
};

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
/** The addresses under the server's origin that are the test's: its page, and the SDK as it is published. */
const OWN = '/sdk-test/';
const PAGE =
  '<!doctype html><meta charset="utf-8"><title>Test</title><script type="module" src="/sdk-test/page.js"></script>';
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };

async function file(path) {
  if (path === '') return PAGE;
  if (path === 'page.js') return readFile(here('page.js'));
  return readFile(join(ROOT, 'web/sdk', path));
}

/** The first tab is the peer; others of the same profile are opened with `tab`. */
export class Browser extends Peer {
  #folder;
  #server;
  #policy;
  #context;
  #reopened = false;
  /** The tab that calls go to. */
  page;

  static async signUp(folder, name, server) {
    const browser = new Browser(name);
    browser.#folder = join(folder, name);
    browser.#server = server;
    const page = await fetch(server.url, { headers: { accept: 'text/html' } });
    browser.#policy = page.headers.get('content-security-policy');
    if (!page.ok) throw new Error('this sotto-server was built without the web app: make build');
    await browser.#start();
    await browser.page.evaluate((handle) => window.test.sotto.signUp({ handle }), name);
    return browser;
  }

  async #start() {
    this.#context = await chromium.launchPersistentContext(this.#folder, CHROMIUM);
    // The test's page does not come over the network, so Chromium cannot know that it may speak with this machine.
    await this.#context.grantPermissions(['local-network-access'], { origin: this.#server.url });
    await this.#context.addInitScript({ path: here('network.js') });
    await this.#context.route(`${this.#server.url}${OWN}**`, async (route) => {
      const path = new URL(route.request().url()).pathname.slice(OWN.length);
      const headers = { 'content-security-policy': this.#policy };
      const contentType = TYPES[path === '' ? '.html' : extname(path)];
      await route.fulfill({ body: await file(path), contentType, headers });
    });
    const [blank] = this.#context.pages();
    this.page = await this.tab(blank);
  }

  /** One more tab of this profile. */
  async tab(blank) {
    const page = blank ?? (await this.#context.newPage());
    page.on('pageerror', ({ message }) => console.error(`${this.name}'s page: ${message}`));
    page.on('console', (message) => {
      // Addresses that do not answer are what many tests are about.
      if (message.type() === 'error' && !message.text().includes('net::ERR_')) {
        console.error(`${this.name}'s console: ${message.text()}`);
      }
    });
    await page.goto(`${this.#server.url}${OWN}`);
    await page.waitForFunction(() => window.test);
    return page;
  }

  /** Stops the process of a tab, its worker with it, as a system does that freezes tabs; what it returns lets it go on. */
  async freeze(page) {
    const renderer = await this.#renderer(page);
    process.kill(renderer, 'SIGSTOP');
    return () => process.kill(renderer, 'SIGCONT');
  }

  /** Nothing says which process a tab has: it is the one that works while the tab does. */
  async #renderer(page) {
    const session = await this.#context.browser().newBrowserCDPSession();
    const work = async () => {
      const { processInfo } = await session.send('SystemInfo.getProcessInfo');
      return new Map(
        processInfo.filter(({ type }) => type === 'renderer').map(({ id, cpuTime }) => [id, cpuTime]),
      );
    };
    const before = await work();
    await page.evaluate(() => {
      const end = performance.now() + 300;
      while (performance.now() < end);
    });
    const worked = [...(await work())].map(([id, time]) => [id, time - (before.get(id) ?? time)]);
    const [[id]] = worked.toSorted(([, one], [, other]) => other - one);
    return id;
  }

  /** The whole browser. */
  async close() {
    await this.#context.close();
  }

  async reopen() {
    // What is shown before the page listens is in `history` only.
    this.#reopened = true;
    await this.#start();
  }

  call(method, ...params) {
    return this.page.evaluate(([method, params]) => window.test.sotto[method](...params), [method, params]);
  }

  direct(handle) {
    return this.call('direct', handle);
  }

  accept(conversation) {
    return this.call('accept', conversation);
  }

  sendAll(conversation, texts) {
    return sendFrom(this.page, conversation, texts);
  }

  history() {
    const { conversation } = this;
    return whole((before) => this.call('history', { conversation, before, limit: 5_000 }));
  }

  status() {
    return this.call('status');
  }

  conversations() {
    return this.call('conversations');
  }

  async notified() {
    return this.#reopened ? null : this.page.evaluate(() => window.test.messages);
  }

  /** What its connections that are up say of themselves, by getStats. */
  connections() {
    return this.page.evaluate(() => window.network.carried());
  }

  /** Its channels lose everything from now on, both ways; or no longer. */
  cut(on) {
    return this.page.evaluate((on) => void window.network.cut(on), on);
  }

  /** From now on calls go to another tab, which has not heard what the first did. */
  use(page) {
    this.#reopened = true;
    this.page = page;
  }

  /** Waits until a tab has called itself this. */
  async became(page, state) {
    await until(`a tab of ${this.name} is ${state}`, () =>
      page.evaluate(() => window.test.tabs.at(-1)).then((now) => now === state),
    );
  }
}

/** `sendAll` in a tab. */
export const sendFrom = (page, conversation, texts) =>
  page.evaluate(([conversation, texts]) => window.test.sendAll(conversation, texts), [conversation, texts]);

/** How many sends of a tab's burst are answered so far. */
export const answered = (page) =>
  page.evaluate(() => window.test.outcome.filter((how) => how !== 'open').length);
