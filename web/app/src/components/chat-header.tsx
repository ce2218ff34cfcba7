import { Show } from 'solid-js';
import type { Conversation } from 'sotto';
import { other, title } from '../state/conversations.ts';
import { links, presence, reach } from '../state/people.ts';
import { profile } from '../state/profiles.ts';
import { openPanel, show } from '../state/route.ts';
import { REACH_WORDS, roundTrip } from '../words/paths.ts';
import { lastSeen } from '../words/time.ts';
import { Icon, IconButton } from './icon.tsx';
import { Avatar, Name, Title } from './name.tsx';

export function ChatHeader(props: { of: Conversation }) {
  const direct = () => props.of.kind === 'direct';
  return (
    <header class="chat-head">
      <IconButton icon="back" name="Back to the chats" class="only-phone" onClick={() => show(undefined)} />
      <Avatar name={title(props.of)} group={!direct()} />
      <div class="chat-head-text">
        <h1>
          <Title of={props.of} />
        </h1>
        <p class="quiet one-line">
          <Show when={direct()} fallback={<Members of={props.of} />}>
            <PresenceLine handle={other(props.of)} request={props.of.request} />
          </Show>
        </p>
      </div>
      <Show
        when={direct()}
        fallback={
          <IconButton
            icon="details"
            name="Members and settings of the group"
            onClick={() => openPanel('details')}
          />
        }
      >
        <ReachButton handle={other(props.of)} />
      </Show>
    </header>
  );
}

function Members(props: { of: Conversation }) {
  return (
    <>
      {props.of.members.length} {props.of.members.length === 1 ? 'member' : 'members'} ·{' '}
      {props.of.members.join(', ')}
    </>
  );
}

function PresenceLine(props: { handle: string; request: boolean }) {
  const words = () => {
    if (props.request) return 'Wants to chat with you';
    const now = presence(props.handle);
    if (!now) return `@${props.handle}`;
    if (now.state === 'offline') return lastSeen(now.last_seen);
    return now.state === 'away' ? 'Away' : 'Online';
  };
  return (
    <>
      {words()}
      <Show when={presence(props.handle)?.text ?? profile(props.handle)?.status_text}>
        {(text) => (
          <>
            {' '}
            · <Name of={text()} />
          </>
        )}
      </Show>
    </>
  );
}

/** How this person is reached; opens what is known about it. */
function ReachButton(props: { handle: string }) {
  const now = () => reach(props.handle);
  const time = () => (now() === 'direct' ? roundTrip(links(props.handle)) : undefined);
  return (
    <button type="button" class={`reach-button is-${now()}`} onClick={() => openPanel('details')}>
      <Icon name={now()} />
      <span class="reach-words">
        {REACH_WORDS[now()]}
        <Show when={time()}>{(ms) => <span class="reach-time">{ms()}</span>}</Show>
      </span>
      <span class="hidden">: show the path</span>
    </button>
  );
}
