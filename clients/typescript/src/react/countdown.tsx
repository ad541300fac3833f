import { useEffect, useState, type ReactNode } from "react";

interface CountdownProps {
  /** A time as the service writes it. */
  until: string;
  text: (minutesAndSeconds: string) => string;
}

/** How long is left. At zero nothing happens here: the service says when it is over, by its own clock. */
export function Countdown({ until, text }: CountdownProps): ReactNode {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.ceil((Date.parse(until) - now) / 1_000));
  const [h, m, s] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (part: number): string => String(part).padStart(2, "0");
  return (
    <span role="timer" data-role="countdown">
      {text(h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`)}
    </span>
  );
}
