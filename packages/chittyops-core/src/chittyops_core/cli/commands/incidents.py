"""`chittyops incidents`: what went wrong, and for how long."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option


@click.command(
    "incidents",
    epilog=manual(
        "chittyops incidents", "chittyops incidents --open", "chittyops incidents --json"
    ),
)
@click.option("--open", "only_open", is_flag=True, help="Only those that are not over.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True,
              help="At most so many, the newest.")  # fmt: skip
@json_option
def command(only_open: bool, limit: int, as_json: bool) -> None:
    """List what went wrong on this host: what, since when, for how long, and why.

    An incident begins with the first of three failures in a row and ends after five clean minutes.
    Messages that no channel took are listed too: somebody should have known.
    """
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        found = host.incidents(limit)
    incidents = [each for each in found["incidents"] if not (only_open and each["ended"])]
    if as_json:
        render.print_json({"incidents": incidents, "undelivered": found["undelivered"]})
        return
    if incidents:
        rows = [_row(each) for each in incidents]
        render.table(("NO", "BEGAN (UTC)", "LASTED", "WHAT", "WHY"), rows)
    else:
        click.echo("No incident is open." if only_open else "There was no incident.")
    for each in found["undelivered"]:
        click.echo(
            f"not told to {each['channel']}: {each['message']['title']} ({each['error']}, "
            f"{each['attempts']} tries)",
            err=True,
        )


def _row(incident: dict[str, Any]) -> tuple[str, str, str, str, str]:
    ended = incident["ended"]
    lasted = str(timedelta(seconds=round((ended or time.time()) - incident["started"])))
    return (
        str(incident["id"]),
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(incident["started"])),
        lasted if ended else f"{lasted}, goes on",
        incident["alert"],
        incident["why"][:80],
    )
