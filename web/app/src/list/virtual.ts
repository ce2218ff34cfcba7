// A list of which only what is near the view is in the document. What the reader looks at stays where it is, whatever
// is loaded above it or turns out to have another height; who is at the end stays at the end.
import { type Accessor, createEffect, createSignal, on, onCleanup } from 'solid-js';
import { Heights } from './heights.ts';

const OVERSCAN = 400; // px beyond each edge: a flick of the wheel shows no blank
const MOST_ROWS = 76; // in the document at once

type Anchor = 'end' | { id: string; offset: number };

export interface VirtualOptions {
  ids: Accessor<readonly string[]>;
  /** Where each id is in `ids`. */
  index: Accessor<ReadonlyMap<string, number>>;
  estimate: (index: number) => number;
  /** Called after each change of what is in view: indices of the first and last visible row. */
  onView: (first: number, last: number, atEnd: boolean) => void;
}

export function createVirtual(options: VirtualOptions) {
  const heights = new Heights(options.estimate);
  const [rows, setRows] = createSignal<readonly string[]>([]);
  const elements = new Map<string, HTMLElement>();
  let view!: HTMLElement;
  let canvas!: HTMLElement;
  let list!: HTMLElement;
  let anchor: Anchor = 'end';
  let [width, height] = [0, 0];
  let placed = 0; // where `place` has scrolled to: the event that follows is not the reader's

  const measure = () => heights.measured([...elements].map(([id, element]) => [id, element.offsetHeight]));

  function draw() {
    const y = view.scrollTop;
    const first = heights.at(y);
    const from = Math.max(heights.at(y - OVERSCAN), first - MOST_ROWS / 2, 0);
    const to = Math.min(heights.at(y + view.clientHeight + OVERSCAN) + 1, from + MOST_ROWS, heights.count);
    list.style.transform = `translateY(${heights.top(from)}px)`;
    const ids = options.ids().slice(from, to);
    const shown = rows();
    if (ids.length !== shown.length || ids.some((id, index) => id !== shown[index])) setRows(ids);
    return first;
  }

  /** Brings the anchor back to where it was. Twice: what is drawn now may measure otherwise than estimated. */
  function place() {
    if (!view?.isConnected) return;
    for (let round = 0; round < 3; round++) {
      canvas.style.height = `${heights.total}px`;
      view.scrollTop = anchored();
      placed = view.scrollTop;
      draw();
      if (!measure()) break;
    }
    report();
  }

  function anchored(): number {
    if (anchor === 'end') return heights.total;
    const index = heights.index(anchor.id);
    return index === undefined ? view.scrollTop : heights.top(index) - anchor.offset;
  }

  const atEnd = () => view.scrollTop + view.clientHeight >= heights.total - 8;

  function report() {
    if (heights.count === 0) return;
    options.onView(heights.at(view.scrollTop), heights.at(view.scrollTop + view.clientHeight - 1), atEnd());
  }

  function scrolled() {
    const first = heights.at(view.scrollTop);
    const id = heights.id(first);
    if (view.scrollTop === placed) return;
    placed = -1;
    if (atEnd()) anchor = 'end';
    else if (id !== undefined) anchor = { id, offset: heights.top(first) - view.scrollTop };
    draw();
    if (measure()) place();
    else report();
  }

  const resized = new ResizeObserver(() => {
    const resized = view.clientWidth !== width || view.clientHeight !== height;
    if (view.clientWidth !== width) heights.forget();
    [width, height] = [view.clientWidth, view.clientHeight];
    // It is called for every row that comes into view, too, which is measured already.
    if (measure() || resized) place();
  });
  onCleanup(() => resized.disconnect());

  createEffect(
    on(options.ids, (ids) => {
      heights.set(ids, options.index());
      queueMicrotask(place); // after this effect, when changed rows are in the document
    }),
  );

  return {
    rows,
    mount(parts: { view: HTMLElement; canvas: HTMLElement; list: HTMLElement }) {
      ({ view, canvas, list } = parts);
      width = view.clientWidth; // the height is told at once, and then everything has its place
      view.addEventListener('scroll', scrolled, { passive: true });
      resized.observe(view);
      queueMicrotask(place);
    },
    row(id: string, element: HTMLElement) {
      elements.set(id, element);
      resized.observe(element);
      onCleanup(() => {
        if (elements.get(id) === element) elements.delete(id);
        resized.unobserve(element);
      });
    },
    toEnd() {
      anchor = 'end';
      place();
    },
    /** Shows this row a little below the top. */
    to(id: string) {
      anchor = { id, offset: 72 };
      place();
    },
  };
}
