// What the page leaves on this device for its worker, which sees neither tab nor localStorage: whose right the device has,
// and in which language it speaks. It is in no URL and in no cache, and gone when a person signs out.

const SHELF = "device";
const KEY = 1;

export class DeviceStore {
  // `scope` is the path of the page: services that share a host share nothing else.
  constructor(scope) {
    this.#name = `notifier ${scope}`;
  }

  #name;

  // {} where nothing was left, or the browser keeps nothing.
  async read() {
    try {
      return (await this.#run("readonly", (shelf) => shelf.get(KEY))) ?? {};
    } catch {
      return {};
    }
  }

  // Throws where the browser keeps nothing.
  async write(values) {
    const before = await this.read();
    await this.#run("readwrite", (shelf) => shelf.put({ ...before, ...values }, KEY));
  }

  async clear() {
    try {
      await this.#run("readwrite", (shelf) => shelf.delete(KEY));
    } catch {
      // Then nothing was left.
    }
  }

  async #run(mode, use) {
    const opened = indexedDB.open(this.#name, 1);
    opened.onupgradeneeded = () => opened.result.createObjectStore(SHELF);
    const database = await ended(opened);
    try {
      return await ended(use(database.transaction(SHELF, mode).objectStore(SHELF)));
    } finally {
      database.close();
    }
  }
}

function ended(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
