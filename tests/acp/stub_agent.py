"""An agent that says what its editor tells it to say, and notes what it has read: ``python stub_agent.py LOG``."""

import json
import sys

with open(sys.argv[1], "ab", buffering=0) as log:
    for line in sys.stdin.buffer:
        log.write(line)
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if message.get("method") == "x/say":
            for said in message["params"]["lines"]:
                sys.stdout.buffer.write(said.encode() + b"\n")
            sys.stdout.buffer.flush()
        elif message.get("method") == "x/end":
            sys.exit(message["params"]["code"])
        elif "method" in message and "id" in message and message["method"] != "session/prompt":
            result = {"sessionId": "a1"} if message["method"] == "session/new" else {"method": message["method"]}
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
