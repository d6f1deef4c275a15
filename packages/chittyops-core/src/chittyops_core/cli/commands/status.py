"""`chittyops status`: how everything is."""

from __future__ import annotations

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option


@click.command(
    "status",
    epilog=manual(
        "chittyops status",
        "chittyops status --app court --json",
    ),
)
@click.option(
    "--app", metavar="NAME", shell_complete=completion.apps, help="Only this app's services."
)
@json_option
def command(app: str | None, as_json: bool) -> None:
    """Show every service on this host: what serves, since when, how it is, and its address."""
    from attrs import evolve

    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        report = host.status()
    if app is not None:
        chosen = tuple(each for each in report.services if each.service.app == app)
        report = evolve(report, services=chosen)
    if as_json:
        render.print_json(render.status_json(report))
    else:
        render.print_status(report)
