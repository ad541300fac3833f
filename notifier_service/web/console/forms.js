// What a person writes to answer with: a reason, a reply, or other parameters.

import { draftOf, keepDraft } from "./drafts.js";
import { Editor } from "./editor.js";
import { button, element } from "./element.js";
import { t } from "./language.js";

// A form, and buttons in the place of the card's. `answer` is what one of the functions below gives: its `decide()` says
// what to do with a client, and is null while there is nothing that can be sent.
export class Form {
  constructor(answer, { id, isRisky, guarded, isSettled, onSend, onClose }) {
    const { content, action, text } = answer;
    this.#writing = answer.writing ?? written(answer.field);
    this.#written = this.#writing.draft;
    const send = () => {
      const decide = answer.decide();
      if (decide !== null) onSend(decide);
    };
    const submit = button(action, text, guarded(send), { class: isRisky ? "risky" : "primary" });
    this.#close = button("close-form", t("form.close"), onClose);
    const kept = draftOf(id, action);
    if (kept !== undefined) this.#writing.draft = kept;
    const box = element("div", { class: "content" }, content);
    box.addEventListener("input", () => keepDraft(id, action, this.#writing.draft));
    box.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") {
        event.stopPropagation();
        onClose();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !submit.disabled) {
        event.preventDefault();
        send(); // it is in the field, whatever moves
      }
    });
    this.#hint = element("p", { class: "reading hint" }, t("form.keys"));
    this.content = box;
    this.buttons = [element("div", { class: "buttons" }, this.#close, submit), this.#hint];
    this.check = () => answer.check?.((isSendable) => (submit.disabled = !isSendable || isSettled()));
  }

  #written;
  #writing;
  #close;
  #hint;

  get field() {
    return this.#writing.field;
  }

  // What somebody has written is theirs, also when there is nobody to send it to any more. False when it is nothing.
  keep() {
    if (this.#writing.draft === this.#written) return false;
    for (const area of this.#writing.areas) {
      area.disabled = false;
      area.readOnly = true;
    }
    this.#close.disabled = false;
    this.#hint.replaceWith(element("p", { class: "warning", role: "status" }, t("form.kept")));
    return true;
  }
}

function written(field) {
  return {
    field,
    areas: [field],
    get draft() {
      return field.value;
    },
    set draft(text) {
      field.value = text;
    },
  };
}

// `warning` says what a rejection means that is for more than this call.
export function rejecting(record, { scope, warning }) {
  const reason = element("textarea", {
    rows: "2",
    maxlength: "10000",
    data: { field: "reason" },
    id: `reason-${record.request_id}`,
  });
  const preset = (name) =>
    element(
      "button",
      {
        type: "button",
        class: "quiet",
        data: { preset: name },
        on: {
          click: () => {
            reason.value = t(`reject.${name}`);
            reason.dispatchEvent(new Event("input"));
            reason.focus();
          },
        },
      },
      t(`reject.${name}`).replace(/[:：]\s*$/, "…"),
    );
  const options = scope === "once" ? {} : { scope };
  return {
    content: [
      warning && element("p", { class: "warning" }, warning),
      element("label", { for: reason.id }, t("reject.label")),
      reason,
      element(
        "div",
        { class: "presets", role: "group", "aria-label": t("reject.presets") },
        ["notNow", "target", "risky", "differently"].map(preset),
      ),
    ],
    field: reason,
    action: "send-reject",
    text: t("reject.send"),
    decide: () => (client) => client.reject(record, reason.value.trim() || undefined, options),
  };
}

export function responding(record) {
  const reply = element("textarea", { rows: "3", data: { field: "response" }, id: `response-${record.request_id}` });
  return {
    content: [element("label", { for: reply.id }, t("respond.label")), reply],
    field: reply,
    action: "send-respond",
    text: t("respond.send"),
    decide: () => (client) => client.respond(record, reply.value),
  };
}

export function editing(record, shape) {
  let onCheck = () => {};
  const editor = new Editor(record.parameters, {
    id: record.request_id,
    shape,
    onCheck: (isSendable) => onCheck(isSendable),
  });
  return {
    content: editor.elements,
    writing: editor,
    action: "send-edit",
    text: t("edit.send"),
    decide: () => {
      const parameters = editor.read();
      return parameters === null ? null : (client) => client.edit(record, parameters);
    },
    // Look at what is there now; from here on `hear` is told whether it can be sent.
    check: (hear) => {
      onCheck = hear;
      editor.read();
    },
  };
}
