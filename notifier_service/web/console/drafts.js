// What a person has begun to write for a request. It outlives its form, and its card: a token may have to be given again.

const MOST = 100;

const drafts = new Map();

export function draftOf(requestId, action) {
  return drafts.get(`${requestId} ${action}`);
}

export function keepDraft(requestId, action, text) {
  drafts.set(`${requestId} ${action}`, text);
  if (drafts.size > MOST) drafts.delete(drafts.keys().next().value);
}
