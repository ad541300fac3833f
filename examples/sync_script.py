"""A plain script: a person is asked before its function runs."""

from notifier_service import sync

service = sync.serve_in_thread()  # or, without this line: notifier-service serve, in another terminal
print("Decide at", service.url, flush=True)


@sync.approved("s1", description="tidies up")
def delete(path: str) -> str:
    return f"{path} is gone"


print(delete("/srv/app/old.log"))
