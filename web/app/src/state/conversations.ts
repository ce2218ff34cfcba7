// All conversations as the peer tells them, with the last message of each.
import { createMemo, createSignal } from 'solid-js';
import type { Conversation, Message, Sotto, TimelineDiff } from 'sotto';
import { applied } from './diffs.ts';
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
  sotto.on('timeline', ({ conversation, diffs }) => {
    changeLast(conversation, diffs);
  });
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

// The last message is a window of one on the list. The peer is asked, which waits for the disk, only where another one
// may have come into it.
function changeLast(id: string, diffs: readonly TimelineDiff[]) {
  const known = last().get(id);
  const { messages, lacks } = applied(known ? [known] : [], diffs, false);
  const now = messages.at(-1);
  if (now && now !== known) setLast((before) => new Map(before).set(id, now));
  const left = diffs.some((diff) => (diff.op === 'move' || diff.op === 'remove') && diff.id === known?.id);
  if (!known || !now || lacks || left) refreshLast(id);
}

const fresh = new Set<string>();
const stale = new Set<string>();
const PAUSE = 60; // ms between two questions about a conversation

// The peer knows which message is the last one: it is asked at once, and of a burst once more at its end.
function refreshLast(id: string) {
  if (fresh.has(id)) return void stale.add(id);
  fresh.add(id);
  void fetchLast(id);
  setTimeout(() => {
    fresh.delete(id);
    if (stale.delete(id)) refreshLast(id);
  }, PAUSE);
}

async function fetchLast(conversation: string) {
  const before = last().get(conversation);
  const [message] = await peer()
    .history({ conversation, limit: 1 })
    .catch(() => []); // the line keeps what it has
  if (!message) return;
  // What has changed meanwhile may be newer than the answer.
  if (last().get(conversation) !== before) refreshLast(conversation);
  else setLast((all) => new Map(all).set(conversation, message));
}
