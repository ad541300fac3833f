// Which of the requests that wait are alike, so that one look and one act may be enough for them.

const MOST = 50;

// Requests with the same likeness may stand on one card; null for one that stands alone.
function likenessOf(request) {
  const { allowed_decisions: allowed } = request;
  if (request.parameters_truncated || !allowed.includes("approve") || !allowed.includes("reject")) return null;
  const { tool_name: tool, server, risk_level: risk, rated_by: ratedBy, reasons, deeds, description } = request;
  const codes = (reasons ?? []).map(({ code, text }) => (code === "deeds" ? code : text));
  const does = [deeds?.does, deeds?.where, deeds?.reversible];
  return JSON.stringify([tool, server, risk, ratedBy, codes, does, description !== undefined && description !== null]);
}

// What waits, as items of one or more requests. `items` are those of before: they keep their order, and their keys.
// The item that is `shown` gets no more requests: it is decided as it was shown.
export class Items {
  list = [];

  #requests = new Map();
  #number = 0;
  #alone = new Set(); // requests that a person wants to see one by one

  get requests() {
    return this.#requests;
  }

  // Returns the requests that have come.
  update(pending, shown) {
    const before = this.#requests;
    this.#requests = new Map(pending.map((request) => [request.request_id, request]));
    const come = pending.filter(({ request_id: id }) => !before.has(id));
    for (const item of this.list) item.ids = item.ids.filter((id) => this.#requests.has(id));
    this.list = this.list.filter((item) => item.ids.length > 0 || item === shown);
    const open = new Map();
    for (const item of this.list) if (item !== shown && item.likeness !== null) open.set(item.likeness, item);
    for (const request of come) this.#add(request, open);
    for (const id of this.#alone) if (!this.#requests.has(id)) this.#alone.delete(id);
    return come;
  }

  // By time left; what never expires comes last. Only what a person does brings this about.
  sort() {
    const left = (item) => Math.min(...item.ids.map((id) => this.#requests.get(id)).map(expiryOf));
    const keyed = this.list.map((item) => ({ item, left: item.ids.length === 0 ? Infinity : left(item) }));
    keyed.sort((one, other) => (one.left === other.left ? one.item.number - other.item.number : one.left - other.left));
    this.list = keyed.map(({ item }) => item);
  }

  remove(item) {
    this.list = this.list.filter((other) => other !== item);
  }

  // Take an item apart: each of its requests is an item of its own, in its place. Returns the first.
  split(item) {
    const singles = item.ids.map((id) => {
      this.#alone.add(id);
      return this.#item([id], null);
    });
    this.list.splice(this.list.indexOf(item), 1, ...singles);
    return singles[0];
  }

  find(requestId) {
    return this.list.find((item) => item.ids.includes(requestId));
  }

  recordsOf(item) {
    return item.ids.map((id) => this.#requests.get(id)).filter((request) => request !== undefined);
  }

  #add(request, open) {
    const id = request.request_id;
    const likeness = this.#alone.has(id) ? null : likenessOf(request);
    const alike = likeness === null ? undefined : open.get(likeness);
    if (alike !== undefined && alike.ids.length < MOST) {
      alike.ids.push(id);
      return;
    }
    const item = this.#item([id], likeness);
    this.list.push(item);
    if (likeness !== null) open.set(likeness, item);
  }

  #item(ids, likeness) {
    this.#number += 1;
    return { key: `item-${this.#number}`, number: this.#number, ids, likeness };
  }
}

function expiryOf(request) {
  return request?.expires_at ? Date.parse(request.expires_at) : Infinity;
}
