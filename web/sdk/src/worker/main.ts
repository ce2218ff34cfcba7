// The worker's entrance: what the page says goes to its tab.

import type { FromWorker, ToWorker } from '../wire.js';
import { Tab } from './tab.js';

/** The worker's own side, which the page's types do not know. */
const page = self as unknown as {
  postMessage(message: FromWorker, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
};

let tab: Tab | undefined;

// As with what is thrown: the page's `Worker` has an error event. Without this a broken promise stays here.
addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  reportError(event.reason);
});

page.onmessage = ({ data }) => {
  switch (data.type) {
    case 'open':
      tab = new Tab(data.profile, data.wasm, (message, transfer = []) => page.postMessage(message, transfer));
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
