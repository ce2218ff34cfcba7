// Who is there, who types, and how each one is reached.
import { createSignal } from 'solid-js';
import type { LinkStatus, Presence, Sotto, Status } from 'sotto';
import { peer } from './session.ts';

export type Reach = 'direct' | 'relay' | 'offline';

const TYPING_LASTS = 7_000; // a "stopped" can be lost with the connection

const [presences, setPresences] = createSignal<ReadonlyMap<string, Presence>>(new Map());
const [typists, setTypists] = createSignal<ReadonlyMap<string, readonly string[]>>(new Map());
const [status, setStatus] = createSignal<Status>();

export { status };

export const presence = (handle: string) => presences().get(handle);
export const typing = (conversation: string) => typists().get(conversation) ?? [];
export const links = (handle: string): LinkStatus[] =>
  status()?.links.filter((link) => link.handle === handle) ?? [];

/** The best of the ways to a person's devices. */
export function reach(handle: string): Reach {
  const usable = links(handle).filter((link) => link.state !== 'dead' || link.path === 'relay');
  if (usable.some((link) => link.path === 'direct')) return 'direct';
  if (usable.some((link) => link.path === 'turn')) return 'relay';
  const away = presence(handle)?.state ?? 'offline';
  return away !== 'offline' && usable.some((link) => link.path === 'relay') ? 'relay' : 'offline';
}

export function listenToPeople(sotto: Sotto): void {
  sotto.on('presence', (one) => {
    setPresences((before) => new Map(before).set(one.handle, one));
    refreshStatus();
  });
  sotto.on('typing', ({ conversation, handle, on }) => setTyping(conversation, handle, on));
  sotto.on('message', ({ conversation, from }) => setTyping(conversation, from, false));
  sotto.on('path', refreshStatus);
  sotto.on('connection', refreshStatus);
}

const stops = new Map<string, ReturnType<typeof setTimeout>>();

function setTyping(conversation: string, handle: string, on: boolean) {
  const key = `${conversation}/${handle}`;
  clearTimeout(stops.get(key));
  if (on)
    stops.set(
      key,
      setTimeout(() => setTyping(conversation, handle, false), TYPING_LASTS),
    );
  const others = typing(conversation).filter((each) => each !== handle);
  if (!on && others.length === typing(conversation).length) return;
  setTypists((before) => new Map(before).set(conversation, on ? [...others, handle] : others));
}

let asked = false;

/** Asks how things stand, once for a burst of changes. */
export function refreshStatus(): void {
  if (asked) return;
  asked = true;
  setTimeout(() => {
    asked = false;
    peer()
      .status()
      .then(setStatus)
      .catch(() => {}); // whoever shows it keeps what was known; what is wrong is told elsewhere
  }, 50);
}
