// @vitest-environment jsdom
/** Parameters as the dialog draws them: the same bodies as in the console and the terminal. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { render } from "@testing-library/react";
import { describe, expect, it } from "vitest";

import { bodyOf, type Asked, type Body } from "../../src/bodies/index.js";
import { Drawn, hiddenOf } from "../../src/react/body.js";
import { ENGLISH } from "../../src/react/index.js";
import "./page.js";

interface Vector extends Asked {
  about: string;
  seen: string[];
}

const FILE = join(import.meta.dirname, "../../../../tests/bodies/vectors.json");
const VECTORS = JSON.parse(readFileSync(FILE, "utf8")) as Vector[];

function drawn(body: Body, showsAll = true): HTMLElement {
  return render(<Drawn body={body} labels={ENGLISH} showsAll={showsAll} onShowAll={() => undefined} />).container;
}

/** The text, with what the style sheet writes of attributes. */
function read(place: Element): string {
  for (const name of ["number", "sign", "does"])
    for (const one of place.querySelectorAll(`[data-${name}]`)) one.append(one.getAttribute(`data-${name}`) ?? "");
  return place.textContent;
}

describe("all that must be seen is drawn", () => {
  it.each(VECTORS)("$about", (vector) => {
    const text = read(drawn(bodyOf(vector)));

    for (const seen of vector.seen) for (const line of seen.split("\n")) expect(text).toContain(line);
  });
});

describe("of what is long the middle is folded, and counted", () => {
  const lines = Array.from({ length: 300 }, (_, line) => `line ${line}`);
  const rows = lines.map((name, id) => ({ id, name }));

  it.each([
    ["a file", { path: "a", content: lines.join("\n") }],
    ["a command", { command: lines.join("\n") }],
    ["a message", { to: "a@example.org", text: lines.join("\n") }],
    ["an edit", { old_string: "", new_string: lines.join("\n") }],
    ["a table", { rows }],
    ["a list", { names: lines }],
    ["many values", Object.fromEntries(lines.map((name) => [name.replace(" ", "_"), name]))],
    ["JSON", { path: "a\u202eb", lines }],
    ["one line", { path: "a", content: "x".repeat(9_000) }],
    ["one value of an address", { method: "GET", url: `https://example.org/${"x".repeat(9_000)}` }],
  ])("%s", (_about, parameters) => {
    const body = bodyOf({ parameters });
    const folded = drawn(body, false);
    const [button, ...others] = folded.querySelectorAll("[data-action=show-all]");
    const shown = folded.textContent.length - (button?.textContent.length ?? 0);
    const whole = drawn(body);

    expect(others).toEqual([]);
    expect(button?.textContent).toBe(ENGLISH.showAll(hiddenOf(body)));
    expect(whole.textContent.length).toBeGreaterThan(shown + 1_000);
    expect(whole.querySelector("[data-action=show-all]")).toBeNull();
  });

  it("and no character is cut in two", () => {
    const text = drawn(bodyOf({ parameters: { path: "a", content: "😀".repeat(3_000) } }), false).textContent;

    expect(text).not.toMatch(/\\ud/);
  });
});

it("marks what is risky, what changes, and where a request goes", () => {
  const marks = (parameters: Record<string, unknown>, more: Partial<Asked> = {}): (string | null)[] =>
    [...drawn(bodyOf({ parameters, ...more })).querySelectorAll("mark")].map(({ textContent }) => textContent);
  const command = { parts: [["rm", "-rf", "a"]], does: ["deletes" as const], not_understood: null };

  expect(marks({ command: "rm -rf a" }, { command })).toEqual(["rm -rf a"]);
  expect(marks({ old: "one two three", new: "one 2 three" })).toEqual(["two", "2"]);
  expect(marks({ method: "GET", url: "https://bank.example@evil.example/a" })).toEqual(["evil.example"]);
});

it("keeps a file's and a command's text as it is for who copies it", () => {
  expect(drawn(bodyOf({ parameters: { command: "a\n\tb  c\n" } })).querySelector("pre")!.textContent).toBe("a\n\tb  c\n");
});
