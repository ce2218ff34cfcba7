// Tests wait for conditions, never for time to pass.

import { setTimeout as pause } from 'node:timers/promises';

/** Far more than anything here takes: it only ends what hangs. */
export const PATIENCE = 120_000;

/** Asks until the answer is true, and returns it; what `seen` says is in the error. */
export async function until(what, holds, seen = () => '') {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const answer = await holds();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`never: ${what}\n${await seen()}`);
    await pause(50);
  }
}
