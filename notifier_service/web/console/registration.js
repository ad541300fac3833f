// The worker of this page, which shows what is pushed, and says where the page cannot be fetched.

// It comes when the page has what it needs first.
const LATER_MS = 2000;
const WORKER = "console/worker.js";

let registered = null;

// Whether this browser has workers at all: none has them over plain HTTP from another machine.
export function mayHaveWorker() {
  return "serviceWorker" in navigator && isSecureContext;
}

// The registration, once there is one. Throws where the browser refuses.
export function registration() {
  registered ??= register().catch((error) => {
    registered = null;
    throw error;
  });
  return registered;
}

async function register() {
  // As modules where the sources are served as they are, as one script where it was built.
  const type = document.documentElement.dataset.worker;
  await navigator.serviceWorker.register(trusted(WORKER), { scope: "./", type, updateViaCache: "none" });
  return navigator.serviceWorker.ready;
}

// The one script that the page may name to the browser, and no other.
let policy = null;

function trusted(url) {
  const createScriptURL = (given) => {
    if (given !== WORKER) throw new TypeError("The page has no such worker.");
    return given;
  };
  policy ??= globalThis.trustedTypes?.createPolicy("notifier-worker", { createScriptURL }) ?? { createScriptURL };
  return policy.createScriptURL(url);
}

// `onOpen` hears which place of the page a person chose on a notification.
export function haveWorker(onOpen) {
  if (!mayHaveWorker()) return;
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (typeof data?.open === "string" && data.open.startsWith("#/")) onOpen(data.open);
  });
  navigator.serviceWorker.startMessages();
  setTimeout(() => registration().catch(() => {}), LATER_MS);
}
