"""`chittyops parent operator`: who may do what, also when nobody can sign in."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option
from chittyops_core.cli.parent_options import (
    NO_ENVIRONMENT,
    data_option,
    require_extra,
    shown,
    yes_option,
)

__all__ = ["operator"]

ROLES = ("viewer", "auditor", "operator", "approver", "admin")
role_option = click.option(
    "--role", type=click.Choice(ROLES), required=True, help="What they may do."
)


@click.group(
    "operator",
    epilog=manual(
        "chittyops parent operator add --data /srv/parent ada --role approver",
        "chittyops parent operator list --data /srv/parent",
        environment=NO_ENVIRONMENT,
    ),
)
def operator() -> None:
    """Add operators, change what they may do, give them new passwords, let them in no more.

    A viewer sees the fleet; an auditor every activity as well; an operator accepts hosts and makes
    tokens; an approver revokes; an admin manages operators.
    """


@operator.command(
    "add",
    epilog=manual(
        "chittyops parent operator add --data /srv/parent ada --role approver",
        "pass show ada | chittyops parent operator add --data DIR ada --role viewer",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.argument("name")
@role_option
@json_option
def add(data: Path, name: str, role: str, as_json: bool) -> None:
    """Add an operator; the first password is typed twice, or piped to stdin."""
    from chittyops_core.cli import render
    from chittyops_core.cli.secret_input import ask_value

    require_extra()
    from chittyops_core.parent import administration
    from chittyops_core.parent.access import Role

    with administration.opened(data) as parent:
        made = administration.add_operator(parent, name, Role(role), ask_value("Password"))
    if as_json:
        render.print_json({"id": made.id, "name": made.name, "role": role})
    else:
        click.echo(f"{made.name} may sign in, as {role}.", err=True)


@operator.command(
    "list",
    epilog=manual(
        "chittyops parent operator list --data /srv/parent --json", environment=NO_ENVIRONMENT
    ),
)
@data_option
@json_option
def list_(data: Path, as_json: bool) -> None:
    """List all operators."""
    from chittyops_core.cli import render

    require_extra()
    from chittyops_core.parent import administration
    from chittyops_core.parent.operators import accounts

    with administration.opened(data) as parent, parent.database.reading() as reader:
        found = accounts.accounts(reader)
    rows = [
        {
            "id": each.id, "name": each.name, "role": str(each.role),
            "signs_in_by": "provider" if each.subject else "password",
            "created_at": each.created_at, "disabled_at": each.disabled_at,
        }
        for each in found
    ]  # fmt: skip
    if as_json:
        render.print_json({"operators": rows})
        return
    render.table(
        ("NAME", "ROLE", "SIGNS IN BY", "SINCE (UTC)", "DISABLED (UTC)"),
        [
            (
                each.name, str(each.role), "provider" if each.subject else "password",
                shown(each.created_at), shown(each.disabled_at),
            )
            for each in found
        ],
    )  # fmt: skip


@operator.command(
    "role",
    epilog=manual(
        "chittyops parent operator role --data /srv/parent ada --role admin",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.argument("name")
@role_option
@yes_option
def role(data: Path, name: str, role: str, yes: bool) -> None:
    """Change what an operator may do, from their next request on."""
    require_extra()
    from chittyops_core.parent import administration
    from chittyops_core.parent.access import Role
    from chittyops_core.parent.operators import accounts

    with administration.opened(data) as parent:
        with parent.database.reading() as reader:
            found = administration.named(reader, name)
        if not yes:
            confirm(f"{found.name}: {found.role} -> {role}?")
        administration.change(
            parent, "operator.role", f"operator/{found.id}",
            lambda writer: accounts.set_role(writer, found.id, Role(role)), {"role": role},
        )  # fmt: skip
    click.echo(f"{found.name} is {role}.", err=True)


@operator.command(
    "disable",
    epilog=manual(
        "chittyops parent operator disable --data /srv/parent ada", environment=NO_ENVIRONMENT
    ),
)
@data_option
@click.argument("name")
@yes_option
def disable(data: Path, name: str, yes: bool) -> None:
    """Let an operator in no more: sessions end, API tokens are worth nothing."""
    require_extra()
    from chittyops_core.parent import administration
    from chittyops_core.parent.operators import accounts

    with administration.opened(data) as parent:
        with parent.database.reading() as reader:
            found = administration.named(reader, name)
        if not yes:
            confirm(f"Let {found.name} in no more?")
        administration.change(
            parent, "operator.disable", f"operator/{found.id}",
            lambda writer: accounts.disable(writer, found.id, now=time.time()),
        )  # fmt: skip
    click.echo(f"{found.name} is disabled.", err=True)


@operator.command(
    "enable",
    epilog=manual(
        "chittyops parent operator enable --data /srv/parent ada", environment=NO_ENVIRONMENT
    ),
)
@data_option
@click.argument("name")
def enable(data: Path, name: str) -> None:
    """Let an operator in again; API tokens that have not expired work again too."""
    require_extra()
    from chittyops_core.parent import administration
    from chittyops_core.parent.operators import accounts

    with administration.opened(data) as parent:
        with parent.database.reading() as reader:
            found = administration.named(reader, name)
        administration.change(
            parent, "operator.enable", f"operator/{found.id}",
            lambda writer: accounts.enable(writer, found.id),
        )  # fmt: skip
    click.echo(f"{found.name} may sign in again.", err=True)


@operator.command(
    "password",
    epilog=manual(
        "chittyops parent operator password --data /srv/parent ada",
        "pass show ada | chittyops parent operator password --data /srv/parent ada",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.argument("name")
def password(data: Path, name: str) -> None:
    """Give an operator a new password, typed twice or piped to stdin; their sessions end."""
    from chittyops_core.cli.secret_input import ask_value

    require_extra()
    from chittyops_core.errors import RefusedError
    from chittyops_core.parent import administration
    from chittyops_core.parent.operators import accounts
    from chittyops_core.parent.operators.passwords import make_hash

    with administration.opened(data) as parent:
        with parent.database.reading() as reader:
            found = administration.named(reader, name)
        if found.subject is not None:
            raise RefusedError(f"{found.name} signs in at a provider, and has no password here")
        text = accounts.normal_password(ask_value("New password"), name=found.name)
        hash = make_hash(text)
        administration.change(
            parent, "operator.password", f"operator/{found.id}",
            lambda writer: accounts.set_password(writer, found.id, hash),
        )  # fmt: skip
    click.echo(f"{found.name} has a new password.", err=True)
