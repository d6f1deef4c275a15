"""`chittyops secrets`: values that no log, command line or plan ever shows."""

from __future__ import annotations

import sys

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option


@click.group(
    "secrets",
    epilog=manual(
        "chittyops secrets set portal/secret-key",
        "chittyops secrets list",
    ),
)
def command() -> None:
    """Keep passwords and keys on this host, encrypted at rest, referred to by name.

    \b
    In chittyops.toml:
      [env]
      SECRET_KEY = { secret = "portal/secret-key", generate = "hex64" }
      TLS_KEY    = { secret = "portal/tls-key", file = true }   # a private file's path
    """


@command.command(
    "set",
    epilog=manual(
        "chittyops secrets set portal/secret-key",
        "openssl rand -hex 32 | chittyops secrets set portal/secret-key",
    ),
)
@click.argument("name", shell_complete=completion.secrets)
def set_(name: str) -> None:
    """Keep a value under NAME: typed twice on a terminal, or piped to stdin.

    A piped value loses its last newline. The value is never an argument.
    """
    from chittyops_core.host import HostClient

    if sys.stdin.isatty():
        value = click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
    else:
        value = sys.stdin.read().removesuffix("\n")
    with HostClient() as host:
        host.set_secret(name, value)
    click.echo(f"{name} is set. Services that use it get it with their next deploy.", err=True)


@command.command("list", epilog=manual("chittyops secrets list --json"))
@json_option
def list_(as_json: bool) -> None:
    """List names and when each was set. Values are never shown."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        names = host.secrets()
    if as_json:
        render.print_json({"secrets": [{"name": n, "set": at} for n, at in names.items()]})
    elif not names:
        click.echo("No secrets on this host. `chittyops secrets set NAME` keeps one.")
    else:
        render.table(("NAME", "SET (UTC)"), [(n, at[:19]) for n, at in names.items()])


@command.command("unset", epilog=manual("chittyops secrets unset portal/secret-key"))
@click.argument("name", shell_complete=completion.secrets)
def unset(name: str) -> None:
    """Forget NAME. Releases that run keep it until they stop; the next deploy will miss it."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.unset_secret(name)
    click.echo(f"{name} is forgotten.", err=True)
