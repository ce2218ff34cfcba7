// What this browser keeps for the display alone. A browser that is set to store nothing, or has no room, keeps nothing:
// nobody is told, as nothing that was sent is among it.

export function kept(key: string): string | undefined {
  try {
    return localStorage.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

export function keep(key: string, value: string): void {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    // As above.
  }
}
