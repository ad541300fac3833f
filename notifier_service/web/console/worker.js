// The worker of the page: it shows what is pushed while no page is open, answers where a person presses a button of a
// notification, and says where the page cannot be fetched. It keeps no page, no request and no answer.

import { exactJson } from "./client/exact.js";
import { Http } from "./client/http.js";
import { pieces } from "./client/text.js";
import { DeviceStore } from "./device_store.js";
import { addressOfRequest, INBOX, isSessionId } from "./route.js";
import { wordsIn } from "./worker_words.js";

// What a notification shows at most of the parameters; phones cut what is longer, and what is cut is not approved there.
const MOST_SHOWN = 240;
const MOST_LINES = 6;
const MOST_ID = 256;
const READ_MS = 10_000;
const ENDS = ["approve", "edit", "reject", "respond", "expired", "cancelled"];
const AWAY = [502, 503, 504];

const scope = new URL(self.registration.scope);
const store = new DeviceStore(scope.pathname);
const icon = new URL("console/icon-192.png", scope).href;
const badge = new URL("console/icon-badge.png", scope).href;

// It serves no page of an earlier version, so that none waits for the last tab to close.
addEventListener("install", () => self.skipWaiting());
addEventListener("push", (event) => event.waitUntil(pushed(event.data)));
addEventListener("notificationclick", (event) => event.waitUntil(clicked(event.notification, event.action)));
addEventListener("pushsubscriptionchange", (event) => event.waitUntil(renewed(event)));
addEventListener("fetch", (event) => {
  const { mode, method, url } = event.request;
  const isPage = mode === "navigate" && method === "GET" && new URL(url).pathname === scope.pathname;
  if (isPage) event.respondWith(page(event.request));
});

// What is pushed

async function pushed(data) {
  const told = toldIn(data);
  const device = await deviceOf();
  if (told === null) return show(device, { title: device.t("unknown"), body: device.t("unknownWhy"), tag: "unknown" });
  const waits = told.kind === "permission_request" && (await ask(device, told));
  if (!waits) await end(device, told);
  return tellNumber(device);
}

// Only ids are taken of a push, and its words where nothing better can be had: what is asked is read from the service.
function toldIn(data) {
  try {
    const { kind, session_id: sessionId, request_id: requestId, summary } = data.json();
    const isOurs = (kind === "permission_request" || kind === "settled") && typeof sessionId === "string";
    if (!isOurs || !isSessionId(sessionId) || typeof requestId !== "string") return null;
    if (requestId === "" || requestId.length > MOST_ID) return null;
    return { kind, session_id: sessionId, request_id: requestId, summary: typeof summary === "string" ? summary : "" };
  } catch {
    return null;
  }
}

// False where it waits no more.
async function ask(device, { session_id, request_id, summary }) {
  const data = { session_id, request_id };
  const common = { tag: request_id, renotify: true, requireInteraction: true };
  const open = { action: "open", title: device.t("open") };
  let record;
  try {
    record = await read(device, data);
  } catch (error) {
    if (["request_not_found", "session_not_found"].includes(error.code)) return false;
    const why = error.code === "unauthenticated" ? "unauthenticated" : "unread";
    const title = plain(summary, 200) || device.t("unknown");
    await show(device, { ...common, title, body: device.t(why), data, actions: [open] });
    return true;
  }
  if (record.status !== "pending") return false;
  const { text, isWhole } = shownOf(record);
  const isAnswerable = record.risk_level !== "high" && record.may_approve !== false;
  const may = (answer) => isAnswerable && record.allowed_decisions.includes(answer);
  const actions = [
    isWhole && may("approve") && { action: "approve", title: device.t("approve") },
    may("reject") && { action: "reject", title: device.t("reject") },
    open,
  ].filter(Boolean);
  const lines = [device.t("session", plain(session_id, 128)), text, !isWhole && device.t("more")];
  await show(device, {
    ...common,
    title: device.t("waits", plain(record.tool_name, 80), device.t(record.risk_level)),
    body: lines.filter(Boolean).join("\n"),
    timestamp: Date.parse(record.timestamp),
    data: { ...data, parameters_sha256: record.parameters_sha256, isWhole },
    actions: actions.slice(0, Notification.maxActions || 2),
  });
  return true;
}

// A line for each parameter, with every character, or its beginning and that there is more.
function shownOf({ parameters, parameters_redacted: isRedacted }) {
  const lines = Object.entries(parameters).map(([name, value]) => `${name}: ${oneLine(value)}`);
  const text = plain(lines.slice(0, MOST_LINES).join("\n"), MOST_SHOWN);
  return { text, isWhole: isRedacted === false && lines.length <= MOST_LINES && !text.endsWith("…") };
}

function oneLine(value) {
  if (typeof value === "string" && !/[\n"\\]/.test(value)) return value;
  try {
    return exactJson(value, 0);
  } catch {
    return "…"; // a browser that cannot show long numbers exactly
  }
}

// Nothing in it is unseen or turns the direction of reading; longer than `most` it ends so that everybody sees it.
function plain(text, most) {
  const shown = pieces(String(text).slice(0, 2 * most))
    .map((piece) => piece.text)
    .join("");
  return shown.length > most ? `${shown.slice(0, most)}…` : shown;
}

// What a person presses

async function clicked(notification, action) {
  const data = notification.data ?? {};
  if (action !== "approve" && action !== "reject") {
    notification.close();
    return open(data);
  }
  const device = await deviceOf();
  const isReplaced = await answer(device, data, action === "approve");
  if (!isReplaced) notification.close();
  return tellNumber(device);
}

// What was shown is decided, or nothing: with the hash of what the notification was made for. True where another one
// stands in its place, which says what became of it.
async function answer(device, data, approved) {
  let record = null;
  try {
    record = await read(device, data);
    if (record.status !== "pending") return settled(device, data, record);
    const isAsShown = record.parameters_sha256 === data.parameters_sha256 && record.risk_level !== "high";
    if (!isAsShown || (approved && !data.isWhole)) return changed(device, data, record);
    const { session_id, request_id, parameters_sha256 } = data;
    const decisions = [{ session_id, request_id, parameters_sha256, approved }];
    const [{ error }] = await device.http.call("POST", "/api/permissions/decide", { body: { decisions } });
    if (error === undefined) return false;
    if (error.code === "parameters_changed") return changed(device, data, record);
    if (error.record !== undefined && error.record.status !== "pending") return settled(device, data, error.record);
    return failed(device, data, record, error);
  } catch (error) {
    return failed(device, data, record, error);
  }
}

async function settled(device, data, record) {
  const word = record.decision ?? record.status;
  const by = record.decided_by === "policy" ? device.t("policy") : plain(record.decided_by ?? "?", 80);
  const title = device.t(ENDS.includes(word) ? `ended.${word}` : "ended.gone", plain(record.tool_name, 80), by);
  await show(device, { title, body: device.t("tooLate"), tag: data.request_id, data: placeOf(data) });
  return true;
}

async function changed(device, data, record) {
  if (await open(data)) return false;
  const title = device.t("changed", plain(record.tool_name, 80));
  await show(device, { title, body: device.t("changedWhy"), tag: data.request_id, data: placeOf(data) });
  return true;
}

async function failed(device, data, record, error) {
  const code = (error.status ?? null) === null ? "unreachable" : error.code;
  const isKnown = ["unreachable", "unauthenticated", "forbidden", "self_approval"].includes(code);
  const tool = record === null ? device.t("session", plain(data.session_id, 128)) : plain(record.tool_name, 80);
  const isGone = ["request_not_found", "session_not_found", "request_expired", "request_cancelled"].includes(code);
  const body = isGone ? device.t("tooLate") : isKnown ? device.t(code) : device.t("refused", plain(error.message, 200));
  const title = device.t(isGone ? "ended.gone" : "failed", tool);
  await show(device, { title, body, tag: data.request_id, data: placeOf(data), requireInteraction: true });
  return true;
}

function placeOf({ session_id, request_id }) {
  return { session_id, request_id };
}

// True when a page shows it. No address is taken of a push: it is made here, of the ids.
async function open(data) {
  const place = isSessionId(data.session_id ?? "") ? addressOfRequest(data) : INBOX;
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const ours = pages.filter(({ url }) => new URL(url).origin === scope.origin && new URL(url).pathname === scope.pathname);
  const page = ours.find(({ focused }) => focused) ?? ours[0];
  try {
    if (page === undefined) return (await self.clients.openWindow(new URL(place, scope).href)) !== undefined;
    page.postMessage({ open: place });
    await page.focus();
  } catch {
    return page !== undefined; // the browser lets no page come to the front now
  }
  return true;
}

// The device

async function deviceOf() {
  const { token, language = self.navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en" } = await store.read();
  const baseUrl = scope.pathname.replace(/\/+$/, "");
  return { language, t: wordsIn(language), http: new Http({ baseUrl, token: token ?? "" }) };
}

// Who passes by reads a locked phone: the service takes out of it what may be a secret, by the operator's own rules, and
// says what this device may do.
function read({ http }, { session_id: session, request_id: request }) {
  const path = `/api/permissions/${encodeURIComponent(session)}/${encodeURIComponent(request)}`;
  return http.call("GET", path, { query: { redacted: "1" }, timeoutMs: READ_MS });
}

function show({ language }, { title, ...options }) {
  const lang = language === "zh" ? "zh-CN" : "en";
  return self.registration.showNotification(title, { icon, badge, lang, ...options });
}

// What waits no more goes away. Apple takes the subscription of who is pushed to and shows nothing: there its end is told
// in its place, without a sound.
async function end(device, { request_id: requestId, kind, summary }) {
  const subscription = await self.registration.pushManager.getSubscription();
  if (subscription === null || !new URL(subscription.endpoint).hostname.endsWith(".push.apple.com")) return close(requestId);
  const title = (kind === "settled" && plain(summary, 200)) || device.t("ended.gone", device.t("request"));
  return show(device, { title, tag: requestId, silent: true });
}

// Never asked of one that has just been shown: Chromium forgets what it is asked for before it stands there.
async function close(requestId) {
  for (const notification of await self.registration.getNotifications({ tag: requestId })) notification.close();
}

// On the icon: how many wait.
async function tellNumber({ http }) {
  if (!("setAppBadge" in self.navigator)) return;
  try {
    const { permission_requests: waiting } = await http.call("GET", "/api/inbox", { timeoutMs: READ_MS });
    await self.navigator.setAppBadge(waiting.length);
  } catch {
    // The page tells it when it comes.
  }
}

// The browser has changed where pushes go: the service is told, with the device's right.
async function renewed({ newSubscription, oldSubscription }) {
  const device = await deviceOf();
  const { id, label, language } = await store.read();
  if (id === undefined) return;
  const options = oldSubscription?.options ?? (await optionsFrom(device));
  const subscription = newSubscription ?? (await self.registration.pushManager.subscribe(options));
  const body = { ...subscription.toJSON(), label, language };
  const made = await device.http.call("POST", "/api/push/subscriptions", { body });
  await store.write({ id: made.id });
  if (made.id !== id) await device.http.call("DELETE", `/api/push/subscriptions/${encodeURIComponent(id)}`).catch(() => {});
}

async function optionsFrom({ http }) {
  const { key } = await http.call("GET", "/api/push/key");
  return { userVisibleOnly: true, applicationServerKey: key };
}

// Where the page cannot be fetched

async function page(request) {
  try {
    const answer = await fetch(request);
    return AWAY.includes(answer.status) ? away("away.proxy") : answer;
  } catch {
    return away("away.offline");
  }
}

// A page that needs nothing, and says what cannot be seen.
async function away(why) {
  const { t, language } = await deviceOf();
  const nonce = crypto.randomUUID();
  const text = `<!doctype html><html lang="${language === "zh" ? "zh-CN" : "en"}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>${t("away.title")} · notifier_service</title>
<style nonce="${nonce}">:root{color-scheme:light dark}body{max-width:30rem;margin:0 auto;padding:20vh 1.25rem 2rem;font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.25rem}button{min-height:44px;padding:.5rem 1.25rem;font:inherit}</style>
<h1>${t("away.title")}</h1><p>${t(why, scope.host)}</p><p>${t("away.unseen")}</p><p>${t("away.kept")}</p>
<button type="button">${t("away.again")}</button>
<script nonce="${nonce}">const again=()=>location.reload();document.querySelector("button").onclick=again;addEventListener("online",again)</script></html>`;
  const policy = `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; base-uri 'none'; frame-ancestors 'none'`;
  const headers = { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy, "Cache-Control": "no-store" };
  return new Response(text, { status: 503, headers });
}
