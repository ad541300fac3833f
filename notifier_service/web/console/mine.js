// What was decided in this page: whoever looks at it did that.

const MOST = 1000;

const ids = new Set();

export function decideHere(requestId) {
  ids.add(requestId);
  if (ids.size > MOST) ids.delete(ids.values().next().value);
}

export function isDecidedHere(requestId) {
  return ids.has(requestId);
}
