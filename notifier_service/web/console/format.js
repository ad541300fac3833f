// Numbers and times, as people read them.

import { language, t } from "./language.js";

const locale = language() === "zh" ? "zh-CN" : "en-GB";

// Made once: making one costs a thousand times what it costs to use it.
const NUMBER = new Intl.NumberFormat(locale);
const CLOCK_TIME = new Intl.DateTimeFormat(locale, { timeStyle: "medium", hourCycle: "h23" });
const FULL_TIME = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

const DAY = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const NEAR = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
const DAY_MS = 86_400_000;

// The day of a time: "today", "yesterday", "Thursday, 26 November 2026".
export function dayOf(milliseconds) {
  const start = (time) => new Date(time).setHours(0, 0, 0, 0);
  const days = Math.round((start(milliseconds) - start(Date.now())) / DAY_MS);
  return days === 0 || days === -1 ? NEAR.format(days, "day") : DAY.format(milliseconds);
}

export function count(number) {
  return NUMBER.format(number);
}

export function clockTime(milliseconds) {
  return CLOCK_TIME.format(milliseconds);
}

export function fullTime(milliseconds) {
  return FULL_TIME.format(milliseconds);
}

// Milliseconds as "840 ms", "3.2 s", "12 s", "4 min 05 s", "2 h 10 min".
export function duration(milliseconds) {
  const value = Math.max(0, milliseconds);
  if (value < 1000) return t("duration.ms", Math.round(value));
  if (value < 10_000) return t("duration.s", (Math.floor(value / 100) / 10).toFixed(1));
  const seconds = Math.floor(value / 1000);
  if (seconds < 60) return t("duration.s", seconds);
  if (seconds < 3600) return t("duration.min", Math.floor(seconds / 60), String(seconds % 60).padStart(2, "0"));
  return t("duration.h", Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60));
}

// What is left of a time: "4:59", "1:02:03".
export function countdown(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const pad = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${pad(seconds % 60)}`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(seconds % 60)}`;
  return t("duration.days", Math.floor(minutes / 1440));
}
