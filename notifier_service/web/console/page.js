// The page: its header, what waits, the sessions, and the place that the address names.

import { Attention } from "./attention.js";
import { InboxClient } from "./client/index.js";
import { heard } from "./clock.js";
import { Device } from "./device.js";
import { button, element, fill } from "./element.js";
import { Inbox } from "./inbox.js";
import { helpDialog, listenToKeys } from "./keys.js";
import { otherLanguage, t } from "./language.js";
import { Later } from "./later.js";
import { forgetOwn, takeLinkFromAddress } from "./own_device.js";
import { sayWhoLooks } from "./presence.js";
import { plainText } from "./readable.js";
import { haveWorker } from "./registration.js";
import { RequestPage } from "./request_page.js";
import { addressOf, addressOfHistory, DEVICES, INBOX, placeAt, RULES } from "./route.js";
import { Session } from "./session.js";
import { Sessions } from "./sessions.js";
import { nextTheme, theme } from "./theme.js";
import { claimsOf, forgetToken, isRemembered, signOut, takeTokenFromAddress, token, useToken, watchToken } from "./token.js";
import { tokenForm } from "./token_form.js";
import { askWhichToken } from "./token_question.js";
import { isOutdated } from "./version.js";

// A hidden page has no frames.
const HIDDEN_MS = 200;
// Sessions come and go in crowds: their list is read again no more often.
const REFRESH_MS = 500;

const connection = {
  // The page stands at the prefix, wherever that is mounted.
  baseUrl: location.pathname.replace(/\/+$/, ""),
  token: () => token() ?? "",
};

let client = null;
let place = null; // what the address names
let shown = null; // what is shown of it: an Inbox, a Session or another page
let isAsking = false;
let isDue = false;
let isPresent = false; // whether all that waits is known
let refreshing = 0;
let isLost = false; // the service has been away since the page was loaded

const linked = takeTokenFromAddress();
const pairing = takeLinkFromAddress();
if (linked !== null && token() === null) useToken(linked);

const announcer = element("div", { class: "unseen", role: "status", "aria-live": "polite" });
const content = element("div", { class: "content", id: "content" });
const device = new Device(connection);
const attention = new Attention(device, (sessionId) => {
  location.hash = sessionId === null ? INBOX : addressOf(sessionId);
});
const sessions = new Sessions({
  connection,
  onRows: () => {
    shown?.tellRow?.();
    tell();
  },
  onUnauthenticated: askForToken,
  isWatched: () => attention.isWanted,
});
const queue = element("div", { class: "queue" });
const side = element("aside", { id: "side", "aria-label": t("side") }, queue, sessions.element);
const forget = button("forget-token", "", leaveForGood, { class: "quiet" });
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
fill(themeButton, element("span", { class: "label" }, t("theme")), " ", themeName);
// Said, and not done: what somebody has begun to write would go with the page.
const reload = button(
  "reload",
  t("version.reload"),
  () => {
    if (shown?.desk?.isWriting) announce(t("version.writing"));
    else location.reload();
  },
  { hidden: true, title: t("version.new") },
);
const drawer = button("sessions", "", () => openDrawer(!document.body.classList.contains("drawer")), {
  class: "quiet",
  "aria-controls": "side",
  "aria-expanded": "false",
  "aria-label": t("sessions.show"),
});
fill(drawer, element("span", { "aria-hidden": "true" }, "☰"));
const number = element("span", { class: "badge", hidden: true });
const skipping = element("a", { class: "skip", href: "#content", on: { click: (event) => skip(event) } }, t("skip.content"));
const link = (name, href, ...more) => element("a", { href, data: { place: name } }, t(name), ...more);
const places = element(
  "nav",
  { class: "places", "aria-label": t("places") },
  link("inbox", INBOX, number),
  link("history", addressOfHistory()),
  link("rules", RULES),
);

fill(
  document.body,
  skipping,
  element(
    "header",
    { class: "top" },
    drawer,
    element("a", { class: "brand", href: INBOX }, t("title")),
    places,
    element(
      "div",
      { class: "tools" },
      reload,
      attention.button,
      element("a", { href: DEVICES, class: "tool", data: { place: "devices" } }, t("devices")),
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
  element("div", { class: "columns" }, side, content),
  help,
  announcer,
);
listenToKeys(() => shown?.desk ?? null, help);
addEventListener("hashchange", () => {
  const secret = takeLinkFromAddress();
  if (secret !== null) {
    showPairing(secret);
    return;
  }
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
  if (event.key !== "Escape") return;
  if (document.body.classList.contains("drawer")) openDrawer(false);
  else if (shown instanceof Inbox) shown.hideContext();
});
// Where there is room, there is no drawer.
matchMedia("(max-width: 720px)").addEventListener("change", () => openDrawer(false));
// Signed out in another tab.
watchToken(() => location.reload());
sayWhoLooks(connection, () => !isAsking);
haveWorker((address) => {
  location.hash = address;
});
if (pairing === null) startAgain();
else showPairing(pairing);
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
  tellSignedIn();
  document.body.classList.remove("asking");
  leave();
  client?.disconnect();
  isPresent = false;
  client = new InboxClient(connection);
  client.listen((event) => hear(event));
  client.subscribe(() => changed());
  client.connect();
  sessions.close();
  sessions.open();
  device.follow();
  place = null;
  showAddress();
}

function tellSignedIn() {
  forget.textContent = t(isRemembered() ? "token.signOut" : "token.forget");
}

// What a link gives is shown in the place of the page, and taken when a person presses.
function showPairing(secret) {
  standAside();
  const host = {
    connection,
    hasToken: token() !== null,
    onPaired: (given) => {
      useToken(given, { isKept: true });
      startAgain();
    },
    onLeave: startAgain,
  };
  fill(content, new Later(({ PairPage }) => new PairPage(secret, host)).element);
}

async function leaveForGood() {
  await device.signOut(); // while its token is known
  await forgetOwn(connection, token());
  signOut();
  location.reload();
}

function hear(event) {
  heard(event);
  if (event.type === "session_opened" || event.type === "session_closed") refreshSoon();
  if (shown instanceof Inbox) shown.hear(event);
  if (event.type === "snapshot" && !isPresent) {
    isPresent = true;
    if (shown instanceof Inbox) shown.present();
  }
}

function refreshSoon() {
  if (refreshing !== 0) return;
  refreshing = setTimeout(() => {
    refreshing = 0;
    sessions.refresh();
  }, REFRESH_MS);
}

// Many events are one change of the page.
function changed() {
  if (isDue) return;
  isDue = true;
  const update = () => {
    isDue = false;
    const { phase, error } = client.connection;
    if (phase === "ended" && ["unauthenticated", "token_expired"].includes(error?.code)) askForToken();
    if (shown instanceof Inbox) shown.update();
    tell();
    if (isLost && phase === "open") lookForVersion();
    isLost = phase === "waiting" || phase === "offline" || (isLost && phase !== "open");
  };
  if (document.hidden) setTimeout(update, HIDDEN_MS);
  else requestAnimationFrame(update);
}

// A service that was away may be another version by now.
async function lookForVersion() {
  if (!reload.hidden || !(await isOutdated())) return;
  reload.hidden = false;
  announce(t("version.new"));
}

function nameOf(sessionId) {
  return plainText(sessions.rowOf(sessionId)?.title || sessionId);
}

function showAddress() {
  if (isAsking) return;
  openDrawer(false);
  const next = placeAt(location.hash);
  const isSame = place !== null && place.place === next.place && place.sessionId === next.sessionId;
  if (isSame && next.place === "session") {
    shown.showRow(next.row);
    return;
  }
  if (isSame && next.place === "inbox") {
    if (next.requestId !== undefined) shown.turnTo(next.requestId);
    return;
  }
  leave();
  place = next;
  // Who has chosen a place looks at it now: what waits there may have the focus.
  if (side.contains(document.activeElement) || places.contains(document.activeElement)) document.activeElement.blur();
  sessions.choose(next.place === "session" ? next.sessionId : null);
  shown = made(next);
  fill(content, shown.element);
  skipping.textContent = t(shown.desk === undefined ? "skip.content" : "skip");
  fill(queue, shown.desk?.queue.element);
  if (isPresent && shown instanceof Inbox) shown.present();
  document.body.dataset.place = next.place;
  for (const each of document.querySelectorAll("a[data-place]")) {
    if (each.dataset.place === next.place) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  tell();
}

function made(next) {
  const host = {
    connection,
    client,
    announce,
    nameOf,
    rowOf: (sessionId) => sessions.rowOf(sessionId),
    decide: (requests, approved, reason) => client.decideAll(requests, approved, reason),
    onUnauthenticated: askForToken,
    onPending: () => tell(),
    reveal: () => openDrawer(false),
    mayOnlyLook,
  };
  switch (next.place) {
    case "session":
      return new Session(next.sessionId, host, next.row);
    case "request":
      return new RequestPage(next, host);
    case "history":
      return new Later(({ HistoryPage }) => new HistoryPage(next.filter, host));
    case "rules":
      return new Later(({ RulesPage }) => new RulesPage(host));
    case "devices":
      return new Later(({ DevicesPage }) => new DevicesPage({ ...host, device, onSignedIn: tellSignedIn }));
    default:
      return new Inbox({ ...host, isLost: next.place === "nowhere" }, next.requestId);
  }
}

// What the service says, and what a signed token says of itself, also where nothing is heard of the service.
function mayOnlyLook() {
  return !client.mayApprove || claimsToLook();
}

function claimsToLook() {
  const { rights } = claimsOf(token() ?? "");
  return Array.isArray(rights) && !rights.some((right) => right === "approve" || right === "admin");
}

function leave() {
  shown?.close?.();
  shown = null;
}

// The numbers in the header, in the list and in the title, and what calls a person who looks elsewhere.
function tell() {
  if (client === null || isAsking) return;
  const waiting = new Map();
  for (const { session_id: id } of client.state.pending) waiting.set(id, (waiting.get(id) ?? 0) + 1);
  if (shown instanceof Session && shown.desk.waiting.length > 0) waiting.set(shown.sessionId, shown.desk.waiting.length);
  if (isPresent) sessions.tell(waiting);
  document.body.classList.toggle("may-look", mayOnlyLook());
  const total = [...waiting.values()].reduce((sum, each) => sum + each, 0);
  number.hidden = total === 0;
  number.textContent = total;
  attention.tell(client.state.pending, total, shown instanceof Session ? shown.sessionId : null, isPresent);
}

// Nothing is shown but what is asked of the person.
function standAside() {
  isAsking = true;
  openDrawer(false);
  forget.hidden = true;
  leave();
  client?.disconnect();
  sessions.close();
  fill(queue);
  document.body.classList.add("asking");
}

function askForToken() {
  if (isAsking) return;
  const wasRefused = token() !== null;
  forgetToken();
  if (wasRefused) device.forgetToken();
  standAside();
  const form = tokenForm({
    wasRefused,
    onToken: (given, isKept) => {
      useToken(given, { isKept });
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
  content.inert = isOpen; // it is covered
  drawer.setAttribute("aria-expanded", String(isOpen));
}

// The address is a place's: jumping to a part of the page must not change it.
function skip(event) {
  event.preventDefault();
  const main = document.getElementById("cards") ?? content.querySelector("main") ?? content;
  main.tabIndex = -1;
  main.focus();
}
