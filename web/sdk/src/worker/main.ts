// The worker's entrance: what the page says goes to its tab.

import type { FromWorker, ToWorker } from '../wire.js';
import { Tab } from './tab.js';

/** The worker's own side, which the page's types do not know. */
const page = self as unknown as {
  postMessage(messages: FromWorker[], transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
};

let tab: Tab | undefined;
let said: FromWorker[] = [];
let given: Transferable[] = [];

/** What somebody in the page waits for. */
const AWAITED: FromWorker['type'][] = ['answer', 'opened', 'failed', 'closed'];

/**
 * What is said in one turn goes together: the page draws once what belongs together, not half of it first. What is waited
 * for ends it, so that who waits goes on, and listens, before the page hears what came after.
 */
function tell(message: FromWorker, transfer: Transferable[] = []): void {
  if (said.push(message) === 1) queueMicrotask(flush);
  given.push(...transfer);
  if (AWAITED.includes(message.type)) flush();
}

function flush(): void {
  if (said.length === 0) return;
  page.postMessage(said, given);
  [said, given] = [[], []];
}

// As with what is thrown: the page's `Worker` has an error event. Without this a broken promise stays here.
addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  reportError(event.reason);
});

page.onmessage = ({ data }) => {
  switch (data.type) {
    case 'open':
      tab = new Tab(data.profile, data.wasm, tell);
      return;
    case 'call':
      return tab?.call(data.id, data);
    case 'link':
      return tab?.link(data.device, data.session, data.event);
    case 'alive':
      return tab?.heardPage();
    case 'visible':
      if (tab) tab.visible = data.visible;
      return;
    case 'close':
      return tab?.close();
  }
};
