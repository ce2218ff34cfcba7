import { createSignal, onCleanup, Show, untrack } from 'solid-js';
import { conversation as find, other } from '../state/conversations.ts';
import { openTimeline } from '../state/timeline.ts';
import { BlockedBar } from './blocked.tsx';
import { ChatHeader } from './chat-header.tsx';
import { Composer } from './composer.tsx';
import { MessageList } from './message-list.tsx';
import { RequestBar } from './request-bar.tsx';
import { TypingLine } from './typing-line.tsx';

/** One conversation: who it is with, what was said, and where to write. */
export function Chat(props: { conversation: string }) {
  const id = props.conversation;
  const timeline = openTimeline(
    id,
    untrack(() => find(id)?.unread ?? 0),
  );
  onCleanup(timeline.close);
  const of = () => find(id);
  const [toEnd, setToEnd] = createSignal(0);

  return (
    <Show when={of()}>
      {(now) => (
        <section class="chat" aria-label="Conversation">
          <ChatHeader of={now()} />
          <MessageList of={now()} timeline={timeline} toEnd={toEnd()} />
          <TypingLine conversation={id} />
          <Show when={now().request && !now().blocked}>
            <RequestBar of={now()} />
          </Show>
          <Show when={now().blocked}>
            <BlockedBar handle={other(now())} />
          </Show>
          <Show when={!now().member}>
            <footer class="bar">
              <p>You have left this group. What was said stays here.</p>
            </footer>
          </Show>
          <Show when={!now().request && !now().blocked && now().member}>
            <Composer conversation={id} onSent={() => setToEnd((count) => count + 1)} />
          </Show>
        </section>
      )}
    </Show>
  );
}
