// A server and two people, signed up, who have accepted each other.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Browser } from './browser.mjs';
import { Native } from './native.mjs';
import { Server } from './server.mjs';
import { until } from './until.mjs';

export { Browser, Native };

/** For a test (`t` of node:test), which ends them. The first of two kinds of peer is alice, the other bob. */
export async function pair(t, First, Second) {
  const folder = await mkdtemp(join(tmpdir(), 'sotto-browser-'));
  const running = [];
  t.after(async () => {
    const ended = await Promise.allSettled(running.map((one) => one.close()));
    await rm(folder, { recursive: true, force: true });
    for (const { reason } of ended) if (reason) throw reason;
  });
  const server = await Server.start(folder);
  running.push(server);
  const alice = await First.signUp(folder, 'alice', server);
  running.unshift(alice);
  const bob = await Second.signUp(folder, 'bob', server);
  running.unshift(bob);

  const conversation = await alice.direct('bob');
  alice.conversation = conversation;
  bob.conversation = conversation;
  await alice.burst(['hello']);
  await until(
    'the request',
    async () => (await bob.conversations()).some(({ request }) => request),
    async () => JSON.stringify([await alice.status(), await bob.status()]),
  );
  await bob.accept(conversation);
  return { server, alice, bob };
}

/** The same, once they are linked directly. */
export async function linked(t, First, Second) {
  const { server, alice, bob } = await pair(t, First, Second);
  await areLinked(alice, bob);
  return { server, alice, bob };
}

/** `status` of each says `direct`. */
export async function areLinked(...peers) {
  for (const peer of peers) {
    await until(
      `${peer.name} is linked directly`,
      async () => (await peer.directLinks()) === 1,
      async () => JSON.stringify(await peer.status()),
    );
  }
}

/** Until each shows as many messages. */
export async function show(count, ...peers) {
  for (const peer of peers) {
    await until(
      `${peer.name} shows ${count}`,
      async () => (await peer.shown()) >= count,
      async () => `${await peer.shown()}; ${JSON.stringify(await peer.status())}`,
    );
  }
}
