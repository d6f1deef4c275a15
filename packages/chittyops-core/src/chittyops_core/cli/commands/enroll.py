"""`chittyops enroll`: give this host a parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from chittyops_core.cli.manual import HOME, manual
from chittyops_core.cli.options import confirm, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VARIABLES = f"""{HOME}
  HTTPS_PROXY, NO_PROXY: the way to the parent
  REQUESTS_CA_BUNDLE: a PEM file of authorities to trust, where the parent's is private"""


@click.command(
    "enroll",
    epilog=manual(
        "chittyops enroll https://ops.example.org chittyops1.SECRET.PARENT",
        "cat token | chittyops enroll https://ops.example.org - --name court-1 --yes",
        environment=VARIABLES,
    ),
)
@click.argument("url")
@click.argument("token")
@click.option("--name", default="", metavar="NAME", help="What the parent shows; else its name.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
def command(url: str, token: str, name: str, yes: bool, as_json: bool) -> None:
    """Let the parent at URL oversee this host: it gets reports, and is asked for nothing else.

    TOKEN comes from the parent (`chittyops parent token`). It is good once, so as an argument it
    is harmless a moment later; with `-` it is read from stdin. It names the parent's key as well:
    nobody else is believed, whatever stands in between. What is reported is said before anything
    is sent, and `chittyops bridge grants` says how to change it. An app never waits for a parent.
    """
    import sys

    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    given = sys.stdin.readline().strip() if token == "-" else token
    with HostClient() as host:
        _print_plan(url, given, host.bridge_grants())
        if not yes:
            confirm("Enroll?")
        member = host.enrol(url, given, name)
    if as_json:
        render.print_json({"membership": member})
        return
    parent = render.plain(member["parent_name"] or member["url"])
    click.echo(f"{render.plain(member['name'])} is {member['state']} with {parent}.")
    if member["state"] == "pending":
        click.echo("An operator of the parent has to accept it; reports wait until then.")
    click.echo("`chittyops bridge status` says how it stands.")


def _print_plan(url: str, token: str, grants: Mapping[str, Any]) -> None:
    """Say what would be reported, and to whom, before anything is sent."""
    from chittyops_core.cli import render

    pinned = token.rpartition(".")[2]
    click.echo(f"This host would report to {render.plain(url)}", err=True)
    click.echo(f"  whose key must be {render.plain(pinned)}", err=True)
    click.echo(f"  what: {', '.join(grants['caps']) or 'nothing'}", err=True)
    named = [slug for slug, is_covered in grants["services"].items() if is_covered]
    click.echo(f"  of: this host; {', '.join(named) or 'no service'}", err=True)
    click.echo("  never: values of secrets and variables, logs, requests, data of apps", err=True)
    click.echo(f"  {grants['file']} changes that, now or later", err=True)
