// What this browser prefers to look like.
import { createEffect, createSignal } from 'solid-js';
import { keep, kept } from './kept.ts';

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'sotto.theme';

const stored = (): Theme => {
  const value = kept(KEY);
  return value === 'light' || value === 'dark' ? value : 'system';
};
const [theme, setTheme] = createSignal<Theme>(stored());

export { setTheme, theme };

/** Keeps the document in the chosen theme. */
export function applyTheme(): void {
  createEffect(() => {
    document.documentElement.dataset.theme = theme();
    keep(KEY, theme());
  });
}
