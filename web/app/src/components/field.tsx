import { type JSX, Show, splitProps } from 'solid-js';

type Input = JSX.InputHTMLAttributes<HTMLInputElement>;

/** A labelled line of input with a hint, or with what to mend. */
export function Field(
  props: Input & { id: string; label: string; hint?: string; trouble?: string | undefined; prefix?: string },
) {
  const [own, input] = splitProps(props, ['label', 'hint', 'trouble', 'prefix']);
  return (
    <div class="field" classList={{ 'has-trouble': !!own.trouble }}>
      <label for={props.id}>{own.label}</label>
      <div class="input">
        <Show when={own.prefix}>
          <span class="prefix" aria-hidden="true">
            {own.prefix}
          </span>
        </Show>
        <input
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          {...input}
          aria-invalid={own.trouble ? 'true' : undefined}
          aria-describedby={own.trouble || own.hint ? `${props.id}-about` : undefined}
        />
      </div>
      <p id={`${props.id}-about`} class="about" role={own.trouble ? 'alert' : undefined}>
        {own.trouble ?? own.hint}
      </p>
    </div>
  );
}
