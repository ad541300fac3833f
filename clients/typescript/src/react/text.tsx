import type { ReactNode } from "react";

import { pieces, type Piece } from "../text.js";

/** Text of the agent or of a person; what cannot be seen in it is shown as an escape. */
export function Text({ children }: { children: string }): ReactNode {
  return <Pieces>{pieces(children)}</Pieces>;
}

export function Pieces({ children }: { children: readonly Piece[] }): ReactNode {
  return children.map(({ text, kind, name }, index) =>
    kind === "plain" ? text : (
      <span key={index} className="notifier-escape" title={name}>
        {text}
      </span>
    ),
  );
}

/** JSON in which every escape that is shown is one of JSON's own, so that it can be edited as it is shown. */
export function editable(found: readonly Piece[]): string {
  return found.map(({ text, kind }) => (kind === "escape" && text.startsWith("\\u{") ? asPair(text) : text)).join("");
}

function asPair(escape: string): string {
  const character = String.fromCodePoint(Number.parseInt(escape.slice(3, -1), 16));
  return [0, 1].map((unit) => `\\u${character.charCodeAt(unit).toString(16)}`).join("");
}
