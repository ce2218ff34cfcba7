// What went wrong, and what to do about it.
import { SottoError } from 'sotto';

const ADVICE: Record<string, string> = {
  offline: 'The server cannot be reached. Check your connection and try again; nothing is lost.',
  'not-found': 'There is nobody and nothing by that name here. Check the spelling.',
  'not-a-member': 'You have left this group. Ask a member to add you again.',
  blocked: 'You have blocked this person. Unblock first.',
  'outbox-full': 'Too many messages are waiting to be sent. Try again when some have gone out.',
  ended: 'Sotto has stopped in this tab. Reload the page.',
  'not-signed-up': 'This browser has no account yet. Reload the page and sign up.',
  unanswered:
    'Another tab took over before this was answered. Look whether it was done, and try again if not.',
  'storage-full': 'The disk is full. Make room and reload the page; nothing that was sent is lost.',
  'storage-blocked':
    'Another tab runs an older version of Sotto. Close it, or reload it, then reload this one.',
  'storage-newer':
    'Your messages were written by a newer version of Sotto. Reload the page to get it; nothing is lost.',
  'storage-closed': 'The browser has cleared or closed the storage of this page. Reload the page.',
  'storage-refused':
    'Your browser is set to store nothing of this site, and your keys and messages have to be somewhere. ' +
    'Allow cookies and site data for it in the browser’s settings, then reload the page.',
  'storage-failed': 'The browser cannot read or write its storage. Free some disk space and reload the page.',
  'internal-error': 'Sotto has made a mistake and stopped. Reload the page; nothing that was sent is lost.',
  'signed-up': 'This browser has an account already. Reload the page to use it.',
};

// Why a server says no, by the names of its problems.
const REFUSED: Record<string, string> = {
  'handle-taken': 'This handle is taken. Choose another one.',
  'invite-required': 'This server needs an invitation. Ask whoever runs it for a code.',
  'invite-invalid': 'This is no invitation code of this server. Check it, or ask for another one.',
  'invite-expired': 'This invitation has expired. Ask for another one.',
  'invite-used-up': 'This invitation is used up. Ask for another one.',
};

export interface Trouble {
  text: string;
  field?: string;
}

export function trouble(error: unknown): Trouble {
  // For whoever is asked for help: the words on screen leave it out.
  if (!(error instanceof SottoError) || error.kind === 'internal-error') console.error(error);
  if (!(error instanceof SottoError)) {
    return {
      text: `Something unexpected happened: ${error instanceof Error ? error.message : String(error)}. Reload the page.`,
    };
  }
  const text = REFUSED[error.problem ?? ''] ?? ADVICE[error.kind] ?? sentence(error.message);
  return error.field ? { text, field: error.field } : { text };
}

function sentence(raw: string): string {
  const message = raw.replace(/^the server refused: /i, '').replace(/^[a-z_]+: /, ''); // the field is marked on screen
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
