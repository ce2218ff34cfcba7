// The messages of the conversation on screen: a window of the peer's display order that always reaches to its end and
// grows backwards as the reader scrolls up.
import { createSignal } from 'solid-js';
import type { Message, Sotto, TimelineDiff } from 'sotto';
import { peer } from './session.ts';

const PAGE = 100;
const MOST_UNREAD = 2000; // messages loaded at once to begin at the first unread one

export interface Timeline {
  conversation: string;
  messages: () => readonly Message[];
  /** The first message is the first there is. */
  complete: () => boolean;
  loaded: () => boolean;
  /** The message above which what was new begins. */
  firstUnread: () => string | undefined;
  loadOlder: () => void;
  close: () => void;
}

const open = new Map<
  string,
  { change: (diffs: readonly TimelineDiff[]) => void; reload: () => Promise<void> }
>();

export function listenToTimelines(sotto: Sotto): void {
  sotto.on('timeline', ({ conversation, diffs }) => open.get(conversation)?.change(diffs));
}

/** After another tab has taken over: changes may have been missed. */
export function reloadTimelines(): void {
  for (const timeline of open.values()) void timeline.reload();
}

export function openTimeline(conversation: string, unread: number): Timeline {
  const [messages, setMessages] = createSignal<readonly Message[]>([]);
  const [complete, setComplete] = createSignal(false);
  const [loaded, setLoaded] = createSignal(false);
  const [firstUnread, setFirstUnread] = createSignal<string>();
  let early: TimelineDiff[] | undefined;
  let loading = true;

  const change = (diffs: readonly TimelineDiff[]) => {
    if (early) early.push(...diffs);
    else setMessages((before) => applied(before, diffs, complete()));
  };
  const reload = async (limit: number) => {
    early = [];
    const page = await peer().history({ conversation, limit });
    setComplete(page.length < limit);
    setMessages(applied(page, early, complete()));
    early = undefined;
  };
  open.set(conversation, { change, reload: () => reload(Math.max(messages().length, PAGE)) });

  const begin = async () => {
    await reload(PAGE + Math.min(unread, MOST_UNREAD));
    const foreign = messages().filter((message) => !message.own);
    if (unread > 0) setFirstUnread(foreign.at(-Math.min(unread, foreign.length))?.id);
    loading = false;
    setLoaded(true);
  };
  void begin();

  const loadOlder = async () => {
    const first = messages()[0];
    if (loading || complete() || !first) return;
    loading = true;
    try {
      const page = await peer().history({ conversation, before: first.id, limit: PAGE });
      const shown = new Set(messages().map((message) => message.id));
      setMessages((now) => [...page.filter((message) => !shown.has(message.id)), ...now]);
      if (page.length < PAGE) setComplete(true);
    } finally {
      loading = false;
    }
  };

  const close = () => {
    if (open.get(conversation)?.change === change) open.delete(conversation);
  };
  return { conversation, messages, complete, loaded, firstUnread, loadOlder: () => void loadOlder(), close };
}

/** The list after these changes. What belongs before the window is left to `loadOlder`. */
export function applied(
  before: readonly Message[],
  diffs: readonly TimelineDiff[],
  complete: boolean,
): Message[] {
  const list = [...before];
  const find = (id: string) => list.findLastIndex((message) => message.id === id);
  const insert = (message: Message, after: string | null) => {
    const at = after === null ? (complete || list.length === 0 ? 0 : -1) : find(after) + 1 || -1;
    if (at >= 0) list.splice(at, 0, message);
  };
  const take = (id: string) => {
    const at = find(id);
    return at < 0 ? undefined : list.splice(at, 1)[0];
  };
  for (const diff of diffs) {
    if (diff.op === 'insert') {
      take(diff.item.id);
      insert(diff.item, diff.after);
    } else if (diff.op === 'move') {
      const moved = take(diff.id);
      if (moved)
        insert(diff.position === undefined ? moved : { ...moved, position: diff.position }, diff.after);
    } else if (diff.op === 'replace') {
      const at = find(diff.item.id);
      if (at >= 0) list[at] = diff.item;
    } else take(diff.id);
  }
  return list;
}
