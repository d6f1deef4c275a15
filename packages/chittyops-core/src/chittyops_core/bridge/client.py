"""One request to the parent and what came of it: signed both ways, or it did not happen.

What is in an answer is looked at only after its signature by the pinned key has been verified; all
else, whatever it says, counts as no answer (docs/protocol.md section 3.3). Proxies and private
certificate authorities come from the environment: HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE.
"""

from __future__ import annotations

import gzip
import json
import math
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from attrs import frozen

from chittyops_core.bridge import signatures
from chittyops_core.bridge.identity import Key
from chittyops_core.bridge.membership import is_loopback, require_url
from chittyops_core.bridge.protocol import MAX_BYTES
from chittyops_core.errors import SignatureError

__all__ = ["Answered", "Outcome", "ParentClient", "Refused", "Unheard"]

CONNECT_S, READ_S = 5.0, 30.0
GZIP_FROM = 1024
"""Bytes from which on a body is compressed; below it hardly gets smaller."""
CHUNK_BYTES = 1 << 14
MAX_RETRY_AFTER_S = 3600.0
"""`Retry-After` is a header that no signature covers: no proxy may silence a child for longer."""

_URN = "urn:chittyops:problem:"


@frozen
class Answered:
    """The parent did what was asked; `body` is its answer, unknown keys and all."""

    status: int
    body: Mapping[str, Any]


@frozen
class Refused:
    """The parent said no (docs/protocol.md section 8).

    Attributes:
        problem: The type's name, such as `sequence-gap`; one that we do not know is possible.
        status: The HTTP status.
        detail: For a person.
        acked: With `sequence-gap`: what the parent has.
        retry_after_s: Seconds to wait; None when nothing was said.
    """

    problem: str
    status: int
    detail: str
    acked: int | None = None
    retry_after_s: float | None = None


@frozen
class Unheard:
    """No answer came that can be believed; `why` is for a person."""

    why: str


Outcome = Answered | Refused | Unheard


class ParentClient:
    """Asks the parent at *url*.

    Args:
        url: See `membership.require_url`.
        parent: Thumbprint of the parent's key.
        key: The child's.
        parent_key: The parent's key in base64url; "" takes the one that an answer brings, if it
            is the one with that thumbprint.
        ca_file: Certificates to trust instead of the machine's; "" for none.
        skew_s: What to add to this machine's clock; corrected by whatever the parent signs.
        now: Seconds since the epoch.

    Attributes:
        skew_s: See above.
    """

    def __init__(
        self, url: str, parent: str, key: Key, *, parent_key: str = "", ca_file: str = "",
        skew_s: float = 0.0, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._url = require_url(url)
        self._parent = parent
        self._key = key
        self._parent_key = parent_key
        self._ca_file = ca_file
        self._now = now
        self.skew_s = skew_s

    def get(self, target: str) -> Outcome:
        """Ask for *target*."""
        return self._ask("GET", target, b"", {})

    def post(self, target: str, body: Mapping[str, Any] | bytes) -> Outcome:
        """Bring *body*, a value or its JSON text, to *target*."""
        raw = body if isinstance(body, bytes) else json.dumps(body, allow_nan=False).encode()
        headers = {"Content-Type": "application/json"}
        if len(raw) >= GZIP_FROM:
            raw, headers["Content-Encoding"] = gzip.compress(raw, 6, mtime=0), "gzip"
        return self._ask("POST", target, raw, headers)

    def _ask(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Outcome:
        started = self._now()
        signed = signatures.sign_request(
            self._key.private, self._key.id, method, target, body,
            headers.get("Content-Type", ""), int(started + self.skew_s),
        )  # fmt: skip
        try:
            status, given, answer = self._exchange(method, target, body, headers | signed)
            self._verify(status, given, answer, signed)
            found = _read_json(given, answer)
        except (requests.RequestException, _UnbelievableError, SignatureError) as error:
            return Unheard(_why(error))
        self._correct_clock(found, (started + self._now()) / 2)
        return _outcome(status, given, found)

    def _exchange(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Send it over a connection of its own; return status, headers and the body as sent."""
        # No proxy is between this machine and itself, whatever the environment says.
        is_local = is_loopback(urlsplit(self._url).hostname or "")
        proxies = dict.fromkeys(("http", "https", "all"), "") if is_local else None
        with requests.Session() as session:
            # Else a password of ~/.netrc would be sent along.
            session.auth = lambda request: request
            session.headers.update({"User-Agent": "chittyops", "Accept-Encoding": "gzip"})
            with session.request(
                method, self._url + target, data=body or None, headers=dict(headers),
                timeout=(CONNECT_S, READ_S), allow_redirects=False, stream=True,
                verify=self._ca_file or True, proxies=proxies,
            ) as response:  # fmt: skip
                given = {name.lower(): value for name, value in response.headers.items()}
                return response.status_code, given, _read_raw(response)

    def _verify(
        self, status: int, given: Mapping[str, str], body: bytes, signed: Mapping[str, str]
    ) -> None:
        key = (
            signatures.load_public_key(signatures.decode(self._parent_key))
            if self._parent_key
            else signatures.key_of(given, self._parent)
        )
        ours = signatures.signature_of({name.lower(): value for name, value in signed.items()})
        assert ours is not None
        signatures.verify_response(key, self._parent, status, body, given, ours)
        self._parent_key = signatures.encode(signatures.public_bytes(key))

    @property
    def parent_key(self) -> str:
        """The parent's key, once an answer was verified by it."""
        return self._parent_key

    def _correct_clock(self, found: Mapping[str, Any], middle: float) -> None:
        said = found.get("time")
        # Tests for bool too: it is an int in Python.
        if isinstance(said, int | float) and not isinstance(said, bool) and 0 < said < 1e11:
            self.skew_s = float(said) - middle


class _UnbelievableError(Exception):
    """What came is no answer of this protocol."""


def _read_raw(response: requests.Response) -> bytes:
    """Return the body as sent, decompressed by nobody. Raises for one that is too large."""
    parts: list[bytes] = []
    size = 0
    try:
        while chunk := response.raw.read(CHUNK_BYTES, decode_content=False):
            size += len(chunk)
            if size > MAX_BYTES:
                raise _UnbelievableError("the answer has more than 1 MiB")
            parts.append(chunk)
    except (OSError, requests.RequestException) as error:
        raise _UnbelievableError(f"the answer broke off ({type(error).__name__})") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("urllib3", "http"):
            raise
        raise _UnbelievableError(f"the answer broke off ({type(error).__name__})") from error
    return b"".join(parts)


def _read_json(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the object in a verified body, expanded no further than the protocol allows."""
    encoding = headers.get("content-encoding", "identity")
    if encoding == "gzip":
        expanding = zlib.decompressobj(wbits=31)
        try:
            body = expanding.decompress(body, MAX_BYTES + 1)
        except zlib.error as error:
            raise _UnbelievableError("the answer is no gzip") from error
        if len(body) > MAX_BYTES or not expanding.eof:
            raise _UnbelievableError("the answer has more than 1 MiB, or is cut off")
    elif encoding != "identity":
        raise _UnbelievableError("the answer is compressed in a way that was not asked for")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _UnbelievableError("the answer is no JSON") from error
    if not isinstance(found, dict):
        raise _UnbelievableError("the answer is no object")
    return found


def _outcome(status: int, headers: Mapping[str, str], found: Mapping[str, Any]) -> Outcome:
    if 200 <= status < 300:
        return Answered(status, found)
    acked = found.get("acked")
    return Refused(
        str(found.get("type", "")).removeprefix(_URN)[:100],
        status,
        str(found.get("detail") or found.get("title") or "")[:500],
        acked if isinstance(acked, int) and not isinstance(acked, bool) else None,
        _retry_after(headers),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After`; a date is none of ours (RFC 9110 section 10.2.3)."""
    try:
        seconds = float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(seconds) else None


def _why(error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return (
            "the parent's certificate is not trusted (a private authority: REQUESTS_CA_BUNDLE or "
            f"`chittyops enroll --ca-file`): {_innermost(error)}"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy (HTTPS_PROXY) did not let it through: {_innermost(error)}"
    if isinstance(error, requests.Timeout):
        return "the parent did not answer in time"
    if isinstance(error, SignatureError):
        return f"the answer is not the parent's: {error.message}"
    if isinstance(error, requests.RequestException):
        return f"the parent cannot be reached: {_innermost(error)}"
    return str(error)


def _innermost(error: BaseException) -> str:
    """Return the cause in a few words; a proxy's address may hold a password."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
