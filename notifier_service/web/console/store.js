// What the browser keeps for this page. A browser that keeps nothing (private windows, policies) is no error.

function area(name) {
  try {
    return globalThis[name];
  } catch {
    return null;
  }
}

export function kept(name, { session = false } = {}) {
  try {
    return area(session ? "sessionStorage" : "localStorage")?.getItem(name) ?? null;
  } catch {
    return null;
  }
}

export function keep(name, value, { session = false } = {}) {
  try {
    const store = area(session ? "sessionStorage" : "localStorage");
    if (value === null) store?.removeItem(name);
    else store?.setItem(name, value);
  } catch {
    // Then it is gone when the page is.
  }
}
