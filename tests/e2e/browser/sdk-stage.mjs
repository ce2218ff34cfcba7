// What the SDK's tests stand on: a server, a page that has the SDK, and Chromium.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const web = createRequire(join(ROOT, 'web/sdk/package.json'));
const { chromium } = web('playwright-core');

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };
/** As a careful application would send it. */
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src *; " +
  "require-trusted-types-for 'script'; trusted-types sotto";
const BLANK =
  '<!doctype html><meta charset="utf-8"><title>SDK</title><script type="module" src="/test.js"></script>';
const PAGE = "import * as sdk from '/dist/index.js'; window.sdk = sdk;";

/** The store alone, which the package does not show. */
async function bundleStore() {
  const entryPoints = [join(ROOT, 'web/sdk/src/worker/store.ts')];
  const { outputFiles } = await web('esbuild').build({
    entryPoints,
    bundle: true,
    format: 'esm',
    write: false,
  });
  return outputFiles[0].text;
}

/** Serves the package, and a page that has it as `window.sdk`. */
async function servePages() {
  const store = await bundleStore();
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, 'http://page').pathname);
    const inline = { '/': [BLANK, '.html'], '/test.js': [PAGE, '.js'], '/store.js': [store, '.js'] }[path];
    try {
      const body = inline?.[0] ?? (await readFile(join(ROOT, 'web/sdk', path)));
      const headers = { 'content-type': TYPES[inline?.[1] ?? extname(path)] ?? 'text/plain' };
      if (!path.startsWith('/examples')) headers['content-security-policy'] = POLICY;
      response.writeHead(200, headers).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => server.close().closeAllConnections(),
  };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A program of the workspace, as cargo has built it. */
const built = (name) => join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'debug', name);

/** A `sotto-server` with a folder of its own. */
async function startServer(pages) {
  const program = built('sotto-server');
  const dir = await mkdtemp(join(tmpdir(), 'sotto-sdk-'));
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  let child;
  const start = async () => {
    child = spawn(program, ['--listen', `127.0.0.1:${port}`, '--data-dir', dir], {
      env: { ...process.env, SOTTO_CORS_ORIGINS: pages },
      stdio: ['ignore', 'ignore', process.env.TEST_LOG ? 'inherit' : 'ignore'],
    });
    let failed;
    child.once('error', (error) => {
      failed = error;
    });
    for (let tries = 0; ; tries += 1) {
      if (failed) throw failed;
      if (
        await fetch(`${origin}/v1/server`).then(
          (answer) => answer.ok,
          () => false,
        )
      )
        return;
      if (tries === 100) throw new Error(`${program} did not start`);
      await pause(50);
    }
  };
  const kill = (signal) =>
    new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill(signal);
    });
  await start();
  const close = async () => {
    await kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  };
  return { origin, start, kill, close, signal: (name) => child.kill(name) };
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until it is so. */
export async function until(what, question, patience = 20_000) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await pause(50);
  }
}

export async function raise() {
  const pages = await servePages();
  const server = await startServer(pages.origin).catch((error) => {
    pages.close();
    throw error;
  });
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  /** A browser profile of its own. */
  const person = async () => {
    const context = await browser.newContext();
    return { context, tab: (options) => openTab(context, pages.origin, server.origin, options) };
  };
  const close = async () => {
    await browser.close();
    await server.close();
    pages.close();
  };
  return { pages, server, browser, person, close };
}

/** A terminal's peer: `sotto rpc` in a folder of its own. */
export async function startNative(server, handle) {
  const dir = await mkdtemp(join(tmpdir(), 'sotto-native-'));
  const child = spawn(built('sotto'), ['--profile', join(dir, 'profile'), 'rpc'], {
    stdio: ['pipe', 'pipe', process.env.TEST_LOG ? 'inherit' : 'ignore'],
  });
  const waiting = new Map();
  let calls = 0;
  createInterface(child.stdout).on('line', (line) => {
    const { id, result, error } = JSON.parse(line);
    waiting.get(id)?.(result ?? error);
    waiting.delete(id);
  });
  const request = (method, params = {}) =>
    new Promise((resolve) => {
      calls += 1;
      waiting.set(calls, resolve);
      child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: calls, method, params })}\n`);
    });
  const close = async () => {
    child.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  };
  await request('sign_up', { server, handle });
  return { request, close };
}

/** A page with a `Sotto` of its own in `window.sotto`; what it was told is in `window.seen`. */
export async function openTab(context, pages, server, { profile = 'sotto' } = {}) {
  const page = await blankPage(context, pages);
  await page.evaluate(
    async ([server, profile]) => {
      window.sotto = await window.sdk.Sotto.open({ server, profile });
      window.seen = [];
      (async () => {
        for await (const event of window.sotto.events()) window.seen.push(event);
      })();
    },
    [server, profile],
  );
  return page;
}

/** A page that has loaded the SDK and opened nothing. */
export async function blankPage(context, pages) {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('page:', error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') console.error('console:', message.text());
  });
  await page.goto(pages);
  await page.waitForFunction(() => window.sdk);
  return page;
}

/** A method of the page's `Sotto`; what it throws comes as `{ kind }`. */
export const call = (page, method, ...args) =>
  page.evaluate(
    ([method, args]) =>
      window.sotto[method](...args).catch((error) => ({ kind: error.kind, message: error.message })),
    [method, args],
  );

export const texts = async (page, conversation) =>
  (await call(page, 'history', { conversation, limit: 5_000 })).map(({ from, text }) => `${from}: ${text}`);
