"""The web application: what it is made of, and what all of its answers have in common."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from litestar import Litestar
from litestar.datastructures import State
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template import TemplateConfig

from chittyops_core._kit.clock import Clock, SystemClock
from chittyops_core.parent import operators
from chittyops_core.parent.database import Database
from chittyops_core.parent.live import Live

__all__ = ["Parent", "create_app"]

_TEMPLATES = Path(__file__).parent / "dashboard/templates"


@frozen(eq=False)
class Parent:
    """One parent: what every handler finds as `state.parent`.

    Attributes:
        data: Its folder: `parent.toml`, `parent.key`, and `parent.db` where it is on SQLite.
        database: Where it keeps everything.
        live: What just changed.
        clock: What time it is.
        name: How it calls itself, for people.
        is_behind_proxy: Whether a proxy of ours stands before it, so that where a request comes
            from, and whether by TLS, is what that proxy says.
    """

    data: Path
    database: Database
    live: Live = field(factory=Live)
    clock: Clock = field(factory=SystemClock)
    name: str = "ChittyOps"
    is_behind_proxy: bool = False


def create_app(parent: Parent) -> Litestar:
    """Return the ASGI application of *parent*, whose database is open and up to date."""
    return Litestar(
        route_handlers=[*operators.handlers()],
        dependencies=operators.dependencies(),
        exception_handlers=operators.exception_handlers(),
        template_config=TemplateConfig(
            directory=Path(__file__).parent / "dashboard/templates", engine=JinjaTemplateEngine
        ),
        state=State({"parent": parent}),
        logging_config=None,
    )
