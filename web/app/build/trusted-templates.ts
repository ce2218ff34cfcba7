// Solid compiles markup to constant strings and parses each once, with innerHTML. Under `require-trusted-types-for 'script'`
// that needs a policy. This transform gives Solid's own parser one, out of reach of every other module, so that no
// string that is not a compiled template can become markup.
import type { Plugin } from 'vite';

export const POLICY = 'solid-template';

const PARSE = '.innerHTML = html;';

export function trustedTemplates(): Plugin {
  let found = false;
  return {
    name: 'trusted-templates',
    apply: 'build',
    enforce: 'pre',
    transform(code, id) {
      if (!/solid-js\/web\/dist\/web\.js/.test(id)) return;
      if (code.split(PARSE).length !== 2)
        this.error('solid-js/web parses templates in another way now: look again');
      found = true;
      const policy = `const trusted = globalThis.trustedTypes?.createPolicy('${POLICY}', { createHTML: (html) => html }) ?? { createHTML: (html) => html };\n`;
      return { code: policy + code.replace(PARSE, '.innerHTML = trusted.createHTML(html);'), map: null };
    },
    buildEnd(error) {
      if (!error && !found) this.error('solid-js/web was not seen: templates would not be trusted');
    },
  };
}
