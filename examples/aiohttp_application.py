"""The service mounted in an aiohttp application, which tells what its own work does."""

from aiohttp import web

from notifier_service import Broker, Settings, SimpleNotifier, create_app
from notifier_service.web import AccessLog


async def search(request: web.Request) -> web.Response:
    """A handler of the host application, and an agent's tool in session s1."""
    tool = {"tool_name": "search", "parameters": dict(request.query), "risk_level": "low"}
    await SimpleNotifier.notify_tool_execution_start("s1", tool)
    result = {"matches": 5}
    await SimpleNotifier.notify_tool_execution_complete("s1", tool, result, success=True)
    return web.json_response(result)


def application() -> web.Application:
    settings = Settings()
    host = web.Application()
    host.router.add_get("/search", search)
    # Its paths are now /notifier/agent_backend/api/… and /notifier/healthz/…
    host.add_subapp("/notifier/", create_app(Broker(settings), settings))
    return host


if __name__ == "__main__":
    # AccessLog leaves the query out of the log, and with it the tokens of streams. With handler_cancellation a client
    # that leaves is noticed at once; without it, within half a second.
    web.run_app(
        application(), host="127.0.0.1", port=Settings().port, access_log_class=AccessLog, handler_cancellation=True
    )
