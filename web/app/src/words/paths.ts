// The ways to a person, in words.
import type { LinkStatus, Path, PathPolicy } from 'sotto';
import type { Reach } from '../state/people.ts';

export const REACH_WORDS: Record<Reach, string> = {
  direct: 'Direct',
  relay: 'Via relay',
  offline: 'Offline',
};

export const PATH_WORDS: Record<Path, string> = {
  direct: 'Direct, device to device',
  turn: 'Through a TURN server',
  relay: 'Through the relay’s log',
  none: 'Not reachable now',
};

export const PATH_WHY: Record<Path, string> = {
  direct: 'The shortest way there is.',
  turn: 'The networks in between allow no direct link.',
  relay: 'No link is up at the moment. Messages go through the server and arrive all the same.',
  none: 'Messages wait here and on the server until the device is back.',
};

export const POLICY_WORDS: Record<PathPolicy, [name: string, about: string]> = {
  auto: [
    'Fastest',
    'Each message takes the best link and the server at once; the first copy to arrive counts.',
  ],
  hedge: ['Save data', 'The server only when the link does not answer, and otherwise in batches.'],
  relay: ['Through the server only', 'No direct links: others do not learn your network address.'],
  direct: ['Direct only', 'Links only. Messages to people who are not linked wait.'],
};

const milliseconds = (ms: number) => (ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);

/** The shortest measured round trip. */
export function roundTrip(links: readonly LinkStatus[]): string | undefined {
  const measured = links.flatMap((link) => (link.rtt_ms === null ? [] : [link.rtt_ms]));
  return measured.length ? milliseconds(Math.min(...measured)) : undefined;
}
