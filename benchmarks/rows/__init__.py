"""The rows of `overhead.py`: siblings of one shape, each a `measure(folder)` that returns a Row.

A row that needs a program which is not installed raises `LeftOut`, which says how to get it.
"""

from collections.abc import Callable
from pathlib import Path

from rows import build, healthy, help, memory, proxy_cpu, rollback, services
from rows.base import LeftOut, Row

__all__ = ["ROWS", "LeftOut", "Row"]

ROWS: dict[str, Callable[[Path], Row]] = {
    "help": help.measure,
    "build": build.measure,
    "healthy": healthy.measure,
    "rollback": rollback.measure,
    "proxy-cpu": proxy_cpu.measure,
    "memory": memory.measure,
    "services": services.measure,
}
