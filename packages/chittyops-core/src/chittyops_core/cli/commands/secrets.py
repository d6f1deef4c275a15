"""`chittyops secrets`: values that no log, command line or plan ever shows."""

from __future__ import annotations

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option


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
    from chittyops_core.cli.secret_input import ask_value
    from chittyops_core.host import HostClient

    value = ask_value()
    with HostClient() as host:
        host.set_secret(name, value)
    click.echo(f"{name} is set. Services that use it get it with their next deploy.", err=True)


@command.command("import", epilog=manual("chittyops secrets import .env --prefix portal/"))
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
            confirm("Do this?")
        host.set_secrets(values, agreed=changes)
    if as_json:
        keys = ("key", "name", "change")
        secrets = [dict(zip(keys, row, strict=True)) for row in rows]
        render.print_json({"secrets": secrets, "warnings": list(read.warnings)})
    else:
        click.echo("Services that use them get them with their next deploy.", err=True)


@command.command(
    "rotate",
    epilog=manual(
        "chittyops secrets rotate portal/secret-key --dry-run",
        "chittyops secrets rotate portal/secret-key --generate hex64 --yes",
    ),
)
@click.argument("name", shell_complete=completion.secrets)
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
        needs_value = ask or (how is None and not found.is_begun and not found.is_provided)
        if needs_value and is_piped() and not yes:
            raise UsageError("stdin has the value, so nobody can be asked", remedy="Add --yes.")
        if not yes:
            confirm("Do this?")
        value = ask_value() if needs_value else None
        begun = host.begin_rotation(name, app=app, value=value, generate=how)
        done = rotation.carry_out(host, begun, progress, forget=revoke)
    if as_json:
        render.print_json(rotation.to_json(done))
    else:
        rotation.show(done)
    if any(step.error for step in done.steps):
        sys.exit(1)


@command.command("list", epilog=manual("chittyops secrets list --json"))
@json_option
def list_(as_json: bool) -> None:
    """List names and when each was set. Values are never shown."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        names, commands = host.secrets(), host.providers()
    rows = [(n, at[:19], "command" if n in commands else "set") for n, at in names.items()]
    if as_json:
        secrets = [{"name": n, "set": names[n], "source": source} for n, _, source in rows]
        render.print_json({"secrets": secrets})
    elif not names:
        click.echo("No secrets on this host. `chittyops secrets set NAME` keeps one.")
    else:
        render.table(("NAME", "SET (UTC)", "SOURCE"), rows)


@command.command("unset", epilog=manual("chittyops secrets unset portal/secret-key"))
@click.argument("name", shell_complete=completion.secrets)
def unset(name: str) -> None:
    """Forget NAME: the next deploy will miss it. Releases that are kept still start with it."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.unset_secret(name)
    click.echo(f"{name} is forgotten.", err=True)


@command.group(
    "provider",
    epilog=manual("chittyops secrets provider set portal/db -- op read op://court/db/password"),
)
def provider() -> None:
    """Let commands of a password manager give secrets their values, by an operator's word only.

    A command runs whenever a deploy of an app that names the secret is planned. Its last value is
    kept encrypted, so that a restart of the host needs no command.
    """


@provider.command(
    "set",
    epilog=manual("chittyops secrets provider set portal/db -- op read op://court/db/password"),
)
@click.argument("name")
@click.argument("argv", nargs=-1, required=True)
@click.option("--timeout", "timeout_s", type=float, default=30, show_default=True,
              metavar="SECONDS", help="How long it may take.")  # fmt: skip
@click.option("--env", "env", multiple=True, metavar="VARIABLE=SECRET",
              help="Give it a secret of this host in a variable, such as a token.")  # fmt: skip
def provider_set(name: str, argv: tuple[str, ...], timeout_s: float, env: tuple[str, ...]) -> None:
    """Let a command give NAME its value: what it prints, without the last newline.

    No shell reads it. It runs once now, to see that it answers; its environment is PATH, HOME,
    LANG and what --env names. Its arguments are no secrets: `provider list` shows them.
    """
    from chittyops_core.errors import UsageError
    from chittyops_core.host import HostClient
    from chittyops_core.model.names import require_variable

    pairs = dict(pair.partition("=")[::2] for pair in env)
    for variable in pairs:
        try:
            require_variable(variable)
        except ValueError as error:
            raise UsageError(str(error), remedy="Write --env VARIABLE=SECRET.") from error
    with HostClient() as host:
        host.bind_provider(name, argv, timeout_s=timeout_s, env=pairs)
    click.echo(f"{name} comes from {argv[0]} from now on; it answers.", err=True)


@provider.command("unset", epilog=manual("chittyops secrets provider unset portal/db"))
@click.argument("name")
def provider_unset(name: str) -> None:
    """Ask no more for NAME; the last value stays, as if it had been set."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.unbind_provider(name)
    click.echo(f"{name} keeps its last value; `secrets set` changes it.", err=True)


@provider.command("list", epilog=manual("chittyops secrets provider list --json"))
@json_option
def provider_list(as_json: bool) -> None:
    """List the commands, by the names that they give values to."""
    import shlex

    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        commands = host.providers()
    if as_json:
        render.print_json({"providers": [{"name": n, **c} for n, c in commands.items()]})
    elif not commands:
        click.echo("No command gives a secret its value on this host.")
    else:
        rows = [(name, shlex.join(each["argv"])) for name, each in commands.items()]
        render.table(("NAME", "COMMAND"), rows)
