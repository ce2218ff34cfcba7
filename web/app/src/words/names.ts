// Names come from other people, made plain by the peer; <bdi> around them keeps their direction to themselves.
const graphemes = new Intl.Segmenter();

export function initial(name: string): string {
  const [first] = graphemes.segment(name);
  return (first?.segment ?? '?').toUpperCase();
}

/** A colour for a name, the same everywhere. */
export function hue(name: string): number {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return (hash % 24) * 15;
}
