"""TOML text to a Manifest, strictly: what is not known is an error that helps.

Values are read by cattrs from the classes in `model.manifest`; this module adds strictness of
scalars, the file and line of a mistake, and the nearest known key.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, get_origin

import attrs
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import ClassValidationError, IterableValidationError

from chittyops_core.errors import ManifestError
from chittyops_core.model.manifest import (
    Builder,
    EnvVar,
    FieldError,
    Manifest,
    Size,
    StrategyChoice,
    TargetKind,
    VariableType,
)
from chittyops_core.model.names import require_name

__all__ = ["FILE_NAME", "parse", "parse_duration", "parse_size"]

FILE_NAME = "chittyops.toml"

Path = tuple[str, ...]

_UNKNOWN = "unknown key"

_NOT_YET = {
    "resource": "resources (databases, queues) are not there yet; "
    "pass the address as a variable in [env] until they are",
}


def parse(
    text: str,
    *,
    file: str = FILE_NAME,
    environment: str | None = None,
    layers: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> Manifest:
    """Read a manifest and apply the overlay of *environment*, then *layers*.

    Every overlay is checked, not only the one that is applied. Keys that start with `x-` are
    the user's own and are passed over.

    Args:
        text: The file's content.
        file: How to call it in messages.
        environment: Whose overlay to apply; an environment without one changes nothing.
        layers: (name for messages, more of the same keys), each laid over what came before.

    Raises:
        ManifestError: With file, line, what was expected and, for a key, the nearest known one.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{file}: {error}", remedy="Correct the TOML.", file=file) from error
    overlays = table.pop("environment", {})
    if not isinstance(overlays, dict) or not all(isinstance(v, dict) for v in overlays.values()):
        raise _error(file, text, ("environment",), "expected tables [environment.NAME]")
    chosen, merged_table = _structure(table, text, file, ()), table
    for name, overlay in overlays.items():
        prefix = ("environment", name)
        try:
            require_name("environment", name)
        except ValueError as error:
            raise _error(file, text, prefix, str(error)) from error
        merged = _structure(_merge(table, overlay), text, file, prefix)
        if name == environment:
            chosen, merged_table = merged, _merge(table, overlay)
    for name, layer in layers:
        merged_table = _merge(merged_table, layer)
        chosen = _structure(merged_table, "", name, ())
    return chosen


def _merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Lay *overlay* over *base*; tables merge, everything else is replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        both_tables = isinstance(value, dict) and isinstance(old, dict)
        merged[key] = _merge(old, value) if both_tables else value  # type: ignore[arg-type]
    return merged


def _structure(table: Mapping[str, Any], text: str, file: str, prefix: Path) -> Manifest:
    for name, why in _NOT_YET.items():
        if name in table:
            raise _error(file, text, (*prefix, name), f"[{name}] cannot be used yet: {why}")
    try:
        return _converter().structure(_without_own_keys(table), Manifest)
    except BaseValidationError as error:
        found = list(_problems(error, ()))
        # A mistyped key is also one that is missing; what was typed says more.
        path, message = next((f for f in found if f[1].startswith(_UNKNOWN)), found[0])
        raise _error(file, text, (*prefix, *path), message) from error


def _without_own_keys(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {k: _without_own_keys(v) for k, v in value.items() if not k.startswith("x-")}


def _error(file: str, text: str, path: Path, message: str) -> ManifestError:
    line = find_line(text, path)
    where = f"{file}:{line}" if line else file
    dotted = ".".join(path) or "the file"
    return ManifestError(
        f"{where}: {dotted}: {message}",
        remedy="`chittyops config --schema` prints all keys with their meaning.",
        file=file,
        line=line,
        key=dotted,
    )


# --- what cattrs complains about, as one path and one sentence ---------------------------------


def _problems(error: BaseException, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        for key in sorted(error.extra_fields):
            yield (*path, key), _unknown_key(key, known)
    elif isinstance(error, ClassValidationError):
        noted, plain = error.group_exceptions()
        for inner, note in noted:
            yield from _problems(inner, (*path, note.name))
        for inner in plain:
            yield from _problems(inner, path)
    elif isinstance(error, IterableValidationError):
        items, others = error.group_exceptions()
        for inner, item in items:
            step = (str(item.index),) if isinstance(item.index, str) else ()
            yield from _problems(inner, (*path, *step))
        for inner in others:
            yield from _problems(inner, path)
    elif isinstance(error, FieldError):
        yield (*path, *error.path), str(error)
    elif isinstance(error, KeyError):
        yield path, f"the key {error.args[0]!r} is missing"
    elif isinstance(error, AttributeError | TypeError):
        yield path, "expected a table"
    else:
        yield path, str(error)


def _unknown_key(key: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"{_UNKNOWN}{hint} Known here: {', '.join(known)}"


# --- strict scalars ----------------------------------------------------------------------------


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    for kind, name in ((str, "a text in quotes"), (bool, "true or false"), (int, "a whole number")):
        converter.register_structure_hook(kind, _exactly(kind, name))
    converter.register_structure_hook(timedelta, lambda value, _: parse_duration(value))
    converter.register_structure_hook(Size, lambda value, _: parse_size(value))
    # One by one: a hook of `str` would also take its subclasses.
    for choice in (Builder, StrategyChoice, TargetKind, VariableType):
        converter.register_structure_hook(choice, _choice)
    converter.register_structure_hook_func(_is_tuple, _texts)
    plain = converter.get_structure_hook(EnvVar)
    converter.register_structure_hook(EnvVar, lambda value, cls: _variable(value, cls, plain))
    return converter


def _exactly(kind: type, name: str) -> Any:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"expected {name}, got {value!r}")
        return value

    return structure


def _is_tuple(cls: Any) -> bool:
    origin: Any = get_origin(cls)
    return origin is tuple


def _texts(value: Any, _: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'expected a list of texts such as ["a", "b"], got {value!r}')
    return tuple(value)


def _choice(value: Any, cls: Any) -> Any:
    choices = [member.value for member in cls]
    if value not in choices:
        nearest = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"expected one of {', '.join(choices)}, got {value!r}{hint}")
    return cls(value)


def _variable(value: Any, cls: Any, structure_table: Any) -> EnvVar:
    if isinstance(value, bool):
        return EnvVar(value="true" if value else "false")
    if isinstance(value, str | int | float):
        return EnvVar(value=str(value))
    if not isinstance(value, dict):
        raise ValueError(f"expected a text, a number or a table, got {value!r}")
    if "from" in value:
        raise ValueError(f"`from` cannot be used yet: {_NOT_YET['resource']}")
    made = structure_table(value, cls)
    assert isinstance(made, EnvVar)
    return made


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d+)([KMGT])i?B?", re.IGNORECASE)


def parse_duration(value: Any) -> timedelta:
    """Read `30s`, `500ms`, `10m`, `2h` or `1d`. Raises ValueError."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'expected a duration such as "30s", "500ms" or "10m", got {value!r}')
    return timedelta(seconds=float(found[1]) * _DURATION_S[found[2]])


def parse_size(value: Any) -> Size:
    """Read `512M` or `2G`, powers of 1024, as bytes. Raises ValueError."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'expected a size such as "512M" or "2G", got {value!r}')
    return Size(int(found[1]) * 1024 ** ("KMGT".index(found[2].upper()) + 1))


# --- where a key stands ------------------------------------------------------------------------

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")
_PART = re.compile(r'"([^"]*)"|\'([^\']*)\'|([\w-]+)')


def find_line(text: str, path: Path) -> int | None:
    """Return the 1-based line where *path*, or as much of it as there is, stands in *text*.

    tomllib keeps no positions. This reads headers and keys line by line, so a key inside an
    inline table is found at the line of the table.
    """
    best: tuple[int, int] | None = None
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = here = _split(header[1])
        elif key := _KEY.match(line):
            here = table + _split(key[1])
        else:
            continue
        depth = min(len(here), len(path))
        if here[:depth] == path[:depth] and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else None


def _split(dotted: str) -> Path:
    return tuple(a or b or c for a, b, c in _PART.findall(dotted))
