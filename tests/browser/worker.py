"""The worker of a page that is pushed to, and a person before its notifications.

Pushes come over the DevTools protocol, as the browser's own would. Nobody but a person can press a notification: here
the worker is given the event that it would get, whose end is waited for, and windows that it opens are told.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

from playwright.async_api import BrowserContext, CDPSession, Page

from tests.web.push_service import Browser, PushService

#: As in the tests of pages.
_PATIENCE_SECONDS = 15

__all__ = ["PhoneWorker", "with_push_service"]

#: A browser without its maker's push service: what the page is given leads to ours.
_SUBSCRIPTION = """
(() => {
  const given = %s;
  const KEY = "test.subscription";
  const held = () => {
    const told = JSON.parse(localStorage.getItem(KEY));
    if (told === null) return null;
    const unsubscribe = async () => { localStorage.removeItem(KEY); return true; };
    return { endpoint: told.endpoint, options: {}, toJSON: () => told, unsubscribe };
  };
  if (!("PushManager" in globalThis)) return;
  PushManager.prototype.getSubscription = async () => held();
  PushManager.prototype.subscribe = async (options) => {
    if (globalThis.noPushService) throw new DOMException("Registration failed", "AbortError");
    if (!options.userVisibleOnly || !options.applicationServerKey) throw new TypeError("not as browsers want it");
    localStorage.setItem(KEY, JSON.stringify(given));
    return held();
  };
})();
"""

#: What is shown, as the worker shows and closes it. Chromium alone is not asked: it forgets a notification that it is
#: asked for while it is about to be shown.
_WATCH = """
(() => {
  globalThis.shown = new Map();
  const show = ServiceWorkerRegistration.prototype.showNotification;
  ServiceWorkerRegistration.prototype.showNotification = async function (title, options) {
    await show.call(this, title, options);
    const { body, tag, lang, data, actions = [] } = structuredClone(options);
    shown.set(tag, { title, body, tag, lang, data, actions: actions.map(({ action }) => action) });
  };
  const close = Notification.prototype.close;
  Notification.prototype.close = function () {
    shown.delete(this.tag);
    close.call(this);
  };
  const get = ServiceWorkerRegistration.prototype.getNotifications;
  ServiceWorkerRegistration.prototype.getNotifications = async function (filter) {
    const found = await get.call(this, filter);
    const forgotten = [...shown.keys()].filter((tag) => tag === filter.tag && found.length === 0);
    return [...found, ...forgotten.map((tag) => ({ tag, close: () => shown.delete(tag) }))];
  };
})()
"""

_SHOWN = """
async ({ tag, title, isShown }) => {
  const isSo = () => shown.has(tag) === isShown && (title === null || shown.get(tag).title === title);
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 20));
  return shown.get(tag);
}
"""

_PRESS = """
async ({ tag, action }) => {
  const { data } = shown.get(tag);
  const close = () => shown.delete(tag);
  const opened = [];
  clients.openWindow = async (url) => { opened.push(url); return {}; };
  let ended = Promise.resolve();
  const waitUntil = (promise) => { ended = promise; };
  const notification = { tag, data, close };
  dispatchEvent(Object.assign(new Event("notificationclick"), { notification, action, waitUntil }));
  await ended;
  return opened;
}
"""


async def with_push_service(context: BrowserContext, service: PushService, browser: Browser, name: str) -> None:
    """Have pages of this context find the push service, and be allowed to notify."""
    given = {"endpoint": f"{service.url}/push/{name}", "keys": browser.keys}
    await context.add_init_script(_SUBSCRIPTION % json.dumps(given))
    await context.grant_permissions(["notifications"])


class PhoneWorker:
    """The worker of a page, whether or not the page is still open."""

    def __init__(self, worker: Any, devtools: CDPSession, registration_id: str, origin: str) -> None:
        self._worker = worker
        self._devtools = devtools
        self._registration_id = registration_id
        self._origin = origin

    @classmethod
    async def of(cls, page: Page) -> Self:
        """Wait until the worker of this page works; another tab keeps hold of it."""
        scope = await page.evaluate("navigator.serviceWorker.ready.then(({ scope }) => scope)")
        context = page.context
        tab = await context.new_page()
        devtools = await context.new_cdp_session(tab)
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def hear(event: dict[str, Any]) -> None:
            for registration in event["registrations"]:
                if registration["scopeURL"] == scope and not found.done():
                    found.set_result(registration["registrationId"])

        devtools.on("ServiceWorker.workerRegistrationUpdated", hear)
        await devtools.send("ServiceWorker.enable")
        async with asyncio.timeout(_PATIENCE_SECONDS):
            registration_id = await found
        [worker] = [each for each in context.service_workers if each.url.startswith(scope)]
        await worker.evaluate(_WATCH)
        return cls(worker, devtools, registration_id, scope.split("/", 3)[0] + "//" + scope.split("/", 3)[2])

    async def deliver(self, data: dict[str, Any] | str) -> None:
        """Have the browser hand a push over."""
        text = data if isinstance(data, str) else json.dumps(data)
        push = {"origin": self._origin, "registrationId": self._registration_id, "data": text}
        await self._devtools.send("ServiceWorker.deliverPushMessage", push)

    async def shown(self) -> list[dict[str, Any]]:
        """The notifications that are shown now."""
        told: list[dict[str, Any]] = await self.run("[...shown.values()]")
        return told

    async def shows(self, tag: str, title: str | None = None) -> dict[str, Any]:
        """Wait until a notification is shown, or says this, and give it."""
        told: dict[str, Any] = await self._is(tag, title, is_shown=True)
        return told

    async def closes(self, tag: str) -> None:
        """Wait until a notification is shown no more."""
        await self._is(tag, None, is_shown=False)

    async def _is(self, tag: str, title: str | None, *, is_shown: bool) -> Any:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self._worker.evaluate(_SHOWN, {"tag": tag, "title": title, "isShown": is_shown})

    async def press(self, tag: str, action: str = "") -> list[str]:
        """Press a button of a notification, or itself; the windows that the worker opens for that."""
        opened: list[str] = await self._worker.evaluate(_PRESS, {"tag": tag, "action": action})
        return opened

    async def run(self, script: str) -> Any:
        return await self._worker.evaluate(script)
