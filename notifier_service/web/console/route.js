// Which place of the page an address names, and the address of a place.

const SESSION_ID = /^(?!\.{1,2}$)[A-Za-z0-9._:~-]{1,128}$/;

export function isSessionId(text) {
  return SESSION_ID.test(text);
}

export const INBOX = "#/inbox";
export const RULES = "#/rules";
export const DEVICES = "#/devices";

export function addressOf(sessionId, row) {
  const at = row === undefined ? "" : `/${encodeURIComponent(row)}`;
  return `#/session/${encodeURIComponent(sessionId)}${at}`;
}

export function addressOfRequest({ session_id: sessionId, request_id: requestId }) {
  return `#/request/${encodeURIComponent(sessionId)}/${encodeURIComponent(requestId)}`;
}

export function addressOfHistory(filter = {}) {
  const given = Object.entries(filter).filter(([, value]) => value);
  const query = new URLSearchParams(given).toString();
  return `#/history${query && `?${query}`}`;
}

// {place, sessionId?, row?, requestId?, filter?}; what names nothing is the inbox.
export function placeAt(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [place, ...rest] = path.split("/").map(decoded);
  if (place === "history") return { place, filter: Object.fromEntries(new URLSearchParams(query)) };
  if (place === "rules" || place === "devices") return { place };
  if (["session", "s", "request"].includes(place)) {
    const [sessionId, last] = rest;
    if (sessionId === undefined || !isSessionId(sessionId)) return { place: "nowhere" };
    if (place !== "request") return { place: "session", sessionId, row: last };
    if (last) return { place, sessionId, requestId: last };
  }
  if (place === "inbox" && rest.length > 0) return { place, requestId: rest[0] };
  return { place: place === "" || place === "inbox" ? "inbox" : "nowhere" };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
