"""What the agent answers over HTTP: operators on one unix socket, visitors of the page on another.

    GET  /v1/state                    how everything stands, JSON
    GET  /metrics                     Prometheus text or OpenMetrics
    POST /ping/SLUG/NAME[/WORD]       a job ran: start, fail, an exit status, or nothing
    POST /v1/bridge/sync              tell the parent now; 202, or 404 where there is none

A Prometheus sees /metrics alone, on a port of this machine where an operator wished for one.
Visitors see the status page and what belongs to it, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from chittyops_core.errors import ChittyOpsError, NotFoundError
from chittyops_core.host.agent_view import AgentView
from chittyops_core.host.app_link import AppLink
from chittyops_core.host.wake import SYNC_PATH
from chittyops_core.monitor.exposition import render
from chittyops_core.monitor.local_http import Answer

__all__ = ["AgentApi"]


class AgentApi:
    """Answers requests from what the agent sees. Called in many threads at once."""

    def __init__(
        self, view: AgentView, apps: AppLink, sync: Callable[[], bool] = lambda: False
    ) -> None:
        """*sync* tells the parent, and says whether there is one."""
        self._view = view
        self._sync = sync
        self._apps = apps

    def answer(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Answer an operator."""
        if path == "/metrics":
            return self.answer_scraper(method, path, query, headers, body)
        if path == "/v1/state" and method in ("GET", "HEAD"):
            return _json(200, self._view.state())
        if path == SYNC_PATH and method == "POST":
            is_told = self._sync()
            return _json(202 if is_told else 404, {"enrolled": is_told})
        if path.startswith("/ping/") and method == "POST":
            return self._ping([unquote(part) for part in path.split("/")[2:]])
        return _json(404, {"error": f"there is no {method} {path}"})

    def answer_scraper(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Answer a Prometheus."""
        if path != "/metrics" or method not in ("GET", "HEAD"):
            return _json(404, {"error": f"there is no {method} {path}"})
        kind, text = render(self._view.families(), headers.get("accept", ""))
        return 200, {"Content-Type": kind}, text

    def answer_visitor(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Answer who looks at the status page."""
        from chittyops_core.monitor.page import respond

        try:
            answer = respond(method, path, query, headers, self._view.page)
        except ChittyOpsError as error:
            return _json(503, {"error": error.message})
        return answer.status, answer.headers, answer.body

    def _ping(self, parts: list[str]) -> Answer:
        slug, name, word = [*parts, "", "", ""][:3]
        try:
            self._apps.ping(f"{slug}/{name}", word)
        except NotFoundError as error:
            return _json(404, {"error": error.message})
        except ChittyOpsError as error:
            return _json(400, {"error": error.message})
        return _json(200, {"ok": True})


def _json(status: int, said: object) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(said).encode() + b"\n"
