// This browser as a device that is called: it is subscribed where a person presses for it, and goes on until one presses
// again or signs out.

import { Http } from "./client/http.js";
import { DeviceStore } from "./device_store.js";
import { language } from "./language.js";
import { mayHaveWorker, registration } from "./registration.js";
import { isRemembered, token, useToken } from "./token.js";

const SUBSCRIPTIONS = "/api/push/subscriptions";
// Nobody waits longer to be signed out.
const FORGET_MS = 3000;

export class Device {
  // `connection` is that of the page.
  constructor(connection) {
    this.#http = new Http(connection);
    this.#store = new DeviceStore(new URL("./", location.href).pathname);
  }

  #http;
  #store;

  // The id of this device among those of the service; null when it is not called.
  id = null;
  label = "";
  // Done when it is known whether this device is called.
  isKnown = Promise.resolve();

  // Why this browser cannot be called, as a name of a text; null where it can.
  get obstacle() {
    if (!isSecureContext) return "insecure";
    if (isPhoneOfApple() && !isInstalled() && !("PushManager" in globalThis)) return "homeScreen";
    if (!mayHaveWorker() || !("PushManager" in globalThis) || !("Notification" in globalThis)) return "unsupported";
    return Notification.permission === "denied" ? "denied" : null;
  }

  // The devices of whoever looks.
  list() {
    return this.#http.call("GET", SUBSCRIPTIONS);
  }

  // Only ever after a press: the browser asks the person. Throws an `Error` with the name of a text as `obstacle`, or what
  // the service answers.
  async subscribe(label) {
    // First of all: some browsers ask only as long as the press is fresh.
    if ((await Notification.requestPermission()) !== "granted") throw obstacle("denied");
    const { key } = await this.#http.call("GET", "/api/push/key");
    // A page that a notification opens is another tab: it is signed in as this one.
    if (token() !== null) useToken(token(), { isKept: true });
    await this.#tell(await this.#subscription(key), label);
  }

  async unsubscribe() {
    const { id } = this;
    await this.#drop();
    if (id !== null) await this.remove(id);
  }

  // One that is gone is gone.
  async remove(id) {
    if (id === this.id) return this.unsubscribe();
    try {
      await this.#http.call("DELETE", `${SUBSCRIPTIONS}/${encodeURIComponent(id)}`);
    } catch (error) {
      if (error.code !== "not_found") throw error;
    }
  }

  // The page has come, with whatever token: the device has the same one or none, and what is lost of it is made again.
  async follow() {
    this.isKnown = this.#find();
    await this.isKnown;
    const { id, label } = this;
    if (id === null) return;
    const isSignedIn = token() === null || isRemembered();
    await this.#store.write({ token: isSignedIn ? token() : null });
    if (!isSignedIn) return;
    try {
      const known = (await this.list()).find((device) => device.id === id);
      if (known?.language === language()) return;
      const { key } = await this.#http.call("GET", "/api/push/key");
      await this.#tell(await this.#subscription(key), label);
    } catch {
      // The next time the page comes.
    }
  }

  async #find() {
    const { id, label } = await this.#store.read();
    if (id === undefined) return;
    if (this.obstacle !== null || (await this.#subscribed()) === null) {
      await this.#drop();
      return;
    }
    this.id = id;
    this.label = label;
  }

  // A token that is refused is the device's no longer.
  async forgetToken() {
    if ((await this.#store.read()).id !== undefined) await this.#store.write({ token: null }).catch(() => {});
  }

  // Nothing is left here of whoever looked.
  async signOut() {
    if ((await this.#store.read()).id === undefined) return;
    const late = new Promise((resolve) => setTimeout(resolve, FORGET_MS));
    await Promise.race([this.unsubscribe().catch(() => {}), late]);
  }

  async #subscription(key) {
    const { pushManager } = await registration();
    const before = await pushManager.getSubscription();
    // Of a service that has lost its key, nothing comes any more.
    if (before !== null && !isKey(before.options?.applicationServerKey, key)) await before.unsubscribe();
    try {
      return await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    } catch (cause) {
      throw obstacle("pushService", cause);
    }
  }

  async #subscribed() {
    try {
      return await (await registration()).pushManager.getSubscription();
    } catch {
      return null;
    }
  }

  async #tell(subscription, label) {
    const body = { ...subscription.toJSON(), label, language: language() };
    // Before the service knows of it: what it sends can be answered.
    await this.#store.write({ token: token(), language: language(), label });
    const { id } = await this.#http.call("POST", SUBSCRIPTIONS, { body });
    await this.#store.write({ id });
    this.id = id;
    this.label = label;
  }

  // Whatever the service says: no push reaches this browser any more, and it holds no right.
  async #drop() {
    this.id = null;
    await this.#store.clear();
    await (await this.#subscribed())?.unsubscribe();
    if (!mayHaveWorker()) return;
    const shown = (await (await registration()).getNotifications?.()) ?? [];
    for (const notification of shown) notification.close();
  }
}

function obstacle(name, cause) {
  return Object.assign(new Error(cause?.message ?? name, { cause }), { obstacle: name });
}

function isKey(held, key) {
  if (!held) return true;
  const text = btoa(String.fromCharCode(...new Uint8Array(held)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "") === key;
}

function isPhoneOfApple() {
  return /iPhone|iPad|iPod/.test(navigator.userAgent) || (/Macintosh/.test(navigator.userAgent) && navigator.maxTouchPoints > 1);
}

function isInstalled() {
  return matchMedia("(display-mode: standalone)").matches || navigator.standalone === true;
}

const BROWSERS = { Edg: "Edge", OPR: "Opera", SamsungBrowser: "Samsung Internet", Firefox: "Firefox", FxiOS: "Firefox", CriOS: "Chrome", Chrome: "Chrome", Safari: "Safari" };
const MACHINES = { iPhone: "iPhone", iPad: "iPad", Android: "Android", Windows: "Windows", Macintosh: "Mac", CrOS: "ChromeOS", Linux: "Linux" };

// What it may be called, as far as the browser tells.
export function nameOfDevice() {
  const found = (names) => Object.entries(names).find(([trace]) => navigator.userAgent.includes(trace))?.[1];
  return [found(BROWSERS), found(MACHINES)].filter(Boolean).join(", ");
}
