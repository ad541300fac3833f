"use client";

/** A session of an agent in a React application: the hook that watches it, and the dialog that asks. */

export { PermissionDialog, type PermissionDialogProps } from "./dialog.js";
export { CHINESE, ENGLISH, type PermissionLabels, type QuestionLabels } from "./labels.js";
export type { RenderBody } from "./parameters.js";
export type { Body, Part } from "../bodies/index.js";
export { useSession, type Session, type SessionOptions } from "./session.js";
