import type { Message, TimelineDiff } from 'sotto';
import { expect, test } from 'vitest';
import { applied } from '../src/state/diffs.ts';

const CONVERSATION = '01'.repeat(16);
const id = (device: string, seq: number) => `${CONVERSATION}/${device.repeat(32)}/${seq}`;
const message = (seq: number, position?: number, device = 'a'): Message => ({
  conversation: CONVERSATION,
  id: id(device, seq),
  from: device,
  kind: 'text',
  text: `${device}${seq}`,
  sent_at: 0,
  own: device === 'a',
  ...(position === undefined ? {} : { position }),
});
const move = (seq: number, after: string | null, position?: number): TimelineDiff => ({
  op: 'move',
  id: id('a', seq),
  after,
  ...(position === undefined ? {} : { position }),
});
const texts = (messages: readonly Message[]) => messages.map(({ text }) => text);

const WINDOW = [message(5, 10), message(6, 11), message(7)];

test('within the window messages come, move and go', () => {
  const item = message(1, undefined, 'b');
  const { messages, lacks } = applied(
    WINDOW,
    [{ op: 'insert', item, after: id('a', 7) }, move(7, id('a', 5), 12), { op: 'remove', id: id('a', 6) }],
    false,
  );
  expect(texts(messages)).toEqual(['a5', 'a7', 'b1']);
  expect(messages[1]?.position).toBe(12);
  expect(lacks).toBe(false);
});

test('a message that loses its position has none', () => {
  const { messages } = applied(WINDOW, [move(6, id('a', 7))], false);
  expect(texts(messages)).toEqual(['a5', 'a7', 'a6']);
  expect(messages[2]).not.toHaveProperty('position');
});

test('one that moves behind a neighbour which is not loaded stands where its position says', () => {
  const { messages } = applied(WINDOW, [move(7, id('b', 9), 11.5)], false);
  expect(texts(messages)).toEqual(['a5', 'a6', 'a7']);
  const first = applied([message(5, 10), message(6, 12), message(7)], [move(7, id('b', 9), 11)], false);
  expect(texts(first.messages)).toEqual(['a5', 'a7', 'a6']);
});

test('one that moves before the window leaves it, unless the window is all there is', () => {
  expect(texts(applied(WINDOW, [move(7, id('b', 9), 3)], false).messages)).toEqual(['a5', 'a6']);
  expect(texts(applied(WINDOW, [move(7, null, 3)], false).messages)).toEqual(['a5', 'a6']);
  expect(texts(applied(WINDOW, [move(7, null, 3)], true).messages)).toEqual(['a7', 'a5', 'a6']);
});

test('the start of what the peer looks at is not the start of what is loaded', () => {
  expect(texts(applied(WINDOW, [move(7, null, 12)], true).messages)).toEqual(['a5', 'a6', 'a7']);
  const insert: TimelineDiff = { op: 'insert', item: message(8), after: null };
  expect(texts(applied(WINDOW.slice(0, 2), [insert], false).messages)).toEqual(['a5', 'a6', 'a8']);
});

test('one that moves into the window and is not loaded is lacking', () => {
  expect(applied(WINDOW, [move(2, id('a', 7))], false)).toEqual({ messages: WINDOW, lacks: true });
  expect(applied(WINDOW, [move(2, id('b', 9), 2)], false)).toEqual({ messages: WINDOW, lacks: false });
});

test('a state is of all messages of the device in the range, and of no others', () => {
  const list = [message(4, 8), message(4, 9, 'b'), message(5, 10), message(6), message(7)];
  const receipts = { members: 3, delivered: 3, read: 1 };
  const counted = { op: 'state', from: id('a', 2), to: id('a', 6), state: 'sent', receipts } as const;
  const { messages } = applied(list, [counted], false);
  expect(messages.map(({ state }) => state)).toEqual(['sent', undefined, 'sent', 'sent', undefined]);
  expect(messages[0]?.receipts).toEqual(receipts);
  const all = { op: 'state', from: id('a', 5), to: id('a', 7), state: 'read' } as const;
  const later = applied(messages, [all], false).messages;
  expect(later.map(({ state }) => state)).toEqual(['sent', undefined, 'read', 'read', 'read']);
  expect(later[2]).not.toHaveProperty('receipts');
});

test('what is missing before a message is told with it and can come to an end', () => {
  const gap = { from: 1, to: 9, why: 'trimmed' };
  const told = applied(WINDOW, [{ op: 'missing', id: id('a', 5), missing: [gap] }], false).messages;
  expect(told[0]?.missing).toEqual([gap]);
  expect(applied(told, [{ op: 'missing', id: id('a', 5), missing: [] }], false).messages[0]?.missing).toEqual(
    [],
  );
});

test('a window of one follows the end of the list', () => {
  const last = message(7);
  const insert = (item: Message, after: string): TimelineDiff => ({ op: 'insert', item, after });
  const end = (...diffs: TimelineDiff[]) => applied([last], diffs, false).messages.at(-1)?.text;
  expect(end(insert(message(1, undefined, 'b'), last.id))).toBe('b1');
  expect(end(insert(message(1, 12, 'b'), id('a', 6)))).toBe('a7');
  expect(end(insert(message(8), last.id), { op: 'remove', id: id('a', 8) })).toBe('a7');
});
