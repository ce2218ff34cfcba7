import { expect, test } from 'vitest';
import { Stream } from '../src/page/stream.js';
import type { SottoEvent } from '../src/types.js';

const event = (sequence: number): SottoEvent => ({
  type: 'typing',
  value: { conversation: '01', handle: `h${sequence}`, on: true },
});

test('events come in order, those pushed before and while somebody waits', async () => {
  const stream = new Stream(() => {});
  stream.push(event(1));
  expect((await stream.next()).value).toEqual(event(1));
  const next = stream.next();
  stream.push(event(2));
  expect((await next).value).toEqual(event(2));
});

test('what waits is read before the end, and the end is told once', async () => {
  let ended = 0;
  const stream = new Stream(() => ended++);
  stream.push(event(1));
  stream.end({});
  const read = [];
  for await (const one of stream) read.push(one);
  expect(read).toEqual([event(1)]);
  expect(ended).toBe(1);
});

test('a break ends it and frees what waits', async () => {
  const stream = new Stream(() => {});
  stream.push(event(1));
  stream.push(event(2));
  for await (const _ of stream) break;
  expect(await stream.next()).toEqual({ value: undefined, done: true });
});

test('who does not read for too long hears of it', async () => {
  const stream = new Stream(() => {});
  for (let i = 0; i <= 10_000; i += 1) stream.push(event(i));
  await expect(stream.next()).rejects.toMatchObject({ kind: 'lagging' });
  expect((await stream.next()).done).toBe(true);
});
