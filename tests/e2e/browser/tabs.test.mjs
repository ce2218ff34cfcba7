// Two tabs of one profile: one leads, and is closed or frozen while messages go both ways.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answered, sendFrom } from './harness/browser.mjs';
import { judge } from './harness/judge.mjs';
import { texts } from './harness/peer.mjs';
import { Browser, linked, Native } from './harness/setup.mjs';
import { until } from './harness/until.mjs';

const BURST = 300;

/** A second tab that follows the first; both are in the middle of a burst, and so is bob, when `strike` is called. */
async function inTheMiddleOfBursts(alice, bob, strike) {
  const leader = alice.page;
  const follower = await alice.tab();
  await alice.became(follower, 'following');
  const through = (page) => ({ sendAll: (conversation, texts) => sendFrom(page, conversation, texts) });
  // A tab that is gone answers nothing any more: what it sent may be there or not.
  const lost = (texts) => texts.map(() => 'unanswered');
  const bursts = [
    alice.attempt(texts('through the leader', BURST), {
      sendAll: (conversation, texts) => sendFrom(leader, conversation, texts).catch(() => lost(texts)),
    }),
    alice.attempt(texts('through the follower', BURST), through(follower)),
    bob.burst(texts('from bob', BURST)),
  ];
  await until('the middle of a burst', async () => (await answered(follower)) > 20);
  await strike(leader);
  await alice.became(follower, 'leading');
  alice.use(follower);
  return { leader, follower, bursts };
}

for (const [name, Other] of [
  ['a browser', Browser],
  ['a terminal', Native],
]) {
  test(`chatting with ${name}, the leading tab is closed: the other one takes over`, async (t) => {
    const { alice, bob } = await linked(t, Browser, Other);
    const { follower, bursts } = await inTheMiddleOfBursts(alice, bob, (leader) => leader.close());
    await Promise.all(bursts);
    await alice.burst(texts('of the new leader', 20));
    await judge(alice, bob);
    assert.equal(alice.page, follower);
  });

  test(`chatting with ${name}, the leading tab is frozen: the other one takes over, and it follows when it thaws`, async (t) => {
    const { alice, bob } = await linked(t, Browser, Other);
    let thaw;
    const { leader, bursts } = await inTheMiddleOfBursts(alice, bob, async (leader) => {
      thaw = await alice.freeze(leader);
    });
    await alice.burst(texts('of the new leader', 20));
    thaw();
    await Promise.all(bursts);
    await alice.became(leader, 'following');
    await alice.attempt(texts('of the one that thawed', 20), {
      sendAll: (conversation, texts) => sendFrom(leader, conversation, texts),
    });
    await judge(alice, bob);
  });
}
