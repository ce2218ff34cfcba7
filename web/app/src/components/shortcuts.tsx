import { For } from 'solid-js';
import { SHORTCUTS } from '../state/shortcuts.ts';
import { Dialog } from './dialog.tsx';

export function Shortcuts() {
  return (
    <Dialog title="Keyboard shortcuts">
      <dl class="facts is-keys">
        <For each={SHORTCUTS}>
          {(each) => (
            <div>
              <dt>{each.does}</dt>
              <dd>
                <For each={each.keys}>{(key) => <kbd>{key}</kbd>}</For>
              </dd>
            </div>
          )}
        </For>
      </dl>
      <p class="quiet">On a Mac, ⌘ works as Ctrl. Everything else is reached with Tab.</p>
    </Dialog>
  );
}
