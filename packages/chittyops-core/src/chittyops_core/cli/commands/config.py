"""`chittyops config`: variables of a service that the manifest leaves to the host."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option, service_of, service_options


@click.command(
    "config",
    epilog=manual(
        "chittyops config --app court",
        "chittyops config --app court set GREETING=Hello PAGE_SIZE=50",
        "chittyops config --app court --env staging unset GREETING",
        "chittyops config --schema > chittyops.schema.json",
    ),
)
@service_options
@click.argument("action", default="list", type=click.Choice(["list", "set", "unset"]))
@click.argument("items", nargs=-1)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of chittyops.toml.")
@json_option
def command(
    app: str | None,
    environment: str,
    client: str | None,
    action: str,
    items: tuple[str, ...],
    schema: bool,
    as_json: bool,
) -> None:
    """List, set (NAME=VALUE ...) or unset (NAME ...) plain variables of a service on this host.

    They win over the manifest's. The next deploy uses them. For passwords and keys use
    `chittyops secrets`: this list is not encrypted.
    """
    from chittyops_core.cli import render
    from chittyops_core.errors import UsageError
    from chittyops_core.host import HostClient
    from chittyops_core.model.manifest_schema import manifest_schema
    from chittyops_core.model.names import require_variable

    if schema:
        render.print_json(manifest_schema())
        return
    changes: dict[str, str | None] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if (action == "set") != bool(equals):
            form = "NAME=VALUE" if action == "set" else "NAME"
            raise UsageError(f"config {action}: expected {form}, got {name!r}")
        try:
            require_variable(name)
        except ValueError as error:
            raise UsageError(str(error)) from error
        changes[name] = value if action == "set" else None
    if (action == "list") == bool(changes):
        raise UsageError(f"config {action}: expected {'nothing more' if changes else 'names'}")
    with HostClient() as host:
        settings = host.settings(service_of(app, environment, client), changes)
    if as_json:
        render.print_json({"settings": settings})
        return
    for name, value in sorted(settings.items()):
        click.echo(f"{name}={value}")
    if changes:
        click.echo("The next deploy uses this.", err=True)
