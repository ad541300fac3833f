/** Return the place that an id names, or null for what is no id. */
export function placeOf(id) {
    const match = /^([0-9a-z]+)-([0-9a-z]+)$/.exec(id ?? "");
    if (match?.[1] === undefined || match[2] === undefined)
        return null;
    return { epoch: match[1], seq: Number.parseInt(match[2], 36) };
}
