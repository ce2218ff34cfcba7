// Names come from other people. What is invisible or turns the direction of text is taken out, so that no name can
// look like another one; <bdi> around them does the rest.
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]|\u034f/gu;
const JOINED_EMOJI = /(?<=\p{Extended_Pictographic}\ufe0f?)\u200d(?=\p{Extended_Pictographic})/gu;
const KEPT = '\ue000';

export function plain(name: string): string {
  const safe = name
    .replaceAll(KEPT, '')
    .replace(JOINED_EMOJI, KEPT)
    .replace(INVISIBLE, '')
    .replaceAll(KEPT, '\u200d')
    .trim();
  return safe || 'Nameless';
}

const graphemes = new Intl.Segmenter();

export function initial(name: string): string {
  const [first] = graphemes.segment(plain(name));
  return (first?.segment ?? '?').toUpperCase();
}

/** A colour for a name, the same everywhere. */
export function hue(name: string): number {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return (hash % 24) * 15;
}
