// An endless iterator of events for `for await`.

import { SottoError } from '../error.js';
import type { SottoEvent } from '../types.js';

/** Events that wait for a reader; more than a long burst. */
const LONGEST = 10_000;

export class Stream implements AsyncIterableIterator<SottoEvent> {
  readonly #waiting: SottoEvent[] = [];
  #wake: (() => void) | undefined;
  #over: { error?: unknown } | undefined;
  readonly #ended: (stream: Stream) => void;

  constructor(ended: (stream: Stream) => void) {
    this.#ended = ended;
  }

  push(event: SottoEvent): void {
    this.#waiting.push(event);
    if (this.#waiting.length > LONGEST) {
      this.#waiting.length = 0;
      this.end({ error: new SottoError('lagging', 'events were not read for too long: begin again') });
    }
    this.#wake?.();
  }

  /** After what waits is read, the iteration is over, or throws. */
  end(how: { error?: unknown }): void {
    this.#over ??= how;
    this.#ended(this);
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<SottoEvent>> {
    for (;;) {
      const value = this.#waiting.shift();
      if (value) return { value, done: false };
      if (this.#over) {
        const { error } = this.#over;
        this.#over = {};
        if (error !== undefined) throw error;
        return { value: undefined, done: true };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async return(): Promise<IteratorResult<SottoEvent>> {
    this.#waiting.length = 0;
    this.end({});
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
