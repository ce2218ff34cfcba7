// Judges whether the leader still lives, from a tab that may itself be throttled, frozen or asleep.

const TICK = 1_000;
/** Silence after which the leader is asked. */
const ASK = 2_000;
/** Silence after which it is replaced: several questions unanswered. A hidden tab leaves it to visible ones for longer. */
const PATIENCE = 6_000;
const PATIENCE_HIDDEN = 15_000;
/** Several tabs should not replace it at once. */
const SPREAD = 1_500;

export class Watch {
  visible = true;
  #heard = 0;
  #ticked = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #spread = Math.random() * SPREAD;
  readonly #ask: () => void;
  readonly #gone: () => void;

  constructor(ask: () => void, gone: () => void) {
    this.#ask = ask;
    this.#gone = gone;
  }

  start(): void {
    this.stop();
    this.#heard = this.#ticked = performance.now();
    this.#timer = setInterval(() => this.#tick(performance.now()), TICK);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** The leader gave a sign of life. */
  heard(): void {
    this.#heard = performance.now();
  }

  #tick(now: number): void {
    const late = now - this.#ticked > 2.5 * TICK;
    this.#ticked = now;
    // This tab did not run either: what it has not heard says nothing.
    if (late) this.#heard = now - ASK;
    const silence = now - this.#heard;
    if (silence > (this.visible ? PATIENCE : PATIENCE_HIDDEN) + this.#spread) {
      this.#heard = now;
      this.#gone();
    } else if (silence >= ASK) this.#ask();
  }
}
