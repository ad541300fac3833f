import { useEffect, useRef, useState, type RefObject } from "react";

import { bringIntoSight } from "../sight.js";
import { actionOf, isTyping, type KeyAction } from "./keys.js";
import { useBrowserLayoutEffect } from "./layout_effect.js";

/** A press that was already on its way when the card came, or moved, was meant for something else. */
const READY_MS = 500;
/** Who was writing elsewhere when the card came is not heard until they have paused for so long. */
const PAUSE_MS = 1_000;
/** How long the first press of what is done with two is remembered. */
const CONFIRM_MS = 4_000;

type Place = RefObject<HTMLElement | null>;

interface CardPlaces {
  card: Place;
  /** All but the bar. */
  content: Place;
  /** Where the content ends. */
  end: Place;
  /** What answers: it stands over the content, at the bottom of the dialog. */
  bar: Place;
}

interface Presses {
  /** The card has stood where it is for long enough. */
  readonly isReady: boolean;
  /** Bring the card into sight; false when it was not: then a key, or a click that a key made, does not count. */
  isInSight(): boolean;
  /** Whether a key now belongs to what somebody writes. */
  isStray(): boolean;
}

/** Which presses are meant for this card, and `onKey` for each key that is. */
export function usePresses(
  { card, content, end, bar }: CardPlaces,
  onKey: (action: KeyAction) => void,
): Presses {
  const [isReady, setIsReady] = useState(false);
  const [moves, setMoves] = useState(0);
  const strayAt = useRef(Number.NEGATIVE_INFINITY);
  const isStray = (): boolean => performance.now() - strayAt.current < PAUSE_MS;
  const latest = useRef({ isReady, hasListened: false, onKey });
  // With the card that says so: a key that comes right behind it counts.
  useBrowserLayoutEffect(() => {
    latest.current = { isReady, hasListened: isReady || latest.current.hasListened, onKey };
  });

  useEffect(() => {
    setIsReady(false);
    const timer = setTimeout(() => setIsReady(true), READY_MS);
    return () => clearTimeout(timer);
  }, [moves]);

  useEffect(() => {
    if (card.current === null || typeof ResizeObserver === "undefined") return;
    let isFirst = true;
    const observer = new ResizeObserver(() => {
      if (!isFirst) setMoves((before) => before + 1);
      isFirst = false;
    });
    observer.observe(card.current);
    return () => observer.disconnect();
  }, [card]);

  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const { target, key } = event;
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(target)) return;
      // Where the focus is nowhere, the dialog is all that can be meant.
      const isHere = target === document.body || card.current?.closest("dialog")?.contains(target as Node);
      if (!isHere) return;
      const action = actionOf(key);
      const isCommand = action !== undefined && latest.current.isReady && !isStray();
      if (!isCommand) {
        // A letter that means nothing, or that was typed when the card came, is of a text that somebody writes; one that
        // means something is only too early when the card has moved.
        const isOfText = action === undefined && key !== " ";
        if (key.length === 1 && (isOfText || !latest.current.hasListened || isStray())) strayAt.current = performance.now();
        return;
      }
      if (event.repeat) return;
      event.preventDefault();
      latest.current.onKey(action);
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, [card]);

  function isInSight(): boolean {
    const dialog = card.current?.closest("dialog");
    if (content.current === null || end.current === null || bar.current === null || dialog == null) return true;
    const sight = { top: Math.max(0, dialog.getBoundingClientRect().top), bottom: bar.current.getBoundingClientRect().top };
    if (!bringIntoSight(content.current, end.current, sight, dialog)) return true;
    setMoves((before) => before + 1);
    return false;
  }

  return { isReady, isInSight, isStray };
}

/** The action whose next press counts, for a while. */
export function useArmed(): [string | null, (action: string | null) => void] {
  const [armed, setArmed] = useState<string | null>(null);
  useEffect(() => {
    if (armed === null) return;
    const timer = setTimeout(() => setArmed(null), CONFIRM_MS);
    return () => clearTimeout(timer);
  }, [armed]);
  return [armed, setArmed];
}
