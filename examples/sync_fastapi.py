"""FastAPI, Starlette: a plain function waits for the person in a thread of the pool, and the loop goes on meanwhile."""

from fastapi import FastAPI, Response

from notifier_service import ToolDenied, sync

app = FastAPI()
app.add_exception_handler(ToolDenied, lambda request, denial: Response(str(denial), 403))


@app.post("/delete/{path}")
@sync.approved("s1")
def delete(path: str) -> str:
    return f"{path} is gone"
