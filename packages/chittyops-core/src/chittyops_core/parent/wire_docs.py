"""How OpenAPI 3.1 describes the wire: what each endpoint takes and answers.

The handlers read raw bodies, because a signature is proven before anything is parsed; so what
Litestar would find out by itself is said here, from the very classes that are decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import Operation

from chittyops_core.parent.problems import MEDIA_TYPE, types_of

__all__ = ["described"]

_SIGNED = (
    ("Content-Digest", "RFC 9530, sha-256, over the body as sent."),
    ("Signature-Input", "RFC 9421; docs/protocol.md section 3.1."),
    ("Signature", "RFC 9421, Ed25519, with the label `chittyops`."),
)
_WHEN_BUSY = (429, 503)


def described(
    *, takes: type | None = None, answers: Mapping[int, type], refuses: tuple[int, ...],
    child_in_path: bool = False,
) -> type[Operation]:  # fmt: skip
    """Return the class of an endpoint's description.

    Args:
        takes: Class of the body.
        answers: Status -> class of the body, where all is well.
        refuses: Statuses of problems.
        child_in_path: Whether the path names a child.
    """
    parameters: list[Any] = [_header(name, what) for name, what in _SIGNED]
    if child_in_path:
        parameters.insert(0, _CHILD_ID)
    responses = {str(status): _answer(cls) for status, cls in answers.items()}
    responses |= {str(status): _problem(status) for status in refuses}
    body = None if takes is None else {"required": True, "content": _content(takes)}

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            self.parameters = parameters
            self.request_body = body  # type: ignore[assignment]
            self.responses = responses  # type: ignore[assignment]

    return Described


_CHILD_ID = {
    "name": "child", "in": "path", "required": True, "schema": {"type": "string"},
    "description": "The id that the parent gave.",
}  # fmt: skip


def _header(name: str, what: str) -> dict[str, Any]:
    return {
        "name": name, "in": "header", "required": True, "description": what,
        "schema": {"type": "string"},
    }  # fmt: skip


def _content(cls: type) -> dict[str, Any]:
    return {"application/json": {"schema": _schema(cls)}}


def _answer(cls: type) -> dict[str, Any]:
    return {"description": f"{cls.__name__}; signed by the parent.", "content": _content(cls)}


def _problem(status: int) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["type", "title", "status", "detail", "time"],
        "properties": {
            "type": {"type": "string", "enum": [kind.urn for kind in types_of(status)]},
            "title": {"type": "string"},
            "status": {"type": "integer", "const": status},
            "detail": {"type": "string"},
            "time": {"type": "number"},
            "acked": {"type": "integer"},
        },
    }
    found: dict[str, Any] = {
        "description": "A problem (RFC 9457); signed where the request was.",
        "content": {MEDIA_TYPE: {"schema": schema}},
    }
    if status in _WHEN_BUSY:
        found["headers"] = {
            "Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 0}}
        }
    return found


def _schema(cls: type) -> dict[str, Any]:
    """Return the JSON schema of *cls*, with what it is made of put in place."""
    (schema,), parts = msgspec.json.schema_components([cls], ref_template="{name}")
    found: dict[str, Any] = _inlined(schema, parts)
    return found


def _inlined(schema: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(parts[schema["$ref"]], parts)
        return {name: _inlined(value, parts) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_inlined(value, parts) for value in schema]
    return schema
