/** What a key means: the same letters as in the console and in the terminal. */

export type KeyAction = "approve" | "approve-session" | "approve-always" | "reject" | "edit" | "respond" | "next" | "previous" | "exact" | "help";

const ACTIONS: ReadonlyMap<string, KeyAction> = new Map([
  ["a", "approve"],
  ["s", "approve-session"],
  ["w", "approve-always"],
  ["r", "reject"],
  ["e", "edit"],
  ["p", "respond"],
  ["j", "next"],
  ["k", "previous"],
  ["x", "exact"],
  ["?", "help"],
]);

export function actionOf(key: string): KeyAction | undefined {
  return ACTIONS.get(key.toLowerCase());
}

/** Whether a key at this element writes there. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches("input, textarea, select"));
}
