// What the peer told once and does not tell again after a reload, kept in this browser for the display alone.
import { type Accessor, createSignal, type Setter } from 'solid-js';

const PAUSE = 500; // receipts come in bursts

/** A signal of JSON data that is there again after a reload. */
export function createRemembered<T>(key: string, empty: T): [Accessor<T>, Setter<T>] {
  const [value, setValue] = createSignal<T>(read(key, empty), { equals: false });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const write = () => {
    clearTimeout(timer);
    timer = undefined;
    localStorage.setItem(key, JSON.stringify(value()));
  };
  const set = ((next: Parameters<Setter<T>>[0]) => {
    timer ??= setTimeout(write, PAUSE);
    return setValue(next as never);
  }) as Setter<T>;
  addEventListener('pagehide', () => timer !== undefined && write());
  return [value, set];
}

function read<T>(key: string, empty: T): T {
  try {
    return (JSON.parse(localStorage.getItem(key) ?? 'null') as T | null) ?? empty;
  } catch {
    return empty; // damaged: the display knows less, nothing else
  }
}
