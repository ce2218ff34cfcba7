// Scrolling through ten thousand messages, up to the first and down to the last, as somebody does who spins the wheel.

import { lastIs, shown } from '../../e2e/browser/harness/app.mjs';
import { ms, quantile } from './report.mjs';
import { frames, traced } from './trace.mjs';

const MOST_ROWS = 80;
const LONGEST = 50;
const DISPLAY = 1_000 / 60;
/** px a turn of the wheel; one each frame at most: up to 50,000 px/s, a wheel that spins freely. */
const TURN = 800;
/** Turns a trace: what fits into Chromium's memory for it. */
const TURNS = 200;
/** ms for one way through all of it: many times what it takes. */
const PATIENCE = 180_000;

/**
 * Turns the wheel in the middle of the messages, at the display's rate, until what is asked for is in view. Resolves to
 * how long each frame took. The reader rests while a trace is fetched.
 */
async function spin(page, direction, arrived) {
  const session = await page.context().newCDPSession(page);
  const { x, y, width, height } = await page.locator('.messages-view').boundingBox();
  const wheel = {
    type: 'mouseWheel',
    x: x + width / 2,
    y: y + height / 2,
    deltaX: 0,
    deltaY: direction * TURN,
  };
  const turns = async () => {
    for (let turn = 0; turn < TURNS; turn += 1) {
      const next = new Promise((resolve) => setTimeout(resolve, DISPLAY));
      await Promise.all([session.send('Input.dispatchMouseEvent', wheel), next]);
    }
  };
  const lengths = [];
  const deadline = Date.now() + PATIENCE;
  do {
    if (Date.now() > deadline) throw new Error(`never there, after ${lengths.length} frames`);
    lengths.push(...frames(await traced(page.context().browser(), turns)));
  } while (!(await arrived()));
  await session.detach();
  return lengths;
}

export async function measure({ page, first, last }) {
  await page.evaluate(() => {
    window.most = 0;
    const count = () => {
      window.most = Math.max(window.most, document.querySelectorAll('.row').length);
    };
    count();
    new MutationObserver(count).observe(document.querySelector('.messages-list'), { childList: true });
  });
  const lengths = [
    ...(await spin(page, -1, async () => (await shown(page))[0] === first)),
    ...(await spin(page, 1, async () => (await shown(page)).at(-1) === last)),
  ];
  await lastIs(page, last);
  const rows = await page.evaluate(() => window.most);
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0);
  console.error(`scroll: ${lengths.length} frames, longest ${ms(longest)}, at most ${rows} rows`);
  return [
    {
      what: 'rows in the document',
      ours: String(rows),
      target: `<= ${MOST_ROWS}`,
      met: rows <= MOST_ROWS,
      note: 'The most there were at any moment while scrolling up through all 10,000 messages and down again.',
    },
    {
      what: 'longest frame, scrolling',
      ours: ms(longest),
      target: `<= ${ms(LONGEST)}`,
      met: longest <= LONGEST,
      note:
        `Of ${lengths.length} frames of that way, ${lengths.filter((length) => length > LONGEST).length} above the target; p50 ${ms(quantile(lengths, 0.5))}, p99 ${ms(quantile(lengths, 0.99))}. Wheel events at the ` +
        "display's rate at most, up to 50,000 px/s, older messages being loaded on the way. A frame is an `AnimationFrame` of Chromium's " +
        'trace: from the first task that wanted it to the end of the one that painted it.',
    },
  ];
}
