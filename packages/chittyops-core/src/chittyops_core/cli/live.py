"""One screen of everything on the host, drawn anew until somebody has seen enough."""

from __future__ import annotations

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
            render.table(("MONITOR", "STATE", "TOOK", "LAST LOOK"), _rows(seen, app))
        time.sleep(EVERY_S)


def _rows(seen: dict[str, Any], app: str | None) -> list[tuple[str, str, str, str]]:
    return [
        (
            each["monitor"],
            each["state"],
            f"{each['seconds'] * 1000:.1f} ms" if each["seconds"] is not None else "-",
            f"{max(0.0, time.time() - each['at']):.0f} s ago" if each["at"] else "-",
        )
        for each in seen["monitors"]
        if app is None or (each["service"] or "").partition(".")[0] == app
    ]
