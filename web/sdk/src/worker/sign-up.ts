// Signing up: the keys are durable before the server hears of them, so that a lost answer loses no account.

import { SottoError } from '../error.js';
import { type Brain, fromCore, type Request, random, type SignUp } from './core.js';
import { type Response, request } from './network.js';
import type { Store } from './store.js';

export interface Wanted {
  handle: string;
  server: string;
  invite?: string;
  deviceName: string;
}

/** Makes the account; once it resolves, the store holds it. */
export async function signUp(brain: Brain, store: Store, wanted: Wanted): Promise<void> {
  const attempt = (await pending(brain, store, wanted)) ?? (await begin(brain, store, wanted));
  const { status, body } = await ask(attempt.server, attempt.request(wanted.invite));
  const { done, writes, error } = attempt.conclude(status, body);
  if (writes) await store.write(writes);
  if (error) throw fromCore(error);
  if (!done)
    throw new SottoError('offline', "the server's answer was lost: sign up again with the same handle");
}

async function ask(server: string, what: Request): Promise<Response> {
  try {
    return await request(server, what);
  } catch (why) {
    throw new SottoError('offline', `the server cannot be reached: ${String(why)}`);
  }
}

async function pending(brain: Brain, store: Store, { handle, server }: Wanted): Promise<SignUp | undefined> {
  const attempt = brain.SignUp.resume(await store.hot());
  if (!attempt) return undefined;
  const same = handle.trim().replace(/^@/, '').toLowerCase() === attempt.handle && server === attempt.server;
  if (same) return attempt;
  throw new SottoError(
    'pending',
    `signing up as @${attempt.handle} on ${attempt.server} was begun here, and the answer was lost: ` +
      'sign up with that handle and server again',
  );
}

async function begin(brain: Brain, store: Store, { handle, server, deviceName }: Wanted): Promise<SignUp> {
  const attempt = brain.SignUp.begin(handle, server, deviceName, Date.now(), random(64));
  const { status, body } = await ask(server, { method: 'GET', path: '/v1/server' });
  attempt.check(status, body);
  await store.write(attempt.writes());
  return attempt;
}
