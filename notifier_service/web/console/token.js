// The token of who looks: kept in this tab, and never in a URL for longer than it takes to read it.

import { keep, kept } from "./store.js";

const KEY = "notifier.token";

let current = null;

export function token() {
  current ??= kept(KEY, { session: true });
  return current;
}

export function useToken(given) {
  current = given;
  keep(KEY, given, { session: true });
}

export function forgetToken() {
  useToken(null);
}

// "#token=…" or "#token=…&/s/<session>": gone from the address before anything else is done. The token, or null.
export function takeTokenFromAddress() {
  const match = /^#token=([^&]*)(?:&(.*))?$/s.exec(location.hash);
  if (match === null) return null;
  history.replaceState(history.state, "", location.pathname + location.search + (match[2] ? `#${match[2]}` : ""));
  let given = match[1];
  try {
    given = decodeURIComponent(given);
  } catch {
    // It was not encoded.
  }
  return given.trim() || null;
}
