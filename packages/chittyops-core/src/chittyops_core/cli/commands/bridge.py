"""`chittyops bridge`: how this host stands with its parent."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option


@click.group(
    "bridge",
    epilog=manual("chittyops bridge status", "chittyops bridge pause", "chittyops bridge leave"),
)
def command() -> None:
    """See and change how this host reports to its parent; `chittyops enroll` gives it one."""


@command.command("status", epilog=manual("chittyops bridge status --json"))
@json_option
def status(as_json: bool) -> None:
    """Show with whom this host is enrolled, when they last spoke, and what waits to be sent."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        found = host.bridge()
    if as_json:
        render.print_json({"bridge": found})
    elif found is None:
        click.echo("This host has no parent. `chittyops enroll URL TOKEN` gives it one.")
    else:
        render.print_bridge(found)


@command.command("sync", epilog=manual("chittyops bridge sync"))
def sync() -> None:
    """Let the agent report now instead of at its next time."""
    from chittyops_core.errors import HostError
    from chittyops_core.host import HostClient

    with HostClient() as host:
        if not host.sync_bridge():
            raise HostError(
                "no agent runs here that could report",
                remedy="`chittyops host start` starts what is missing.",
            )
    click.echo("The agent reports now; `chittyops bridge status` says what came of it.")


@command.command("pause", epilog=manual("chittyops bridge pause"))
def pause() -> None:
    """Send nothing until `resume`; what happens meanwhile is kept, and sent then."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.pause_bridge()
    click.echo("Nothing is sent; `chittyops bridge resume` goes on. The parent sees it as silent.")


@command.command("resume", epilog=manual("chittyops bridge resume"))
def resume() -> None:
    """Send again, and first what has waited."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.resume_bridge()
    click.echo("This host reports again.")


@command.command("rotate", epilog=manual("chittyops bridge rotate"))
@json_option
def rotate(as_json: bool) -> None:
    """Give this host a new key; the parent takes the old one until the new one was used."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        key = host.rotate_bridge_key()
    if as_json:
        render.print_json({"key": key})
    else:
        click.echo(f"The key is {key} now.")


@command.command(
    "leave",
    epilog=manual("chittyops bridge leave --reason 'moved'", "chittyops bridge leave --force"),
)
@click.option("--reason", default="", help="What the parent's operators read.")
@click.option("--force", is_flag=True, help="Also when the parent cannot be told.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def leave(reason: str, force: bool, yes: bool) -> None:
    """Leave the parent: report no more, and delete what has not been sent.

    What was said already stays with the parent. To come back, enroll with a new token.
    """
    from chittyops_core.host import HostClient

    if not yes:
        confirm("Leave the parent, and delete what it has not got yet?")
    with HostClient() as host:
        host.leave_parent(reason, force=force)
    click.echo("This host has no parent any more.")


@command.command("grants", epilog=manual("chittyops bridge grants"))
@json_option
def grants(as_json: bool) -> None:
    """Show what a parent gets and of which services, and the file that says so.

    docs/bridge.md has examples. A change holds from the next report on.
    """
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        found = host.bridge_grants()
    if as_json:
        render.print_json({"grants": found})
        return
    click.echo(f"Reported: {', '.join(found['caps']) or 'nothing'}")
    for slug, is_covered in found["services"].items():
        click.echo(f"  {slug}: {'yes' if is_covered else 'no'}")
    click.echo(f"Said by {found['file']}")
