"""Structured logs over the standard library's loggers.

A library neither configures nor prints: `get_logger` returns a logger that stays silent below
WARNING until an application configures `logging`. Only `cli`, `host` and `parent` call
`configure`. structlog is imported at the first event, because it brings rich along where that
is installed (103 ms), and most processes that import us log nothing.
"""

from __future__ import annotations

import logging
import sys
from functools import cached_property
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["Logger", "configure", "get_logger"]


class Logger:
    """Takes events named `part.happened` with facts as keys; never a formatted text."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **facts: object) -> None:
        self._bound.debug(event, **facts)

    def info(self, event: str, **facts: object) -> None:
        self._bound.info(event, **facts)

    def warning(self, event: str, **facts: object) -> None:
        self._bound.warning(event, **facts)

    def error(self, event: str, **facts: object) -> None:
        self._bound.error(event, **facts)

    def exception(self, event: str, **facts: object) -> None:
        """Log the error that is being handled, with its traceback."""
        self._bound.exception(event, **facts)

    @cached_property
    def _bound(self) -> FilteringBoundLogger:
        import structlog

        return cast(
            "FilteringBoundLogger",
            structlog.wrap_logger(
                logging.getLogger(self._name),
                processors=[
                    structlog.stdlib.filter_by_level,
                    structlog.contextvars.merge_contextvars,
                    structlog.stdlib.render_to_log_kwargs,
                ],
                wrapper_class=structlog.stdlib.BoundLogger,
            ),
        )


def get_logger(name: str) -> Logger:
    """Return the logger of one part, such as `chittyops.deploy`."""
    return Logger(name)


def configure(level: str = "WARNING") -> None:
    """Send this process's logs to stderr, as JSON lines when it is no terminal."""
    import structlog

    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
