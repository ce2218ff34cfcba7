// What must hold at both ends, whatever was killed, cut, closed and frozen. The rules are those of ../harness/judge.rs.

import assert from 'node:assert/strict';
import { until } from './until.mjs';

const ids = (history) => history.map(({ id }) => id);
const isLogged = ({ position }) => Number.isInteger(position);

/**
 * Waits until these peers show the same, all of it logged, and nothing is under way; then: what anybody's `send` was
 * answered for is shown exactly once, in its sender's order, in the same order at all; and each message was notified
 * exactly once to whoever listened all the time.
 */
export async function judge(...peers) {
  const expected = peers.reduce((sum, { accepted }) => sum + accepted.size, 0);
  const seen = async () => {
    const lines = peers.map(async (peer) => {
      const history = await peer.history();
      const open = history.filter((message) => !isLogged(message)).length;
      const status = JSON.stringify(await peer.status());
      return `${history.length} of ${expected} at ${peer.name}, ${open} not logged; ${status}`;
    });
    return (await Promise.all(lines)).join('\n');
  };
  const histories = await until(
    'everybody shows the same, all of it logged',
    async () => {
      const histories = await Promise.all(peers.map((peer) => peer.history()));
      const same = new Set(histories.map((history) => ids(history).join())).size === 1;
      return (
        same &&
        histories[0].length >= expected &&
        histories.every((history) => history.every(isLogged)) &&
        histories
      );
    },
    seen,
  );

  for (const [number, peer] of peers.entries()) {
    const shown = ids(histories[number]);
    assert.equal(new Set(shown).size, shown.length, `${peer.name} shows a message twice`);
    const positions = histories[number].map(({ position }) => position);
    assert.deepEqual(
      positions,
      positions.toSorted((a, b) => a - b),
      `${peer.name} does not show the log's order`,
    );
    const notified = await peer.notified();
    if (notified) {
      assert.deepEqual(
        notified.toSorted(),
        shown.toSorted(),
        `${peer.name} was not notified of each exactly once`,
      );
    }
  }
  for (const author of peers) {
    const own = histories[0].filter(({ from }) => from === author.name).map(({ text }) => text);
    assert.equal(new Set(own).size, own.length, `a text of ${author.name} is shown twice`);
    const there = new Set(own);
    for (const text of author.accepted)
      assert.ok(there.has(text), `${author.name}: '${text}' was accepted and is lost`);
    const issued = author.issued.flat();
    assert.deepEqual(
      own.filter((text) => !issued.includes(text)),
      [],
      `${author.name} never wrote this`,
    );
    for (const texts of author.issued) {
      const place = new Map(texts.map((text, number) => [text, number]));
      const order = own.filter((text) => place.has(text)).map((text) => place.get(text));
      assert.deepEqual(
        order,
        order.toSorted((a, b) => a - b),
        `${author.name}'s order is not kept`,
      );
    }
  }
  const isQuiet = async (peer) => (await peer.status()).conversations.every(({ unacked }) => unacked === 0);
  await until(
    'nothing is unacknowledged',
    async () => (await Promise.all(peers.map(isQuiet))).every(Boolean),
    seen,
  );
}
