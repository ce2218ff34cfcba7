// Two people, one in a browser and the other in another or at `sotto rpc`: killed servers, cut links, closed browsers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge } from './harness/judge.mjs';
import { texts } from './harness/peer.mjs';
import { areLinked, Browser, linked, Native, show } from './harness/setup.mjs';
import { until } from './harness/until.mjs';

const bothBurst = (peers, tag, count) =>
  Promise.all(peers.map((peer) => peer.burst(texts(`${tag} of ${peer.name}`, count))));

/** By getStats: one connection, between the machines themselves, and messages went over it both ways. */
async function assertDirect(browser) {
  const [connection, ...more] = await browser.connections();
  assert.deepEqual(more, [], 'more than one connection is up');
  for (const end of ['local', 'remote'])
    assert.ok(['host', 'prflx', 'srflx'].includes(connection[end]), connection[end]);
  assert.ok(connection.sent > 0 && connection.received > 0, JSON.stringify(connection));
  const [link] = (await browser.status()).links;
  assert.ok(link.rtt_ms > 0, JSON.stringify(link));
}

for (const [name, Other] of [
  ['two browsers', Browser],
  ['a browser and a terminal', Native],
]) {
  test(`${name} chat directly`, async (t) => {
    const { alice, bob } = await linked(t, Browser, Other);
    await bothBurst([alice, bob], 'burst', 200);
    await show(401, alice, bob);
    for (const browser of [alice, bob].filter((peer) => peer instanceof Browser)) await assertDirect(browser);
    await judge(alice, bob);
  });

  test(`${name}: with the server killed the link goes on and the log catches up`, async (t) => {
    const { server, alice, bob } = await linked(t, Browser, Other);
    await Promise.all([bothBurst([alice, bob], 'around the kill', 200), server.kill()]);
    // Nobody can have these from the log.
    await bothBurst([alice, bob], 'without the server', 50);
    await show(501, alice, bob);
    for (const peer of [alice, bob]) {
      const { relay } = await peer.status();
      assert.equal(relay.up, false);
      assert.equal(await peer.directLinks(), 1);
    }
    assert.equal(
      (await alice.history()).at(-1).position,
      undefined,
      'the server is gone, and yet it is in its log',
    );
    await server.restart();
    await judge(alice, bob);
  });

  test(`${name}: a link cut in the middle of a burst loses nothing and comes back`, async (t) => {
    const { alice, bob } = await linked(t, Browser, Other);
    await Promise.all([bothBurst([alice, bob], 'around the cut', 300), bob.cut(true)]);
    await bothBurst([alice, bob], 'while it is cut', 50);
    await show(701, alice, bob);
    for (const peer of [alice, bob]) {
      const isSeen = async () => (await peer.status()).links[0].path === 'relay';
      await until(`${peer.name} sees the link dead`, isSeen, async () => JSON.stringify(await peer.status()));
    }
    await bob.cut(false);
    await areLinked(alice, bob);
    await bothBurst([alice, bob], 'after it', 20);
    await judge(alice, bob);
  });

  test(`${name}: a browser that was closed for five hundred messages gets them all`, async (t) => {
    const { alice, bob } = await linked(t, Browser, Other);
    await alice.close();
    await bob.burst(texts('while you were away', 500));
    const isLogged = async () => (await bob.status()).conversations[0].unacked === 0;
    await until('the relay has all', isLogged, async () => JSON.stringify(await bob.status()));
    await alice.reopen();
    await show(501, alice);
    await areLinked(alice, bob);
    await alice.burst(texts('thank you', 20));
    await judge(alice, bob);
  });
}
