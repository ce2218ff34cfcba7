// The part of `make bench` that needs Chromium: the app that the server embeds, as its release build serves it.
//
// - crowd.mjs, scroll.mjs, echo.mjs, first_message.mjs: a conversation of ten thousand messages, and a measurement each;
// - trace.mjs: Chromium's own account of what it did, and the frames in it;
// - peerjs.mjs: what a first message is compared with;
// - report.mjs: medians, and the table at the end.

import { parseArgs } from 'node:util';
import { crowd } from './crowd.mjs';
import * as echo from './echo.mjs';
import * as firstMessage from './first_message.mjs';
import { print } from './report.mjs';
import * as scroll from './scroll.mjs';

const MESSAGES = 10_000;
const NAMES = ['scroll', 'echo', 'page-first-message'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '7' }, 'no-fail': { type: 'boolean', default: false } },
});
const wanted = (name) => positionals.length === 0 || positionals.includes(name);
const rounds = Number(values.rounds);
if (!positionals.every((name) => NAMES.includes(name)) || !(rounds >= 5)) {
  console.error('bench: what scripts/bench --help says is understood');
  process.exit(2);
}

/** Ends what was begun. */
const running = [];

let ended = Promise.resolve();

/** Whoever calls it, it is over only once everything has ended. */
function endAll() {
  const before = ended;
  ended = Promise.allSettled([before, ...running.splice(0).map((end) => end())]).then((all) => {
    for (const { reason } of all) if (reason) throw reason;
  });
  return ended;
}

/** Runs `work` with what takes note of what must be ended, and ends it. */
async function ending(work) {
  try {
    return await work({ after: (end) => running.push(end) });
  } finally {
    await endAll();
  }
}

// Who stops it must not be left with a server and a browser.
for (const [signal, number] of Object.entries({ SIGINT: 2, SIGTERM: 15 })) {
  process.once(signal, () => void endAll().finally(() => process.exit(128 + number)));
}

const lines = [];
if (wanted('page-first-message')) {
  console.error('== page-first-message');
  lines.push(...(await ending((ends) => firstMessage.measure(ends, rounds))));
}
const inTheCrowd = Object.entries({ scroll, echo }).filter(([name]) => wanted(name));
if (inTheCrowd.length > 0) {
  await ending(async (ends) => {
    console.error(`== a conversation of ${MESSAGES} messages`);
    const stage = await crowd(ends, MESSAGES);
    for (const [name, { measure }] of inTheCrowd) {
      console.error(`== ${name}`);
      lines.push(...(await measure(stage)));
    }
  });
}
print(lines);
if (lines.some(({ met }) => met === false) && !values['no-fail']) process.exitCode = 1;
