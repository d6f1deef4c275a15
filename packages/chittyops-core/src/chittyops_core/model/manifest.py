"""`chittyops.toml` as values.

The classes here are the one source of what the file may say: the strict reader
(`model.manifest_reader`) and the shipped JSON Schema (`model.manifest_schema`) are both made
from their fields. `doc` in a field's metadata becomes the schema's description.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, NewType

from attrs import Attribute, field, frozen

from chittyops_core.model.names import (
    require_host,
    require_name,
    require_secret_name,
    require_variable,
)

__all__ = [
    "AppSection",
    "BuildSection",
    "Builder",
    "DeploySection",
    "EdgeSection",
    "EnvVar",
    "FieldError",
    "Health",
    "Hooks",
    "Manifest",
    "MonitorSection",
    "Process",
    "Size",
    "StrategyChoice",
    "TargetKind",
    "TargetSection",
    "VariableType",
    "require_free_variable",
]

Size = NewType("Size", int)
"""Bytes; written as `512M` or `2G` (powers of 1024)."""

MAX_INSTANCES = 12
"""Slots of the edge's pointer; a multiple of 1, 2, 3, 4, 6 and 12 instances shares evenly."""


def _doc(text: str, **metadata: Any) -> dict[str, Any]:
    return {"doc": text, **metadata}


class FieldError(ValueError):
    """A value that may not be; `path` names the key below the table it was found in."""

    def __init__(self, message: str, *path: str) -> None:
        super().__init__(message)
        self.path = path


def _check(require: Any) -> Any:
    def validate(_: object, attribute: Attribute[Any], value: Any) -> None:
        try:
            if value is not None:
                require(value)
        except ValueError as error:
            raise FieldError(str(error), attribute.name) from error

    return validate


def _check_between(low: float, high: float) -> Any:
    def require(value: timedelta | float) -> None:
        number = value.total_seconds() if isinstance(value, timedelta) else value
        if not low <= number <= high:
            unit = " seconds" if isinstance(value, timedelta) else ""
            raise ValueError(f"expected {low:g} to {high:g}{unit}, got {number:g}")

    return _check(require)


def _check_keys(require: Any) -> Any:
    def validate(_: object, attribute: Attribute[Any], value: Mapping[str, Any]) -> None:
        for key, entry in value.items():
            try:
                require(key, entry)
            except ValueError as error:
                raise FieldError(str(error), attribute.name, key) from error

    return validate


def _require_not_blank(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("expected a command, got an empty one")
    return value


def _require_path(value: str) -> str:
    if not value.startswith("/") or not value.isprintable() or " " in value:
        raise ValueError(f"expected a path that starts with '/', got {value!r}")
    return value


def _require_header(name: str, text: str) -> None:
    # RFC 9110 5.1 and 5.5: a token, and a text without control characters. A brace would be a
    # placeholder to the edge proxy.
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise ValueError(f"{name!r} cannot name a header")
    if not text.isprintable() or "{" in text:
        raise ValueError("a header may hold neither control characters nor '{'")


def require_free_variable(name: str, _: object = None) -> None:
    """Raises ValueError when a process may not be given a variable *name*."""
    require_variable(name)
    if name in RESERVED_VARIABLES or name.startswith("CHITTYOPS_"):
        raise ValueError(f"{name} is set by ChittyOps; choose another name")


def _require_schema(value: int) -> None:
    if value != 1:
        raise ValueError(f"this version reads schema 1, the file says {value}")


RESERVED_VARIABLES = frozenset({"SOCKET", "PORT", "STATE_DIR"})
"""Given to every process, besides `CHITTYOPS_*`."""


class Builder(StrEnum):
    """What turns a folder into an artifact."""

    AUTO = "auto"
    UV_LOCK = "uv.lock"
    PYPROJECT = "pyproject"
    REQUIREMENTS = "requirements"
    NONE = "none"


class StrategyChoice(StrEnum):
    """`auto`: recreate when the state directory holds a SQLite file, else blue-green."""

    AUTO = "auto"
    BLUE_GREEN = "blue-green"
    RECREATE = "recreate"


class TargetKind(StrEnum):
    """Where releases run."""

    LOCAL = "local"


class VariableType(StrEnum):
    """What an environment variable's text must look like."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    URL = "url"


@frozen
class AppSection:
    """What the app is."""

    name: str = field(
        default="",
        validator=_check(lambda v: v == "" or require_name("app", v)),
        metadata=_doc("Name of the app; the folder's name when left out."),
    )
    kind: str | None = field(
        default=None, metadata=_doc("Which lite operates it, such as cook-county.")
    )
    hosts: tuple[str, ...] = field(
        default=(),
        validator=_check(lambda v: [require_host(host) for host in v]),
        metadata=_doc("Public host names; it also answers on <name>.localhost."),
    )


@frozen
class BuildSection:
    """How the folder becomes an artifact."""

    builder: Builder = field(
        default=Builder.AUTO,
        metadata=_doc("auto takes uv.lock, then pyproject.toml, then requirements.txt."),
    )
    python: str | None = field(
        default=None, metadata=_doc("Interpreter: a version such as 3.12, or a path.")
    )
    exclude: tuple[str, ...] = field(
        default=(), metadata=_doc("Glob patterns of files that are not part of the app.")
    )


@frozen
class Process:
    """One kind of process of the app; `web` answers requests."""

    command: str = field(
        validator=_check(_require_not_blank),
        metadata=_doc("Run by sh. `web` must listen on $SOCKET, or on $PORT (not isolated)."),
    )
    instances: int = field(
        default=1,
        validator=_check_between(1, MAX_INSTANCES),
        metadata=_doc("How many run side by side."),
    )
    memory: Size | None = field(
        default=None, metadata=_doc("Limit of one process's private memory, such as 512M.")
    )


@frozen
class Health:
    """What a healthy release answers."""

    path: str = field(
        default="/",
        validator=_check(_require_path),
        metadata=_doc("GET on it must answer 200 to 299."),
    )
    host: str | None = field(
        default=None,
        validator=_check(require_host),
        metadata=_doc("Host header of the request; the app's first host when left out."),
    )
    timeout: timedelta = field(
        default=timedelta(seconds=30),
        validator=_check_between(0.1, 3600),
        metadata=_doc("How long a new release may take to become healthy."),
    )
    successes: int = field(
        default=2,
        validator=_check_between(1, 100),
        metadata=_doc("Healthy answers in a row that open the gate."),
    )
    soak: timedelta = field(
        default=timedelta(0),
        validator=_check_between(0, 3600),
        metadata=_doc("How long it must stay healthy after the switch, or be undone."),
    )


@frozen
class DeploySection:
    """How a release takes over from the last."""

    strategy: StrategyChoice = field(
        default=StrategyChoice.AUTO,
        metadata=_doc("blue-green: beside the old one. recreate: the old one stops first."),
    )
    drain: timedelta = field(
        default=timedelta(seconds=30),
        validator=_check_between(0, 86400),
        metadata=_doc("How long requests on the old release may take to finish."),
    )
    keep: int = field(
        default=5,
        validator=_check_between(0, 1000),
        metadata=_doc("Releases kept besides the serving and the previous one."),
    )
    warm_rollback: timedelta = field(
        default=timedelta(0),
        validator=_check_between(0, 86400),
        metadata=_doc("How long the previous release keeps running, ready to serve again."),
    )
    release: str | None = field(
        default=None,
        validator=_check(_require_not_blank),
        metadata=_doc("Command run once per release before it starts, such as a migration."),
    )


@frozen
class Hooks:
    """Commands at points of a deploy."""

    pre_build: str | None = field(
        default=None,
        validator=_check(_require_not_blank),
        metadata=_doc("In the app folder, before anything is built; its failure stops the deploy."),
    )
    post_gate: str | None = field(
        default=None,
        validator=_check(_require_not_blank),
        metadata=_doc("In the new release, once healthy; its failure undoes the deploy."),
    )
    post_switch: str | None = field(
        default=None,
        validator=_check(_require_not_blank),
        metadata=_doc("In the new release, after the switch; its failure is only reported."),
    )
    on_rollback: str | None = field(
        default=None,
        validator=_check(_require_not_blank),
        metadata=_doc("In the release that serves again, after a rollback; only reported."),
    )


@frozen
class EnvVar:
    """One environment variable. A plain text, number or boolean is short for `value`."""

    value: str | None = field(default=None, metadata=_doc("Its text."))
    secret: str | None = field(
        default=None,
        validator=_check(require_secret_name),
        metadata=_doc("Name of a secret of the host: `chittyops secrets set NAME`."),
    )
    generate: str | None = field(
        default=None,
        metadata=_doc(
            "Make the secret when there is none: hex32, hex64 or password.",
            enum=["hex32", "hex64", "password"],
        ),
    )
    file: bool = field(
        default=False,
        metadata=_doc("The variable holds the path of a private file with the secret in it."),
    )
    required: bool = field(
        default=False,
        metadata=_doc("Refuse to deploy until it is set: `chittyops config set NAME=VALUE`."),
    )
    type: VariableType = field(
        default=VariableType.STRING, metadata=_doc("What its text must look like.")
    )
    description: str = field(default="", metadata=_doc("What it is for."))

    def __attrs_post_init__(self) -> None:
        if self.value is not None and self.secret is not None:
            raise ValueError("has both `value` and `secret`; keep one")
        if self.secret is None and (self.generate or self.file):
            raise ValueError("`generate` and `file` need `secret`, the name to keep it under")
        if self.generate not in (None, "hex32", "hex64", "password"):
            raise ValueError(
                f"cannot generate {self.generate!r}: expected hex32, hex64 or password"
            )
        if self.value is not None:
            self.require_type(self.value)

    def require_type(self, text: str) -> str:
        """Return *text* when it is of this variable's type. Raises ValueError."""
        is_right = {
            VariableType.STRING: "\0" not in text,
            VariableType.INTEGER: text.removeprefix("-").isdecimal(),
            VariableType.BOOLEAN: text in ("true", "false"),
            VariableType.URL: "://" in text and not any(c.isspace() for c in text),
        }[self.type]
        if not is_right:
            raise ValueError(f"is no {self.type.value}")
        if len(text.encode()) > 120_000:
            # Linux allows 128 KiB for one string of the environment (MAX_ARG_STRLEN).
            raise ValueError(
                f"has {len(text.encode())} bytes; an environment variable may have 120000. "
                "Use a secret with `file = true`"
            )
        return text


@frozen
class MonitorSection:
    """Something that the agent looks at again and again, besides the app's health."""

    target: str = field(
        validator=_check(_require_not_blank),
        metadata=_doc(
            "What is looked at: a path of the app, a URL, host:port; see docs/monitor.md."
        ),
    )
    probe: str = field(
        default="http", metadata=_doc("Which probe: http, tcp, tls, dns, sql, command and so on.")
    )
    conditions: tuple[str, ...] = field(
        default=(),
        metadata=_doc("What must hold, such as `status < 300`; the probe's own when left out."),
    )
    interval: timedelta = field(
        default=timedelta(seconds=30),
        validator=_check_between(1, 86400),
        metadata=_doc("Time between two looks."),
    )
    timeout: timedelta = field(
        default=timedelta(seconds=10),
        validator=_check_between(0.1, 300),
        metadata=_doc("After how long a look counts as failed."),
    )
    options: Mapping[str, Any] = field(
        factory=dict, metadata=_doc("What else the probe takes, by its own names.")
    )


@frozen
class EdgeSection:
    """What the edge proxy adds."""

    headers: Mapping[str, str] = field(
        factory=dict,
        validator=_check_keys(_require_header),
        metadata=_doc("Response headers set where the app itself sets none."),
    )


@frozen
class TargetSection:
    """Where releases run."""

    kind: TargetKind = field(default=TargetKind.LOCAL, metadata=_doc("Only `local` so far."))


@frozen
class Manifest:
    """One `chittyops.toml`, an environment's overlay already applied."""

    schema: int = field(
        default=1,
        validator=_check(_require_schema),
        metadata=_doc("Version of this format.", const=1),
    )
    app: AppSection = field(factory=AppSection)
    build: BuildSection = field(factory=BuildSection)
    process: Mapping[str, Process] = field(
        factory=dict, validator=_check_keys(lambda name, _: require_name("process", name))
    )
    health: Health = field(factory=Health)
    deploy: DeploySection = field(factory=DeploySection)
    hooks: Hooks = field(factory=Hooks)
    env: Mapping[str, EnvVar] = field(factory=dict, validator=_check_keys(require_free_variable))
    edge: EdgeSection = field(factory=EdgeSection)
    monitor: Mapping[str, MonitorSection] = field(
        factory=dict, validator=_check_keys(lambda name, _: require_name("monitor", name))
    )
    target: TargetSection = field(factory=TargetSection)
