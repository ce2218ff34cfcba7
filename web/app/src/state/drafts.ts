// What is written and not known to be sent, by conversation. It outlives the tab where the browser keeps anything.
import { createSignal } from 'solid-js';
import { keep, kept } from './kept.ts';

const [drafts, setDrafts] = createSignal<ReadonlyMap<string, string>>(new Map());
/** Texts that `send` has not answered for yet: until then they are nowhere else. */
const sending = new Map<string, readonly string[]>();
const key = (conversation: string) => `sotto.draft.${conversation}`;

export const MAX_TEXT_BYTES = 32 * 1024; // protocol::limits::MAX_TEXT

export const draft = (conversation: string) => drafts().get(conversation) ?? kept(key(conversation)) ?? '';

export function keepDraft(conversation: string, text: string): void {
  setDrafts((before) => new Map(before).set(conversation, text));
  store(conversation);
}

/** The draft is sent, and is kept until that is answered; if it is refused, it is the draft again. */
export async function sendDraft(
  conversation: string,
  send: (text: string) => Promise<unknown>,
): Promise<void> {
  const text = draft(conversation);
  const under = () => sending.get(conversation) ?? [];
  sending.set(conversation, [...under(), text]);
  const sent = send(text);
  keepDraft(conversation, '');
  try {
    await sent;
  } catch (error) {
    keepDraft(conversation, [text, draft(conversation)].filter(Boolean).join('\n'));
    throw error;
  } finally {
    sending.set(conversation, under().toSpliced(under().indexOf(text), 1));
    store(conversation);
  }
}

function store(conversation: string) {
  const texts = [...(sending.get(conversation) ?? []), draft(conversation)];
  keep(key(conversation), texts.filter(Boolean).join('\n'));
}

const utf8 = new TextEncoder();
export const bytes = (text: string) =>
  text.length * 3 <= MAX_TEXT_BYTES ? text.length : utf8.encode(text).length;
