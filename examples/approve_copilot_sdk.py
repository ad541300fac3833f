"""Copilot SDK: a person is asked what Copilot would do."""

import asyncio

from copilot import CopilotClient

from notifier_service import Client
from notifier_service.bridges.copilot_sdk import copilot_approval


async def main() -> None:
    async with Client("http://127.0.0.1:8000") as service, CopilotClient() as copilot:
        session = await copilot.create_session(on_permission_request=copilot_approval("s1", service=service))
        await session.send_and_wait("Tidy up this folder.", timeout=3600)


asyncio.run(main())
