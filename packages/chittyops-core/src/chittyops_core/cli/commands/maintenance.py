"""`chittyops maintenance`: times in which nobody is told."""

from __future__ import annotations

import time

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option


@click.group(
    "maintenance",
    epilog=manual(
        "chittyops maintenance start court --for 2h --why 'new database'",
        "chittyops maintenance list",
    ),
)
def command() -> None:
    """Plan times in which the agent watches on, but tells nobody.

    What still fires when such a time is over is told then. The status page shows it as planned.
    """


@command.command(
    "start",
    epilog=manual(
        "chittyops maintenance start '*' --for 30m",
        "chittyops maintenance start court --in 1d --for 2h --why 'new database'",
    ),
)
@click.argument("scope")
@click.option("--for", "length", required=True, metavar="TIME", help="How long, such as 90m or 2h.")
@click.option("--in", "delay", default="0s", metavar="TIME", help="Not now but so much later.")
@click.option("--why", default="", help="What visitors of the status page read.")
def start(scope: str, length: str, delay: str, why: str) -> None:
    """Tell nobody of SCOPE for a while.

    SCOPE is a service as `chittyops status` names it, one of its monitors (court/web;
    `chittyops status --live` has them), or '*' for all.
    """
    from chittyops_core.host import HostClient

    starts = time.time() + _seconds(delay)
    with HostClient() as host:
        made = host.add_maintenance(scope, starts, starts + _seconds(length), why)
    number = made["number"]
    click.echo(
        f"Maintenance {number} of {made['scope']}; "
        f"`chittyops maintenance end {number}` ends it early."
    )


@command.command("list", epilog=manual("chittyops maintenance list --json"))
@json_option
def list_(as_json: bool) -> None:
    """List what is planned or under way."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        windows = host.maintenance()
    if as_json:
        render.print_json({"maintenance": windows})
    elif not windows:
        click.echo("No maintenance is planned.")
    else:
        rows = [
            (str(w["id"]), w["scope"], _shown(w["starts"]), _shown(w["ends"]), w["why"])
            for w in windows
        ]
        render.table(("NO", "SCOPE", "FROM (UTC)", "UNTIL (UTC)", "WHY"), rows)


@command.command("end", epilog=manual("chittyops maintenance end 3"))
@click.argument("number", type=int)
def end(number: int) -> None:
    """End the maintenance NUMBER now, or take it back."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.end_maintenance(number)
    click.echo(f"Maintenance {number} is over.")


def _seconds(text: str) -> float:
    from chittyops_core.model.manifest_reader import parse_duration

    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _shown(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
