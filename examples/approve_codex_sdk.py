"""Codex SDK: a person is asked what Codex would do. Without a handler the SDK accepts everything."""

from openai_codex import CodexConfig

from notifier_service.bridges.codex_sdk import codex_client

with codex_client("s1", CodexConfig(cwd=".")) as codex:
    codex.initialize()
    thread = codex.thread_start({"approvalPolicy": "untrusted", "approvalsReviewer": "user"}).thread
    for piece in codex.stream_text(thread.id, "Tidy up this folder."):
        print(piece.delta, end="", flush=True)
