/** Whether a person sees what a key would answer: what is out of sight is shown first, and the key does not count. */

/** The part of the page, from its top edge on, in which something is seen. */
export interface Sight {
  readonly top: number;
  readonly bottom: number;
}

/** What may be out of sight: a border and some of a margin. */
const SLACK = 12;
/** Of a page that is turned, so much stays, for the eye to find its place. */
const OVERLAP = 0.15;

/**
 * How far to scroll until `card` is in sight, 0 when it is. One that is higher than the sight is turned page by page, until
 * its `answers` are reached: whoever answers has passed by all of it.
 */
function scrollToSee(card: Element, answers: Element, { top, bottom }: Sight): number {
  const all = card.getBoundingClientRect();
  const height = Math.max(0, bottom - top);
  if (all.height <= height + SLACK) {
    if (all.top < top - SLACK) return all.top - top;
    return all.bottom > bottom + SLACK ? all.bottom - bottom : 0;
  }
  const end = answers.getBoundingClientRect();
  const isEndSeen = end.bottom <= bottom + SLACK && (end.top >= top - SLACK || end.height > height);
  if (isEndSeen) return 0;
  if (all.top > top + SLACK || all.bottom < top + SLACK) return all.top - top;
  if (end.top < top) return end.bottom - bottom;
  return Math.min(height * (1 - OVERLAP), end.bottom - bottom);
}

/** Scroll on towards `card`; false when it was in sight already, or can be brought no nearer. */
export function bringIntoSight(card: Element, answers: Element, sight: Sight, scroller: Element): boolean {
  const distance = scrollToSee(card, answers, sight);
  if (distance === 0) return false;
  const before = scroller.scrollTop;
  scroller.scrollBy({ top: distance, behavior: "instant" });
  return Math.abs(scroller.scrollTop - before) >= 1;
}
