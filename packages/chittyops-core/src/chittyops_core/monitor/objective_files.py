"""Files of objectives: which format each document has, and what holds over all of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from chittyops_core.errors import ObjectiveError
from chittyops_core.monitor import openslo, openslo_v1alpha, sloth
from chittyops_core.monitor.objectives import Objective
from chittyops_core.monitor.yaml_reader import Table, read_tables

__all__ = ["parse", "read_files"]

_FORMATS = {
    "version": (sloth.VERSION,),
    "apiVersion": (openslo.VERSION, openslo_v1alpha.VERSION),
}


def read_files(paths: Iterable[Path]) -> list[Objective]:
    """Read all files, in order. Raises as `parse` does, and for a file that cannot be read."""
    found: list[Objective] = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ObjectiveError(f"{path}: cannot be read: {error}", file=str(path)) from error
        found += parse(text, file=str(path))
    _require_unique(found)
    return found


def parse(text: str, *, file: str) -> list[Objective]:
    """Read the objectives of one file: OpenSLO (v1, v1alpha) or Sloth (prometheus/v1).

    Args:
        text: One or more YAML documents; their formats may differ.
        file: How to call it in messages.

    Raises:
        ObjectiveError: With file, line, what was expected and, for a key, the nearest known one;
            also where there is no objective in it at all.
        HostError: PyYAML is not installed.
    """
    documents = read_tables(text, file=file)
    found: list[Objective] = []
    rest = []  # OpenSLO v1, whose documents refer to each other.
    for document in documents:
        form = _format_of(document)
        if form == openslo.VERSION:
            rest.append(document)
        else:
            reader = sloth if form == sloth.VERSION else openslo_v1alpha
            found += reader.objectives_of(document)
    found += openslo.objectives_of(rest)
    if not found:
        raise ObjectiveError(f"{file}: there is no objective in it", file=file, line=None)
    _require_unique(found)
    return found


def _format_of(document: Table) -> str:
    key = "version" if "version" in document else "apiVersion"
    known = _FORMATS[key]
    if key not in document or document.text(key) not in known:
        document.fail(
            f"expected `apiVersion: {openslo.VERSION}` or `{openslo_v1alpha.VERSION}`, "
            f"or `version: {sloth.VERSION}` (Sloth)",
            key if key in document else None,
        )
    return document.text(key)


def _require_unique(found: list[Objective]) -> None:
    ids = [each.id for each in found]
    for each in found:
        if ids.count(each.id) > 1:
            raise ObjectiveError(
                f"the objective {each.name!r} of {each.service!r} is there twice",
                remedy="Give each objective of a service a name of its own.",
            )
