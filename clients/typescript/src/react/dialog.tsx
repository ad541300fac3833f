import { useEffect, useId, useRef, useState, type ReactNode } from "react";

import type { PermissionRecord } from "../wire.js";
import { Card } from "./card.js";
import type { Draft } from "./draft.js";
import { ENGLISH, type PermissionLabels } from "./labels.js";
import { useBrowserLayoutEffect } from "./layout_effect.js";
import type { RenderBody } from "./parameters.js";
import type { Session } from "./session.js";

export interface PermissionDialogProps {
  /** What `useSession` gave. */
  session: Session;
  /** English, unless given. */
  labels?: PermissionLabels;
  /** Draws parameters in a way of your own; where it gives undefined, they are drawn as without it. */
  renderBody?: RenderBody;
  /** Added to the class of the dialog. */
  className?: string;
}

/** What this dialog need not show by itself: requests put off until somebody asks for them, and answered ones. */
type PutAway = ReadonlyMap<string, "later" | "answered">;

const NOTHING: PutAway = new Map();


/** What is told again after a pause may be answered long since, and the next event says so. */
const SETTLE_MS = 100;

/**
 * Asks about the requests of a session, one after the other.
 *
 * It opens by itself when something waits. Escape and "Later" answer nothing: a button stays in the dialog's place that
 * opens it again. What it shows changes only when somebody has answered it.
 */
export function PermissionDialog({ session, labels = ENGLISH, renderBody, className }: PermissionDialogProps): ReactNode {
  const { client, pending } = session;
  const [shown, setShown] = useState<PermissionRecord | null>(null);
  const [putAway, setPutAway] = useState(NOTHING);
  const [owner, setOwner] = useState(client);
  const titleId = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  const drafts = useRef(new Map<string, Draft>());

  if (owner !== client) {
    setOwner(client);
    setPutAway(NOTHING);
    setShown(null);
    drafts.current.clear();
  }
  const next = pending.find((request) => request.request_id !== shown?.request_id && !putAway.has(request.request_id));
  const isOpen = shown !== null;
  const requestId = shown?.request_id;

  useEffect(() => {
    if (isOpen || next === undefined) return;
    const timer = setTimeout(() => setShown(next), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [isOpen, next?.request_id]);
  useBrowserLayoutEffect(() => {
    const element = dialog.current;
    if (element === null || requestId === undefined) return;
    if (!element.open) element.showModal();
    // Not the first button, as the browser would: who types on must not answer by it.
    element.querySelector<HTMLElement>("[data-focus]")?.focus({ preventScroll: true });
    element.scrollTop = 0;
  }, [requestId]);
  useBrowserLayoutEffect(() => {
    if (!isOpen) return;
    const element = dialog.current;
    // Closing gives the focus back to where it was; also when the dialog is removed from the page.
    return () => element?.close();
  }, [isOpen]);

  const waiting = pending.filter(({ request_id }) => putAway.get(request_id) !== "answered");
  const put = (requests: readonly PermissionRecord[], why: "later" | "answered"): void => {
    const isPending = new Set(client.state.pending.map(({ request_id }) => request_id));
    setPutAway((before) => {
      const still = [...before].filter(([id]) => isPending.has(id));
      return new Map([...still, ...requests.map(({ request_id }) => [request_id, why] as const)]);
    });
  };
  const later = (): void => {
    put(waiting, "later");
    setShown(null);
  };
  const over = (request: PermissionRecord): void => {
    put([request], "answered");
    drafts.current.delete(request.request_id);
    setShown((current) => (current?.request_id === request.request_id ? next ?? null : current));
  };
  const lookAgain = (): void => {
    setPutAway(new Map([...putAway].filter(([, why]) => why === "answered")));
    setShown(waiting[0] ?? null);
  };

  const draftOf = (id: string): Draft => {
    const draft = drafts.current.get(id) ?? { form: null, response: "", editing: null, reason: "", given: [] };
    drafts.current.set(id, draft);
    return draft;
  };
  const position = waiting.findIndex(({ request_id }) => request_id === requestId) + 1;
  return (
    <>
      {!isOpen && next === undefined && waiting.length > 0 && (
        <button type="button" className="notifier-waiting" onClick={lookAgain}>
          {labels.waiting(waiting.length)}
        </button>
      )}
      <dialog
        ref={dialog}
        className={className === undefined ? "notifier-dialog" : `notifier-dialog ${className}`}
        aria-labelledby={titleId}
        onClose={() => {
          if (isOpen && dialog.current?.open === false) later();
        }}
      >
        {shown !== null && (
          <Card
            key={requestId}
            request={shown}
            client={client}
            labels={labels}
            renderBody={renderBody}
            titleId={titleId}
            position={position}
            total={waiting.length}
            isConnected={session.isConnected}
            draft={draftOf(shown.request_id)}
            onLater={later}
            onMove={(step) => setShown(waiting[position - 1 + step] ?? shown)}
            onOver={() => over(shown)}
          />
        )}
      </dialog>
    </>
  );
}
