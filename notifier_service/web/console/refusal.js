// Why a person is refused, in words: it may be the page, and not who looks at it.

import { t } from "./language.js";
import { deciderOf } from "./outcome.js";

// What a proxy in between changed, and the line that mends it; null when it is the token that does not do.
export function causeOf(error) {
  const { cause, origin, host } = error?.details ?? {};
  if (error?.code !== "forbidden") return null;
  if (cause === "origin") return t("failure.origin", origin, host);
  return cause === "host" ? t("failure.host", host) : null;
}

// Why an answer was not taken.
export function refusalOf(error) {
  const record = error.details?.record;
  switch (error.code) {
    case "already_decided":
      return t("failure.already_decided", deciderOf(record), record?.decision ? t(`outcome.${record.decision}`) : "?");
    case "forbidden":
      return causeOf(error) ?? t("failure.forbidden");
    case "unauthenticated":
    case "parameters_changed":
    case "self_approval":
      return t(`failure.${error.code}`);
    default:
      return (error.status ?? null) === null ? t("failure.network") : t("failure.other", error.message);
  }
}
