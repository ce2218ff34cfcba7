// A Chromium trace of what happens meanwhile, and the frames in it.

const CATEGORIES = [
  'toplevel',
  'devtools.timeline',
  'disabled-by-default-devtools.timeline',
  'disabled-by-default-devtools.timeline.frame',
];

/** Runs `work` while Chromium traces itself; resolves to the trace's events. */
export async function traced(browser, work) {
  const session = await browser.newBrowserCDPSession();
  const traceConfig = { includedCategories: CATEGORIES, recordMode: 'recordAsMuchAsPossible' };
  await session.send('Tracing.start', { transferMode: 'ReturnAsStream', traceConfig });
  await work();
  const complete = new Promise((resolve) => session.once('Tracing.tracingComplete', resolve));
  await session.send('Tracing.end');
  const { stream, dataLossOccurred } = await complete;
  if (dataLossOccurred) throw new Error('the trace has holes');
  let json = '';
  for (let end = false; !end; ) {
    const { data, eof, base64Encoded } = await session.send('IO.read', { handle: stream, size: 8 << 20 });
    json += base64Encoded ? Buffer.from(data, 'base64').toString() : data;
    end = eof;
  }
  await session.send('IO.close', { handle: stream });
  await session.detach();
  return JSON.parse(json).traceEvents;
}

/**
 * How long each frame of the pages took, in milliseconds. A frame is what the Long Animation Frames API
 * calls one, which the trace has as `AnimationFrame`: from the start of the first task that made the page want to be
 * drawn anew to the end of its layout and painting. Time in which the main thread does that, or anything else, is time in
 * which it answers nobody; 50 ms is where that API, too, begins to call it long.
 */
export function frames(events) {
  const begun = new Map();
  const lengths = [];
  for (const { name, ph, pid, id, id2, ts } of events.toSorted((a, b) => a.ts - b.ts)) {
    if (name !== 'AnimationFrame') continue;
    const key = `${pid} ${id2?.local ?? id}`;
    if (ph === 'b') begun.set(key, ts);
    else if (ph === 'e' && begun.has(key)) lengths.push((ts - begun.get(key)) / 1_000);
  }
  if (lengths.length === 0) throw new Error('the trace has no frame');
  return lengths;
}
