// A conversation of thousands of messages, on screen in the app: bob, a native peer, has sent them to alice.

import { DESKTOP, lastIs, say, signUp, stage, startChat } from '../../e2e/browser/harness/app.mjs';
import { Native } from '../../e2e/browser/harness/native.mjs';
import { until } from '../../e2e/browser/harness/until.mjs';

const WORDS = 'so we met at the harbour and took the slow boat over to the island where it rained'.split(' ');
/** What begins it; the others are bob's. */
const FIRST = 'hello';
/** Sends at once: half of what a peer lets be unacknowledged. */
const BURST = 500;

/** From one word to some lines, as people write; each another one. */
const line = (number) => {
  const words = 1 + ((number * 7) % 11) * (number % 5 === 0 ? 6 : 1);
  return [number, ...Array.from({ length: words }, (_, at) => WORDS[(number + at) % WORDS.length])].join(' ');
};

/** `ends` takes what must be done at the end, as a test of node:test does. */
export async function crowd(ends, count) {
  const { folder, server, visit } = await stage(ends);
  const page = await visit({ viewport: DESKTOP });
  await signUp(page, 'alice');
  const bob = await Native.signUp(folder, 'bob', server);
  ends.after(() => bob.close());
  await startChat(page, 'bob');
  await say(page, FIRST);
  await until('the request', async () => (await bob.conversations()).some(({ request }) => request));
  bob.conversation = await bob.direct('alice');
  await bob.accept(bob.conversation);
  await until('the direct link', async () => (await bob.directLinks()) === 1);
  const all = Array.from({ length: count - 1 }, (_, number) => line(number));
  for (let from = 0; from < count; from += BURST) await bob.burst(all.slice(from, from + BURST));
  await lastIs(page, all.at(-1));
  // As somebody who comes back: not all that came meanwhile is loaded.
  await page.reload();
  await page.waitForSelector('.sidebar');
  // It opens at the first unread one.
  await page.waitForSelector('.row');
  if (await page.isVisible('.to-end')) await page.click('.to-end');
  await lastIs(page, all.at(-1));
  return { page, first: FIRST, last: all.at(-1) };
}
