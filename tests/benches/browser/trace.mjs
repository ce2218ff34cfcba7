// A Chromium trace of what happens meanwhile, and the frames in it.

// Frames, and the tasks of each thread.
const CATEGORIES = ['devtools.timeline', 'disabled-by-default-devtools.timeline'];

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

const LONG = 50_000;

/**
 * How long each frame of the pages took, in milliseconds. A frame begins as one of the Long Animation Frames API does,
 * which the trace has as `AnimationFrame`: with the first task that made the page want to be drawn anew. There it ends with
 * the layout; here with the task in which that is, so that painting counts. 50 ms is where that API, too, begins to call a
 * frame long. A task of the main thread that draws nothing keeps the next frame waiting: above 50 ms it counts as one.
 */
export function frames(events) {
  const begun = new Map();
  /** By main thread: the task that runs, and when the frame began that it draws. */
  const running = new Map();
  const lengths = [];
  const finish = ({ start, end, from }) => {
    if (from !== undefined || end - start > LONG) lengths.push((end - (from ?? start)) / 1_000);
  };
  const pages = new Set(events.filter(({ name }) => name === 'AnimationFrame').map(thread));
  for (const event of events.filter((event) => pages.has(thread(event))).toSorted((a, b) => a.ts - b.ts)) {
    const { name, ph, pid, id2, ts, dur } = event;
    const frame = `${pid} ${id2?.local}`;
    const task = running.get(thread(event));
    if (name === 'RunTask' && ph === 'X' && ts >= (task?.end ?? 0)) {
      if (task) finish(task);
      running.set(thread(event), { start: ts, end: ts + dur });
    } else if (name === 'AnimationFrame' && ph === 'b') begun.set(frame, ts);
    else if (name === 'AnimationFrame' && ph === 'e' && task && begun.has(frame))
      task.from ??= begun.get(frame);
  }
  for (const task of running.values()) finish(task);
  if (lengths.length === 0) throw new Error('the trace has no frame');
  return lengths;
}

const thread = ({ pid, tid }) => `${pid} ${tid}`;
