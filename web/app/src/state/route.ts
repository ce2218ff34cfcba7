// What is on screen, kept in the address so that "back" works as everywhere.
import { createSignal } from 'solid-js';

export type Panel = 'new-chat' | 'new-group' | 'settings' | 'shortcuts' | 'details' | 'privacy';

const read = () => /^#\/c\/([0-9a-f]{32})$/.exec(location.hash)?.[1];
const [current, setCurrent] = createSignal(read());
const [panel, setPanel] = createSignal<Panel>();

export { current, panel };

addEventListener('hashchange', () => {
  setPanel(undefined);
  setCurrent(read());
});

export function show(conversation: string | undefined): void {
  setPanel(undefined);
  location.hash = conversation ? `/c/${conversation}` : '/';
}

export const openPanel = (which: Panel) => setPanel(which);
export const closePanel = () => setPanel(undefined);
