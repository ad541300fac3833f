// A short sound for what has come to wait, where a person wants that.

import { keep, kept } from "./store.js";

const KEY = "notifier.sound";
const TONES = [660, 880];
const TONE_SECONDS = 0.14;
const VOLUME = 0.12;
// Several tabs are one sound.
const ALONE_MS = 1000;

let context = null;

export function isSounding() {
  return kept(KEY) === "on";
}

export function switchSound() {
  keep(KEY, isSounding() ? null : "on");
  wake().then(play);
}

export async function ring() {
  if (!mayPlay()) return;
  if (navigator.locks === undefined) return play();
  await navigator.locks.request(KEY, { ifAvailable: true }, async (lock) => {
    if (lock === null) return;
    play();
    await new Promise((resolve) => setTimeout(resolve, ALONE_MS));
  });
}

function play() {
  if (!mayPlay()) return;
  TONES.forEach((frequency, index) => {
    const [tone, volume] = [context.createOscillator(), context.createGain()];
    const start = context.currentTime + index * TONE_SECONDS;
    tone.frequency.value = frequency;
    volume.gain.setValueAtTime(VOLUME, start);
    volume.gain.exponentialRampToValueAtTime(0.001, start + TONE_SECONDS);
    tone.connect(volume).connect(context.destination);
    tone.start(start);
    tone.stop(start + TONE_SECONDS);
  });
}

// A page that has not been touched lets nothing sound, and what waited would sound late.
function mayPlay() {
  return isSounding() && context?.state === "running";
}

async function wake() {
  if (!isSounding() || !("AudioContext" in globalThis)) return;
  context ??= new AudioContext();
  if (context.state === "suspended") await context.resume().catch(() => {});
}

for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, wake, { capture: true, passive: true });
