"""Flask: a person is asked before the view does its work. flask --app sync_flask run"""

from flask import Flask

from notifier_service import ToolDenied, sync

app = Flask(__name__)
app.register_error_handler(ToolDenied, lambda denial: (str(denial), 403))


@app.post("/delete/<path>")
@sync.approved("s1")
def delete(path: str) -> str:
    return f"{path} is gone"
