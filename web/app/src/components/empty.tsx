import { Show } from 'solid-js';
import { blocked, chats, loaded, requests } from '../state/conversations.ts';
import { openPanel, show } from '../state/route.ts';
import { Mark } from './logo.tsx';

/** The right pane while no conversation is chosen. */
export function Empty(props: { missing: boolean }) {
  const nobody = () => loaded() && chats().length + requests().length + blocked().length === 0;
  return (
    <section class="empty-pane">
      <Show when={props.missing} fallback={<Choose first={nobody()} />}>
        <h2>This conversation is not here</h2>
        <p class="quiet">It may belong to another account or browser.</p>
        <button type="button" class="button" onClick={() => show(undefined)}>
          Back to your chats
        </button>
      </Show>
    </section>
  );
}

function Choose(props: { first: boolean }) {
  return (
    <>
      <Mark />
      <h2>{props.first ? 'Say hello to somebody' : 'Choose a chat'}</h2>
      <p class="quiet">
        {props.first
          ? 'Ask them for their handle, or tell them yours. Messages go straight from device to device whenever they can.'
          : 'Or start a new one.'}
      </p>
      <button
        type="button"
        class="button"
        classList={{ 'is-primary': props.first }}
        onClick={() => openPanel('new-chat')}
      >
        New chat
      </button>
      <Show when={!props.first}>
        <p class="quiet keys-hint">
          <kbd>Alt</kbd> <kbd>↓</kbd> next chat · <kbd>?</kbd> all shortcuts
        </p>
      </Show>
    </>
  );
}
