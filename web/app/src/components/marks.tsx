import type { Message } from 'sotto';
import { type Mark, mark } from '../state/receipts.ts';
import { Icon } from './icon.tsx';

const WORDS: Record<Mark, string> = {
  waiting: 'Waiting to be sent',
  sent: 'Sent',
  delivered: 'Delivered',
  read: 'Read',
};

/** How far an own message got. */
export function Marks(props: { of: Message }) {
  const now = () => mark(props.of);
  return (
    <span class={`marks is-${now()}`} title={WORDS[now()]}>
      <Icon name={now() === 'read' ? 'delivered' : (now() as Exclude<Mark, 'read'>)} />
      <span class="hidden">{WORDS[now()]}</span>
    </span>
  );
}
