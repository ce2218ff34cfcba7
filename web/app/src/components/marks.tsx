import { Show } from 'solid-js';
import type { Message, MessageState } from 'sotto';
import { Icon } from './icon.tsx';

const WORDS: Record<MessageState, string> = {
  waiting: 'Waiting to be sent',
  sent: 'Sent',
  delivered: 'Delivered',
  read: 'Read',
};

function words({ state, receipts }: Message): string {
  if (!state || !receipts || state === 'read' || receipts.delivered === 0) return WORDS[state ?? 'sent'];
  const { members, delivered, read } = receipts;
  return `Delivered to ${delivered} of ${members}${read ? `, read by ${read}` : ''}`;
}

/** How far a message got that was written here. */
export function Marks(props: { of: Message }) {
  return (
    <Show when={props.of.state}>
      {(state) => (
        <span class={`marks is-${state()}`} title={words(props.of)}>
          <Icon name={state() === 'read' ? 'delivered' : (state() as Exclude<MessageState, 'read'>)} />
          <span class="hidden">{words(props.of)}</span>
        </span>
      )}
    </Show>
  );
}
