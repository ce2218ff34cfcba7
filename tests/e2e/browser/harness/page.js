// In the page of a browser's peer: the SDK, and what the test asks of it. What is not of the SDK is noted from outside it.

import { Sotto } from '/sdk-test/dist/index.js';

/** Calls every text's `send` in order, notes how each ended, and resolves to that. */
function sendAll(conversation, texts) {
  const outcome = texts.map(() => 'open');
  const sends = texts.map((text, number) =>
    sotto.send(conversation, text).then(
      () => (outcome[number] = 'sent'),
      (error) => (outcome[number] = error.kind ?? String(error)),
    ),
  );
  window.test.outcome = outcome;
  return Promise.all(sends);
}

const sotto = await Sotto.open({ profile: 'test' });
const messages = [];
const tabs = [];
window.test = { sotto, sendAll, messages, tabs, outcome: [] };
for await (const { type, value } of sotto.events()) {
  if (type === 'message') messages.push(value.id);
  if (type === 'tab') tabs.push(value.state);
  if (type === 'ended') throw new Error(`the peer ended: ${value.why}`);
}
