import { createEffect, createMemo, createSignal, For, on, onMount, Show } from 'solid-js';
import type { Conversation } from 'sotto';
import { createVirtual } from '../list/virtual.ts';
import { useSeen } from '../state/seen.ts';
import { peer } from '../state/session.ts';
import type { Timeline } from '../state/timeline.ts';
import { Icon } from './icon.tsx';
import { MessageRow } from './message-row.tsx';
import { Start } from './start.tsx';

const NEAR = 40; // rows from the top at which older ones are asked for, so that they are there before the reader is

/** What was said. Only rows near the view are in the document. */
export function MessageList(props: { of: Conversation; timeline: Timeline; toEnd: number }) {
  const { messages, complete, firstUnread, loaded, loadOlder, wrong, retry } = props.timeline;
  // A mark that changes changes no place: the same list again, so that nothing of ten thousand rows is computed anew.
  const ids = createMemo<readonly string[]>((before) => {
    const now = messages();
    const same = now.length === before.length && now.every((message, at) => message.id === before[at]);
    return same ? before : now.map((message) => message.id);
  }, []);
  const index = createMemo(() => new Map(ids().map((id, at) => [id, at])));
  const [away, setAway] = createSignal(false);
  const seen = useSeen((id) => {
    peer()
      .markRead(props.of.conversation, id)
      .catch(() => {}); // what is seen next says it again
  });
  let view!: HTMLElement;
  let canvas!: HTMLDivElement;
  let list!: HTMLOListElement;

  const estimate = (at: number) => {
    const text = messages()[at]?.text ?? '';
    return 42 + Math.floor(text.length / 60) * 22;
  };
  const virtual = createVirtual({
    ids,
    index,
    estimate,
    onView: (first, last, atEnd) => {
      setAway(!atEnd);
      if (first < NEAR) loadOlder();
      const message = messages()[last];
      if (message) seen(message.id, last);
    },
  });
  onMount(() => virtual.mount({ view, canvas, list }));

  createEffect(
    on(loaded, (now) => {
      const unread = firstUnread();
      if (now && unread !== undefined) queueMicrotask(() => virtual.to(unread));
    }),
  );
  createEffect(on(() => props.toEnd, virtual.toEnd, { defer: true }));

  // New messages are read out where they arrive, not where rows come into view.
  const announcement = () => {
    const last = messages().at(-1);
    return last && !last.own && last.kind === 'text' ? `${last.from}: ${last.text}` : '';
  };

  return (
    <div class="messages">
      <section ref={view} class="messages-view" aria-label="Messages" tabindex="0">
        <Show when={loaded() && complete() && messages().length === 0}>
          <Start of={props.of} alone />
        </Show>
        <Show when={wrong()}>
          {(why) => (
            <div class="messages-wrong" role="alert">
              <p>
                <strong>{loaded() ? 'Older messages' : 'The messages'} could not be read.</strong> {why()}
              </p>
              <button type="button" class="button" onClick={retry}>
                Try again
              </button>
            </div>
          )}
        </Show>
        <div ref={canvas} class="messages-canvas">
          <ol ref={list} class="messages-list">
            <For each={virtual.rows()}>
              {(id) => {
                const at = () => index().get(id) ?? -1;
                // Most changes are of other rows: those must not be computed anew.
                const before = createMemo(() => messages()[at() - 1]);
                const after = createMemo(() => messages()[at() + 1]);
                return (
                  <Show when={messages()[at()]}>
                    {(message) => (
                      <MessageRow
                        ref={(element) => virtual.row(id, element)}
                        message={message()}
                        before={before()}
                        after={after()}
                        group={props.of.kind === 'group'}
                        firstUnread={firstUnread() === id}
                        start={at() === 0 && complete() ? props.of : undefined}
                      />
                    )}
                  </Show>
                );
              }}
            </For>
          </ol>
        </div>
      </section>
      <Show when={away()}>
        <button type="button" class="to-end" aria-label="To the newest message" onClick={virtual.toEnd}>
          <Icon name="down" />
        </button>
      </Show>
      <p class="hidden" aria-live="polite">
        {announcement()}
      </p>
    </div>
  );
}
