// All conversations as the peer tells them, with the last message of each.
import { createMemo, createSignal } from 'solid-js';
import type { Conversation, Message, Sotto } from 'sotto';
import { displayName } from './profiles.ts';
import { me, peer } from './session.ts';

const [known, setKnown] = createSignal<ReadonlyMap<string, Conversation>>(new Map());
const [order, setOrder] = createSignal<readonly string[]>([]); // the most recently active first
const [last, setLast] = createSignal<ReadonlyMap<string, Message>>(new Map());
const [loaded, setLoaded] = createSignal(false);

export { loaded };

export const conversation = (id: string) => known().get(id);
export const lastMessage = (id: string) => last().get(id);

const all = createMemo(() =>
  order().flatMap((id) => {
    const found = known().get(id);
    return found ? [found] : [];
  }),
);
export const requests = () => all().filter((each) => each.request && !each.blocked);
export const chats = () => all().filter((each) => !each.request && !each.blocked);
export const blocked = () => all().filter((each) => each.blocked && each.kind === 'direct');
export const unreadInAll = () => chats().reduce((sum, each) => sum + each.unread, 0);

/** Who a direct conversation is with. */
export const other = (of: Conversation) =>
  of.members.find((handle) => handle !== me()?.handle) ?? me()?.handle ?? '';
export const title = (of: Conversation) =>
  of.kind === 'direct' ? other(of) : (of.name ?? of.members.join(', '));

/** The same in the words that people chose. */
export const shownTitle = (of: Conversation) => (of.kind === 'direct' ? displayName(other(of)) : title(of));

export function listenToConversations(sotto: Sotto): void {
  sotto.on('conversation', keep);
  sotto.on('message', ({ conversation }) => toTheTop(conversation));
  sotto.on('timeline', ({ conversation }) => refreshLast(conversation));
}

export async function loadConversations(): Promise<void> {
  const list = await peer().conversations();
  setKnown(new Map(list.map((each) => [each.conversation, each])));
  setOrder(list.map((each) => each.conversation));
  setLoaded(true);
  for (const each of list) await fetchLast(each.conversation);
}

function keep(changed: Conversation) {
  setKnown((before) => new Map(before).set(changed.conversation, changed));
  if (!order().includes(changed.conversation)) toTheTop(changed.conversation);
}

function toTheTop(id: string) {
  if (order()[0] !== id) setOrder((before) => [id, ...before.filter((each) => each !== id)]);
}

const stale = new Set<string>();

// The peer knows which message is the last one: it is asked, once for a burst.
function refreshLast(id: string) {
  if (stale.has(id)) return;
  stale.add(id);
  setTimeout(() => {
    stale.delete(id);
    void fetchLast(id);
  }, 60);
}

async function fetchLast(conversation: string) {
  const [message] = await peer()
    .history({ conversation, limit: 1 })
    .catch(() => []); // the line keeps what it has
  if (message) setLast((before) => new Map(before).set(conversation, message));
}
