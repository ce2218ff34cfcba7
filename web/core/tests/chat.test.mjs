// Two cores talk through the real server, and over a link.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Device, signUp } from './device.mjs';
import { startServer } from './server.mjs';

let server;
const devices = [];
const run = (store, wire) => {
  const device = new Device(store, wire);
  devices.push(device);
  return device;
};

before(async () => {
  server = await startServer();
});

after(async () => {
  for (const device of devices) device.close();
  await server.stop();
});

test('what one sends the other sees, in order, over the relay, a link, and after both were away', async () => {
  const wire = new Map();
  const stores = [await signUp(server.origin, 'alice'), await signUp(server.origin, 'bob')];
  let [alice, bob] = stores.map((store) => run(store, wire));

  const { conversation } = await alice.call('direct', { handle: '@Bob' });
  await alice.call('path.policy', { mode: 'relay' });
  const { id } = await alice.call('send', { conversation, text: 'hello' });
  const hello = await bob.event('message', (message) => message.id === id);
  assert.deepEqual(
    { from: hello.from, text: hello.text, own: hello.own },
    { from: 'alice', text: 'hello', own: false },
  );
  await bob.call('accept', { conversation });

  await alice.call('path.policy', { mode: 'direct' });
  await alice.event('path', ({ handle, path }) => handle === 'bob' && path === 'direct');
  const linked = await alice.call('send', { conversation, text: 'over the link' });
  await bob.event('message', (message) => message.id === linked.id);
  await alice.event('receipt', (receipt) => receipt.id === linked.id && receipt.state === 'delivered');
  const [link] = (await alice.call('status')).links;
  assert.equal(link.path, 'direct');

  await alice.call('path.policy', { mode: 'auto' });
  for (const device of [alice, bob]) device.close();
  bob = run(stores[1], wire);
  const burst = Array.from({ length: 20 }, (_, index) => `message ${index}`);
  await Promise.all(burst.map((text) => bob.call('send', { conversation, text })));
  alice = run(stores[0], wire);
  await alice.event('message', ({ text }) => text === burst.at(-1));
  for (const device of [alice, bob]) {
    const { messages } = await device.call('history', { conversation, limit: 100 });
    assert.deepEqual(
      messages.map(({ text }) => text),
      ['hello', 'over the link', ...burst],
    );
  }
  const last = await alice.call('history', { conversation, limit: 2 });
  assert.deepEqual(
    last.messages.map(({ text }) => text),
    burst.slice(-2),
  );
});
