// A conversation of thousands of messages, on screen in the app: bob, a native peer, has sent them to alice.

import { DESKTOP, say, shown, signUp, stage, startChat } from '../../e2e/browser/harness/app.mjs';
import { Native } from '../../e2e/browser/harness/native.mjs';
import { PATIENCE, until } from '../../e2e/browser/harness/until.mjs';

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
  const before = await visit({ viewport: DESKTOP });
  await signUp(before, 'alice');
  const bob = await Native.signUp(folder, 'bob', server);
  ends.after(() => bob.close());
  await startChat(before, 'bob');
  await say(before, FIRST);
  await until('the request', async () => (await bob.conversations()).some(({ request }) => request));
  bob.conversation = await bob.direct('alice');
  await bob.accept(bob.conversation);
  // While the page is closed, so that what this waits for is two programs and not ten thousand paintings.
  const page = await before.context().newPage();
  await before.close();
  await page.goto('about:blank');
  const all = Array.from({ length: count - 1 }, (_, number) => line(number));
  for (let from = 0; from < all.length; from += BURST) await bob.burst(all.slice(from, from + BURST));
  await until('all of it is in the log', async () =>
    (await bob.status()).conversations.every(({ unlogged }) => unlogged === 0),
  );
  // As somebody who comes back to all of it.
  await page.goto(server.url);
  await page.waitForFunction(
    (last) => document.querySelector('.chat-row-last')?.textContent.endsWith(last),
    all.at(-1),
    { timeout: PATIENCE },
  );
  await page.click('.chat-row');
  // It opens where the reader was, or at the first unread one.
  await until('the newest is in view', async () => {
    if (await page.isVisible('.to-end')) await page.click('.to-end');
    return (await shown(page)).at(-1) === all.at(-1);
  });
  return { page, first: FIRST, last: all.at(-1) };
}
