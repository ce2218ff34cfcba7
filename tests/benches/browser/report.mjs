// Medians, and the table at the end: the same as ../report.rs prints.

/** The value below which this part of them lies. */
export function quantile(values, part) {
  if (values.length === 0) throw new Error('nothing was measured');
  const sorted = values.toSorted((a, b) => a - b);
  const at = part * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at % 1);
}

export const median = (values) => quantile(values, 0.5);

/** The median of each pair's ratio: both of a pair were measured one after the other. */
export const medianRatio = (ours, peer) => median(ours.map((value, at) => value / peer[at]));

export const ms = (millis) => `${millis.toFixed(1)} ms`;
export const percent = (ratio) => `${(ratio * 100).toFixed(0)} %`;

const HEAD = { what: 'what', ours: 'ours', peer: 'peer', ratio: 'ratio', target: 'target', verdict: '' };
const verdict = ({ met }) => (met === undefined ? '' : met ? 'met' : 'NOT met');

/** Lines are `{what, ours, peer, ratio, target, met, note}`; all but `what` and `note` may be missing. */
export function print(lines) {
  const table = [HEAD, ...lines.map((line) => ({ ...line, verdict: verdict(line) }))].map((line) =>
    Object.keys(HEAD).map((name) => line[name] ?? ''),
  );
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  const [head, ...rows] = table.map((row) => row.map((cell, column) => cell.padEnd(widths[column])));
  console.log('\nIn Chromium, with the app that the server embeds; all of one run.\n');
  for (const row of [head, widths.map((width) => '-'.repeat(width)), ...rows])
    console.log(`| ${row.join(' | ')} |`);
  console.log();
  for (const { what, note } of lines) console.log(`${what}: ${note}`);
}
