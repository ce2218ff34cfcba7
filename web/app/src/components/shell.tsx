import { createEffect, Match, on, Show, Switch } from 'solid-js';
import { conversation, loaded, unreadInAll } from '../state/conversations.ts';
import { current, panel } from '../state/route.ts';
import { useShortcuts } from '../state/shortcuts.ts';
import { Banners } from './banners.tsx';
import { Chat } from './chat.tsx';
import { Details } from './details.tsx';
import { Empty } from './empty.tsx';
import { NewChat } from './new-chat.tsx';
import { NewGroup } from './new-group.tsx';
import { Privacy } from './privacy.tsx';
import { Settings } from './settings.tsx';
import { Shortcuts } from './shortcuts.tsx';
import { Sidebar } from './sidebar.tsx';

/** Two panes side by side; on a phone, one of them. */
export function Shell() {
  useShortcuts();
  const chosen = () => {
    const id = current();
    return id === undefined ? undefined : conversation(id);
  };
  // Who leaves a chat goes on in the list where that chat is.
  createEffect(
    on(current, (now, before) => {
      if (now || !before) return;
      queueMicrotask(() => document.querySelector<HTMLElement>(`a[href="#/c/${before}"]`)?.focus());
    }),
  );
  createEffect(() => {
    document.title = unreadInAll() ? `(${unreadInAll()}) Sotto` : 'Sotto';
  });
  return (
    <main class="shell" classList={{ 'is-open': current() !== undefined }}>
      <Banners />
      <Sidebar />
      <Show
        when={chosen()?.conversation}
        keyed
        fallback={<Empty missing={current() !== undefined && loaded()} />}
      >
        {(id) => <Chat conversation={id} />}
      </Show>
      <Switch>
        <Match when={panel() === 'new-chat'}>
          <NewChat />
        </Match>
        <Match when={panel() === 'new-group'}>
          <NewGroup />
        </Match>
        <Match when={panel() === 'settings'}>
          <Settings />
        </Match>
        <Match when={panel() === 'shortcuts'}>
          <Shortcuts />
        </Match>
        <Match when={panel() === 'privacy'}>
          <Privacy />
        </Match>
        <Match when={panel() === 'details' && chosen()}>{(each) => <Details of={each()} />}</Match>
      </Switch>
    </main>
  );
}
