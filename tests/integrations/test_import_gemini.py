"""Rules of Gemini CLI, imported, beside what its own policy engine says of the same calls."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integrations.compared import AskedCall, Comparison, imported_policy, judged
from tests.integrations.environments import NPM

SCRIPT = Path(__file__).parent / "inside/gemini_policy.mjs"
EFFECTS = {"allow": "allow", "ask_user": "ask", "deny": "deny"}
FILES = 60
CALLS_A_FILE = 20

TOOLS = ("read_file", "write_file", "replace", "web_fetch", "grep_search", "search_file_content", "helper_agent")
SERVERS = ("files", "my_srv", "pay")
SERVER_TOOLS = ("read", "write_note", "send")
PREFIXES = ("git", "git status", "git push", "npm test", "ls", "rm", "rm -rf", "echo hello", "git *", "say 'x'", "cat")
COMMANDS = (
    "git", "git status", "git status -s", "git  status", "'git' status", "git push origin", "npm test", "npm tests",
    "ls", "ls -la src", "rm x", "rm -rf x", "echo hello", "echo hello world", "cat a.txt", "git status 2>&1",
    "git status > o", "git status > /dev/null", "git status && rm x", "ls; git push", "ls | cat a", "echo $(rm x)",
    "echo `rm x`", "bash -c 'rm x'", "FOO=1 git status", "git status\nrm x", "sudo rm x", "git -C /x status",
    "ls && ls && git status", " git status", "git status ", "(rm x)", "if true; then rm x; fi", "git status & rm x",
    "echo \"rm x\"", "timeout 5 ls",
)  # fmt: skip
PATTERNS = (
    '"file_path":"/etc', r'\0"file_path":"src/a\.txt"\0', '"command":"rm', "secret", r'"command":"git (push|pull)',
)  # fmt: skip


def rule(random_: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {
        "decision": random_.choice(("allow", "allow", "ask_user", "deny")),
        "priority": random_.choice((0, 10, 50, 100, 100, 999)),
    }
    kind = random_.random()
    if kind < 0.4:
        made["toolName"] = "run_shell_command"
        if random_.random() < 0.75:
            made["commandPrefix"] = random_.choice((random_.choice(PREFIXES), random_.sample(PREFIXES, 2)))
        elif random_.random() < 0.5:
            made["commandRegex"] = random_.choice(("git (status|diff)", "rm .*", "ls", "echo hel+o", "(a|b)"))
    elif kind < 0.65:
        made["toolName"] = random_.choice((random_.choice(TOOLS), random_.sample(TOOLS, 2), "*"))
    else:
        server, tool = random_.choice((*SERVERS, "*")), random_.choice((*SERVER_TOOLS, "*"))
        if random_.random() < 0.5:
            made |= {"mcpName": server, "toolName": tool}
        else:
            made["toolName"] = "mcp_*" if server == "*" else f"mcp_{server}_{tool}"
    if random_.random() < 0.15 and not made.keys() & {"commandPrefix", "commandRegex"}:
        made["argsPattern"] = random_.choice(PATTERNS)
    if random_.random() < 0.1:
        made["modes"] = random_.choice((["default"], ["autoEdit", "plan"], ["default", "autoEdit", "yolo", "plan"]))
    if random_.random() < 0.05:
        made["interactive"] = random_.random() < 0.5
    if random_.random() < 0.2:
        made["denyMessage"] = "because"
    return made


def toml(rules: list[dict[str, Any]]) -> str:
    # JSON of texts, numbers and lists of them is TOML, too.
    return "\n".join(
        "[[rule]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in made.items()) for made in rules
    )


def call(random_: random.Random) -> AskedCall:
    kind = random_.random()
    if kind < 0.5:
        return AskedCall("run_shell_command", {"command": random_.choice(COMMANDS)})
    if kind < 0.75:
        path = random_.choice(("src/a.txt", "/etc/passwd", "package.json", "src/secret", "x.mk"))
        name = random_.choice((*TOOLS, "invoke_agent"))
        parameters = {"agent_name": "helper_agent"} if name == "invoke_agent" else {"file_path": path}
        return AskedCall(name, parameters)
    server, tool = random_.choice((*SERVERS, "my")), random_.choice((*SERVER_TOOLS, "srv_read"))
    name = tool if random_.random() < 0.2 else f"mcp_{server}_{tool}"
    return AskedCall(name, {"path": "/etc/x", "text": "secret"}, server)


def test_imported_rules_are_never_wider_than_gemini_cli(npm_with: Callable[..., Path], tmp_path: Path) -> None:
    folder = npm_with(*NPM["gemini"])
    random_ = random.Random(21)
    files = [toml([rule(random_) for _ in range(random_.randint(2, 8))]) for _ in range(FILES)]
    cases = [(text, [call(random_) for _ in range(CALLS_A_FILE)]) for text in files]
    # Its modules are found from where the script is.
    script = Path(shutil.copy(SCRIPT, folder / SCRIPT.name))
    asked = [{"toml": text, "calls": [made._asdict() for made in calls]} for text, calls in cases]
    said = subprocess.run(
        [folder / "node_modules/.bin/node", script],
        input=json.dumps(asked), capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    comparison = Comparison("gemini")
    for (text, calls), there in zip(cases, json.loads(said.stdout), strict=True):
        policy = imported_policy("gemini", text)
        for made, decision in zip(calls, there["decisions"], strict=True):
            comparison.note(EFFECTS[decision], judged(policy, made), (text, made))

    comparison.assert_never_wider(cases=1000, alike=0.5)
