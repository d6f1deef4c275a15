"""`chittyops parent`: the server that oversees hosts."""

from __future__ import annotations

from pathlib import Path

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option
from chittyops_core.cli.parent_children import accept, children, reject, revoke
from chittyops_core.cli.parent_operators import operator
from chittyops_core.cli.parent_options import (
    NO_ENVIRONMENT,
    data_option,
    require_extra,
    shown,
    yes_option,
)
from chittyops_core.cli.parent_tokens import token

_file = click.Path(dir_okay=False, path_type=Path)


@click.group(
    "parent",
    epilog=manual(
        "chittyops parent init --data /srv/parent --name 'County ops'",
        "chittyops parent serve --data /srv/parent --bind 127.0.0.1:8443",
        "chittyops parent token create --data /srv/parent --name court",
        "chittyops parent children --data /srv/parent --state pending",
        environment=NO_ENVIRONMENT,
    ),
)
def command() -> None:
    """Oversee hosts: take what they report, show the fleet, decide who belongs to it.

    All commands but `serve` work on the parent's folder, while it serves too. Hosts join with
    `chittyops enroll`. docs/parent.md is for who runs a parent.
    """


for each in (token, children, accept, reject, revoke, operator):
    command.add_command(each)


@command.command(
    "init",
    epilog=manual(
        "chittyops parent init --data /srv/parent",
        "pass show parent/ada | chittyops parent init --data DIR --admin ada --yes",
        "chittyops parent init --data /srv/parent --database postgresql://parent@db/parent",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.option("--database", default="", metavar="URL",
              help="PostgreSQL, without a password; else a SQLite file in DIR.")  # fmt: skip
@click.option("--name", default="ChittyOps", show_default=True, metavar="NAME",
              help="How the parent calls itself.")  # fmt: skip
@click.option("--admin", metavar="NAME", help="The first admin; asked for when left out.")
@yes_option
@json_option
def init(
    data: Path, database: str, name: str, admin: str | None, yes: bool, as_json: bool
) -> None:  # fmt: skip
    """Make a parent in DIR: its key, its settings, its database and its first admin.

    The admin's password is typed twice on a terminal, or piped to stdin (then with --admin and
    --yes); it is never an argument.
    """
    from chittyops_core.cli import render
    from chittyops_core.cli.secret_input import ask_value, is_piped
    from chittyops_core.errors import UsageError

    require_extra()
    from chittyops_core.parent import administration, server
    from chittyops_core.parent.access import Role
    from chittyops_core.parent.operators import accounts

    if is_piped() and (admin is None or not yes):
        raise UsageError(
            "stdin has the password, so nobody can be asked", remedy="Add --admin NAME and --yes."
        )
    if not yes:
        click.echo(f"This makes a parent called {name} in {data.absolute()}:", err=True)
        for line in (
            "parent.key    its key, which hosts pin: back it up",
            "parent.toml   its settings",
            f"database      {database or 'parent.db'}",
        ):
            click.echo(f"  + {line}", err=True)
        confirm("Do this?")
    admin = accounts.normal_name(admin or click.prompt("The first admin's name", err=True))
    password = accounts.normal_password(ask_value(f"{admin}'s password"), name=admin)
    key = server.init(data, database_url=database, name=name)
    with administration.opened(data) as parent:
        made = administration.add_operator(parent, admin, Role.ADMIN, password)
    if as_json:
        render.print_json({"data": str(data), "name": name, "key": key.id, "admin": made.name})
        return
    click.echo(f"{name} is in {data}; its key is {key.id}.")
    click.echo(f"chittyops parent serve --data {data} --bind 127.0.0.1:8443", err=True)


@command.command(
    "serve",
    epilog=manual(
        "chittyops parent serve --data /srv/parent --bind 127.0.0.1:8443",
        "chittyops parent serve --data /srv/parent --bind 10.0.0.5:8080 --behind-proxy",
        "chittyops parent serve --data DIR --bind :443 --tls-cert c.pem --tls-key k.pem",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.option("--bind", required=True, metavar="HOST:PORT", help="Where to listen.")
@click.option("--tls-cert", type=_file, metavar="FILE", help="The certificate, with its chain.")
@click.option("--tls-key", type=_file, metavar="FILE", help="Its private key.")
@click.option("--behind-proxy", is_flag=True,
              help="A proxy that parent.toml trusts does TLS.")  # fmt: skip
def serve(
    data: Path, bind: str, tls_cert: Path | None, tls_key: Path | None, behind_proxy: bool
) -> None:
    """Serve the parent in DIR until it is told to end (SIGTERM, Ctrl-C)."""
    from chittyops_core.errors import UsageError

    require_extra()
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    from chittyops_core._kit import logs
    from chittyops_core.parent import server
    from chittyops_core.parent.operators import oidc

    tls = (tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    where = server.Bind.parse(bind, tls=tls, is_behind_proxy=behind_proxy)
    logs.configure("INFO")
    parent = server.open_parent(data)
    oidc.read_settings(data)  # What is wrong with it is told now, not when somebody signs in.
    server.serve(parent, where)


@command.command(
    "backup",
    epilog=manual(
        "chittyops parent backup --data /srv/parent --to /mnt/parent-2026-01-31.backup",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.option("--to", required=True, type=_file, metavar="FILE",
              help="A file that is not there yet.")  # fmt: skip
@json_option
def backup(data: Path, to: Path, as_json: bool) -> None:
    """Write all that the parent is into FILE, while it serves, and read it again.

    It holds parent.toml, the private key as it is, the OpenID provider's secret and the database.
    Whoever has it can speak as this parent: its mode is 0600; keep it so, or encrypt it.
    """
    import time

    from attrs import asdict

    from chittyops_core.cli import render

    require_extra()
    from chittyops_core.parent import administration, backup

    found = backup.back_up(data, to, by=administration.actor(), now=time.time())
    if as_json:
        render.print_json({"file": str(to), **asdict(found)})
        return
    size = sum(member.length for member in found.members)
    click.echo(f"{to}: {found.children} children, {size:,} bytes, read again and whole.")
    click.echo("It holds the parent's private key: whoever has it can speak as it.", err=True)


@command.command(
    "restore",
    epilog=manual(
        "chittyops parent restore --from /mnt/parent.backup --data /srv/parent",
        environment=NO_ENVIRONMENT,
    ),
)
@click.option("--from", "file", required=True, type=_file, metavar="FILE",
              help="What `backup` wrote.")  # fmt: skip
@data_option
@yes_option
@json_option
def restore(file: Path, data: Path, yes: bool, as_json: bool) -> None:
    """Make the parent of a backup in DIR, which has to be empty or not there."""
    import time

    from attrs import asdict

    from chittyops_core.cli import render

    require_extra()
    from chittyops_core.parent import administration, backup

    if not yes:
        found = backup.inspect(file)
        made = shown(found.made_at)
        click.echo(f"{file} was made on {made} UTC, with {found.children} children.", err=True)
        for line in backup.AFTER_A_RESTORE:
            click.echo(f"  note: {line}", err=True)
        confirm(f"Make this parent in {data}?")
    found = backup.restore(file, data, by=administration.actor(), now=time.time())
    if as_json:
        render.print_json(
            {"data": str(data), **asdict(found), "notes": list(backup.AFTER_A_RESTORE)}
        )
        return
    click.echo(f"The parent of {shown(found.made_at)} UTC is in {data}.")
    for line in backup.AFTER_A_RESTORE if yes else ():
        click.echo(line, err=True)


@command.command(
    "upgrade",
    epilog=manual("chittyops parent upgrade --data /srv/parent", environment=NO_ENVIRONMENT),
)
@data_option
@click.option("--backup", "to", type=_file, metavar="FILE",
              help="Where the backup before it goes; into DIR when left out.")  # fmt: skip
@yes_option
@json_option
def upgrade(data: Path, to: Path | None, yes: bool, as_json: bool) -> None:
    """Bring the database to what this version works with, after a backup. Not while it serves."""
    import time

    from chittyops_core.cli import render

    require_extra()
    from chittyops_core.parent import administration

    to = to or data / f"before-upgrade-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.backup"
    if not yes:
        click.echo(f"This writes {to}, then changes the database where it is older.", err=True)
        confirm("Do this?")
    before, after = administration.upgrade(data, to=to)
    is_changed = before != after
    if as_json:
        saved = str(to) if is_changed else None
        render.print_json({"before": before, "after": after, "backup": saved})
    elif is_changed:
        click.echo(f"The database is at {after}; as it was before it is in {to}.")
    else:
        click.echo(f"The database is at {after}: there is nothing to do.")
