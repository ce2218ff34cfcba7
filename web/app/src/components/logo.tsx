/** Two voices, close to each other. */
export function Mark() {
  return (
    <svg class="logo" viewBox="0 0 48 48" role="img" aria-label="Sotto">
      <rect class="logo-ground" width="48" height="48" rx="14" />
      <path class="logo-voice" d="M13 21c0-5 4-8 8.5-8S30 16 30 20.5 26 28 21.5 28c-1.3 0-2.6-.2-3.7-.7L13 29l1.3-4A8 8 0 0113 21z" />
      <path class="logo-voice is-second" d="M35 27.5c0-2.6-1.3-4.8-3.3-6.1M22.5 31.3C24 33.6 26.3 35 29 35c1 0 2-.2 2.8-.5l3.7 1.3-1-3.1" />
    </svg>
  );
}
