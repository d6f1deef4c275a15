"""`chittyops secrets`: values that no log, command line or plan ever shows."""

from __future__ import annotations

import click

from chittyops_core.cli.options import json_option


@click.group("secrets")
def command() -> None:
    """Keep passwords and keys on this host, encrypted at rest, referred to by name.

    \b
    In chittyops.toml:
      [env]
      SECRET_KEY = { secret = "portal/secret-key", generate = "hex64" }
      TLS_KEY    = { secret = "portal/tls-key", file = true }   # a private file's path
    """


@command.command("set")
@click.argument("name")
def set_(name: str) -> None:
    """Keep a value under NAME: typed twice on a terminal, or piped to stdin.

    For example: openssl rand -hex 32 | chittyops secrets set portal/secret-key
    A piped value loses its last newline. The value is never an argument.
    """
    from chittyops_core.cli.secret_input import ask_value
    from chittyops_core.host import HostClient

    value = ask_value()
    with HostClient() as host:
        host.set_secret(name, value)
    click.echo(f"{name} is set. Services that use it get it with their next deploy.", err=True)


@command.command("import")
@click.argument("file")
@click.option("--prefix", default="", metavar="NAME/", help="Goes before every name.")
@click.option("--format", "form", type=click.Choice(["dotenv", "json"]),
              help="How FILE is written; by its first sign when left out.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def import_(file: str, prefix: str, form: str | None, yes: bool, as_json: bool) -> None:
    """Keep all secrets of FILE (`-`: stdin), a dotenv file or a JSON object of texts, or none.

    DATABASE_URL becomes database-url; with --prefix portal/, portal/database-url. What would be
    new or changed is shown first, without values. docs/secrets.md has the grammar.
    """
    from chittyops_core.cli import render
    from chittyops_core.cli.secret_input import read_file
    from chittyops_core.errors import SecretError, UsageError
    from chittyops_core.host import HostClient
    from chittyops_core.secrets.envfile import MAX_FILE_BYTES, Format, read_secrets

    if file == "-" and not yes:
        raise UsageError("stdin has the secrets, so nobody can be asked", remedy="Add --yes.")
    read = read_file(file, MAX_FILE_BYTES)
    for warning in read.warnings:
        click.echo(f"warning: {warning}", err=True)
    try:
        found = read_secrets(read.raw, prefix=prefix, form=Format(form) if form else None)
    except SecretError as error:
        message = f"{file}: {error.message}; nothing was imported"
        raise SecretError(message, remedy=error.remedy, **error.facts) from None
    values = {given.name: given.value for given in found}
    with HostClient() as host:
        changes = host.compare_secrets(values)
        rows = [(g.key, g.name, changes[g.name]) for g in found]
        if not as_json:
            render.table(("IN THE FILE", "NAME", "CHANGE"), rows)
        if not yes:
            click.confirm("Do this?", abort=True, err=True)
        host.set_secrets(values, agreed=changes)
    if as_json:
        keys = ("key", "name", "change")
        secrets = [dict(zip(keys, row, strict=True)) for row in rows]
        render.print_json({"secrets": secrets, "warnings": list(read.warnings)})
    else:
        click.echo("Services that use them get them with their next deploy.", err=True)


@command.command("rotate")
@click.argument("name")
@click.option("--generate", type=click.Choice(["hex64", "password", "hex32"]),
              help="Make the value; the manifest's `generate` when left out.")  # fmt: skip
@click.option("--ask", is_flag=True, help="Type or pipe it, even where the manifest generates.")
@click.option("--app", metavar="NAME", help="Redeploy the services of this app only.")
@click.option("--revoke", is_flag=True,
              help="Forget the old value at the end, for rollbacks too.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would be redeployed; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("-v", "--verbose", is_flag=True, help="Show every step.")
@json_option
def rotate(
    name: str,
    generate: str | None,
    ask: bool,
    app: str | None,
    revoke: bool,
    dry_run: bool,
    yes: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Give NAME a new value, and redeploy every service that uses it, without a build.

    One after another, each through its gate. One that is not well with the new value goes on
    with the old one, and is named; exit 1. When it is cut off, the same command carries on.
    """
    import sys

    from chittyops_core.cli import render, rotation
    from chittyops_core.cli.progress import Progress
    from chittyops_core.cli.secret_input import ask_value, is_piped
    from chittyops_core.errors import UsageError
    from chittyops_core.host import HostClient

    if generate and ask:
        raise UsageError("--generate and --ask exclude each other")
    with HostClient() as host, Progress(verbose=verbose) as progress:
        found = host.rotation(name, app)
        rotation.show_plan(found)
        if dry_run:
            if as_json:
                render.print_json(rotation.plan_json(found))
            return
        how = None if ask else generate or found.generate
        needs_value = ask or (how is None and not found.is_begun)
        if needs_value and is_piped() and not yes:
            raise UsageError("stdin has the value, so nobody can be asked", remedy="Add --yes.")
        if not yes:
            click.confirm("Do this?", abort=True, err=True)
        value = ask_value() if needs_value else None
        begun = host.begin_rotation(name, app=app, value=value, generate=how)
        done = rotation.carry_out(host, begun, progress, forget=revoke)
    if as_json:
        render.print_json(rotation.to_json(done))
    else:
        rotation.show(done)
    if any(step.error for step in done.steps):
        sys.exit(1)


@command.command("list")
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


@command.command("unset")
@click.argument("name")
def unset(name: str) -> None:
    """Forget NAME: the next deploy will miss it. Releases that are kept still start with it."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.unset_secret(name)
    click.echo(f"{name} is forgotten.", err=True)
