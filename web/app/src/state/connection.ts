// Whether the server is reached, which tab leads, and what a person should be told about.
import { createSignal } from 'solid-js';
import type { Events, Sotto, TabState } from 'sotto';

type Socket = Events['connection']['socket'];
const [down, setDown] = createSignal<ReadonlyMap<Socket, string>>(new Map());
const [tab, setTab] = createSignal<TabState>('leading');
const [alarms, setAlarms] = createSignal<readonly Events['alarm'][]>([]);

export { alarms, down, tab };

export function listenToConnection(sotto: Sotto, reread: () => void): void {
  sotto.on('connection', ({ socket, up, why }) => setSocket(socket, up, why));
  sotto.on('alarm', (alarm) => setAlarms((before) => [...before, alarm]));
  sotto.on('tab', ({ state }) => {
    if (tab() === 'taking-over' && state !== 'taking-over') reread();
    setTab(state);
  });
}

export function setSocket(socket: Socket, up: boolean, why = ''): void {
  const next = new Map(down());
  if (up) next.delete(socket);
  else next.set(socket, why);
  setDown(next);
}

export const dismissAlarm = () => setAlarms((before) => before.slice(1));
