// Another version of the page than the one that is open, which a service may have after a restart.

import { registration } from "./registration.js";

// Whether the service serves other scripts now. Where it cannot be asked, it does not.
export async function isOutdated() {
  const own = document.querySelector("script[src]")?.getAttribute("src");
  try {
    const answer = await fetch("./", { cache: "no-cache" });
    if (!answer.ok || (await answer.text()).includes(`"${own}"`)) return false;
  } catch {
    return false;
  }
  // The worker, too, which no page loads anew.
  registration()
    .then((worker) => worker.update())
    .catch(() => {});
  return true;
}
