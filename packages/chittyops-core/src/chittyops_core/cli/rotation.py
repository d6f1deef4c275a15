"""A rotation, service after service: each by the lite of its kind, so that each gate is passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from attrs import frozen

from chittyops_core.cli import render
from chittyops_core.cli.lites import lite_of
from chittyops_core.deploy.engine import Event, EventKind
from chittyops_core.errors import (
    ChittyOpsError,
    DeployInterruptedError,
    PlanStaleError,
    RefusedError,
)
from chittyops_core.host import HostClient
from chittyops_core.host.protocol import Rotation, SecretUser

__all__ = ["Rotated", "Step", "carry_on", "carry_out", "plan_json", "show", "show_plan", "to_json"]

TRIES = 3
"""Of a service that somebody else deploys at the same time; that deploy has the new value too."""


@frozen
class Step:
    """What came of one service.

    Attributes:
        user: It, as it was before.
        release: What serves it now.
        error: Why it still serves with the old value; None when it has the new one.
    """

    user: SecretUser
    release: str
    error: ChittyOpsError | None = None


@frozen
class Rotated:
    """What came of a rotation.

    Attributes:
        rotation: As it was begun.
        steps: Of the services that were meant, in order.
        is_forgotten: Whether the old values were forgotten at its end.
    """

    rotation: Rotation
    steps: tuple[Step, ...]
    is_forgotten: bool

    @property
    def is_whole(self) -> bool:
        """Whether every service that uses the secret runs with the new value."""
        left = set(self.rotation.users) - set(self.rotation.meant)
        return not any(step.error for step in self.steps) and all(u.is_current for u in left)


def carry_out(
    host: HostClient,
    rotation: Rotation,
    notify: Callable[[Event], None],
    *,
    forget: bool = False,
) -> Rotated:
    """Bring every service that is meant to the new value; one that fails keeps the old one.

    Args:
        host: The conversation that began *rotation*.
        rotation: As it was begun.
        notify: Called with the events of each deploy.
        forget: Forget the old values when every service runs with the new one.

    Raises:
        DeployInterruptedError: The operator interrupted; `rotate` again carries on.
    """
    steps = tuple(_renew(host, rotation.name, user, notify) for user in rotation.meant)
    rotated = Rotated(rotation, steps, is_forgotten=False)
    is_forgotten = forget and rotated.is_whole
    host.end_rotation(rotation.name, forget=is_forgotten)
    return Rotated(rotation, steps, is_forgotten)


def carry_on(host: HostClient, notify: Callable[[Event], None]) -> list[Rotated]:
    """Bring every rotation that was cut off to its end, unless one is under way."""
    done = []
    for name in host.rotations():
        try:
            begun = host.begin_rotation(name, app=None)
        except RefusedError as error:
            notify(Event(EventKind.NOTE, error.message))
            continue
        done.append(carry_out(host, begun, notify))
    return done


def _renew(host: HostClient, name: str, user: SecretUser, notify: Callable[[Event], None]) -> Step:
    notify(Event(EventKind.NOTE, f"{user.service}: {', '.join(user.variables)}"))
    service = user.service
    try:
        lite = lite_of(user.kind).operator(client=service.client, home=host.home, notify=notify)
        for left in reversed(range(TRIES)):
            try:
                done = lite.renew_secret(service.app, name, environment=service.environment)
                return Step(user, done.release)
            except PlanStaleError:
                if not left:
                    raise
    except DeployInterruptedError:
        raise
    except ChittyOpsError as error:
        return Step(user, user.release, error)
    raise AssertionError("the last try returns or raises")


def show_plan(rotation: Rotation) -> None:
    """Say on stderr what would be done."""
    if rotation.is_begun:
        say = "is carried on with the value that it was begun with"
        click.echo(f"A rotation of {rotation.name} that was cut off {say}.", err=True)
    for user in rotation.meant:
        what = "has today's value" if user.is_current and rotation.is_begun else "is redeployed"
        click.echo(f"  {user.service} ({user.kind}): {what}, {', '.join(user.variables)}", err=True)
    for user in rotation.users:
        if user not in rotation.meant:
            click.echo(f"  {user.service}: keeps its value until its next deploy", err=True)
    if not rotation.meant:
        click.echo("  no service that is meant uses it: only the value is changed", err=True)


def plan_json(rotation: Rotation) -> dict[str, Any]:
    return {
        "secret": rotation.name,
        "carries_on": rotation.is_begun,
        "services": [
            {
                **render.service_json(user.service),
                "kind": user.kind,
                "release": user.release,
                "variables": list(user.variables),
                "redeploy": user in rotation.meant and not (rotation.is_begun and user.is_current),
            }
            for user in rotation.users
        ],
    }


def show(done: Rotated) -> None:
    """Print a line for each service, and what failed on stderr."""
    for step in done.steps:
        if step.error is None:
            click.echo(f"{step.user.service}: serves release {step.release} with the new value")
            continue
        click.echo(f"{step.user.service}: still serves release {step.release} with the OLD value")
        for line in (*step.error.detail, step.error.message, step.error.remedy):
            click.echo(f"    {line}", err=True)
    for user in done.rotation.users:
        if user not in done.rotation.meant and not user.is_current:
            click.echo(f"{user.service}: was left out, serves with the old value")
    if done.is_forgotten:
        click.echo(f"{done.rotation.name}: the old values are forgotten")


def to_json(done: Rotated) -> dict[str, Any]:
    return {
        "secret": done.rotation.name,
        "complete": done.is_whole,
        "old_values_forgotten": done.is_forgotten,
        "services": [
            {
                **render.service_json(step.user.service),
                "kind": step.user.kind,
                "before": step.user.release,
                "release": step.release,
                "value": "old" if step.error else "new",
                "error": step.error.to_wire() if step.error else None,
            }
            for step in done.steps
        ],
        "left_out": [
            render.service_json(user.service)
            for user in done.rotation.users
            if user not in done.rotation.meant
        ],
    }
