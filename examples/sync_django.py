"""Django: a view that waits for the person. In urls.py: path("delete/<str:path>", delete_view)"""

from django.http import HttpRequest, HttpResponse

from notifier_service import ToolDenied, sync

delete = sync.approved("s1", tool_name="delete")(lambda path: f"{path} is gone")


def delete_view(request: HttpRequest, path: str) -> HttpResponse:
    try:
        return HttpResponse(delete(path))
    except ToolDenied as denial:
        return HttpResponse(str(denial), status=403)
