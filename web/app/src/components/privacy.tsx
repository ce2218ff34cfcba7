import { openPanel } from '../state/route.ts';
import { Dialog } from './dialog.tsx';
import { Icon } from './icon.tsx';

const TEXT = 'Not end-to-end encrypted yet: whoever runs the server can read messages.';

export const NotYetEncrypted = () => <span>{TEXT}</span>;

export function PrivacyButton() {
  return (
    <button type="button" class="privacy-button" onClick={() => openPanel('privacy')}>
      <Icon name="open" />
      Not end-to-end encrypted yet
    </button>
  );
}

export function Privacy() {
  return (
    <Dialog title="What is private, and what is not yet">
      <p>
        <NotYetEncrypted />
      </p>
      <ul class="prose">
        <li>
          On the way, messages are encrypted: nobody on the network between you and the others can read them.
        </li>
        <li>
          A direct link goes from device to device. A copy goes to the server as well, which keeps it for
          those who are away.
        </li>
        <li>Your keys are made in this browser and never leave it.</li>
      </ul>
    </Dialog>
  );
}
