"""The JSON Schema of `chittyops.toml`, made from the manifest's classes."""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs

from chittyops_core.model.manifest import EnvVar, Manifest, Size

__all__ = ["manifest_schema"]

_OWN_KEYS = {"^x-": {"description": "Yours; passed over."}}


def manifest_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12) of the whole file, overlays included."""
    schema = _table(Manifest)
    overlay = dict(_table(Manifest), description="Keys that differ in this environment.")
    schema["properties"]["environment"] = {
        "type": "object",
        "description": "One table per environment, laid over the rest.",
        "additionalProperties": overlay,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chittyops.toml",
        **schema,
    }


def _table(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    properties = {}
    required = []
    for field in attrs.fields(cls):
        entry = _of_type(hints[field.name])
        for key in ("const", "enum"):
            if key in field.metadata:
                entry[key] = field.metadata[key]
        if "doc" in field.metadata:
            entry["description"] = field.metadata["doc"]
        properties[field.name] = entry
        if field.default is attrs.NOTHING:
            required.append(field.name)
    table: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "patternProperties": _OWN_KEYS,
        "additionalProperties": False,
    }
    if doc := (cls.__doc__ or "").strip().splitlines():
        table["description"] = doc[0]
    # An overlay may give half a table, so presence is the reader's business there; a process
    # without a command is refused either way.
    return table | ({"x-required": required} if required else {})


def _of_type(hint: Any) -> dict[str, Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        return _of_type(next(arg for arg in args if arg is not type(None)))
    if origin is tuple:
        return {"type": "array", "items": _of_type(args[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of_type(args[1])}
    if hint is Any:
        return {}
    if hint is EnvVar:
        return {"oneOf": [{"type": ["string", "number", "boolean"]}, _table(EnvVar)]}
    if hint is Size:
        return {"type": "string", "pattern": "^[0-9]+[KMGTkmgt]i?B?$"}
    if hint is timedelta:
        return {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [member.value for member in hint]}
    if attrs.has(hint):
        return _table(hint)
    return {"type": {str: "string", int: "integer", bool: "boolean"}[hint]}
