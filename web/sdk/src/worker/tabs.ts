// How the tabs of a profile speak with each other: one channel, on which a leader is named by tab and generation.

import type { Identity } from '../types.js';
import type { Answer, Call, Notice } from '../wire.js';

/** One tab's time at the head. A tab that leads again has a new one. */
export interface Term {
  tab: string;
  generation: number;
}

export type TabMessage =
  /** Who leads, and does it live? */
  | { type: 'who' }
  /** I am about to lead. */
  | { type: 'starting' }
  /** I lead. */
  | { type: 'leader'; term: Term; identity: Identity | null }
  | ({ type: 'request'; term: Term; from: string; id: number } & Call)
  | ({ type: 'answer'; to: string; id: number } & Answer)
  | { type: 'notice'; term: Term; notice: Notice };

export const sameTerm = (one: Term | undefined, other: Term | undefined): boolean =>
  one?.tab === other?.tab && one?.generation === other?.generation;

/** Raised when tabs that say something else could not understand each other. */
const VERSION = 1;

export class Tabs {
  readonly #channel: BroadcastChannel;

  /**
   * `outdated` is called when a tab with a newer version is there. Those of older ones are not listened to, but told:
   * who heard no leader would take the lead away from a newer tab.
   */
  constructor(profile: string, heard: (message: TabMessage) => void, outdated: () => void) {
    this.#channel = new BroadcastChannel(`sotto ${profile}`);
    this.#channel.onmessage = ({ data: { version, message } }) => {
      if (version === VERSION) heard(message);
      else if (version > VERSION) outdated();
      else this.say({ type: 'who' });
    };
  }

  say(message: TabMessage): void {
    this.#channel.postMessage({ version: VERSION, message });
  }

  close(): void {
    this.#channel.close();
  }
}

/** What may be asked twice: reads, and what says the same the second time. */
const REPEATABLE = new Set([
  'status',
  'history',
  'conversations',
  'direct',
  'accept',
  'block',
  'unblock',
  'mark_read',
  'typing',
  'presence.set',
  'profile.get',
  'profile.set',
  'path.policy',
]);

/** Whether a call whose answer was lost may be made again; a message or a group could be there twice. */
export const repeatable = (method: string): boolean => REPEATABLE.has(method);
