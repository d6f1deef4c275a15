"""`chittyops status`: how everything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option

if TYPE_CHECKING:
    from chittyops_core.host import HostClient


@click.command(
    "status",
    epilog=manual(
        "chittyops status",
        "chittyops status --live",
        "chittyops status --app court --json",
    ),
)
@click.option(
    "--app", metavar="NAME", shell_complete=completion.apps, help="Only this app's services."
)
@click.option("--live", is_flag=True, help="One screen, anew every two seconds, until Ctrl-C.")
@json_option
def command(app: str | None, live: bool, as_json: bool) -> None:
    """Show every service on this host: what serves, since when, how it is, and its address.

    WATCH is what the agent says of it: ok, or what fails and since when. `chittyops incidents` has
    what is over. A host that reports to a parent says so in the last line.
    """
    from chittyops_core.cli.live import watch_live
    from chittyops_core.host import HostClient

    if live and as_json:
        raise click.UsageError("--live is for a person, --json for a program: choose one")
    with HostClient() as host:
        if live:
            watch_live(host, app)
        else:
            _show(host, app, as_json=as_json)


def _show(host: HostClient, app: str | None, *, as_json: bool) -> None:
    from attrs import evolve

    from chittyops_core.cli import render
    from chittyops_core.errors import ChittyOpsError, UsageError

    report, seen = host.status(), host.watch()
    try:
        parent, trouble = host.bridge(), ""
    except ChittyOpsError as error:  # What serves is shown whatever is wrong with the bridge.
        parent, trouble = None, error.message
    if app is not None:
        chosen = tuple(each for each in report.services if each.service.app == app)
        if not chosen:
            raise UsageError(
                f"there is no service of an app {app!r} here",
                remedy="`chittyops status` lists them all.",
            )
        report = evolve(report, services=chosen)
        if seen is not None:
            mine = {each.service.slug for each in chosen}
            seen["monitors"] = [m for m in seen["monitors"] if m["service"] in {*mine, None}]
    if as_json:
        render.print_json(render.status_json(report) | {"watch": seen, "parent": parent})
    else:
        render.print_status(report, seen)
        if parent is not None:
            click.echo(render.parent_line(parent))
        if trouble:
            click.echo(f"parent: {trouble}", err=True)
