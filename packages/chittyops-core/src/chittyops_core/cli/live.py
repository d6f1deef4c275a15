"""One screen of everything on the host, drawn anew until somebody has seen enough."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from chittyops_core.cli import render

if TYPE_CHECKING:
    from chittyops_core.host import HostClient

__all__ = ["watch_live"]

EVERY_S = 2.0


def watch_live(host: HostClient, app: str | None) -> None:
    """Draw until interrupted. On a pipe nothing is cleared, so that it can be read later."""
    while True:
        report, seen = host.status(), host.watch()
        if app is not None:
            chosen = tuple(each for each in report.services if each.service.app == app)
            report = evolve(report, services=chosen)
        click.clear()
        click.echo(f"{time.strftime('%H:%M:%S')}  {report.host.home}  (Ctrl-C ends)\n")
        render.print_status(report, seen)
        if seen is None:
            click.echo("\nNo agent watches this host.")
        else:
            click.echo()
            # What the table above, its heads, and a line for each that fails leave of one screen.
            room = shutil.get_terminal_size().lines - len(report.services) - 8
            rows = _rows(seen, app)
            shown = rows if not sys.stdout.isatty() else rows[: max(3, room)]
            render.table(("MONITOR", "STATE", "TOOK", "LAST LOOK"), shown)
            if len(shown) < len(rows):
                click.echo(
                    f"... and {len(rows) - len(shown)} more; --app NAME shows fewer services"
                )
        time.sleep(EVERY_S)


def _rows(seen: dict[str, Any], app: str | None) -> list[tuple[str, str, str, str]]:
    """Return a row for each monitor, those that are not ok first."""
    return [
        (
            each["monitor"],
            each["state"],
            f"{each['seconds'] * 1000:.1f} ms" if each["seconds"] is not None else "-",
            f"{max(0.0, time.time() - each['at']):.0f} s ago" if each["at"] else "-",
        )
        for each in sorted(seen["monitors"], key=lambda m: m["state"] == "ok")
        if app is None or (each["service"] or "").partition(".")[0] == app
    ]
