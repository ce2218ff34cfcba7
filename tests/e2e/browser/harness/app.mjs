// The app as a person has it: the page that the server embeds, in Chromium.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHROMIUM, chromium } from './browser.mjs';
import { ROOT } from './programs.mjs';
import { Server } from './server.mjs';

const web = createRequire(join(ROOT, 'web/app/package.json'));

export const PHONE = { width: 390, height: 844 };
export const DESKTOP = { width: 1280, height: 800 };

/** A server and a Chromium for a test (`t` of node:test), which ends them. */
export async function stage(t, settings = {}, args = []) {
  const folder = await mkdtemp(join(tmpdir(), 'sotto-app-'));
  const server = await Server.start(folder, settings);
  const browser = await chromium.launch({ ...CHROMIUM, args: [...CHROMIUM.args, ...args] });
  t.after(async () => {
    await browser.close();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });
  /** An address in the browser of somebody new. What the page says on its console as an error fails the test. */
  const open = async (url, options = {}) => {
    const page = await (await browser.newContext({ viewport: DESKTOP, ...options })).newPage();
    page.complaints = [];
    page.on('pageerror', ({ message }) => page.complaints.push(message));
    page.on('console', (message) => {
      if (message.type() === 'error') page.complaints.push(message.text());
    });
    await page.goto(url);
    return page;
  };
  /** The app's first page. */
  const visit = async (options) => {
    const page = await open(server.url, options);
    await page.waitForSelector('#handle');
    return page;
  };
  return { folder, server, browser, open, visit };
}

export async function signUp(page, handle) {
  await page.fill('#handle', handle);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.sidebar');
}

/** Begins a chat by keyboard. */
export async function startChat(page, handle) {
  await page.keyboard.press('Control+k');
  await page.fill('#peer', handle);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#composer');
}

export async function say(page, text) {
  await page.fill('#composer', text);
  await page.keyboard.press('Enter');
}

/** The texts of the rows that are in the document. */
export const shown = (page) => page.$$eval('.row .text', (rows) => rows.map((row) => row.textContent));

export const lastIs = (page, text) =>
  page.waitForFunction(
    (text) => [...document.querySelectorAll('.row .text')].at(-1)?.textContent === text,
    text,
  );

/** What axe-core finds on the page, in a line each. */
export async function axe(page) {
  // What still fades in has not its colours yet. What moves for ever (typing) is not waited for.
  await page.evaluate(() => {
    const ends = ({ effect }) => effect.getComputedTiming().endTime < Number.POSITIVE_INFINITY;
    const running = document.getAnimations().filter(ends);
    return Promise.allSettled(running.map((animation) => animation.finished)).then(() => {});
  });
  await page.evaluate(await readFile(web.resolve('axe-core/axe.min.js'), 'utf8'));
  const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ['violations'] }));
  return violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`,
  );
}
