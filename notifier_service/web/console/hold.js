// A finger that stays on a button: what a high risk takes on a touch screen, where two taps may be an accident.

const HOLD_MS = 700;
// A finger is never quite still.
const SLACK = 12;

// `begin()` says whether holding it would count now, `act()` is done when it was held.
export function hold(target, { begin, act }) {
  let timer = 0;
  let from = null;
  const stop = () => {
    clearTimeout(timer);
    from = null;
    target.classList.remove("holding");
  };
  target.classList.add("to-hold");
  target.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch" || !event.isPrimary || target.disabled || !begin()) return;
    from = [event.clientX, event.clientY];
    target.classList.add("holding");
    timer = setTimeout(() => {
      stop();
      act();
    }, HOLD_MS);
  });
  target.addEventListener("pointermove", (event) => {
    if (from !== null && Math.hypot(event.clientX - from[0], event.clientY - from[1]) > SLACK) stop();
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) target.addEventListener(name, stop);
  // What a long press does elsewhere in a browser is nothing here.
  target.addEventListener("contextmenu", (event) => {
    if (event.pointerType === "touch" || from !== null) event.preventDefault();
  });
}
