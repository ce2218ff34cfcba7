// Where each row of a long list stands: measured heights where known, estimates elsewhere, and their sums.
export class Heights {
  #known = new Map<string, number>();
  #ids: readonly string[] = [];
  #index: ReadonlyMap<string, number> = new Map();
  #heights = new Float64Array(0);
  #tops = new Float64Array(1);

  constructor(private readonly estimate: (index: number) => number) {}

  /** The rows are these now; `index` says where each id is. */
  set(ids: readonly string[], index: ReadonlyMap<string, number>): void {
    this.#ids = ids;
    this.#index = index;
    this.#heights = Float64Array.from(ids, (id, at) => this.#known.get(id) ?? this.estimate(at));
    this.#sum();
  }

  /** Takes measured heights; says whether any was news. */
  measured(rows: Iterable<[id: string, height: number]>): boolean {
    let news = false;
    for (const [id, height] of rows) {
      if (height === 0 || this.#known.get(id) === height) continue;
      this.#known.set(id, height);
      const at = this.#index.get(id);
      if (at !== undefined) this.#heights[at] = height;
      news = true;
    }
    if (news) this.#sum();
    return news;
  }

  /** The width has changed: nothing that was measured holds. */
  forget(): void {
    this.#known.clear();
    this.set(this.#ids, this.#index);
  }

  get count(): number {
    return this.#ids.length;
  }

  get total(): number {
    return this.#tops[this.#ids.length] ?? 0;
  }

  id(index: number): string | undefined {
    return this.#ids[index];
  }

  index(id: string): number | undefined {
    return this.#index.get(id);
  }

  top(index: number): number {
    return this.#tops[Math.min(index, this.#ids.length)] ?? 0;
  }

  /** The row at this height from the start; the first or last one beyond the ends. */
  at(y: number): number {
    let low = 0;
    let high = Math.max(0, this.#ids.length - 1);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.top(middle) <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // 10,000 additions take some 20 µs: a tree would not be worth its code.
  #sum(): void {
    const tops = new Float64Array(this.#heights.length + 1);
    for (let at = 0; at < this.#heights.length; at++)
      tops[at + 1] = (tops[at] as number) + (this.#heights[at] as number);
    this.#tops = tops;
  }
}
