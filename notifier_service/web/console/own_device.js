// This device, where it was paired: the link that brings its token, and that token when its person leaves.

import { Http } from "./client/http.js";

const LINK = /^#\/pair\/([^/?]+)$/;
// A token that this service gave to a device begins so.
const DEVICE_PREFIX = "nsd_";

// The secret of the link, gone from the address before anything else is done; null where there is none.
export function takeLinkFromAddress() {
  const match = LINK.exec(location.hash);
  if (match === null) return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  return match[1];
}

// Whoever signs out on a device leaves no token of it behind.
export async function forgetOwn(connection, token) {
  if (!token?.startsWith(DEVICE_PREFIX)) return;
  const http = new Http(connection);
  try {
    const { devices } = await http.call("GET", "/api/devices", { timeoutMs: 3000 });
    const own = devices.find((device) => device.is_own);
    if (own !== undefined) await http.call("DELETE", `/api/devices/${encodeURIComponent(own.id)}`, { timeoutMs: 3000 });
  } catch {
    // It is listed where it was paired, and taken back there.
  }
}
