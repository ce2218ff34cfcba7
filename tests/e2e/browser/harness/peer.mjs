// What the judge wants of a peer, whichever program it is.

/** Numbered texts. */
export const texts = (tag, count) => Array.from({ length: count }, (_, number) => `${tag} ${number}`);

/**
 * A person's peer. Those who extend it have:
 * `sendAll(conversation, texts)`, which calls `send` for each in order without waiting between them, and resolves to
 * what each call ended with: `sent`, or the kind of its error;
 * `history()`, `status()`, `direct(handle)`, `accept(conversation)`; and `notified()`: the ids of all messages that it was
 * told of, or null where it may have missed some.
 */
export class Peer {
  /** What `burst`, `history` and the judge are about. */
  conversation = '';
  /** What was sent: a list for each run of sends whose order is known. */
  issued = [];
  /** What `send` was answered for. */
  accepted = new Set();

  constructor(name) {
    this.name = name;
  }

  /** Sends many texts without waiting between them; then until all are answered. All must be accepted. */
  async burst(texts) {
    const outcome = await this.attempt(texts);
    const refused = outcome.findIndex((how) => how !== 'sent');
    if (refused >= 0) throw new Error(`${this.name}: '${texts[refused]}' was not sent: ${outcome[refused]}`);
  }

  /** The same, where answers may be lost: what is not answered may be there or not. */
  async attempt(texts, through = this) {
    this.issued.push(texts);
    const outcome = await through.sendAll(this.conversation, texts);
    texts.forEach((text, number) => {
      if (outcome[number] === 'sent') this.accepted.add(text);
    });
    return outcome;
  }

  /** How many devices it is linked to directly, by `status`. */
  async directLinks() {
    const { links } = await this.status();
    return links.filter(({ path, state }) => path === 'direct' && state === 'valid').length;
  }

  async shown() {
    return (await this.history()).length;
  }
}

/** Everything displayed, in its order, from pages of it. */
export async function whole(page) {
  const all = [];
  for (;;) {
    const earlier = await page(all[0]?.id);
    if (earlier.length === 0) return all;
    all.unshift(...earlier);
  }
}
