// The service's time: a person's own clock may be wrong, and a countdown must not be.

let offset = null;

export function now() {
  return Date.now() + (offset ?? 0);
}

// A heartbeat is from this moment. An event may be an hour old, so it only tells that the clock here is behind.
export function heard(event) {
  if (event.type === "heartbeat" && typeof event.timestamp === "number") {
    offset = event.timestamp * 1000 - Date.now();
    return;
  }
  const at = Date.parse(event.data?.timestamp ?? "");
  if (!Number.isNaN(at)) offset = Math.max(offset ?? 0, at - Date.now());
}
