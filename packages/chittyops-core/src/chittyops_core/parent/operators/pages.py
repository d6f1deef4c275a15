"""Pages of operators: signing in and out, one's own account, its tokens, and all operators."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from litestar import Request, get, post
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect, Template
from markupsafe import Markup

from chittyops_core._kit.logs import get_logger
from chittyops_core.errors import ChittyOpsError, ParentError, RefusedError, UsageError
from chittyops_core.parent import activities
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.activities import Outcome
from chittyops_core.parent.operators import accounts, api_tokens, csrf, oidc, sessions
from chittyops_core.parent.operators.accounts import Account
from chittyops_core.parent.operators.changes import change
from chittyops_core.parent.operators.guards import (
    SignedIn,
    caller_of,
    cookie_name,
    identify,
    may,
)  # fmt: skip
from chittyops_core.parent.operators.problems import CsrfFailed, Refused
from chittyops_core.parent.operators.requests import (
    address_of,
    is_secure,
    local_path,
    now_of,
    parent_of,
    read,
    write,
)  # fmt: skip
from chittyops_core.parent.operators.signing_in import authentication

__all__ = ["PUBLIC", "handlers"]

_log = get_logger("chittyops.parent")

Web = Request[Any, Any, Any]
PUBLIC = {"is_public": True}
"""The `opt` of handlers that anybody may use."""

_OIDC_S = 600
"""Seconds that signing in at a provider may take."""


@frozen
class SignIn:
    """The form of /login."""

    name: str = ""
    password: str = ""
    next: str = "/"


@frozen
class NewPassword:
    """The form by which one changes one's own password."""

    present: str = ""
    password: str = ""


@frozen
class NewToken:
    """The form of a new API token."""

    name: str = ""
    role: str = ""
    days: str = ""


@frozen
class NewOperator:
    """The form of a new operator."""

    name: str = ""
    role: str = ""
    password: str = ""


@frozen
class NewRole:
    """The form that changes what an operator may do."""

    role: str = ""


# --- signing in and out ---


@get("/login", opt=PUBLIC, include_in_schema=False)
async def show_login(request: Web) -> Template | Redirect:
    """Show the form, or go on where somebody is signed in already."""
    next_page = local_path(request.query_params.get("next"))
    if await _is_signed_in(request):
        return Redirect(next_page, status_code=303)
    return _login_page(request, next_page)


@post("/login", opt=PUBLIC, include_in_schema=False)
async def sign_in(request: Web, data: URLEncodedBody[SignIn]) -> Template | Redirect:
    """Begin a session, with a secret that nobody knew before."""
    next_page = local_path(data.next)
    form_secret = request.cookies.get(_form_cookie(request))
    if not form_secret:
        return _login_page(request, next_page, "Your browser sent no cookie. Try again.", 403)
    try:
        await csrf.require(request, form_secret)
        secret = await authentication(request).sign_in(
            request, data.name, data.password, request.cookies.get(cookie_name(request))
        )
    except CsrfFailed as error:
        return _login_page(request, next_page, error.detail, 403)
    except Refused as error:
        return _login_page(
            request, next_page, error.detail, error.status_code, dict(error.headers or {})
        )
    return _signed_in(request, secret, next_page)


@post("/logout", guards=[may(Role.VIEWER, by_token=False)], include_in_schema=False)
async def sign_out(request: Web, operator: SignedIn) -> Redirect:
    """End this session."""
    hash = str(caller_of(request).session)
    await change(
        request, "sign-out", f"operator/{operator.id}",
        lambda writer: sessions.end(writer, operator.id, hash),
    )  # fmt: skip
    answer = Redirect("/login", status_code=303)
    answer.set_cookie(_cookie(request, cookie_name(request), "", max_age=0))
    return answer


@get("/login/oidc", opt=PUBLIC, include_in_schema=False)
async def begin_oidc(request: Web) -> Template | Redirect:
    """Send the browser to the provider."""
    next_page = local_path(request.query_params.get("next"))
    attempt = oidc.Attempt(secrets.token_urlsafe(32))
    try:
        await authentication(request).count_attempt(request, None)
        client = await _client(request)
        now = parent_of(request).clock.monotonic()
        url = await asyncio.to_thread(client.address, attempt, now)
    except Refused as error:
        return _login_page(
            request, next_page, error.detail, error.status_code, dict(error.headers or {})
        )
    except ParentError as error:
        return _unavailable(request, next_page, error)
    answer = Redirect(url, status_code=303)
    kept = f"{attempt.secret}.{base64.urlsafe_b64encode(next_page.encode()).decode()}"
    answer.set_cookie(_cookie(request, _oidc_cookie(request), kept, max_age=_OIDC_S))
    return answer


@get("/login/oidc/callback", opt=PUBLIC, include_in_schema=False)
async def end_oidc(request: Web) -> Template | Redirect:
    """Begin a session of who the provider says it is."""
    secret, _, kept = request.cookies.get(_oidc_cookie(request), "").partition(".")
    next_page = _kept_page(kept)
    given = {key: value for key, value in request.query_params.items() if isinstance(value, str)}
    parent = parent_of(request)
    answer: Template | Redirect
    try:
        if not secret:
            raise RefusedError("this sign-in was not begun in this browser, or is too old")
        client = await _client(request)
        who = await asyncio.to_thread(
            client.identity, oidc.Attempt(secret), given, parent.clock.monotonic(), now_of(request)
        )
        account = await _account_of(request, who)
        session = await authentication(request).begin(
            request, account, request.cookies.get(cookie_name(request)), "oidc"
        )
        authentication(request).forgive(request, None)
        answer = _signed_in(request, session, next_page)
    except ParentError as error:
        answer = _unavailable(request, next_page, error)
    except (RefusedError, UsageError, Refused) as error:
        why = error.detail if isinstance(error, Refused) else error.message
        await authentication(request).record_refusal(
            request, "unknown", "sign-in", "operator/unknown", {"by": "oidc", "why": why}
        )
        answer = _login_page(request, next_page, f"You are not signed in: {why}.", 403)
    answer.set_cookie(_cookie(request, _oidc_cookie(request), "", max_age=0))
    return answer


async def _is_signed_in(request: Web) -> bool:
    try:
        await identify(request)
    except Refused:
        return False
    return True


async def _client(request: Web) -> oidc.OpenIdClient:
    state = request.app.state
    if state.get("oidc_client") is None:
        settings = await asyncio.to_thread(oidc.read_settings, parent_of(request).data)
        if settings is None:
            raise RefusedError("this parent has no OpenID provider")
        state["oidc_client"] = oidc.OpenIdClient(settings)
    client: oidc.OpenIdClient = state["oidc_client"]
    return client


async def _account_of(request: Web, who: oidc.Identity) -> Account:
    """Return the account of an identity, made at its first sign-in; its role follows the claims.

    Raises:
        RefusedError: No role is mapped, it is disabled, or its name is another's.
    """
    now, address = now_of(request), address_of(request)

    def work(writer: sa.Connection) -> tuple[Account | None, str]:
        found = accounts.by_subject(writer, who.subject)
        if found is not None and found.disabled_at is not None:
            return None, "this operator is disabled"
        if who.role is None:
            if found is not None:
                accounts.end_sessions(writer, found.id)
            return None, "your provider gives you no role here"
        if found is not None and found.role is who.role:
            return found, ""
        if found is None:
            found = accounts.add(
                writer, name=accounts.normal_name(who.name), role=who.role, subject=who.subject,
                now=now,
            )  # fmt: skip
            action = "operator.add"
        else:
            accounts.follow_role(writer, found.id, who.role)
            action = "operator.role"
        activities.record(
            writer, actor="parent", action=action, object=f"operator/{found.id}",
            outcome=Outcome.DONE, address=address,
            detail={"by": "oidc", "name": found.name, "role": str(who.role)}, now=now,
        )  # fmt: skip
        return found, ""

    account, why = await write(request, work)
    if account is None:
        raise RefusedError(why)
    return account


def _signed_in(request: Web, secret: str, next_page: str) -> Redirect:
    answer = Redirect(next_page, status_code=303)
    lifetime = int(sessions.LIFETIME_S)
    answer.set_cookie(_cookie(request, cookie_name(request), secret, max_age=lifetime))
    answer.set_cookie(_cookie(request, _form_cookie(request), "", max_age=0))
    return answer


def _login_page(
    request: Web, next_page: str, error: str = "", status: int = 200,
    headers: dict[str, str] | None = None,
) -> Template:  # fmt: skip
    form_secret = request.cookies.get(_form_cookie(request)) or secrets.token_urlsafe(32)
    request.state["csrf_secret"] = form_secret
    page = Template(
        "access/login.html", status_code=status, headers=headers,
        context={
            "error": error, "next": next_page, "csrf": csrf.csrf_field(request),
            "has_provider": _has_provider(request),
        },
    )  # fmt: skip
    page.set_cookie(_cookie(request, _form_cookie(request), form_secret))
    return page


def _has_provider(request: Web) -> bool:
    try:
        return oidc.read_settings(parent_of(request).data) is not None
    except ParentError as error:
        _log.error("oidc.misconfigured", error=error.message)
        return False


def _unavailable(request: Web, next_page: str, error: ParentError) -> Template:
    _log.warning("oidc.unavailable", error=error.message)
    text = "Your provider cannot be asked now. Try again later, or sign in with a password."
    return _login_page(request, next_page, text, 503, {"Retry-After": "30"})


def _kept_page(text: str) -> str:
    try:
        return local_path(base64.urlsafe_b64decode(text).decode())
    except ValueError:
        return "/"


def _cookie(request: Web, name: str, value: str, max_age: int | None = None) -> Cookie:
    return Cookie(
        name, value=value, path="/", max_age=max_age, httponly=True, samesite="lax",
        secure=is_secure(request),
    )  # fmt: skip


def _form_cookie(request: Web) -> str:
    return cookie_name(request) + "-form"


def _oidc_cookie(request: Web) -> str:
    return cookie_name(request) + "-oidc"


# --- one's own account ---

own = [may(Role.VIEWER, by_token=False)]


@get("/account", guards=own, include_in_schema=False)
async def show_account(request: Web, operator: SignedIn) -> Template:
    """Show who one is, and where one is signed in."""
    return await _account_page(request, operator)


@post("/account/password", guards=own, include_in_schema=False)
async def change_password(
    request: Web, operator: SignedIn, data: URLEncodedBody[NewPassword]
) -> Template | Redirect:
    """Change one's own password, and end one's other sessions."""
    account = await read(request, lambda reader: accounts.by_id(reader, operator.id))
    guard = authentication(request)
    try:
        if account is None or account.password is None:
            raise RefusedError("You sign in at a provider: change your password there")
        await guard.count_attempt(request, operator.name, account)
        verdict = await guard.hasher.verify_soon(account.password, accounts.as_typed(data.present))
        if not verdict.is_right:
            await guard.record_refusal(
                request, operator.name, "operator.password", f"operator/{operator.id}",
                {"why": "wrong password"},
            )  # fmt: skip
            raise RefusedError("The present password is wrong")
        guard.forgive(request, operator.name)
        password = accounts.normal_password(data.password, name=operator.name)
        hash = await guard.hasher.hash_soon(password)
    except (ChittyOpsError, Refused) as error:
        return await _account_page(request, operator, _told(error))
    session = caller_of(request).session
    await change(
        request, "operator.password", f"operator/{operator.id}",
        lambda writer: accounts.set_password(writer, operator.id, hash, keep_session=session),
    )  # fmt: skip
    return Redirect("/account", status_code=303)


@post("/account/sessions/others/end", guards=own, include_in_schema=False)
async def end_other_sessions(request: Web, operator: SignedIn) -> Redirect:
    """End all of one's sessions but this one."""
    current = str(caller_of(request).session)
    await change(
        request, "session.end", f"operator/{operator.id}",
        lambda writer: sessions.end_others(writer, operator.id, current),
    )  # fmt: skip
    return Redirect("/account", status_code=303)


@post("/account/sessions/{id:str}/end", guards=own, include_in_schema=False)
async def end_session(request: Web, operator: SignedIn, id: FromPath[str]) -> Redirect:
    """End one of one's sessions."""
    await change(
        request, "session.end", f"operator/{operator.id}",
        lambda writer: sessions.end(writer, operator.id, id),
    )  # fmt: skip
    return Redirect("/account", status_code=303)


@get("/account/tokens", guards=own, include_in_schema=False)
async def show_tokens(request: Web, operator: SignedIn) -> Template:
    """Show one's API tokens; none can be read again."""
    return await _tokens_page(request, operator)


@post("/account/tokens", guards=own, include_in_schema=False)
async def make_token(request: Web, operator: SignedIn, data: URLEncodedBody[NewToken]) -> Template:
    """Make an API token and show it this once."""
    now = now_of(request)
    try:
        role, days = Role(data.role), float(data.days)
    except ValueError:
        return await _tokens_page(request, operator, error="Choose a role and a number of days.")
    try:
        made, text = await change(
            request, "token.create", "token/new",
            lambda writer: api_tokens.make(
                writer, operator, name=data.name, role=role, days=days, now=now
            ),
            {"name": data.name, "role": str(role), "days": days},
        )  # fmt: skip
    except (RefusedError, UsageError) as error:
        return await _tokens_page(request, operator, error=_told(error))
    return await _tokens_page(request, operator, made=text, name=made.name)


@post("/account/tokens/{id:str}/withdraw", guards=own, include_in_schema=False)
async def withdraw_token(request: Web, operator: SignedIn, id: FromPath[str]) -> Redirect:
    """Take one of one's API tokens back."""
    now = now_of(request)
    await change(
        request, "token.withdraw", f"token/{id}",
        lambda writer: api_tokens.withdraw(writer, operator.id, id, now),
    )  # fmt: skip
    return Redirect("/account/tokens", status_code=303)


async def _account_page(request: Web, operator: Operator, error: str = "") -> Template:
    now, current = now_of(request), caller_of(request).session
    found = await read(
        request, lambda reader: sessions.sessions_of(reader, operator.id, now, current)
    )
    account = await read(request, lambda reader: accounts.by_id(reader, operator.id))
    has_password = account is not None and account.password is not None
    return _page(request, "access/account.html", error, sessions=found, has_password=has_password)


async def _tokens_page(
    request: Web, operator: Operator, error: str = "", made: str = "", name: str = ""
) -> Template:
    found = await read(request, lambda reader: api_tokens.tokens_of(reader, operator.id))
    roles = [role for role in Role if operator.role.includes(role)]
    return _page(
        request, "access/tokens.html", error, tokens=found, roles=roles, made=made, made_name=name,
        now=now_of(request), max_days=api_tokens.MAX_DAYS,
    )  # fmt: skip


# --- all operators ---

admin = [may(Role.ADMIN, by_token=False)]


@get("/operators", guards=admin, include_in_schema=False)
async def show_operators(request: Web) -> Template:
    """Show who may do what."""
    return await _operators_page(request)


@post("/operators", guards=admin, include_in_schema=False)
async def add_operator(request: Web, data: URLEncodedBody[NewOperator]) -> Template | Redirect:
    """Add an operator with a first password, to be changed by themselves."""
    now = now_of(request)
    try:
        name, role = accounts.normal_name(data.name), _role(data.role)
        password = accounts.normal_password(data.password, name=name)
        hash = await authentication(request).hasher.hash_soon(password)
        await change(
            request, "operator.add", f"operator/{name}",
            lambda writer: accounts.add(writer, name=name, role=role, password=hash, now=now),
            {"role": str(role)},
        )  # fmt: skip
    except ChittyOpsError as error:
        return await _operators_page(request, _told(error))
    return Redirect("/operators", status_code=303)


@post("/operators/{id:str}/role", guards=admin, include_in_schema=False)
async def change_role(
    request: Web, id: FromPath[str], data: URLEncodedBody[NewRole]
) -> Template | Redirect:
    """Change what an operator may do."""
    return await _change_operator(
        request, "operator.role", id,
        lambda writer: accounts.set_role(writer, id, _role(data.role)), {"role": data.role[:16]},
    )  # fmt: skip


@post("/operators/{id:str}/disable", guards=admin, include_in_schema=False)
async def disable_operator(request: Web, id: FromPath[str]) -> Template | Redirect:
    """Let an operator in no more, from now on."""
    now = now_of(request)
    return await _change_operator(
        request, "operator.disable", id, lambda writer: accounts.disable(writer, id, now=now)
    )


@post("/operators/{id:str}/enable", guards=admin, include_in_schema=False)
async def enable_operator(request: Web, id: FromPath[str]) -> Template | Redirect:
    """Let an operator in again."""
    return await _change_operator(
        request, "operator.enable", id, lambda writer: accounts.enable(writer, id)
    )


async def _change_operator(
    request: Web, action: str, id: str, work: Callable[[sa.Connection], None],
    detail: dict[str, Any] | None = None,
) -> Template | Redirect:  # fmt: skip
    try:
        await change(request, action, f"operator/{id}", work, detail)
    except ChittyOpsError as error:
        return await _operators_page(request, _told(error))
    return Redirect("/operators", status_code=303)


async def _operators_page(request: Web, error: str = "") -> Template:
    found = await read(request, accounts.accounts)
    return _page(request, "access/operators.html", error, operators=found, roles=list(Role))


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise UsageError(f"a role is one of {', '.join(Role)}") from None


def _page(request: Web, name: str, error: str, **context: Any) -> Template:
    caller = caller_of(request)
    return Template(
        name, status_code=400 if error else 200, headers={"Cache-Control": "no-store"},
        context={
            "operator": caller.operator, "csrf": csrf.csrf_field(request), "error": error,
            "at": _shown, **context,
        },
    )  # fmt: skip


def _shown(seconds: float | None) -> Markup:
    """Return a time for people and for programs."""
    if seconds is None:
        return Markup("never")
    when = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        when.isoformat(timespec="seconds"), when.strftime("%Y-%m-%d %H:%M")
    )


def _told(error: Exception) -> str:
    if isinstance(error, Refused):
        return error.detail
    text = error.message if isinstance(error, ChittyOpsError) else str(error)
    return text[:1].upper() + text[1:] + "."


def handlers() -> list[BaseRouteHandler]:
    """Return the handlers of these pages."""
    return [
        show_login, sign_in, sign_out, begin_oidc, end_oidc, show_account, change_password,
        end_other_sessions, end_session, show_tokens, make_token, withdraw_token, show_operators,
        add_operator, change_role, disable_operator, enable_operator,
    ]  # fmt: skip
