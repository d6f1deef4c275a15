"""Names that the Tab key completes: `shell_complete` callbacks for options and arguments.

They read the host's files (`host/glance.py`) and never start its runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chittyops_core.model.names import DEFAULT_ENVIRONMENT

if TYPE_CHECKING:
    from chittyops_core.model.service import Service

__all__ = ["VARIABLE", "apps", "clients", "environments", "kinds", "releases", "secrets"]

VARIABLE = "_CHITTYOPS_COMPLETE"
"""The shell's script sets it when it asks for completions."""

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completer(names: Callable[[Mapping[str, Any]], Iterable[str]]) -> Complete:
    """Make a callback of *names*, which gets the values typed so far, by parameter."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            return sorted({name for name in names(ctx.params) if name.startswith(incomplete)})
        except Exception:
            # Somebody is in the middle of a line: no host, a damaged file or half an app's name
            # complete to nothing. The command itself will say what is wrong.
            return []

    return complete


@_completer
def apps(typed: Mapping[str, Any]) -> Iterable[str]:
    return (service.app for service in _services())


@_completer
def environments(typed: Mapping[str, Any]) -> Iterable[str]:
    return (service.environment for service in _services() if _is_of_app(service, typed))


@_completer
def clients(typed: Mapping[str, Any]) -> Iterable[str]:
    """Those that something serves for, and those that the app of this folder has a file of.

    While an option lacks its value click knows no argument, so another FOLDER is not looked at.
    """
    from chittyops_core.deploy.app import client_file

    written = {path.stem for path in client_file(Path(), "x").parent.glob("*.toml")}
    return written | {s.client for s in _services() if s.client and _is_of_app(s, typed)}


@_completer
def kinds(typed: Mapping[str, Any]) -> Iterable[str]:
    from chittyops_core.cli.lites import installed

    return installed()


@_completer
def releases(typed: Mapping[str, Any]) -> Iterable[str]:
    from chittyops_core.cli.options import service_of
    from chittyops_core.host import default_home, glance

    environment = typed.get("environment") or DEFAULT_ENVIRONMENT
    service = service_of(typed.get("app"), environment, typed.get("client"))
    return glance.release_ids(default_home(), service)


@_completer
def secrets(typed: Mapping[str, Any]) -> Iterable[str]:
    from chittyops_core.host import default_home, glance

    return glance.secret_names(default_home())


def _services() -> list[Service]:
    from chittyops_core.host import default_home, glance

    return glance.services(default_home())


def _is_of_app(service: Service, typed: Mapping[str, Any]) -> bool:
    return typed.get("app") in (None, service.app)
