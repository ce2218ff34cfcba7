// The app as the server serves it: it starts under the strict policy, and once visited also without the server.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHROMIUM, chromium } from './harness/browser.mjs';
import { Server } from './harness/server.mjs';

test('the page starts under its policy, and without the server when it was there before', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sotto-page-'));
  const server = await Server.start(folder);
  const context = await chromium.launchPersistentContext(join(folder, 'browser'), CHROMIUM);
  t.after(async () => {
    await context.close();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });

  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', ({ message }) => complaints.push(message));
  const shows = () => page.waitForFunction(() => document.querySelector('#app')?.textContent.trim());
  await page.goto(server.url);
  await shows();
  await page.evaluate(() => navigator.serviceWorker.ready);
  assert.deepEqual(complaints, []);
  assert.equal(
    await page.evaluate(() => {
      try {
        document.body.innerHTML = '<p>not from a string</p>';
        return 'done';
      } catch ({ name }) {
        return name;
      }
    }),
    'TypeError',
    'HTML from a string must need a policy',
  );

  await server.kill();
  await page.reload();
  await shows();
  await server.restart();
});
