// What was decided in this page: whoever looks at it did that.

const MOST = 1000;

const ids = new Set();
const listeners = new Set();

export function decideHere(requestId) {
  ids.add(requestId);
  if (ids.size > MOST) ids.delete(ids.values().next().value);
  for (const listener of listeners) listener(requestId);
}

export function isDecidedHere(requestId) {
  return ids.has(requestId);
}

// `listener` hears of each, which events may have told of before; what is given stops that.
export function onDecidedHere(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
