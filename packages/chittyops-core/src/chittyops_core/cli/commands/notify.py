"""`chittyops notify`: whom the agent tells."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option


@click.group(
    "notify",
    epilog=manual(
        "chittyops notify add team", "chittyops notify test team", "chittyops notify list"
    ),
)
def command() -> None:
    """Say whom the agent tells when something goes wrong, and when it is well again.

    A channel is an address as Apprise writes it (https://appriseit.com/services/), one of some 170
    kinds: mailto://, slack://, msteams://, tgram://, json:// for a webhook of your own. It is typed
    or piped, never an argument, and kept encrypted: it holds tokens.
    """


@command.command(
    "add",
    epilog=manual(
        "chittyops notify add team", "echo 'json://127.0.0.1:9000/hook' | chittyops notify add hook"
    ),
)
@click.argument("name")
@click.argument("address", nargs=-1, metavar="< ADDRESS")
def add(name: str, address: tuple[str, ...]) -> None:
    """Tell the channel NAME too, or change its address, which is asked for or read from stdin."""
    from chittyops_core.cli.secret_input import ask_value
    from chittyops_core.host import HostClient

    if address:
        raise click.UsageError(
            "an address holds tokens, and arguments are seen by everybody on this machine: "
            f"type it when asked, or pipe it: echo ADDRESS | chittyops notify add {name}"
        )
    given = ask_value("Address")
    with HostClient() as host:
        host.set_channel(name, given)
    click.echo(f"{name} is told from now on; `chittyops notify test {name}` tries it.")


@command.command("list", epilog=manual("chittyops notify list"))
@json_option
def list_(as_json: bool) -> None:
    """List the channels."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        names = host.channels()
    if as_json:
        render.print_json({"channels": names})
        return
    click.echo(
        "\n".join(names) if names else "Nobody is told. `chittyops notify add NAME` changes that."
    )


@command.command("test", epilog=manual("chittyops notify test team"))
@click.argument("name")
def test(name: str) -> None:
    """Send a message to the channel NAME, and say whether it took it."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.test_channel(name)
    click.echo(f"{name} took it.")


@command.command("remove", epilog=manual("chittyops notify remove team"))
@click.argument("name")
def remove(name: str) -> None:
    """Tell the channel NAME no more, and forget its address."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.unset_channel(name)
    click.echo(f"{name} is not told any more.")
