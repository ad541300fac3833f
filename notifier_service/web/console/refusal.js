// Why a person is refused, in words: it may be the page, and not who looks at it.

import { t } from "./language.js";

// What a proxy in between changed, and the line that mends it; null when it is the token that does not do.
export function causeOf(error) {
  const { cause, origin, host } = error?.details ?? {};
  if (error?.code !== "forbidden") return null;
  if (cause === "origin") return t("failure.origin", origin, host);
  return cause === "host" ? t("failure.host", host) : null;
}
