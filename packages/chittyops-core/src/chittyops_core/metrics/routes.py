"""Which route a request took: the template where the framework tells it, never an endless list."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

__all__ = ["Routes", "asgi_template", "django_template", "flask_template"]

OTHER = "other"
MAX_ROUTES = 100
"""Distinct routes of one wrapped app; the same number of plain paths where no template is known."""


class Routes:
    """The routes seen so far, at most *most* templates and *most* paths; others are `other`."""

    def __init__(self, most: int = MAX_ROUTES) -> None:
        self._most = most
        self._templates: set[str] = set()
        self._paths: set[str] = set()
        self._lock = threading.Lock()

    def bounded(self, template: str | None, path: str, status: int) -> str:
        """Return the value of `http.route`.

        Args:
            template: What the framework matched: "" when it matched nothing, None when there is
                no framework that tells.
            path: Path of the request.
            status: Of the answer. Paths that were not found earn no place: scanners ask for many.
        """
        if template == "":
            return OTHER
        seen, wanted = (self._paths, path) if template is None else (self._templates, template)
        if wanted in seen:
            return wanted
        if template is None and not 200 <= status < 400:
            return OTHER
        with self._lock:
            if len(seen) < self._most:
                seen.add(wanted)
        return wanted if wanted in seen else OTHER


def flask_template(environ: Mapping[str, Any]) -> str | None:
    """Return the template that Flask matched; see `Routes.bounded`.

    To be asked while the answer starts: Flask forgets its request before the body is sent.
    """
    try:
        request = environ.get("werkzeug.request")
        if request is None or not hasattr(request, "url_rule"):
            return None
        rule = request.url_rule
        return "" if rule is None else str(environ.get("SCRIPT_NAME", "")) + str(rule.rule)
    except Exception:  # A framework of another version: its paths are bounded.
        return None


def django_template(answer: object, path: str) -> str | None:
    """Return the template that Django matched, if *answer* is Django's; see `Routes.bounded`."""
    if not type(answer).__module__.startswith("django."):
        return None
    try:
        return _django_template(path)
    except Exception:  # A framework of another version: its paths are bounded.
        return None


def asgi_template(scope: Mapping[str, Any], path: str, app: object) -> str | None:
    """Return the template that FastAPI, Starlette or Django matched; see `Routes.bounded`."""
    try:
        route = scope.get("route")
        if route is not None and hasattr(route, "path"):
            # A route of a router that newer FastAPIs include is told without its prefix.
            said = scope.get("fastapi")
            included = said.get("effective_route_context") if isinstance(said, dict) else None
            if included is not None and hasattr(included, "path"):
                route = included
            inner = "" if type(route).__name__ == "Mount" else str(route.path)
            return _mounted_under(scope) + inner
        if "router" in scope and hasattr(scope["router"], "routes"):
            return _starlette_template(scope)
        if type(app).__module__.startswith("django."):
            return _django_template(path)
    except Exception:  # A framework of another version: its paths are bounded.
        return None
    return None


def _mounted_under(scope: Mapping[str, Any]) -> str:
    """Return the path of the Starlette mounts that led to the route."""
    outer = str(scope.get("app_root_path", ""))
    return str(scope.get("root_path", "")).removeprefix(outer)


def _starlette_template(scope: Mapping[str, Any]) -> str:
    """Find the route by its endpoint: Starlette itself does not say which it was."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return ""
    for route in scope["router"].routes:
        if getattr(route, "endpoint", None) is endpoint:
            return _mounted_under(scope) + str(route.path)
    return _mounted_under(scope) or ""


def _django_template(path: str) -> str:
    """Match again, by Django's public `resolve`: the match is in a request we do not see.

    A `request.urlconf` that a middleware sets is not known here.
    """
    urls = sys.modules.get("django.urls")
    if urls is None:
        return ""
    try:
        return "/" + str(urls.resolve(path).route)
    except urls.Resolver404:
        return ""
