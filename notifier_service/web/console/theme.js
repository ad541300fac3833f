// Light or dark: the system's choice until a person makes another.

import { keep, kept } from "./store.js";

const KEY = "notifier.theme";
const THEMES = ["light", "dark"];

export function theme() {
  const chosen = kept(KEY);
  return THEMES.includes(chosen) ? chosen : "system";
}

export function nextTheme() {
  const order = ["system", ...THEMES];
  const next = order[(order.indexOf(theme()) + 1) % order.length];
  keep(KEY, next === "system" ? null : next);
  apply();
  return next;
}

function apply() {
  const chosen = theme();
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

apply();
