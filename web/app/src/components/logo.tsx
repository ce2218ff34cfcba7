/** Two who are linked, below the surface. */
export function Mark() {
  return (
    <svg class="logo" viewBox="0 0 48 48" role="img" aria-label="Sotto">
      <rect class="logo-ground" width="48" height="48" rx="14" />
      <path class="logo-link" d="M15 18C15 36.5 33 36.5 33 18" />
      <circle class="logo-end" cx="15" cy="17" r="5" />
      <circle class="logo-end" cx="33" cy="17" r="5" />
    </svg>
  );
}
