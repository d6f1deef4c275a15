"""What went wrong, as the wire tells it: problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from attrs import asdict

from chittyops_core.bridge.protocol import Problem, ProblemType

__all__ = ["MEDIA_TYPE", "ProblemError", "document", "for_status", "types_of"]

MEDIA_TYPE = "application/problem+json"

_KNOWN: Mapping[ProblemType, tuple[int, str]] = {
    ProblemType.MALFORMED: (400, "The request is not what the protocol asks for"),
    ProblemType.VERSION: (400, "The parent does not speak this version of the protocol"),
    ProblemType.UNSIGNED: (401, "It is not proven who sent the request"),
    ProblemType.UNKNOWN_KEY: (401, "The parent does not know this key"),
    ProblemType.SKEW: (401, "The request was signed at another time"),
    ProblemType.TOKEN: (403, "The enrolment token is not valid"),
    ProblemType.NOT_ACCEPTED: (403, "The child is not accepted"),
    ProblemType.REVOKED: (403, "The child is revoked"),
    ProblemType.FORBIDDEN: (403, "This is not allowed"),
    ProblemType.NOT_FOUND: (404, "There is nothing here"),
    ProblemType.CONFLICT: (409, "This does not go together with what is there"),
    ProblemType.GAP: (409, "Items are missing in between"),
    ProblemType.STREAM: (409, "Another one writes this stream"),
    ProblemType.CLONED: (409, "Two machines speak with this key"),
    ProblemType.TOO_LARGE: (413, "The request is too large"),
    ProblemType.TOO_MANY: (429, "Too many requests"),
    ProblemType.INTERNAL: (500, "The parent failed"),
    ProblemType.BUSY: (503, "The parent is busy"),
}


class ProblemError(Exception):
    """A request that is answered with a problem.

    Args:
        kind: Which.
        detail: What is wrong this time, and what to do.
        acked: With `GAP`: the highest item that the parent has of the stream.
        retry_after_s: With `TOO_MANY` and `BUSY`: seconds after which to come again.
        status: Another status than the type's own.
        headers: More headers.
    """

    def __init__(
        self, kind: ProblemType, detail: str = "", *, acked: int | None = None,
        retry_after_s: int | None = None, status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail or kind.value)
        self.kind = kind
        self.detail = detail
        self.acked = acked
        self.status = status or _KNOWN[kind][0]
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)
        if self.status == 401:
            self.headers["WWW-Authenticate"] = 'Signature realm="chittyops"'


def document(problem: ProblemError, now: float) -> bytes:
    """Return the body of an answer; `acked` is there only where it means something."""
    told = asdict(
        Problem(
            problem.kind.urn, _KNOWN[problem.kind][1], problem.status, problem.detail, now,
            problem.acked,
        )
    )  # fmt: skip
    if problem.acked is None:
        del told["acked"]
    return msgspec.json.encode(told)


def for_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> ProblemError:
    """Return the problem that the HTTP layer's own *status* is."""
    kinds = {
        401: ProblemType.FORBIDDEN, 403: ProblemType.FORBIDDEN, 404: ProblemType.NOT_FOUND,
        409: ProblemType.CONFLICT, 413: ProblemType.TOO_LARGE, 429: ProblemType.TOO_MANY,
        503: ProblemType.BUSY,
    }  # fmt: skip
    kind = kinds.get(status, ProblemType.INTERNAL if status >= 500 else ProblemType.MALFORMED)
    return ProblemError(kind, detail, status=status, headers=headers)


def types_of(status: int) -> list[ProblemType]:
    """Return the types that an answer with *status* may have."""
    return [kind for kind, (of, _) in _KNOWN.items() if of == status]
