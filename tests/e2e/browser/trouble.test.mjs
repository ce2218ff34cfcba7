// The app when the browser, the disk or the network fails it: each time it says what is wrong and what to do.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { axe, lastIs, say, signUp, stage, startChat } from './harness/app.mjs';
import { CHROMIUM, chromium } from './harness/browser.mjs';
import { selfSigned } from './harness/certificate.mjs';
import { another, Front } from './harness/front.mjs';
import { Native } from './harness/native.mjs';
import { Server } from './harness/server.mjs';
import { until } from './harness/until.mjs';

/** In the page: writes until there is no room. The browser looks how much there is only every half minute. */
async function fillDisk() {
  const done = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = request.oncomplete = () => resolve(request.result);
      request.onerror = request.onabort = () => reject(request.error);
    });
  const opening = indexedDB.open('filler', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore('rows', { autoIncrement: true });
  const db = await done(opening);
  for (;;) {
    const tx = db.transaction('rows', 'readwrite', { durability: 'strict' });
    tx.objectStore('rows').add(crypto.getRandomValues(new Uint8Array(4_096)));
    try {
      await done(tx);
    } catch ({ name }) {
      if (name === 'QuotaExceededError') return;
      throw new Error(name);
    }
  }
}

const failure = (page) => page.textContent('.card [role=alert]');

test('a browser that is set to store nothing of this site: the page says so, and how to change it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sotto-refused-'));
  const server = await Server.start(folder);
  const profile = join(folder, 'browser');
  await mkdir(join(profile, 'Default'), { recursive: true });
  const settings = { profile: { default_content_setting_values: { cookies: 2 } } };
  await writeFile(join(profile, 'Default/Preferences'), JSON.stringify(settings));
  const context = await chromium.launchPersistentContext(profile, CHROMIUM);
  t.after(async () => {
    await context.close();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', ({ message }) => complaints.push(message));
  await page.goto(server.url);
  assert.match(await failure(page), /set to store nothing.*Allow cookies and site data/);
  assert.deepEqual(await axe(page), []);
  assert.deepEqual(complaints, []);
});

test('a worker whose promise breaks ends the peer, and the page says what to do rather than what broke', async (t) => {
  const { visit } = await stage(t);
  const page = await visit();
  await signUp(page, 'alice');
  await page.workers()[0].evaluate(() => void setTimeout(() => Promise.reject(new Error('of some cause'))));
  const words = await failure(page);
  assert.match(words, /made a mistake.*Reload the page/);
  assert.doesNotMatch(words, /cause/);
  await page.click('.card .button');
  await page.waitForSelector('.sidebar');
});

test('a text that a full disk refuses is a draft again, which is there after the reload', async (t) => {
  const { server, visit } = await stage(t);
  const [alice, bob] = [await visit(), await visit()];
  await signUp(bob, 'bob');
  await signUp(alice, 'alice');
  await startChat(alice, 'bob');
  await say(alice, 'there is room');
  await lastIs(alice, 'there is room');
  // Nothing but what is sent is written from now on.
  await server.kill();
  const quota = await alice.context().newCDPSession(alice);
  await quota.send('Storage.overrideQuotaForOrigin', { origin: server.url, quotaSize: 1 });
  await alice.evaluate(fillDisk);
  await say(alice, 'there is none');
  assert.match(await failure(alice), /disk is full. Make room and reload/);
  await quota.send('Storage.overrideQuotaForOrigin', { origin: server.url });
  await server.restart();
  await alice.click('.card .button');
  await lastIs(alice, 'there is room');
  assert.equal(await alice.inputValue('#composer'), 'there is none');
  await alice.keyboard.press('Enter');
  await lastIs(alice, 'there is none');
  // It is shown before it is on the disk, and is a draft until then.
  await alice.waitForFunction(() => !Object.keys(localStorage).some((key) => key.startsWith('sotto.draft')));
  await alice.reload();
  await lastIs(alice, 'there is none');
  assert.equal(await alice.inputValue('#composer'), '');
});

/** A stage with something between the server and its people. */
async function fronted(t) {
  const front = await Front.start();
  t.after(() => front.close());
  const { folder, server, open } = await stage(t, { SOTTO_PUBLIC_URL: front.url });
  await front.before(server);
  return { folder, front, open: () => open(front.url) };
}

test('what the page needs does not come: it says so, and trying again is enough', async (t) => {
  const { front, open } = await fronted(t);
  // The words are in the page from the start, and must not flash up at every load.
  front.reachable = (path) => !/assets\/index-.*\.js/.test(path);
  const early = await open();
  const wait = await early.$eval('main', (main) => getComputedStyle(main).animationDelay);
  assert.equal(wait, '5s');
  for (const [missing, words] of [
    [/assets\/index-.*\.js/, /could not be loaded\s+Check your connection/],
    [/assets\/worker-/, /cannot be reached. Check your connection/],
    [/\.wasm/, /cannot be reached. Check your connection/],
  ]) {
    front.reachable = (path) => !missing.test(path);
    const page = await open();
    await page.waitForFunction(() => {
      const main = document.querySelector('main:has(.card):not(:has(#handle))');
      return main && getComputedStyle(main).opacity === '1';
    });
    assert.match(await page.textContent('.card'), words);
    assert.deepEqual(await axe(page), []);
    front.reachable = () => true;
    await page.click('.card .link, .card .button');
    await page.waitForSelector('#handle');
    await page.context().close();
  }
});

test('a new build is there at the next load, without the files of the old one, and then without a server', async (t) => {
  const { front, open } = await fronted(t);
  const page = await open();
  const version = () =>
    page.evaluate(() => document.querySelector('meta[name=version]')?.content ?? 'the first');
  const workers = await page.context().newCDPSession(page);
  const [active, redundant] = [new Set(), new Set()];
  workers.on('ServiceWorker.workerVersionUpdated', ({ versions }) => {
    for (const { versionId, status } of versions) {
      if (status === 'activated') active.add(versionId);
      if (status === 'redundant') redundant.add(versionId);
    }
  });
  await workers.send('ServiceWorker.enable');
  const areKept = (builds) => until('the build is kept', () => active.size === builds);
  await page.waitForSelector('#handle');
  await areKept(1);
  const first = front.files;

  // A build that does not come whole is not kept, so that it cannot push out what is.
  front.files = another(first, 'broken');
  front.reachable = (path) => !path.endsWith('.wasm');
  await page.reload();
  await until('it is given up', () => redundant.size === 1);
  const keys = await page.evaluate(() => caches.keys());
  assert.ok(keys.length === 1 && !keys[0].includes('broken'), keys.join());
  front.reachable = () => true;

  for (const [number, name] of ['second', 'third'].entries()) {
    front.files = another(first, name);
    await page.reload();
    await page.waitForSelector('#handle');
    assert.equal(await version(), name);
    await areKept(number + 2);
    // Both what was kept of this build and that nothing of an older one is in the way.
    front.reachable = () => false;
    await page.reload();
    await page.waitForSelector('#handle');
    assert.equal(await version(), name);
    front.reachable = () => true;
  }
});

test('a server of another version: the page says so, and what was written goes out once it is of this one', async (t) => {
  const { folder, front, open } = await fronted(t);
  const bob = await Native.signUp(folder, 'bob', front);
  t.after(() => bob.close());
  front.otherVersion = true;
  const page = await open();
  await signUp(page, 'alice');
  await page.waitForSelector('.banner:has-text("speaks another version"):has-text("reload")');
  assert.deepEqual(await axe(page), []);
  await startChat(page, 'bob');
  await say(page, 'waits for the new server');
  await lastIs(page, 'waits for the new server');
  front.otherVersion = false;
  await page.reload();
  await lastIs(page, 'waits for the new server');
  await until('it at the other', async () => (await bob.call('conversations')).conversations.length === 1);
  const [{ conversation }] = (await bob.call('conversations')).conversations;
  const { messages } = await bob.call('history', { conversation, limit: 10 });
  assert.deepEqual(
    messages.map(({ text }) => text),
    ['waits for the new server'],
  );
});

test('a certificate that is not valid any more: the page says where to see what is wrong with it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sotto-tls-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const { hash, settings } = await selfSigned(folder);
  const trusted = [`--ignore-certificate-errors-spki-list=${hash}`];
  const { server, visit } = await stage(t, settings, trusted);
  const page = await visit();
  await signUp(page, 'alice');
  await page.evaluate(() => navigator.serviceWorker.ready);
  await server.kill();
  await selfSigned(folder);
  await server.restart();
  await page.reload();
  await page.waitForSelector('.banner:has-text("certificate is not valid")');
  const link = page.locator('.banner a');
  assert.equal(await link.getAttribute('target'), '_blank', 'the chats stay open beside it');
  const address = await link.evaluate((a) => a.href);
  const tab = await page.context().newPage();
  await assert.rejects(tab.goto(address), /ERR_CERT/);
});
