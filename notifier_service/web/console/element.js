// Elements from plain values. Text only ever becomes a text node, so nothing that is shown can run.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "data") Object.assign(made.dataset, value);
    else if (name === "on") for (const [type, listener] of Object.entries(value)) made.addEventListener(type, listener);
    else made.setAttribute(name, value === true ? "" : value);
  }
  add(made, children);
  return made;
}

// null, undefined and false are nothing; arrays are their items; what is no node is text.
export function add(parent, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(parent, child);
    else if (child !== null && child !== undefined && child !== false) {
      parent.append(child instanceof Node ? child : String(child));
    }
  }
}

export function fill(parent, ...children) {
  parent.replaceChildren();
  add(parent, children);
}

export function button(action, text, onClick, properties = {}) {
  return element(
    "button",
    { type: "button", ...properties, data: { action, ...properties.data }, on: { click: onClick } },
    text,
  );
}

export function isTyping() {
  const focused = document.activeElement;
  const writing = "input:not([type=radio], [type=checkbox]), textarea, select";
  return focused !== null && (focused.matches(writing) || focused.isContentEditable);
}
