"""`chittyops parent token`: what hosts enrol with."""

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

__all__ = ["token"]


@click.group(
    "token",
    epilog=manual(
        "chittyops parent token create --data /srv/parent --name court --uses 3",
        "chittyops parent token list --data /srv/parent",
        environment=NO_ENVIRONMENT,
    ),
)
def token() -> None:
    """Make, list and withdraw enrolment tokens; a host joins with one."""


@token.command(
    "create",
    epilog=manual(
        "chittyops parent token create --data /srv/parent --name court",
        "chittyops parent token create --data DIR --name ci --uses 50 --for 7d --auto-accept",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.option("--name", required=True, metavar="NAME", help="What it is for.")
@click.option("--uses", type=int, default=1, show_default=True, help="For how many hosts.")
@click.option("--for", "length", default="1d", show_default=True, metavar="TIME",
              help="How long, such as 90m, 12h or 7d.")  # fmt: skip
@click.option("--auto-accept", is_flag=True, help="Its hosts need nobody's decision.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE",
              help="What its hosts are labelled with; may come again.")  # fmt: skip
@json_option
def create(
    data: Path, name: str, uses: int, length: str, auto_accept: bool, labels: tuple[str, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Make a token, and print it this once: stdout has it alone.

    Give it to the host's operator by a way that others cannot read.
    """
    from chittyops_core.cli import render

    require_extra()
    from chittyops_core.parent import administration, enrolment
    from chittyops_core.parent.labels import checked

    ttl_s = _seconds(length)
    kept = checked(dict(each.partition("=")[::2] for each in labels))
    with administration.opened(data) as parent:
        id, text = administration.change(
            parent, "enrolment-token.create", "enrolment-token/new",
            lambda writer: enrolment.make_token(
                writer, name=name, labels=kept, auto_accept=auto_accept, uses=uses, ttl_s=ttl_s,
                by=administration.actor(), now=time.time(), parent_thumbprint=parent.key.id,
            ),
            {"name": name, "uses": uses, "ttl_s": ttl_s, "auto_accept": auto_accept},
        )  # fmt: skip
    if as_json:
        render.print_json({"id": id, "token": text, "expires_at": time.time() + ttl_s})
        return
    click.echo(text)
    click.echo(f"{id}, for {uses} of {name}. On the host: chittyops enroll URL TOKEN", err=True)


@token.command(
    "list",
    epilog=manual(
        "chittyops parent token list --data /srv/parent --json", environment=NO_ENVIRONMENT
    ),
)
@data_option
@json_option
def list_(data: Path, as_json: bool) -> None:
    """List the tokens, but not their texts."""
    import json

    from chittyops_core.cli import render

    require_extra()
    import sqlalchemy as sa

    from chittyops_core.parent import administration
    from chittyops_core.parent.schema import enrol_token

    with administration.opened(data) as parent, parent.database.reading() as reader:
        query = sa.select(enrol_token).order_by(enrol_token.c.created_at.desc())
        found = [dict(row) for row in reader.execute(query).mappings()]
    for row in found:
        del row["hash"]
        row["labels"] = json.loads(row["labels"])
    if as_json:
        render.print_json({"tokens": found})
    elif not found:
        click.echo("There are no tokens. `chittyops parent token create` makes one.")
    else:
        heads = ("ID", "NAME", "LEFT", "UNTIL (UTC)", "BY", "STATE")
        render.table(
            heads,
            [
                (
                    row["id"], row["name"], str(row["uses_left"]), shown(row["expires_at"]),
                    row["created_by"], _state(row),
                )
                for row in found
            ],
        )  # fmt: skip


@token.command(
    "withdraw",
    epilog=manual(
        "chittyops parent token withdraw --data /srv/parent et_0123456789abcdef",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.argument("id")
@yes_option
def withdraw(data: Path, id: str, yes: bool) -> None:
    """Make a token worthless. Hosts that came with it stay."""
    require_extra()
    from chittyops_core.parent import administration, enrolment

    if not yes:
        confirm(f"Withdraw {id}?")
    with administration.opened(data) as parent:
        administration.change(
            parent, "enrolment-token.withdraw", f"enrolment-token/{id}",
            lambda writer: enrolment.withdraw_token(writer, id, now=time.time()),
        )  # fmt: skip
    click.echo(f"{id} is worth nothing from now on.", err=True)


def _state(row: dict[str, object]) -> str:
    if row["withdrawn_at"] is not None:
        return "withdrawn"
    expires_at = row["expires_at"]
    if isinstance(expires_at, float) and expires_at <= time.time():
        return "expired"
    return "open" if row["uses_left"] else "used up"


def _seconds(text: str) -> float:
    from chittyops_core.errors import UsageError
    from chittyops_core.model.manifest_reader import parse_duration

    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(str(error)) from error
