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
