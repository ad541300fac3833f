/** A place in a session's log, `<epoch>-<seq>` (contract section 1). */
export interface Place {
  readonly epoch: string;
  readonly seq: number;
}

/** Return the place that an id names, or null for what is no id. */
export function placeOf(id: string | null | undefined): Place | null {
  const match = /^([0-9a-z]+)-([0-9a-z]+)$/.exec(id ?? "");
  if (match?.[1] === undefined || match[2] === undefined) return null;
  return { epoch: match[1], seq: Number.parseInt(match[2], 36) };
}
