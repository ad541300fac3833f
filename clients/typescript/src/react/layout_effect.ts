import { useEffect, useLayoutEffect } from "react";

/** On a server, where React 18 warns of it, there is nothing to lay out. */
export const useBrowserLayoutEffect = typeof document === "undefined" ? useEffect : useLayoutEffect;
