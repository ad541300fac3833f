// The token of who looks: kept in this tab, or on this device where a person wants that; and never in a URL for longer
// than it takes to read it.

import { keep, kept } from "./store.js";

const KEY = "notifier.token";

let current = null;

export function token() {
  current ??= kept(KEY, { session: true }) ?? kept(KEY);
  return current;
}

// Whether it outlives the tab.
export function isRemembered() {
  return kept(KEY) !== null;
}

// What was kept for the device is replaced, or gone: nobody goes on under two names.
export function useToken(given, { isKept = false } = {}) {
  current = given;
  keep(KEY, given, { session: true });
  keep(KEY, isKept ? given : null);
}

// It does not do any more here.
export function forgetToken() {
  useToken(null);
}

const tabs = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(KEY);

// Forget it everywhere it is kept: on this device, and in every tab.
export function signOut() {
  tabs?.postMessage(current);
  forgetToken();
}

// `onGone` is called when another tab has signed out who looks here.
export function watchToken(onGone) {
  tabs?.addEventListener("message", ({ data }) => {
    if (data === null || data !== current) return;
    forgetToken();
    onGone();
  });
}

// What a signed token says of itself to whoever has it, unverified; {} for others.
export function claimsOf(given) {
  try {
    const payload = given.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
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
