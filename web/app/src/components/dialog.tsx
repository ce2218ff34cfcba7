import { type JSX, onMount } from 'solid-js';
import { closePanel } from '../state/route.ts';
import { IconButton } from './icon.tsx';

/** A modal dialog. The browser keeps the focus inside, closes it on Escape and gives the focus back. */
export function Dialog(props: { title: string; side?: boolean; children: JSX.Element }) {
  let dialog!: HTMLDialogElement;
  onMount(() => {
    dialog.setAttribute('closedby', 'any'); // a click beside it closes it, where the browser knows how
    dialog.showModal();
  });
  return (
    <dialog
      ref={dialog}
      class="dialog"
      classList={{ 'is-side': props.side }}
      aria-labelledby="dialog-title"
      onClose={closePanel}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id="dialog-title">{props.title}</h2>
          <IconButton icon="close" name="Close" onClick={() => dialog.close()} />
        </header>
        {props.children}
      </div>
    </dialog>
  );
}
