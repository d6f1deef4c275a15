"""What a browser loads beside pages: named by their content, so kept for ever."""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromPath

from chittyops_core.parent.dashboard.assets import by_address
from chittyops_core.parent.dashboard.engine import Web
from chittyops_core.parent.operators import PUBLIC
from chittyops_core.parent.operators.problems import Missing

__all__ = ["show_file"]


@get("/static/{name:str}", opt=PUBLIC, include_in_schema=False, sync_to_thread=False)
def show_file(request: Web, name: FromPath[str]) -> Response[bytes]:
    """Return a file of the package; there is no path into any folder."""
    asset = by_address(f"/static/{name}")
    if asset is None:
        raise Missing("There is no such file.")
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Vary": "Accept-Encoding",
    }
    body = asset.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = asset.packed, "gzip"
    return Response(body, media_type=asset.media_type, headers=headers)
