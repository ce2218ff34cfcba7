import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Watch } from '../src/worker/watch.js';

let asked: number;
let gone: number;
let watch: Watch;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance', 'Date'] });
  asked = gone = 0;
  watch = new Watch(
    () => asked++,
    () => gone++,
  );
  watch.start();
});
afterEach(() => {
  watch.stop();
  vi.useRealTimers();
});

test('a leader that answers is asked now and then and never replaced', () => {
  for (let second = 0; second < 60; second += 1) {
    const before = asked;
    vi.advanceTimersByTime(1_000);
    if (asked > before) watch.heard();
  }
  expect(gone).toBe(0);
  expect(asked).toBeGreaterThan(10);
});

test('a silent leader is replaced after several questions', () => {
  vi.advanceTimersByTime(5_000);
  expect(gone).toBe(0);
  expect(asked).toBeGreaterThanOrEqual(3);
  vi.advanceTimersByTime(4_000);
  expect(gone).toBe(1);
});

test('a hidden tab leaves it to visible ones for longer', () => {
  watch.visible = false;
  vi.advanceTimersByTime(14_000);
  expect(gone).toBe(0);
  vi.advanceTimersByTime(4_000);
  expect(gone).toBe(1);
});

test('a tab that slept itself asks before it judges', () => {
  vi.advanceTimersByTime(1_000);
  // The clock goes on while no timer fires.
  vi.setSystemTime(Date.now() + 60_000);
  const now = performance.now();
  vi.spyOn(performance, 'now').mockImplementation(() => now + 60_000);
  vi.advanceTimersByTime(1_000);
  expect(gone).toBe(0);
  expect(asked).toBe(1);
});
