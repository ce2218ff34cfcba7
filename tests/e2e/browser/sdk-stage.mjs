// What the SDK's tests stand on: a server, a page that has the SDK, and Chromium.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { CHROMIUM, chromium } from './harness/browser.mjs';
import { ROOT } from './harness/programs.mjs';
import { Server } from './harness/server.mjs';

const web = createRequire(join(ROOT, 'web/sdk/package.json'));

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };
/** As a careful application would send it. */
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src *; " +
  "require-trusted-types-for 'script'; trusted-types sotto";
const BLANK =
  '<!doctype html><meta charset="utf-8"><title>SDK</title><script type="module" src="/test.js"></script>';
const page = (folder) => `import * as sdk from '${folder}/dist/index.js'; window.sdk = sdk;`;
/** The same package, but that its tabs speak the next version. */
export const NEWER = '/newer';

/** A part of the worker as a module of its own. */
async function bundle(name, plugins = []) {
  const entryPoints = [join(ROOT, 'web/sdk/src/worker', name)];
  const options = { entryPoints, bundle: true, format: 'esm', write: false, plugins };
  const { outputFiles } = await web('esbuild').build(options);
  return outputFiles[0].text;
}

const nextVersion = {
  name: 'next-version',
  setup: (build) =>
    build.onLoad({ filter: /tabs\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const contents = text.replace(/const VERSION = (\d+);/, 'const VERSION = $1 + 1;');
      if (contents === text) throw new Error(`${path} has no version`);
      return { contents, loader: 'ts' };
    }),
};

/** Serves the package, and a page that has it as `window.sdk`. */
async function servePages() {
  // The package does not show the store alone.
  const store = await bundle('store.ts');
  const newer = await bundle('main.ts', [nextVersion]);
  const inlined = {
    '/': [BLANK, '.html'],
    '/test.js': [page(''), '.js'],
    '/store.js': [store, '.js'],
    [`${NEWER}/`]: [BLANK.replace('/test.js', `${NEWER}/test.js`), '.html'],
    [`${NEWER}/test.js`]: [page(NEWER), '.js'],
    [`${NEWER}/dist/worker.js`]: [newer, '.js'],
  };
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, 'http://page').pathname);
    const inline = inlined[path];
    try {
      const body = inline?.[0] ?? (await readFile(join(ROOT, 'web/sdk', path.replace(NEWER, ''))));
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

export async function raise() {
  const folder = await mkdtemp(join(tmpdir(), 'sotto-sdk-'));
  const pages = await servePages();
  const server = await Server.start(folder, { SOTTO_CORS_ORIGINS: pages.origin }).catch((error) => {
    pages.close();
    throw error;
  });
  const browser = await chromium.launch(CHROMIUM);
  /** A browser profile of its own. */
  const person = async () => {
    const context = await browser.newContext();
    return { context, tab: (options) => openTab(context, pages.origin, server.url, options) };
  };
  const close = async () => {
    await browser.close();
    await server.close();
    pages.close();
    await rm(folder, { recursive: true, force: true });
  };
  return { folder, pages, server, browser, person, close };
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
