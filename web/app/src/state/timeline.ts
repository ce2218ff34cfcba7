// The messages of the conversation on screen: a window of the peer's display order that always reaches to its end and
// grows backwards as the reader scrolls up.
import { createSignal } from 'solid-js';
import type { Message, Sotto, TimelineDiff } from 'sotto';
import { trouble } from '../words/errors.ts';
import { applied } from './diffs.ts';
import { peer } from './session.ts';

const PAGE = 100;
const MOST_UNREAD = 2000; // messages loaded at once to begin at the first unread one

export interface Timeline {
  conversation: string;
  messages: () => readonly Message[];
  /** The first message is the first there is. */
  complete: () => boolean;
  loaded: () => boolean;
  /** Why messages could not be read; empty if they could. */
  wrong: () => string;
  retry: () => void;
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
  const [wrong, setWrong] = createSignal('');
  const [firstUnread, setFirstUnread] = createSignal<string>();
  let early: TimelineDiff[] | undefined;
  let loading = true;

  const take = (list: readonly Message[], diffs: readonly TimelineDiff[]) => {
    const { messages: now, lacks } = applied(list, diffs, complete());
    setMessages(now);
    if (lacks) void reload(Math.max(now.length, PAGE)).catch(failed);
  };
  const failed = (error: unknown) => {
    const { kind } = error as { kind?: string };
    setWrong(kind === 'unanswered' ? 'Another tab has taken over meanwhile.' : trouble(error).text);
  };
  const change = (diffs: readonly TimelineDiff[]) => {
    if (early) early.push(...diffs);
    else take(messages(), diffs);
  };
  const reload = async (limit: number) => {
    early = [];
    try {
      const page = await peer().history({ conversation, limit });
      setComplete(page.length < limit);
      const diffs = early;
      early = undefined;
      take(page, diffs);
      setWrong('');
    } finally {
      early = undefined;
    }
  };
  open.set(conversation, {
    change,
    reload: () => reload(Math.max(messages().length, PAGE)).catch(failed),
  });

  const begin = async () => {
    await reload(PAGE + Math.min(unread, MOST_UNREAD));
    const foreign = messages().filter((message) => !message.own);
    if (unread > 0) setFirstUnread(foreign.at(-Math.min(unread, foreign.length))?.id);
    loading = false;
    setLoaded(true);
  };
  void begin().catch(failed);

  const loadOlder = async () => {
    const first = messages()[0];
    if (loading || complete() || !first) return;
    loading = true;
    setWrong('');
    try {
      const page = await peer().history({ conversation, before: first.id, limit: PAGE });
      const shown = new Set(messages().map((message) => message.id));
      setMessages((now) => [...page.filter((message) => !shown.has(message.id)), ...now]);
      if (page.length < PAGE) setComplete(true);
    } catch (error) {
      failed(error);
    } finally {
      loading = false;
    }
  };
  const retry = () => {
    setWrong('');
    if (loaded()) void loadOlder();
    else void begin().catch(failed);
  };

  const close = () => {
    if (open.get(conversation)?.change === change) open.delete(conversation);
  };
  return {
    conversation,
    messages,
    complete,
    loaded,
    wrong,
    retry,
    firstUnread,
    loadOlder: () => void (wrong() || loadOlder()),
    close,
  };
}
