// What people say of themselves. The peer keeps it and asks for it; here is what somebody looks at.
import { type Accessor, createSignal, type Setter } from 'solid-js';
import type { Profile, ProfileChange, Sotto } from 'sotto';
import { me, peer } from './session.ts';

interface Known extends Profile {
  /** The picture as an address. */
  picture?: string;
}

const known = new Map<string, [Accessor<Known | undefined>, Setter<Known | undefined>]>();

export function profile(handle: string): Known | undefined {
  let entry = known.get(handle);
  if (!entry && handle) {
    entry = createSignal<Known>();
    known.set(handle, entry);
    void ask(handle);
  }
  return entry?.[0]();
}

/** What to call somebody. It says nothing about who they are: that is the handle. */
export const displayName = (handle: string) => profile(handle)?.display_name ?? handle;

export function listenToProfiles(sotto: Sotto): void {
  sotto.on('profile', keep);
  // What could not be asked for, or has grown old.
  sotto.on('connection', ({ socket, up }) => {
    if (socket === 'server' && up) for (const handle of known.keys()) void ask(handle);
  });
}

export async function setProfile(change: ProfileChange): Promise<void> {
  keep(await peer().setProfile(change));
}

async function ask(handle: string) {
  try {
    keep(await peer().profile(handle === me()?.handle ? undefined : handle));
  } catch {
    // Without it there is the handle.
  }
}

function keep(said: Profile) {
  const entry = known.get(said.handle);
  if (!entry) return;
  const { avatar } = said;
  // Browsers look at what a picture is, whatever it is called.
  const picture = avatar && `data:image/png;base64,${avatar.replaceAll('-', '+').replaceAll('_', '/')}`;
  entry[1](picture ? { ...said, picture } : said);
}
