// What an edit changes, line by line.

const MAX_CELLS = 250_000;

// [{kind: "same" | "gone" | "new", text}], or null when the texts are too long to compare.
export function changes(before, after) {
  const old = before.split("\n");
  const fresh = after.split("\n");
  let head = 0;
  while (head < old.length && head < fresh.length && old[head] === fresh[head]) head += 1;
  let tail = 0;
  while (tail < old.length - head && tail < fresh.length - head && old.at(-1 - tail) === fresh.at(-1 - tail)) tail += 1;
  const gone = old.slice(head, old.length - tail);
  const made = fresh.slice(head, fresh.length - tail);
  if (gone.length * made.length > MAX_CELLS) return null;
  return [
    ...old.slice(Math.max(0, head - 1), head).map(same),
    ...compared(gone, made),
    ...old.slice(old.length - tail, old.length - tail + 1).map(same),
  ];
}

function same(text) {
  return { kind: "same", text };
}

// The longest common subsequence, by the table of the lengths of its ends.
function compared(old, fresh) {
  const lengths = Array.from({ length: old.length + 1 }, () => new Uint32Array(fresh.length + 1));
  for (let row = old.length - 1; row >= 0; row -= 1) {
    for (let column = fresh.length - 1; column >= 0; column -= 1) {
      lengths[row][column] =
        old[row] === fresh[column]
          ? lengths[row + 1][column + 1] + 1
          : Math.max(lengths[row + 1][column], lengths[row][column + 1]);
    }
  }
  const lines = [];
  let row = 0;
  let column = 0;
  while (row < old.length || column < fresh.length) {
    if (row < old.length && column < fresh.length && old[row] === fresh[column]) {
      lines.push(same(old[row]));
      row += 1;
      column += 1;
    } else if (row < old.length && (column === fresh.length || lengths[row + 1][column] >= lengths[row][column + 1])) {
      lines.push({ kind: "gone", text: old[row] });
      row += 1;
    } else {
      lines.push({ kind: "new", text: fresh[column] });
      column += 1;
    }
  }
  return lines;
}
