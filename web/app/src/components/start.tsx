import { Show } from 'solid-js';
import type { Conversation } from 'sotto';
import { title } from '../state/conversations.ts';
import { Avatar, Title } from './name.tsx';
import { PrivacyButton } from './privacy.tsx';

/** Above the first message; alone while there is none. */
export function Start(props: { of: Conversation; alone?: boolean }) {
  return (
    <div class="start" classList={{ 'is-alone': props.alone }}>
      <Avatar name={title(props.of)} group={props.of.kind === 'group'} size="large" />
      <p class="start-title">
        <Title of={props.of} />
      </p>
      <p class="quiet">
        <Show when={props.of.kind === 'group'} fallback="This is where your chat begins.">
          This is where the group begins for you. Who joins later sees what is sent from then on.
        </Show>
      </p>
      <PrivacyButton />
    </div>
  );
}
