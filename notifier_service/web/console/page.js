// The page: its header, its list of sessions, and the session that the address names.

import { Attention } from "./attention.js";
import { button, element, fill } from "./element.js";
import { helpDialog, listenToKeys } from "./keys.js";
import { otherLanguage, t } from "./language.js";
import { Session } from "./session.js";
import { addressOf, isSessionId, Sessions } from "./sessions.js";
import { nextTheme, theme } from "./theme.js";
import { forgetToken, takeTokenFromAddress, token, useToken } from "./token.js";
import { tokenForm } from "./token_form.js";
import { askWhichToken } from "./token_question.js";

const connection = {
  // The page stands at the prefix, wherever that is mounted.
  baseUrl: location.pathname.replace(/\/+$/, ""),
  token: () => token() ?? "",
};

let session = null;
let pending = [];
let isAsking = false;

const linked = takeTokenFromAddress();
if (linked !== null && token() === null) useToken(linked);

const announcer = element("div", { class: "unseen", role: "status", "aria-live": "polite" });
const content = element("div", { class: "content" });
const attention = new Attention((sessionId) => {
  location.hash = addressOf(sessionId);
});
const sessions = new Sessions({
  connection,
  onRows: (rows) => {
    // Where there is only one, nobody needs to choose.
    if (session === null && !isAsking && location.hash === "" && rows.length === 1) {
      history.replaceState(null, "", addressOf(rows[0].session_id));
      showAddress();
    }
    tell();
  },
  onUnauthenticated: askForToken,
  isWatched: () => attention.isWanted,
});
const forget = button(
  "forget-token",
  t("token.forget"),
  () => {
    forgetToken();
    location.reload();
  },
  { class: "quiet" },
);
const help = helpDialog();
const themeName = element("span", {}, t(`theme.${theme()}`));
const themeButton = button(
  "theme",
  "",
  () => {
    themeName.textContent = t(`theme.${nextTheme()}`);
  },
  { class: "quiet" },
);
fill(themeButton, element("span", { class: "label" }, t("theme")), themeName);
const drawer = button("sessions", t("sessions.show"), () => openDrawer(!document.body.classList.contains("drawer")), {
  class: "quiet",
  "aria-controls": "sessions",
  "aria-expanded": "false",
});

fill(
  document.body,
  element("a", { class: "skip", href: "#cards", on: { click: (event) => skip(event) } }, t("skip")),
  element(
    "header",
    { class: "top" },
    drawer,
    element("a", { class: "brand", href: "#/" }, t("title")),
    element(
      "div",
      { class: "tools" },
      attention.button,
      forget,
      themeButton,
      button(
        "language",
        t("language.other"),
        () => {
          otherLanguage();
          location.reload();
        },
        { class: "quiet", "aria-label": t("language.label") },
      ),
      button("help", "?", () => help.showModal(), { class: "quiet", "aria-label": t("help") }),
    ),
  ),
  element("div", { class: "columns" }, sessions.element, content),
  help,
  announcer,
);
listenToKeys(() => session?.cards ?? null, help);
addEventListener("hashchange", () => {
  const given = takeTokenFromAddress();
  if (given !== null && token() === null) {
    useToken(given);
    startAgain();
  } else {
    showAddress();
    offer(given);
  }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) sessions.refresh();
});
addEventListener("focus", () => sessions.refresh());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("drawer")) openDrawer(false);
});
startAgain();
offer(linked);

// A link brings a token, and there is one already: whose rights are used is a person's choice.
function offer(given) {
  if (given === null || given === token() || isAsking) return;
  askWhichToken(token(), given, () => {
    useToken(given);
    startAgain();
  });
}

function startAgain() {
  isAsking = false;
  forget.hidden = token() === null;
  document.body.classList.remove("asking");
  leave();
  sessions.close();
  sessions.open();
  showAddress();
}

function addressedSession() {
  const match = /^#\/s\/([^/]+)$/.exec(location.hash);
  if (match === null) return null;
  try {
    const id = decodeURIComponent(match[1]);
    return isSessionId(id) ? id : null;
  } catch {
    return null;
  }
}

function showAddress() {
  if (isAsking) return;
  openDrawer(false);
  const sessionId = addressedSession();
  if (session !== null && session.sessionId === sessionId) return;
  leave();
  // Who has chosen a session looks at it now: what waits there may have the focus.
  if (sessions.element.contains(document.activeElement)) document.activeElement.blur();
  sessions.choose(sessionId);
  if (sessionId === null) {
    fill(content, element("main", { class: "alone" }, element("p", { class: "none" }, t("sessions.choose"))));
    document.body.classList.add("choosing");
  } else {
    document.body.classList.remove("choosing");
    session = new Session(sessionId, {
      connection,
      announce,
      onUnauthenticated: askForToken,
      onPending: (id, records) => {
        pending = records;
        sessions.tell(id, records.length);
        tell();
      },
    });
    fill(content, session.element);
  }
  tell();
}

function leave() {
  session?.close();
  session = null;
  pending = [];
}

function tell() {
  attention.tell(sessions.rows, session?.sessionId ?? null, pending);
}

function askForToken() {
  if (isAsking) return;
  isAsking = true;
  const wasRefused = token() !== null;
  forgetToken();
  forget.hidden = true;
  leave();
  sessions.close();
  document.body.classList.add("asking");
  const form = tokenForm({
    wasRefused,
    onToken: (given) => {
      useToken(given);
      startAgain();
    },
  });
  fill(content, form);
  form.querySelector("input").focus();
}

function announce(text) {
  announcer.textContent = text;
}

function openDrawer(isOpen) {
  document.body.classList.toggle("drawer", isOpen);
  drawer.setAttribute("aria-expanded", String(isOpen));
}

// The address is the session's: jumping to a place in the page must not change it.
function skip(event) {
  event.preventDefault();
  (document.getElementById("cards") ?? content).focus();
}
