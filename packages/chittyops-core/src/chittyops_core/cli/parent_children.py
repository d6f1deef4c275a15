"""`chittyops parent children|accept|reject|revoke`: the fleet, and who belongs to it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option
from chittyops_core.cli.parent_options import (
    NO_ENVIRONMENT,
    data_option,
    reason_option,
    require_extra,
    shown,
    yes_option,
)

__all__ = ["accept", "children", "reject", "revoke"]

STATES = ("pending", "accepted", "rejected", "revoked", "left", "cloned")
MAX_ROWS = 1000
"""Children that one call lists."""

CONSEQUENCES = {
    "accepted": "What it reports is taken, from its next sync on.",
    "rejected": "Nothing that it says is taken; it can be accepted later.",
    "revoked": "Nothing more is taken from it; what it said stays, and its apps go on.",
}


@click.command(
    "children",
    epilog=manual(
        "chittyops parent children --data /srv/parent",
        "chittyops parent children --data /srv/parent court --state pending --json",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.argument("words", nargs=-1, metavar="[FILTER]...")
@click.option("--state", type=click.Choice(STATES), help="Where they stand.")
@click.option("--kind", metavar="KIND", help="Of their services.")
@click.option("--overdue", is_flag=True, help="Only those that are silent for too long.")
@json_option
def children(
    data: Path, words: tuple[str, ...], state: str | None, kind: str | None, overdue: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """List children, those first that need somebody.

    FILTER is words of their names, apps, clients or commits, or the words' beginnings.
    """
    from chittyops_core.cli import render

    require_extra()
    from attrs import asdict

    from chittyops_core.parent import administration, fleet

    wanted = fleet.Filter(kind=kind, state=state, overdue=overdue or None, text=" ".join(words))
    found: list[fleet.Child] = []
    after = None
    with administration.opened(data) as parent, parent.database.reading() as reader:
        while len(found) < MAX_ROWS:
            page = fleet.children(reader, wanted, after, fleet.MAX_LIMIT, fleet.Order.WORST)
            found += page.rows
            after = page.next
            if after is None:
                break
    if as_json:
        rows = [asdict(each) for each in found]
        render.print_json({"children": rows, "is_complete": after is None})
        return
    if not found:
        click.echo("There is no such child.")
        return
    heads = ("CHILD", "NAME", "STATE", "STATUS", "KIND", "SERVICES", "LAST SEEN (UTC)")
    render.table(
        heads,
        [
            (
                each.id, _plain(each.name), each.state,
                "overdue" if each.is_overdue else each.status, each.kind or "-",
                str(each.services), shown(each.last_seen),
            )
            for each in found
        ],
    )  # fmt: skip
    if after is not None:
        click.echo(f"There are more than {MAX_ROWS}: narrow it down.", err=True)


@click.command(
    "accept",
    epilog=manual("chittyops parent accept --data DIR court-1", environment=NO_ENVIRONMENT),
)
@data_option
@click.argument("child")
@reason_option
@yes_option
@json_option
def accept(data: Path, child: str, reason: str, yes: bool, as_json: bool) -> None:
    """Let a child (its id, or its name) report. Compare its key with what the host says."""
    _decide(data, child, "accepted", reason, yes, as_json)


@click.command(
    "reject",
    epilog=manual("chittyops parent reject --data DIR court-1", environment=NO_ENVIRONMENT),
)
@data_option
@click.argument("child")
@reason_option
@yes_option
@json_option
def reject(data: Path, child: str, reason: str, yes: bool, as_json: bool) -> None:
    """Let a child that waits not report."""
    _decide(data, child, "rejected", reason, yes, as_json)


@click.command(
    "revoke",
    epilog=manual(
        "chittyops parent revoke --data DIR court-1 --reason 'key lost'",
        environment=NO_ENVIRONMENT,
    ),
)
@data_option
@click.argument("child")
@reason_option
@yes_option
@json_option
def revoke(data: Path, child: str, reason: str, yes: bool, as_json: bool) -> None:
    """Believe a child no more."""
    _decide(data, child, "revoked", reason, yes, as_json)


def _decide(data: Path, word: str, state: str, reason: str, yes: bool, as_json: bool) -> None:
    from chittyops_core.cli import render

    require_extra()
    import sqlalchemy as sa

    from chittyops_core.bridge.protocol import ChildState
    from chittyops_core.parent import administration, enrolment, fleet
    from chittyops_core.parent.schema import child_key

    goal = ChildState(state)
    verb = {"accepted": "accept", "rejected": "reject", "revoked": "revoke"}[state]
    with administration.opened(data) as parent:
        with parent.database.reading() as reader:
            id = administration.child_named(reader, word)
            view = fleet.child_view(reader, id)
            key = reader.scalar(
                sa.select(child_key.c.thumbprint).where(
                    child_key.c.child == id, child_key.c.state == "current"
                )
            )
        if not yes:
            name = _plain(view.child.name)
            click.echo(
                f"{id} ({name}) is {view.child.state}; its key is {key or 'none'}.", err=True
            )
            click.echo(f"  {CONSEQUENCES[state]}", err=True)
            confirm(f"{verb.capitalize()} it?")
        before = administration.change(
            parent, f"child.{verb}", f"child/{id}",
            lambda writer: enrolment.decide(
                writer, id, goal, by=administration.actor(), reason=reason, now=time.time()
            ),
            {"reason": reason[:500]},
        )  # fmt: skip
    if as_json:
        render.print_json({"child": id, "before": before.value, "state": state})
    else:
        click.echo(f"{id} is {state}.", err=True)


def _plain(text: str) -> str:
    """Return what a host calls itself, without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
