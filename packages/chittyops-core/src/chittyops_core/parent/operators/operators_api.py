"""Operators themselves, over the API."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from attrs import field, frozen
from litestar import Request, Response, get, patch, post
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, JSONBody

from chittyops_core.errors import NotFoundError
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.operators import accounts
from chittyops_core.parent.operators.accounts import Account
from chittyops_core.parent.operators.changes import change
from chittyops_core.parent.operators.etags import etag, require_match
from chittyops_core.parent.operators.guards import SignedIn, may
from chittyops_core.parent.operators.problems import documented
from chittyops_core.parent.operators.requests import now_of, read
from chittyops_core.parent.operators.signing_in import authentication

__all__ = ["handlers"]

Web = Request[Any, Any, Any]


@frozen
class ShownOperator:
    """An operator as others see it; times are seconds since the epoch."""

    id: str
    name: str
    role: Role
    signs_in_by: str
    created_at: float
    disabled_at: float | None


@frozen
class AddedOperator:
    """A new operator and its first password."""

    name: str
    role: Role
    password: str = field(repr=False)


@frozen
class ChangedOperator:
    """What is to be another; None stays."""

    role: Role | None = None
    is_disabled: bool | None = None


@get("/v1/me", guards=[may(Role.VIEWER)], responses=documented(), tags=["operators"])
async def me(operator: SignedIn) -> Operator:
    """Return who asks, and what it may do by what it asks with."""
    return operator


@get("/v1/operators", guards=[may(Role.ADMIN)], responses=documented(), tags=["operators"])
async def list_operators(request: Web) -> list[ShownOperator]:
    """Return all operators by name."""
    return [_shown(each) for each in await read(request, accounts.accounts)]


@post("/v1/operators", guards=[may(Role.ADMIN)], responses=documented(409, 413), tags=["operators"])
async def add_operator(request: Web, data: JSONBody[AddedOperator]) -> Response[ShownOperator]:
    """Add an operator."""
    now = now_of(request)
    name = accounts.normal_name(data.name)
    password = accounts.normal_password(data.password, name=name)
    hash = await authentication(request).hasher.hash_soon(password)
    made = await change(
        request, "operator.add", f"operator/{name}",
        lambda writer: accounts.add(writer, name=name, role=data.role, password=hash, now=now),
        {"role": str(data.role)},
    )  # fmt: skip
    return _answer(made, 201)


@get(
    "/v1/operators/{id:str}", guards=[may(Role.ADMIN)], responses=documented(404),
    tags=["operators"],
)  # fmt: skip
async def show_operator(request: Web, id: FromPath[str]) -> Response[ShownOperator]:
    """Return an operator; its ETag is what a change has to name."""
    return _answer(await read(request, lambda reader: _found(reader, id)))


@patch(
    "/v1/operators/{id:str}", guards=[may(Role.ADMIN)],
    responses=documented(404, 409, 412, 413, 428), tags=["operators"],
)  # fmt: skip
async def change_operator(
    request: Web, id: FromPath[str], data: JSONBody[ChangedOperator]
) -> Response[ShownOperator]:
    """Change the role of an operator, let it in no more, or again. Needs If-Match."""
    now = now_of(request)

    def work(writer: sa.Connection) -> Account:
        require_match(request, _tag(_found(writer, id)), must=True)
        if data.role is not None:
            accounts.set_role(writer, id, data.role)
        if data.is_disabled is True:
            accounts.disable(writer, id, now=now)
        elif data.is_disabled is False:
            accounts.enable(writer, id)
        return _found(writer, id)

    told = {"role": data.role and str(data.role), "is_disabled": data.is_disabled}
    return _answer(await change(request, "operator.change", f"operator/{id}", work, told))


def _found(connection: sa.Connection, id: str) -> Account:
    account = accounts.by_id(connection, id)
    if account is None:
        raise NotFoundError("there is no such operator")
    return account


def _shown(account: Account) -> ShownOperator:
    return ShownOperator(
        account.id, account.name, account.role, "provider" if account.subject else "password",
        account.created_at, account.disabled_at,
    )  # fmt: skip


def _tag(account: Account) -> str:
    return etag(account.id, account.role, account.disabled_at)


def _answer(account: Account, status: int = 200) -> Response[ShownOperator]:
    return Response(_shown(account), status_code=status, headers={"ETag": _tag(account)})


def handlers() -> list[BaseRouteHandler]:
    """Return the handlers of this module."""
    return [me, list_operators, add_operator, show_operator, change_operator]
