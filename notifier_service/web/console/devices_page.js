// The devices that are called while nobody looks, this one among them, and what the page itself does to be heard.

import { nameOfDevice } from "./device.js";
import { button, element, fill } from "./element.js";
import { fullTime } from "./format.js";
import { t } from "./language.js";
import { Paired } from "./paired.js";
import { plainText } from "./readable.js";
import { causeOf } from "./refusal.js";
import { isSounding, switchSound } from "./sound.js";

const MOST_LABEL = 64;

export class DevicesPage {
  // `host`: {connection, device, onSignedIn(), onUnauthenticated()}; who is called stays signed in.
  constructor(host) {
    this.#host = host;
    this.#here = element("div", { class: "here", data: { role: "this-device" } });
    this.#failure = element("p", { class: "failure", role: "alert", data: { role: "devices-failure" } });
    this.#list = element("div", { class: "lists" }, element("p", { class: "none" }, t("context.reading")));
    this.#label = element("input", { id: "device-label", maxlength: MOST_LABEL, autocomplete: "off", data: { field: "device-label" } });
    this.#sound = button("sound", "", () => {
      switchSound();
      this.#tellSound();
    });
    this.element = element(
      "main",
      { class: "wide", id: "devices" },
      element("h1", {}, t("devices.title")),
      element("p", { class: "none" }, t("devices.why")),
      this.#failure,
      element("section", {}, element("h2", {}, t("devices.here")), this.#here),
      this.#list,
      new Paired(host).element,
      element("section", {}, element("h2", {}, t("sound")), element("p", { class: "none" }, t("sound.why")), this.#sound),
    );
    this.#tellSound();
    this.#begin();
  }

  #host;
  #here;
  #failure;
  #list;
  #label;
  #sound;
  #isOffered = true;

  async #begin() {
    await this.#host.device.isKnown;
    this.#label.value = this.#host.device.label || nameOfDevice();
    this.#tellHere();
    await this.#read();
  }

  #tellSound() {
    this.#sound.textContent = t(isSounding() ? "sound.off" : "sound.on");
    this.#sound.setAttribute("aria-pressed", String(isSounding()));
  }

  #tellHere() {
    const { device } = this.#host;
    if (device.id !== null) {
      fill(
        this.#here,
        element("p", {}, t("devices.isCalled", plainText(device.label))),
        button("unsubscribe", t("devices.stop"), (event) => this.#do(event, () => device.unsubscribe())),
      );
      return;
    }
    const { obstacle } = device;
    if (!this.#isOffered || obstacle !== null) {
      const why = obstacle === null ? "noPush" : obstacle;
      fill(this.#here, element("p", { class: "warning", data: { obstacle: why } }, t(`devices.${why}`)));
      return;
    }
    fill(
      this.#here,
      element("p", {}, t("devices.offer")),
      element("label", { for: "device-label" }, t("devices.label")),
      element(
        "div",
        { class: "row" },
        this.#label,
        button(
          "subscribe",
          t("devices.call"),
          (event) => this.#do(event, () => device.subscribe(this.#label.value.trim() || nameOfDevice())),
          { class: "primary" },
        ),
      ),
    );
  }

  async #do({ currentTarget }, act) {
    fill(this.#failure);
    currentTarget.disabled = true;
    try {
      await act();
    } catch (error) {
      this.#fail(error);
    }
    this.#host.onSignedIn();
    this.#tellHere();
    await this.#read();
  }

  async #read() {
    try {
      const devices = await this.#host.device.list();
      const mine = this.#host.device.id;
      fill(
        this.#list,
        element(
          "section",
          {},
          element("h2", {}, t("devices.all"), " ", element("span", { class: "number" }, devices.length)),
          devices.length === 0
            ? element("p", { class: "none" }, t("devices.none"))
            : element("ul", { class: "rules" }, devices.map((device) => this.#item(device, device.id === mine))),
        ),
      );
    } catch (error) {
      fill(this.#list);
      if (error.code === "not_found") {
        this.#isOffered = false;
        this.#tellHere();
      } else this.#fail(error);
    }
  }

  #item(device, isHere) {
    const fact = (text) => element("span", {}, text);
    return element(
      "li",
      { data: { deviceId: device.id, ...(isHere && { here: "" }) } },
      element(
        "span",
        {},
        element("strong", {}, plainText(device.label || t("devices.unnamed"))),
        isHere && element("span", { class: "mark" }, t("devices.thisOne")),
        element(
          "span",
          { class: "facts" },
          fact(t("devices.since", fullTime(Date.parse(device.created_at)))),
          fact(t("devices.whose", plainText(device.subject))),
          fact(t("devices.over", plainText(device.service ?? "?"))),
          device.sessions.join() !== "*" && fact(t("rules.inSessions", plainText(device.sessions.join(", ")))),
          device.last_at && fact(t(device.last_result === "sent" ? "devices.reached" : "devices.missed", fullTime(Date.parse(device.last_at)), device.last_result)),
        ),
      ),
      button("remove-device", t("devices.remove"), (event) => this.#do(event, () => this.#host.device.remove(device.id)), {
        "aria-label": t("devices.removeOne", plainText(device.label || t("devices.unnamed"))),
      }),
    );
  }

  #fail(error) {
    if (error.code === "unauthenticated") return this.#host.onUnauthenticated();
    return fill(this.#failure, plainText(textOf(error)));
  }
}

function textOf(error) {
  if (error.obstacle !== undefined) return t(`devices.${error.obstacle}`, error.message);
  if (error.code === "not_found") return t("devices.noPush");
  const isUnreached = error.code === undefined || error.code === "unreachable";
  return causeOf(error) ?? t(isUnreached ? "devices.failed" : "failure.other", error.message);
}
