// Says how far the reader has looked, at most a few times a second and only while the page is in front.
import { onCleanup } from 'solid-js';

const PAUSE = 250;

export function useSeen(report: (id: string) => void): (id: string, place: number) => void {
  let seen: { id: string; place: number } | undefined;
  let told: string | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const tell = () => {
    timer = undefined;
    if (!seen || seen.id === told || document.visibilityState !== 'visible' || !document.hasFocus()) return;
    told = seen.id;
    report(seen.id);
  };
  const again = () => {
    timer ??= setTimeout(tell, PAUSE);
  };
  addEventListener('focus', again);
  document.addEventListener('visibilitychange', again);
  onCleanup(() => {
    clearTimeout(timer);
    removeEventListener('focus', again);
    document.removeEventListener('visibilitychange', again);
  });
  return (id, place) => {
    if (seen && place < seen.place) return;
    seen = { id, place };
    again();
  };
}
