"""The service inside an asyncio program: a tool that asks before it runs."""

import asyncio
from pathlib import Path

from notifier_service import ToolDenied, ToolWrapper, serve

DRAFT = Path("draft.txt")


def delete_file(path: str) -> str:
    Path(path).unlink()
    return f"{path} is gone"


async def main() -> None:
    async with serve() as site:  # settings come from NOTIFIER_*
        delete = ToolWrapper(delete_file, session_id="s1", risk_level="high")
        print(f"Somebody must decide: notifier-service watch s1 --url {site.url}/agent_backend", flush=True)
        try:
            print(await delete(str(DRAFT)))
        except ToolDenied as denial:
            print(denial)


DRAFT.write_text("not needed any more")
asyncio.run(main())
