// What the peer says became of a list, done to the part of it that is loaded.
import type { Message, TimelineDiff } from 'sotto';

/**
 * The list after these changes. What belongs before the window is left to `loadOlder`; `lacks`: something came into the
 * window that was not in it.
 */
export function applied(
  before: readonly Message[],
  diffs: readonly TimelineDiff[],
  complete: boolean,
): { messages: Message[]; lacks: boolean } {
  const list = [...before];
  let lacks = false;
  const find = (id: string) => list.findLastIndex((message) => message.id === id);
  const insert = (message: Message, after: string | null) => {
    const at = after === null ? -1 : find(after);
    const place = at < 0 ? placeOf(list, message, complete) : at + 1;
    if (place >= 0) list.splice(place, 0, message);
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
      if (moved) insert(placed(moved, diff.position), diff.after);
      else lacks ||= diff.after !== null && find(diff.after) >= 0;
    } else if (diff.op === 'state') {
      restate(list, diff);
    } else if (diff.op === 'remove') {
      take(diff.id);
    } else {
      const id = diff.op === 'replace' ? diff.item.id : diff.id;
      const at = find(id);
      const now = list[at];
      if (now) list[at] = diff.op === 'replace' ? diff.item : { ...now, missing: diff.missing };
    }
  }
  return { messages: list, lacks };
}

function placed({ position: _, ...message }: Message, position: number | undefined): Message {
  return position === undefined ? message : { ...message, position };
}

/** Where a message stands whose neighbour is not in the window: by position, and after all that have one. */
function placeOf(list: readonly Message[], { position }: Message, complete: boolean): number {
  const before = list.findLastIndex(
    (each) => each.position !== undefined && (position === undefined || each.position < position),
  );
  return before >= 0 || complete || list.length === 0 ? before + 1 : -1;
}

const parts = (id: string): [author: string, seq: number] => {
  const slash = id.lastIndexOf('/');
  return [id.slice(0, slash), Number(id.slice(slash + 1))];
};

// One device's messages stand in the order of their seqs.
function restate(list: Message[], { from, to, state, receipts }: TimelineDiff & { op: 'state' }) {
  const [[author, first], [, last]] = [parts(from), parts(to)];
  for (let at = list.length - 1; at >= 0; at -= 1) {
    const message = list[at] as Message;
    const [by, seq] = parts(message.id);
    if (by !== author || seq > last) continue;
    if (seq < first) return;
    const { receipts: _, ...rest } = message;
    list[at] = receipts ? { ...rest, state, receipts } : { ...rest, state };
  }
}
