// How far own messages got. A receipt speaks of a message and all earlier ones of its author's device.
import type { Message, Receipt, Sotto } from 'sotto';
import { createRemembered } from './remembered.ts';

export type Mark = 'waiting' | 'sent' | 'delivered' | 'read';

type Far = Record<Receipt['state'], number>; // the largest seq that got there
const [far, setFar] = createRemembered<Readonly<Record<string, Far>>>('sotto.receipts', {});

const parts = (id: string): [author: string, seq: number] => {
  const slash = id.lastIndexOf('/');
  return [id.slice(0, slash), Number(id.slice(slash + 1))];
};

export function listenToReceipts(sotto: Sotto): void {
  sotto.on('receipt', ({ id, state }) => {
    const [author, seq] = parts(id);
    const before = far()[author] ?? { logged: 0, delivered: 0, read: 0 };
    if (seq > before[state]) setFar((all) => ({ ...all, [author]: { ...before, [state]: seq } }));
  });
}

export function mark(message: Message): Mark {
  const [author, seq] = parts(message.id);
  const got = far()[author];
  if (got && seq <= got.read) return 'read';
  if (got && seq <= got.delivered) return 'delivered';
  return message.position !== undefined || (got && seq <= got.logged) ? 'sent' : 'waiting';
}
