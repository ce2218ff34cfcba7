import { Show } from 'solid-js';
import type { Conversation } from 'sotto';
import { lastMessage, other, title } from '../state/conversations.ts';
import { reach, typing } from '../state/people.ts';
import { displayName } from '../state/profiles.ts';
import { current } from '../state/route.ts';
import { brief } from '../words/time.ts';
import { Marks } from './marks.tsx';
import { Avatar, Name, Title } from './name.tsx';

/** One line of the chat list. */
export function ChatRow(props: { of: Conversation }) {
  const last = () => lastMessage(props.of.conversation);
  const reached = () =>
    props.of.kind === 'direct' && !props.of.request ? reach(other(props.of)) : undefined;
  return (
    <li>
      <a
        class="chat-row"
        classList={{ 'is-unread': props.of.unread > 0, 'is-muted': !props.of.member }}
        href={`#/c/${props.of.conversation}`}
        aria-current={current() === props.of.conversation ? 'page' : undefined}
      >
        <Avatar name={title(props.of)} group={props.of.kind === 'group'} reach={reached()} />
        <span class="chat-row-text">
          <span class="chat-row-line">
            <span class="chat-row-title">
              <Title of={props.of} />
            </span>
            <Show when={last()}>
              {(message) => <time class="chat-row-time">{brief(message().sent_at)}</time>}
            </Show>
          </span>
          <span class="chat-row-line">
            <span class="chat-row-last">
              <Show
                when={typing(props.of.conversation).length === 0}
                fallback={<span class="is-typing">typing…</span>}
              >
                <Preview of={props.of} />
              </Show>
            </span>
            <Show when={props.of.unread > 0}>
              <span class="badge">
                {props.of.unread > 999 ? '999+' : props.of.unread}
                <span class="hidden"> unread</span>
              </span>
            </Show>
          </span>
        </span>
      </a>
    </li>
  );
}

function Preview(props: { of: Conversation }) {
  const last = () => lastMessage(props.of.conversation);
  const text = () => {
    const message = last();
    if (!props.of.member) return 'You have left this group';
    if (!message) return props.of.request ? 'Wants to chat' : 'No messages yet';
    if (message.kind === 'text') return message.text ?? '';
    return message.kind === 'renamed' ? `Renamed to ${message.name}` : 'A message for a newer version';
  };
  const author = () => {
    const message = last();
    return props.of.kind === 'group' && message && !message.own && message.kind === 'text'
      ? message.from
      : undefined;
  };
  return (
    <>
      <Show when={last()?.own && props.of.member && last()}>{(message) => <Marks of={message()} />}</Show>
      <Show when={author()}>
        {(from) => (
          <>
            <Name of={displayName(from())} />:{' '}
          </>
        )}
      </Show>
      <bdi>{text()}</bdi>
    </>
  );
}
