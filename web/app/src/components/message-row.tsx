import { For, Show } from 'solid-js';
import type { Conversation, Message } from 'sotto';
import { hue } from '../words/names.ts';
import { day, sameDay, timeOfDay } from '../words/time.ts';
import { Marks } from './marks.tsx';
import { Avatar, Name, Person } from './name.tsx';
import { Start } from './start.tsx';

const TOGETHER = 5 * 60_000; // messages of one person this close are one block

interface Props {
  ref: (element: HTMLElement) => void;
  message: Message;
  before: Message | undefined;
  after: Message | undefined;
  group: boolean;
  firstUnread: boolean;
  start: Conversation | undefined;
}

const sameBlock = (a: Message | undefined, b: Message | undefined) =>
  !!a &&
  !!b &&
  a.kind === 'text' &&
  b.kind === 'text' &&
  a.from === b.from &&
  Math.abs(b.sent_at - a.sent_at) < TOGETHER &&
  sameDay(a.sent_at, b.sent_at);

export function MessageRow(props: Props) {
  const gaps = () => props.message.missing ?? [];
  const newDay = () => !props.before || !sameDay(props.before.sent_at, props.message.sent_at);
  const joinsBefore = () =>
    sameBlock(props.before, props.message) && !props.firstUnread && gaps().length === 0;
  const joinsAfter = () => sameBlock(props.message, props.after);
  // The same time and mark below each line of a block would be noise: the last one tells them.
  const toldBelow = () => {
    const { message, after } = props;
    const sameTime = after && joinsAfter() && timeOfDay(message.sent_at) === timeOfDay(after.sent_at);
    return sameTime && message.state === after.state;
  };
  return (
    <li ref={props.ref} class="row" classList={{ 'is-block-start': !joinsBefore() }}>
      <Show when={props.start}>{(of) => <Start of={of()} />}</Show>
      <For each={gaps()}>
        {(gap) => (
          <p class="divider is-gap">
            <span>Messages are missing here: {gap.why}</span>
          </p>
        )}
      </For>
      <Show when={newDay()}>
        <p class="divider">
          <span>{day(props.message.sent_at)}</span>
        </p>
      </Show>
      <Show when={props.firstUnread}>
        <p class="divider is-unread">
          <span>New messages</span>
        </p>
      </Show>
      <Show when={props.message.kind === 'text'} fallback={<Aside message={props.message} />}>
        <article
          class="message"
          classList={{
            'is-own': props.message.own,
            'is-group': props.group,
            'joins-before': joinsBefore(),
            'joins-after': joinsAfter(),
          }}
        >
          <Show when={props.group && !props.message.own && !joinsAfter()}>
            <Avatar name={props.message.from} size="small" />
          </Show>
          <div class="bubble">
            <Show when={!joinsBefore()}>
              <p
                class="author"
                classList={{ hidden: !props.group || props.message.own }}
                style={{ '--hue': String(hue(props.message.from)) }}
              >
                <Author of={props.message} />
              </p>
            </Show>
            <div class="body" dir="auto">
              <span class="text">{props.message.text}</span>
              <span class="foot" classList={{ hidden: toldBelow() }}>
                <time dir="ltr" datetime={new Date(props.message.sent_at).toISOString()}>
                  {timeOfDay(props.message.sent_at)}
                </time>
                <Show when={props.message.own}>
                  <Marks of={props.message} />
                </Show>
              </span>
            </div>
          </div>
        </article>
      </Show>
    </li>
  );
}

function Author(props: { of: Message }) {
  return (
    <Show when={!props.of.own} fallback="You">
      <Person of={props.of.from} />
    </Show>
  );
}

/** What is told rather than said. */
function Aside(props: { message: Message }) {
  return (
    <p class="aside">
      <Author of={props.message} />{' '}
      <Show
        when={props.message.kind === 'renamed'}
        fallback="sent something that this version of Sotto cannot read. Reload the page to get the newest one."
      >
        named the group “<Name of={props.message.name ?? ''} />”
      </Show>
    </p>
  );
}
