"""Templates into answers: everything is escaped, nothing undefined passes, pages are packed."""

from __future__ import annotations

import gzip
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Request, Response
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template import TemplateConfig

from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.dashboard import numbers, words
from chittyops_core.parent.dashboard.assets import address
from chittyops_core.parent.operators import csrf_field
from chittyops_core.parent.operators.requests import now_of, parent_of

__all__ = ["Web", "environment", "macro", "may_act", "page", "templates"]

Web = Request[Any, Any, Any]

MIN_PACKED = 860
"""Bytes from which a page is packed: less fits one packet anyway."""


def templates() -> TemplateConfig[JinjaTemplateEngine]:
    """Return what renders all templates of the parent."""
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment()))


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the environment of all templates."""
    made = Environment(
        loader=PackageLoader(str(__package__)), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.globals.update(
        absolute=numbers.absolute, ago=numbers.ago, asset=address, count=numbers.count,
        csrf_field=csrf_field, icon=words.icon, machine_time=numbers.machine_time, may=may_act,
        measured=numbers.measured, metric_title=numbers.title_of, metric_of=numbers.labels_of,
        now_of=now_of, number=numbers.number, operator_of=_operator_of, parent_name=_parent_name,
        short=numbers.short, sprite=words.SPRITE,
    )  # fmt: skip
    made.filters["separated"] = "{:,}".format
    return made


def page(request: Web, name: str, *, status_code: int = 200, **context: Any) -> Response[bytes]:
    """Return the page of a template; the request, the time and what one may do are in it."""
    text = (
        environment()
        .get_template(name)
        .render(
            request=request,
            now=now_of(request),
            can_decide=may_act(request, Role.OPERATOR),
            **context,
        )
    )
    body, headers = text.encode(), {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if len(body) >= MIN_PACKED and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = gzip.compress(body, 6), "gzip"
    return Response(
        body, status_code=status_code, media_type="text/html; charset=utf-8", headers=headers
    )


def macro(template: str, name: str) -> Any:
    """Return a macro of a template, to render a part of a page."""
    return getattr(environment().get_template(template).module, name)


def may_act(request: Web, role: str) -> bool:
    """Whether who asks may do what *role* may; False while nobody is known."""
    who = _operator_of(request)
    return who is not None and who.role.includes(Role(role))


def _operator_of(request: Web) -> Operator | None:
    caller = request.state.get("caller")
    return caller.operator if caller is not None else None


def _parent_name(request: Web) -> str:
    return parent_of(request).name
