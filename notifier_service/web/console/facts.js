// What is known of a request beside its parameters: its tool, its risk and why, who asked when, and what the agent says.

import { element } from "./element.js";
import { exactText } from "./excerpt.js";
import { clockTime, fullTime } from "./format.js";
import { known, t } from "./language.js";
import { plainText } from "./readable.js";
import { deedsOf, reasonsOf } from "./reasons.js";

export function titleOf(record) {
  return element(
    "h3",
    { id: `title-${record.request_id}` },
    exactText(record.tool_name, { headLength: 300 }).element,
  );
}

export function headOf(record, title, countdown) {
  return element(
    "header",
    {},
    element(
      "span",
      { class: `risk ${record.risk_level}` },
      known("risk", record.risk_level),
      isProducers(record) && ` ${t("risk.byProducer")}`,
    ),
    title,
    record.server &&
      element(
        "span",
        { class: "server", data: { role: "server" } },
        `${t("card.server")} `,
        exactText(record.server, { headLength: 300 }).element,
      ),
    element("span", { class: "expiry" }, record.expires_at === null ? t("card.never") : [`${t("card.expires")} `, countdown]),
  );
}

// What the service itself says of the call: what it does, where, whether it can be taken back, and why a person is asked.
export function judgement(record) {
  const told = deedsOf(record);
  const reasons = reasonsOf(record);
  if (told === null && reasons.length === 0) return null;
  return element(
    "section",
    { class: "judgement", "aria-label": t("card.ours"), data: { role: "judgement" } },
    told && deeds(told),
    reasons.length > 0 &&
      element(
        "p",
        { class: "why" },
        element("span", { class: "label" }, t(isProducers(record) ? "card.whyProducer" : "card.why"), t("deeds.colon")),
        exactText(reasons.join("; "), { headLength: 500 }).element,
      ),
  );
}

function deeds(told) {
  return element(
    "p",
    { class: "deeds", data: { role: "deeds" } },
    element("span", { class: "label" }, t("card.does"), t("deeds.colon")),
    exactText(told.text, { headLength: 500 }).element,
    told.isFinal && [" ", element("strong", { class: "final" }, t("deeds.final"))],
    told.isReversible && [" ", element("span", { class: "reversible" }, t("deeds.reversible"))],
  );
}

// When it was asked, and who could see it then.
export function factsOf(record) {
  const askedAt = Date.parse(record.timestamp);
  return element(
    "p",
    { class: "facts" },
    element("span", { title: fullTime(askedAt) }, t("card.asked", clockTime(askedAt))),
    element("span", {}, t("card.viewers", record.viewers)),
  );
}

// A warning about letters that may only look like those of a tool that people know; null where there are none.
export function foreignName(toolName) {
  const foreign = [...new Set(toolName.match(/[^\x20-\x7e]/gu) ?? [])];
  if (foreign.length === 0) return null;
  const names = foreign.slice(0, 12).map(codePoint).join(", ");
  return element("p", { class: "warning", data: { role: "foreign-name" } }, t("card.foreignName", names));
}

export function descriptionOf(record) {
  return element(
    "div",
    { class: "description", data: { role: "description" } },
    element("h4", {}, t("card.agent")),
    exactText(record.description).element,
  );
}

function isProducers(record) {
  return record.rated_by === "producer";
}

function codePoint(character) {
  const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  const isSeen = plainText(character) === character && /[\p{L}\p{N}\p{P}\p{S}]/u.test(character);
  return isSeen ? `${character} (U+${number})` : `U+${number}`;
}
