/** Two who are linked. */
export function Mark() {
  return (
    <svg class="logo" viewBox="0 0 48 48" role="img" aria-label="Sotto">
      <rect class="logo-ground" width="48" height="48" rx="14" />
      <circle class="logo-peer" cx="19.5" cy="24" r="8" />
      <circle class="logo-peer" cx="28.5" cy="24" r="8" />
    </svg>
  );
}
