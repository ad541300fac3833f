import { useEffect, useState, type RefObject } from "react";

/**
 * Whether every end within `place` has been on the screen since `drawn` was drawn.
 *
 * An end is an element that stands where something ends: `<End />`.
 */
export function useReading(place: RefObject<HTMLElement | null>, drawn: string): boolean {
  const [read, setRead] = useState<string | null>(null);
  useEffect(() => {
    if (place.current === null || typeof IntersectionObserver === "undefined") return setRead(drawn);
    const unseen = new Set<Element>(place.current.querySelectorAll("[data-end]"));
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) if (isIntersecting) unseen.delete(target);
      if (unseen.size === 0) setRead(drawn);
    });
    for (const end of unseen) observer.observe(end);
    return () => observer.disconnect();
  }, [place, drawn]);
  return read === drawn;
}
