import { createMemo, createSignal, For, Show } from 'solid-js';
import { chats, loaded, requests, shownTitle, title } from '../state/conversations.ts';
import { openPanel } from '../state/route.ts';
import { me } from '../state/session.ts';
import { ChatRow } from './chat-row.tsx';
import { Icon, IconButton } from './icon.tsx';
import { Avatar, Person } from './name.tsx';
import { PrivacyButton } from './privacy.tsx';

export function Sidebar() {
  const [sought, setSought] = createSignal('');
  const found = createMemo(() => {
    const words = sought().trim().toLowerCase().replace(/^@/, '');
    return words
      ? chats().filter((each) => `${title(each)}\n${shownTitle(each)}`.toLowerCase().includes(words))
      : chats();
  });

  return (
    <nav class="sidebar" aria-label="Chats">
      <h1 class="hidden">Chats</h1>
      <header class="sidebar-head">
        <button type="button" class="me" onClick={() => openPanel('settings')}>
          <Avatar name={me()?.handle ?? ''} />
          <span class="me-name">
            <Person of={me()?.handle ?? ''} />
            <span class="hidden">, settings</span>
          </span>
        </button>
        <IconButton icon="group" name="New group" onClick={() => openPanel('new-group')} />
        <IconButton icon="compose" name="New chat" onClick={() => openPanel('new-chat')} />
      </header>
      <Show when={chats().length > 0}>
        <div class="search">
          <Icon name="search" />
          <input
            id="search"
            type="search"
            placeholder="Search chats"
            aria-label="Search chats"
            autocomplete="off"
            value={sought()}
            onInput={(event) => setSought(event.currentTarget.value)}
          />
        </div>
      </Show>
      <div class="lists" ref={(lists) => lists.addEventListener('keydown', (event) => walk(lists, event))}>
        <Show when={requests().length > 0}>
          <h2 class="list-title">Requests</h2>
          <ul class="chat-list">
            <For each={requests()}>{(each) => <ChatRow of={each} />}</For>
          </ul>
          <h2 class="list-title">Chats</h2>
        </Show>
        <ul class="chat-list">
          <For each={found()}>{(each) => <ChatRow of={each} />}</For>
        </ul>
        <Show when={loaded() && found().length === 0}>
          <Show when={sought()} fallback={<NoChats />}>
            <p class="list-empty">No chat is called that.</p>
          </Show>
        </Show>
      </div>
      <footer class="sidebar-foot">
        <PrivacyButton />
        <IconButton
          icon="keyboard"
          name="Keyboard shortcuts"
          title="Keyboard shortcuts (?)"
          onClick={() => openPanel('shortcuts')}
        />
      </footer>
    </nav>
  );
}

function NoChats() {
  return (
    <div class="list-empty">
      <p class="list-empty-title">No chats yet</p>
      <p>
        People find you as <strong>@{me()?.handle}</strong>. Or begin yourself, with the handle of somebody
        you know.
      </p>
      <button type="button" class="button is-primary" onClick={() => openPanel('new-chat')}>
        New chat
      </button>
    </div>
  );
}

/** Arrow keys walk through the list, Home and End to its ends. */
function walk(lists: HTMLElement, event: KeyboardEvent) {
  const links = [...lists.querySelectorAll('a')];
  const at = links.indexOf(document.activeElement as HTMLAnchorElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (event.altKey || at < 0 || to === undefined) return;
  event.preventDefault();
  links[to]?.focus();
}
