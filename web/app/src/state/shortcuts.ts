// Keys that work everywhere. The list that people see is made of the same table.
import { onCleanup, onMount } from 'solid-js';
import { chats } from './conversations.ts';
import { current, openPanel, show } from './route.ts';

interface Shortcut {
  keys: string[];
  does: string;
  on?: (event: KeyboardEvent) => boolean;
  run?: () => void;
}

const control = (event: KeyboardEvent) => event.ctrlKey || event.metaKey;
const plainKey = (event: KeyboardEvent) => !control(event) && !event.altKey && !writing(event.target);
const writing = (target: EventTarget | null) =>
  target instanceof Element && target.matches('input, textarea, select');

export const SHORTCUTS: Shortcut[] = [
  {
    keys: ['Ctrl', 'K'],
    does: 'New chat',
    on: (e) => control(e) && e.key === 'k',
    run: () => openPanel('new-chat'),
  },
  {
    keys: ['Ctrl', ','],
    does: 'Settings',
    on: (e) => control(e) && e.key === ',',
    run: () => openPanel('settings'),
  },
  { keys: ['Alt', '↓'], does: 'Next chat', on: (e) => e.altKey && e.key === 'ArrowDown', run: () => step(1) },
  {
    keys: ['Alt', '↑'],
    does: 'Previous chat',
    on: (e) => e.altKey && e.key === 'ArrowUp',
    run: () => step(-1),
  },
  { keys: ['/'], does: 'Search chats', on: (e) => plainKey(e) && e.key === '/', run: () => focus('#search') },
  {
    keys: ['C'],
    does: 'Write in the open chat',
    on: (e) => plainKey(e) && e.key === 'c',
    run: () => focus('#composer'),
  },
  {
    keys: ['I'],
    does: 'Path and members of the open chat',
    on: (e) => plainKey(e) && e.key === 'i' && !!current(),
    run: () => openPanel('details'),
  },
  {
    keys: ['?'],
    does: 'This list',
    on: (e) => plainKey(e) && e.key === '?',
    run: () => openPanel('shortcuts'),
  },
  {
    keys: ['Esc'],
    does: 'Close, or leave the open chat',
    on: (e) => e.key === 'Escape' && !!current(),
    run: () => show(undefined),
  },
  { keys: ['Enter'], does: 'Send' },
  { keys: ['Shift', 'Enter'], does: 'New line' },
];

export function useShortcuts(): void {
  const pressed = (event: KeyboardEvent) => {
    if (document.querySelector('dialog[open]') || event.defaultPrevented || event.isComposing) return;
    const hit = SHORTCUTS.find((each) => each.on?.(event));
    if (!hit?.run) return;
    event.preventDefault();
    hit.run();
  };
  onMount(() => addEventListener('keydown', pressed));
  onCleanup(() => removeEventListener('keydown', pressed));
}

const focus = (selector: string) => document.querySelector<HTMLElement>(selector)?.focus();

function step(by: number) {
  const list = chats().map((each) => each.conversation);
  const at = list.indexOf(current() ?? '');
  const next = list[at < 0 ? 0 : (at + by + list.length) % list.length];
  if (next) show(next);
}
