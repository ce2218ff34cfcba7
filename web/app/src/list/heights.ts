// Where each row of a long list stands: measured heights where known, estimates elsewhere, and their sums.
export class Heights {
  #known = new Map<string, number>();
  #ids: readonly string[] = [];
  #index = new Map<string, number>();
  #tops = new Float64Array(1);

  constructor(private readonly estimate: (index: number) => number) {}

  /** The rows are these now. */
  set(ids: readonly string[]): void {
    this.#ids = ids;
    this.#index = new Map(ids.map((id, index) => [id, index]));
    this.#sum();
  }

  /** Takes measured heights; says whether any was news. */
  measured(rows: Iterable<[id: string, height: number]>): boolean {
    let news = false;
    for (const [id, height] of rows) {
      if (height === 0 || this.#known.get(id) === height) continue;
      this.#known.set(id, height);
      news = true;
    }
    if (news) this.#sum();
    return news;
  }

  /** The width has changed: nothing that was measured holds. */
  forget(): void {
    this.#known.clear();
    this.#sum();
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
    const tops = new Float64Array(this.#ids.length + 1);
    let sum = 0;
    this.#ids.forEach((id, index) => {
      tops[index] = sum;
      sum += this.#known.get(id) ?? this.estimate(index);
    });
    tops[this.#ids.length] = sum;
    this.#tops = tops;
  }
}
