const PATHS = {
  back: 'M15 5l-7 7 7 7',
  close: 'M6 6l12 12M18 6L6 18',
  compose: 'M12 20h8M16.5 4.5a2.1 2.1 0 013 3L8 19l-4 1 1-4z',
  group:
    'M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM2.5 20a6.5 6.5 0 0113 0M16 4.3a3.5 3.5 0 010 6.4M18 14a6.5 6.5 0 013.5 6',
  settings: 'M4 7h10M18 7h2M4 17h2M10 17h10M16 9.5v-5M8 19.5v-5',
  send: 'M12 20V5M5.5 11.5L12 5l6.5 6.5',
  search: 'M10.5 17a6.5 6.5 0 100-13 6.5 6.5 0 000 13zM20 20l-4.8-4.8',
  down: 'M12 5v14M5.5 12.5L12 19l6.5-6.5',
  waiting: 'M12 21a9 9 0 100-18 9 9 0 000 18zM12 7v5l3 2',
  sent: 'M5 12.5l4.5 4.5L19 7',
  delivered: 'M2 12.5l4.5 4.5L16 7M11.5 16l1 1L22 7',
  open: 'M7 11V8a5 5 0 019.6-2M6 11h12v9H6z',
  direct: 'M4 12h16M15 7l5 5-5 5M9 7l-5 5 5 5',
  relay:
    'M12 14a2 2 0 100-4 2 2 0 000 4zM7.5 7.5a6.4 6.4 0 000 9M16.5 7.5a6.4 6.4 0 010 9M4.5 4.5a10.6 10.6 0 000 15M19.5 4.5a10.6 10.6 0 010 15',
  offline: 'M4 4l16 16M7.5 16.5a6.4 6.4 0 01-.9-7.7M16.5 7.5a6.4 6.4 0 01.9 7.7',
  details: 'M12 21a9 9 0 100-18 9 9 0 000 18zM12 11v5M12 8v.01',
  keyboard: 'M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M7 14h10',
  alert: 'M12 4l9 16H3zM12 10v4M12 17v.01',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon(props: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[props.name]} />
    </svg>
  );
}

/** A button that is only an icon; `title` beside its name is for what the name does not say, such as a key. */
export function IconButton(props: {
  icon: IconName;
  name: string;
  title?: string;
  class?: string;
  onClick: () => void;
}) {
  return (
    <button
      type="button"
      class={`icon-button ${props.class ?? ''}`}
      aria-label={props.name}
      title={props.title ?? props.name}
      onClick={() => props.onClick()}
    >
      <Icon name={props.icon} />
    </button>
  );
}
