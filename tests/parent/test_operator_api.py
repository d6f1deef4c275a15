"""The operators' JSON API over the fleet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.app import Parent
from chittyops_core.parent.operators import accounts, api_tokens
from parent.access import Browser, parent_with
from parent.fleet_data import fill


class Program:
    """Asks the API with a token of a role."""

    def __init__(self, browser: Browser, parent: Parent) -> None:
        self._browser, self._parent = browser, parent
        self._tokens = {role: self._make(role) for role in Role}

    def __call__(self, role: Role, method: str, path: str, body: object = None, **headers: str):
        return self._browser.ask(method, path, self._tokens[role], body, **headers)

    def send(self, role: Role, path: str, body: bytes) -> httpx.Response:
        """Post *body* as JSON, whatever it is."""
        headers = {
            "Authorization": f"Bearer {self._tokens[role]}", "Content-Type": "application/json",
        }  # fmt: skip
        return self._browser.request("POST", path, content=body, headers=headers)

    def _make(self, role: Role) -> str:
        now = self._parent.clock.now().timestamp()

        def work(writer: sa.Connection) -> str:
            owner = accounts.by_name(writer, str(role))
            assert owner is not None
            who = Operator(owner.id, owner.name, owner.role)
            return api_tokens.make(writer, who, name="t", role=role, days=1, now=now)[1]

        return self._parent.database.write(work)


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Program]:
    """A parent with a fleet of 120, and a program that asks it."""
    with parent_with(tmp_path, *Role) as (app, parent), TestClient(app) as client:
        parent.database.write(lambda writer: fill(writer, 120, sampled=0))
        yield Program(Browser(client), parent)


def test_lists_are_read_page_by_page_to_the_end(ask: Program) -> None:
    """Every child once, whatever the size of a page."""
    names, after = [], ""
    while True:
        page = ask(Role.VIEWER, "GET", f"/v1/children?limit=50{after}").json()
        names += [each["id"] for each in page["rows"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"

    assert len(names) == len(set(names)) == 120
    assert ask(Role.VIEWER, "GET", "/v1/counts").json()["total"] == 120
    for path in ("/v1/services", "/v1/events/log", "/v1/children?text=nothing-like-it"):
        assert ask(Role.VIEWER, "GET", path).status_code == 200
    assert ask(Role.AUDITOR, "GET", "/v1/activity?actor=nobody").json()["rows"] == []


HOSTILE = (
    "after=x", "after=W10", "limit=x", "overdue=maybe", "order=random", "limit=-5",
    "limit=99999999999999999999999", "text=%00", "text=%ff", "label=%27%20OR%201=1--",
    "kind=%F0%9F%92%A9&state=%5B", "after=" + "A" * 5000,
)  # fmt: skip


def test_a_hostile_query_is_refused_or_finds_nothing(ask: Program) -> None:
    """Never an error of ours."""
    for query in HOSTILE:
        for path in ("/v1/children", "/v1/services", "/v1/events/log"):
            answer = ask(Role.VIEWER, "GET", f"{path}?{query}")
            assert answer.status_code in (200, 400), (path, query, answer.text)
            if answer.status_code == 400:
                assert answer.json()["type"].startswith("urn:chittyops:problem:")


def test_a_decision_is_kept_with_who_and_why_and_refused_when_it_was_changed_meanwhile(
    ask: Program,
) -> None:
    """Accept, revoke; the ETag of before is worth nothing after; all of it is an activity."""
    pending = ask(Role.VIEWER, "GET", "/v1/children?state=pending").json()["rows"][0]["id"]
    path = f"/v1/children/{pending}"
    tag = ask(Role.VIEWER, "GET", path).headers["etag"]

    done = ask(Role.OPERATOR, "POST", f"{path}/accept", {"reason": "ours"}, **{"If-Match": tag})
    late = ask(Role.OPERATOR, "POST", f"{path}/reject", {}, **{"If-Match": tag})
    no = ask(Role.OPERATOR, "POST", f"{path}/revoke", {})
    gone = ask(Role.APPROVER, "POST", f"{path}/revoke", {"reason": "<b>"})
    again = ask(Role.OPERATOR, "POST", f"{path}/reject", {})
    assert [each.status_code for each in (done, late, no, gone, again)] == [200, 412, 403, 200, 409]
    assert done.json()["child"]["state"] == "accepted" and done.json()["decided_by"] == "operator"
    rows = ask(Role.AUDITOR, "GET", f"/v1/activity?object=child/{pending}").json()["rows"]
    assert [(row["actor"], row["action"], row["outcome"]) for row in reversed(rows[:4])] == [
        ("operator", "child.accept", "done"),
        ("operator", "child.reject", "refused"),
        ("approver", "child.revoke", "done"),
        ("operator", "child.reject", "refused"),
    ]
    assert ask(Role.OPERATOR, "POST", "/v1/children/ch_none/accept", {}).status_code == 404


def test_labels_are_replaced_by_who_has_seen_them(ask: Program) -> None:
    """And found by afterwards; what is no label is refused."""
    id = ask(Role.VIEWER, "GET", "/v1/children?limit=1").json()["rows"][0]["id"]
    path = f"/v1/children/{id}"
    tag = ask(Role.VIEWER, "GET", path).headers["etag"]

    missing = ask(Role.OPERATOR, "PUT", f"{path}/labels", {"ring": "canary"})
    done = ask(Role.OPERATOR, "PUT", f"{path}/labels", {"ring": "rare-one"}, **{"If-Match": tag})
    wrong = ask(Role.OPERATOR, "PUT", f"{path}/labels", {"a b": "\u0000"}, **{"If-Match": "*"})
    assert [each.status_code for each in (missing, done, wrong)] == [428, 200, 400]
    found = ask(Role.VIEWER, "GET", "/v1/children?label=ring%3Drare-one").json()["rows"]
    assert [each["id"] for each in found] == [id]


def test_an_enrolment_token_is_told_once_and_withdrawn(ask: Program) -> None:
    """Its text is in the answer that made it, and in no list."""
    body = {"name": "court", "uses": 3, "labels": {"ring": "canary"}}
    made = ask(Role.OPERATOR, "POST", "/v1/enrolment-tokens", body)

    assert made.status_code == 201 and made.json()["token"].startswith("chittyops1.")
    listed = ask(Role.VIEWER, "GET", "/v1/enrolment-tokens")
    assert made.json()["token"] not in listed.text and made.json()["id"] in listed.text
    path = f"/v1/enrolment-tokens/{made.json()['id']}/withdraw"
    assert ask(Role.VIEWER, "POST", path).status_code == 403
    assert ask(Role.OPERATOR, "POST", path).status_code == 204
    for wrong in ({**body, "uses": 0}, {**body, "ttl_s": 1e99}, {**body, "name": ""}, {}):
        assert ask(Role.OPERATOR, "POST", "/v1/enrolment-tokens", wrong).status_code == 400


def test_the_description_of_the_api_names_every_operation(ask: Program) -> None:
    """OpenAPI 3.1, with the problems that each may answer."""
    told = ask(Role.VIEWER, "GET", "/v1/openapi/openapi.json").json()

    assert told["openapi"].startswith("3.1")
    assert {"/v1/children", "/v1/operators/{id}", "/v1/activity", "/v1/me"} <= set(told["paths"])
    assert not any(path.startswith(("/login", "/account")) for path in told["paths"])
    answers = told["paths"]["/v1/children/{id}/accept"]["post"]["responses"]
    assert {"200", "401", "403", "404", "409", "412"} <= set(answers)


def test_a_body_that_is_nested_too_deep_is_refused_attack(ask: Program) -> None:
    """As what is no UTF-8 is: with a problem of who sent it, none of ours."""
    for body in (b"[" * 20_000, b'{"name": ' * 7_000, b'{"name": "\xff"}'):
        answer = ask.send(Role.OPERATOR, "/v1/enrolment-tokens", body)
        assert answer.status_code == 400 and answer.json()["type"].endswith(":malformed")
