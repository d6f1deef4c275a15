"""What the parent says of its own interface, held against what it does: by schemathesis."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
import sqlalchemy as sa
from attrs import frozen
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from chittyops_core.bridge import signatures
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.database import Database
from chittyops_core.parent.operators import accounts, api_tokens
from chittyops_core.parent.operators.passwords import Hasher
from chittyops_core.parent.operators.signing_in import Authentication
from chittyops_core.parent.schema import child, enrol_token
from conftest import IS_CHAOS_FULL
from parent.access import CHEAP, HASH
from parent.fleet_data import fill
from parent_served import RawChild, ServedParent

EXAMPLES = 60 if IS_CHAOS_FULL else 4
"""Requests to an operation that fit its description, and as many that do not."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DRAW = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
RAW = (
    b"", b"null", b"[]", b"{", b'"', b"\xff\xfe", b'{"name": "\xff", "reason": "\xed\xa0\x80"}',
    b'{"reason": "\\ud800", "name": "\\udfff", "token": "\\ud800", "v": 1}',
    b'{"reason": "\\u0000", "name": "\\u0000", "uses": 1}', b"[" * 20_000,
    b'{"a": ' * 9_000 + b"1" + b"}" * 9_000, b'{"uses": 1e999, "ttl_s": 1e999, "name": "x"}',
    b'{"uses": ' + b"9" * 400 + b', "name": "x"}', b'{"uses": 1, "ttl_s": -1e308, "name": "x"}',
    b'{"ttl_s": 1e308, "name": "x"}', b'{"uses": 9223372036854775808, "name": "x"}',
    b"\xef\xbb\xbf{}", b'{"reason": "' + b"x" * 100_000 + b'"}', b" " * 2_000_000,
)  # fmt: skip
"""Bodies that no description yields: no UTF-8, half a surrogate pair, NUL, too deep, too large."""

TYPES = ("application/json", "text/plain", "application/json; charset=utf-7", "x", "")
QUERIES = (
    "text=%00",
    "after=%ff",
    "limit=1e9&since=nan",
    "x=" + "y" * 5_000,
    "until=inf&child=%ud800",
)
"""What no query is, sent wherever something is looked at."""


class Signing(requests.auth.AuthBase):
    """Signs each request as a child does, over what it really holds."""

    def __init__(self, child: RawChild) -> None:
        self._child = child

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        parts = urlsplit(str(request.url))
        body = request.body or b""
        signed = signatures.sign_request(
            self._child.key, self._child.key_id, str(request.method),
            parts.path + (f"?{parts.query}" if parts.query else ""),
            body.encode() if isinstance(body, str) else body,
            request.headers.get("Content-Type", ""), int(time.time()),
        )  # fmt: skip
        request.headers.update(signed)
        return request


class Bearer(requests.auth.AuthBase):
    """Shows an API token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@frozen(eq=False)
class Described:
    """A parent with a fleet and an admin, and what it says of itself."""

    served: ServedParent
    token: str
    ids: Mapping[str, list[str]]
    session: requests.Session

    def operations(self) -> list[Any]:
        """Return all that the parent describes."""
        told = self.session.get(f"{self._url}/v1/openapi/openapi.json", timeout=30).json()
        return [each.ok() for each in schemathesis.openapi.from_dict(told).get_all_operations()]

    def who(self, operation: Any) -> requests.auth.AuthBase:
        """Return who asks: a child of its own where signatures are described, else an admin."""
        if "Signature" in {each.name for each in operation.headers}:
            return Signing(self.served.child())
        return Bearer(self.token)

    def fuzz(self, operation: Any, mode: GenerationMode) -> set[int]:
        """Send what is drawn in *mode*, to things that are there and others; return statuses."""
        who, known = self.who(operation), st.sampled_from(self._ids(operation))
        tags = st.sampled_from(["*", '"x"', None])
        found: set[int] = set()

        @DRAW
        @given(case=operation.as_strategy(generation_mode=mode), id=known | st.none(), tag=tags)
        def send(case: Any, id: str | None, tag: str | None) -> None:
            if id is not None:
                case.path_parameters = {each.name: id for each in operation.path_parameters}
            headers = {} if tag is None else {"If-Match": tag}
            answer = case.call(base_url=self._url, session=self.session, auth=who, headers=headers)
            found.add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)

        send()
        return found

    def send_raw(self, operation: Any, **how: Any) -> None:
        """Send a request with a body or a query as it is."""
        known = self._ids(operation)[0]
        case = operation.Case(
            path_parameters={each.name: known for each in operation.path_parameters}
        )
        answer = self.session.request(
            operation.method.upper(), self._url + case.formatted_path, timeout=30,
            **how,
        )  # fmt: skip
        case.validate_response(answer, checks=CHECKS)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.served.port}"

    def _ids(self, operation: Any) -> list[str]:
        path = operation.path
        return next((found for start, found in self.ids.items() if path.startswith(start)), ["x"])


@pytest.fixture
def described(database: Database, tmp_path: Path) -> Iterator[Described]:
    """A parent that serves a fleet of 30."""
    now = time.time()

    def add(writer: sa.Connection, role: Role) -> Operator:
        accounts.add(writer, name=str(role), role=role, password=HASH, now=now)
        found = accounts.by_name(writer, str(role))
        assert found is not None
        return Operator(found.id, found.name, found.role)

    def work(writer: sa.Connection) -> tuple[str, str]:
        fill(writer, 30, sampled=0)
        admin, viewer = add(writer, Role.ADMIN), add(writer, Role.VIEWER)
        token = api_tokens.make(writer, admin, name="t", role=Role.ADMIN, days=1, now=now)[1]
        return token, viewer.id

    token, viewer = database.write(work)
    with ServedParent(tmp_path, database) as served, requests.Session() as session:
        served.app.state["authentication"] = Authentication(Hasher(CHEAP))
        served.token()
        ids = {
            "/v1/children/": [row.id for row in served.rows(sa.select(child.c.id))],
            "/v1/enrolment-tokens/": [row.id for row in served.rows(sa.select(enrol_token.c.id))],
            "/v1/operators/": [viewer],
        }
        yield Described(served, token, ids, session)


def test_no_answer_is_one_that_the_description_does_not_name(described: Described) -> None:
    """Status, media type, headers and body, on either database; never an error of ours."""
    operations = described.operations()
    if not IS_CHAOS_FULL:  # Half of them on each database.
        operations = operations[int(described.served.database.is_sqlite) :: 2]
    well = 0
    for operation in operations:
        found = described.fuzz(operation, GenerationMode.POSITIVE)
        well += any(status < 300 for status in found)
        if operation.body or operation.query:
            described.fuzz(operation, GenerationMode.NEGATIVE)
    assert well > len(operations) / 2


def test_what_is_no_request_at_all_is_refused_as_described_attack(described: Described) -> None:
    """No UTF-8, half a surrogate pair, NUL, nested too deep, too large, of another type."""
    for operation in described.operations():
        who = described.who(operation)
        if operation.method == "get":
            for query in QUERIES:
                described.send_raw(operation, auth=who, params=query)
            continue
        for body in RAW:
            # A parent that has not read all of a body hangs up after its answer.
            headers = {"Content-Type": TYPES[0], "If-Match": "*", "Connection": "close"}
            described.send_raw(operation, auth=who, data=body, headers=headers)
        for media_type in TYPES[1:]:
            headers = {"Content-Type": media_type, "If-Match": "*", "Connection": "close"}
            described.send_raw(operation, auth=who, data=b"{}", headers=headers)


def test_metrics_of_the_parent_are_of_one_media_type(described: Described) -> None:
    """With one charset, in the older format and in OpenMetrics."""
    for accept in ("", "application/openmetrics-text"):
        told = described.served.get("/metrics", {"Accept": accept}).headers["content-type"]
        assert told.count("charset=") == 1
