// What is written but not sent, by conversation. Kept for as long as the tab lives.
const drafts = new Map<string, string>();

export const MAX_TEXT_BYTES = 32 * 1024; // protocol::limits::MAX_TEXT

export const draft = (conversation: string) => drafts.get(conversation) ?? '';
export const keepDraft = (conversation: string, text: string) => drafts.set(conversation, text);

const utf8 = new TextEncoder();
export const bytes = (text: string) =>
  text.length * 3 <= MAX_TEXT_BYTES ? text.length : utf8.encode(text).length;
