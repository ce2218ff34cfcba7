// IndexedDB as the core's store: an object store a table, keys and values bytes.
//
// Whoever leads adds a generation beside the tables, and every write claims the next one for its own transaction: once
// another leads it is taken, and the transaction fails. So a leader that was replaced while it slept cannot write any
// more, whatever it believes; and as its writes wait for no answer, one that falls asleep hardly ever keeps others waiting:
// only within a transaction, until the browser gives up on that.

import { SottoError } from '../error.js';
import { type Bytes, HOT, type Query, type Row, TABLES, type Writes } from './core.js';

/** Raised when a table is added or the meaning of rows changes. */
const SCHEMA = 1;
const FENCE = 'fence';
/** A database is opened in milliseconds, unless somebody keeps it from it. */
const PATIENCE = 10_000;
/** Generations kept; who is further behind does not come back. */
const REMEMBERED = 1_000;

/** Another tab leads now. */
export class Fenced extends Error {}

interface RecordsSource {
  /** Keys and values of a range in either direction, at once. */
  getAllRecords?(options: {
    query: IDBKeyRange;
    count: number;
    direction: IDBCursorDirection;
  }): IDBRequest<{ key: ArrayBuffer; value: Bytes }[]>;
}

export class Store {
  /** The store ended by itself: cleared by the user, or wanted by a newer version. */
  onended: (error: SottoError) => void = () => {};
  generation = 0;
  readonly #db: IDBDatabase;

  private constructor(db: IDBDatabase) {
    this.#db = db;
    db.onversionchange = (event) => {
      db.close();
      const error =
        event.newVersion === null
          ? cleared()
          : new SottoError('storage-newer', 'a newer version of this page was opened in another tab: reload');
      this.onended(error);
    };
    db.onclose = () => this.onended(cleared());
  }

  static open(profile: string): Promise<Store> {
    return new Promise((resolve, reject) => {
      const request = open(profile);
      let refused = false;
      const refuse = () => {
        refused = true;
        const why = 'another tab keeps an older version of this page open: close it, then reload';
        reject(new SottoError('storage-blocked', why));
      };
      // A deletion that waits for another tab blocks too, and nothing says so.
      const late = setTimeout(refuse, PATIENCE);
      request.onupgradeneeded = () => {
        for (const table of [...TABLES, FENCE]) request.result.createObjectStore(table);
      };
      request.onblocked = refuse;
      request.onerror = () => {
        clearTimeout(late);
        reject(storageError(request.error));
      };
      request.onsuccess = () => {
        clearTimeout(late);
        if (refused) request.result.close();
        else resolve(new Store(request.result));
      };
    });
  }

  /** Takes the store over: from now on whoever led before cannot write. */
  lead(): Promise<void> {
    return this.#transact([FENCE], (tx) => {
      const fence = tx.objectStore(FENCE);
      const last = fence.openKeyCursor(null, 'prev');
      last.onsuccess = () => {
        this.generation = Number(last.result?.key ?? 0) + 1;
        fence.add(true, this.generation);
        fence.delete(IDBKeyRange.upperBound(this.generation - REMEMBERED));
        tx.commit();
      };
    });
  }

  /** Resolves once the writes are on the disk; in the order of the calls. */
  write({ puts, deletes, ranges }: Writes): Promise<void> {
    const tables = new Set([...puts, ...deletes, ...ranges].map(([table]) => table));
    return this.#transact([FENCE, ...tables], (tx) => {
      tx.objectStore(FENCE).add(true, this.generation + 1);
      tx.objectStore(FENCE).delete(this.generation + 1);
      for (const [table, from, to] of ranges) {
        const range = keyRange(from, to);
        if (range) tx.objectStore(table).delete(range);
      }
      for (const [table, key] of deletes) tx.objectStore(table).delete(key);
      for (const [table, key, value] of puts) tx.objectStore(table).put(value, key);
      tx.commit();
    });
  }

  /** Everything that the core holds in memory. */
  async hot(): Promise<Row[]> {
    const tx = this.#begin(HOT, 'readonly');
    const tables = HOT.map(async (table): Promise<Row[]> => {
      const store = tx.objectStore(table);
      const [keys, values] = await Promise.all([done(store.getAllKeys()), done<Bytes[]>(store.getAll())]);
      return keys.map((key, at) => [table, bytes(key), values[at] as Bytes]);
    });
    return (await Promise.all(tables)).flat();
  }

  /** Sees every write that was asked for before. */
  async load({ table, from, to, limit, descending }: Query): Promise<[Bytes, Bytes][]> {
    const range = keyRange(from, to);
    if (!range) return [];
    const store = this.#begin([table], 'readonly').objectStore(table);
    const source: RecordsSource = store as unknown as RecordsSource;
    if (source.getAllRecords) {
      const direction = descending ? 'prev' : 'next';
      const records = await done(source.getAllRecords({ query: range, count: limit, direction }));
      return records.map(({ key, value }) => [bytes(key), value]);
    }
    if (descending) return walkDown(store, range, limit);
    const [keys, values] = await Promise.all([
      done(store.getAllKeys(range, limit)),
      done<Bytes[]>(store.getAll(range, limit)),
    ]);
    return keys.map((key, at) => [bytes(key), values[at] as Bytes]);
  }

  close(): void {
    this.#db.close();
  }

  #begin(tables: string[], mode: IDBTransactionMode): IDBTransaction {
    try {
      return this.#db.transaction(tables, mode, { durability: 'strict' });
    } catch (error) {
      throw storageError(error);
    }
  }

  #transact(tables: string[], work: (tx: IDBTransaction) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const tx = this.#begin(tables, 'readwrite');
      tx.oncomplete = () => resolve();
      tx.onabort = () => reject(storageError(tx.error));
      work(tx);
    });
  }
}

function open(profile: string): IDBOpenDBRequest {
  try {
    return indexedDB.open(profile, SCHEMA);
  } catch (error) {
    throw storageError(error);
  }
}

function walkDown(store: IDBObjectStore, range: IDBKeyRange, limit: number): Promise<[Bytes, Bytes][]> {
  return new Promise((resolve, reject) => {
    const rows: [Bytes, Bytes][] = [];
    const request = store.openCursor(range, 'prev');
    request.onerror = () => reject(storageError(request.error));
    request.onsuccess = () => {
      const cursor = request.result;
      if (!cursor || rows.length === limit) return resolve(rows);
      rows.push([bytes(cursor.key), cursor.value]);
      cursor.continue();
    };
  });
}

/** From the first key, included, to the last, excluded; none if nothing can be between. */
export function keyRange(from: Bytes, to: Bytes): IDBKeyRange | undefined {
  return indexedDB.cmp(from, to) < 0 ? IDBKeyRange.bound(from, to, false, true) : undefined;
}

const bytes = (key: IDBValidKey): Bytes => new Uint8Array(key as ArrayBuffer);

const done = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(storageError(request.error));
  });

const cleared = () =>
  new SottoError('storage-closed', "this site's data were cleared, or the browser closed them: reload");

/** What the browser's storage or its locks say went wrong. */
export function storageError(error: unknown): SottoError | Fenced {
  switch ((error as DOMException | null)?.name) {
    case 'ConstraintError':
      // Nothing else is ever added.
      return new Fenced();
    case 'TimeoutError':
      // The browser gave up on a transaction whose tab slept in the middle of it, so that another could go on.
      return new Fenced();
    case 'QuotaExceededError':
      return new SottoError(
        'storage-full',
        'the disk is full: make room and reload; nothing that was sent is lost',
      );
    case 'VersionError':
      return new SottoError('storage-newer', 'a newer version of this page wrote the data: reload to get it');
    case 'InvalidStateError':
      return cleared();
    case 'SecurityError':
      return new SottoError(
        'storage-refused',
        'the browser is set to store nothing of this site: allow its data (cookies), then reload',
      );
    default:
      return new SottoError('storage-failed', `the browser's storage failed: ${String(error)}`);
  }
}
