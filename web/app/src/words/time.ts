// Times as people say them. They are labels by the clock of whoever wrote the message; nothing is sorted by them.
const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const short = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const DAY = 86_400_000;

const midnight = (time: number) => new Date(time).setHours(0, 0, 0, 0);
const daysAgo = (time: number) => Math.round((midnight(Date.now()) - midnight(time)) / DAY);

export const timeOfDay = (time: number) => clock.format(time);
export const sameDay = (a: number, b: number) => midnight(a) === midnight(b);

export function day(time: number): string {
  const ago = daysAgo(time);
  if (ago === 0) return 'Today';
  if (ago === 1) return 'Yesterday';
  return ago > 1 && ago < 7 ? weekday.format(time) : date.format(time);
}

export function brief(time: number): string {
  const ago = daysAgo(time);
  if (ago === 0) return timeOfDay(time);
  if (ago === 1) return 'Yesterday';
  return ago > 1 && ago < 7 ? weekday.format(time).slice(0, 3) : short.format(time);
}

export function lastSeen(time: number | undefined): string {
  if (time === undefined) return 'Offline';
  const minutes = Math.floor((Date.now() - time) / 60_000);
  if (minutes < 1) return 'Last seen just now';
  if (minutes < 60) return `Last seen ${minutes} min ago`;
  return `Last seen ${day(time).toLowerCase()} at ${timeOfDay(time)}`;
}
