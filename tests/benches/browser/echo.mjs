// The echo of a send: from the key press to the row on the screen, in a conversation of ten thousand messages.

import { ms, quantile } from './report.mjs';

const TARGET = 50;
const SENDS = 250;

/**
 * In the page: notes when Enter was pressed, by the event's own time stamp, and when the browser put the row's text on
 * the screen, by Element Timing's render time, which is of the presented frame and not of a script that guesses at it.
 */
function watch() {
  window.echo = { pressed: 0, waiting: undefined };
  addEventListener(
    'keydown',
    ({ key, timeStamp }) => {
      if (key === 'Enter') window.echo.pressed = timeStamp;
    },
    { capture: true },
  );
  new PerformanceObserver((list) => {
    for (const { identifier, renderTime } of list.getEntries())
      if (identifier === window.echo.waiting?.text)
        window.echo.waiting.resolve(renderTime - window.echo.pressed);
  }).observe({ type: 'element' });
  new MutationObserver(() => {
    const body = [...document.querySelectorAll('.row .body')].at(-1);
    const { waiting } = window.echo;
    if (waiting && body?.querySelector('.text').textContent === waiting.text)
      body.setAttribute('elementtiming', waiting.text);
  }).observe(document.querySelector('.messages-list'), { childList: true, subtree: true });
}

/** Milliseconds from the key press to the painted row. */
async function send(page, text) {
  await page.evaluate((text) => {
    window.echo.shown = new Promise((resolve) => {
      window.echo.waiting = { text, resolve };
    });
  }, text);
  await page.keyboard.insertText(text);
  await page.keyboard.press('Enter');
  return page.evaluate(() => window.echo.shown);
}

export async function measure({ page }) {
  await page.focus('#composer');
  await page.evaluate(watch);
  const times = [];
  for (let number = 0; number < SENDS; number += 1) times.push(await send(page, `echo ${number}`));
  const p99 = quantile(times, 0.99);
  console.error(`echo: p50 ${ms(quantile(times, 0.5))}, p99 ${ms(p99)}, longest ${ms(Math.max(...times))}`);
  return [
    {
      what: 'local echo, p99',
      ours: ms(p99),
      target: `<= ${ms(TARGET)}`,
      met: p99 <= TARGET,
      note:
        `Of ${SENDS} sends in the conversation of 10,000 messages, p50 ${ms(quantile(times, 0.5))}. From the key press ` +
        "(its event's time stamp) to the presented frame that has the row's text (Element Timing's render time).",
    },
  ];
}
