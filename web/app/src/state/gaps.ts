// Messages that cannot be had, where they would stand.
import type { Events, Message, Sotto } from 'sotto';
import { createRemembered } from './remembered.ts';

export type Gap = Events['gap'];
const [gaps, setGaps] = createRemembered<readonly Gap[]>('sotto.gaps', []);

export function listenToGaps(sotto: Sotto): void {
  sotto.on('gap', (gap) =>
    setGaps((before) => [
      ...before.filter((each) => each.conversation !== gap.conversation || each.from !== gap.from),
      gap,
    ]),
  );
}

/** The gaps between these two neighbours in the display. */
export function gapsBetween(before: Message | undefined, message: Message): Gap[] {
  return gaps().filter(
    (gap) =>
      gap.conversation === message.conversation && follows(gap, message) && !(before && follows(gap, before)),
  );
}

function follows({ to }: Gap, message: Message): boolean {
  if (typeof to === 'number') return message.position !== undefined && message.position > to;
  const slash = to.lastIndexOf('/') + 1;
  return (
    message.id.startsWith(to.slice(0, slash)) && Number(message.id.slice(slash)) > Number(to.slice(slash))
  );
}
